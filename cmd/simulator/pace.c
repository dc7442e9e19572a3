#include "pace.h"

#define ENDLESS_S 3600.0
#define RATE_MARGIN 1.25
#define RATE_MARGIN_S 60.0

void pace_start(struct pace *pace, double speed, double rate, int64_t start_ms, int64_t now_ns)
{
    *pace = (struct pace){.speed = speed,
                          .rate = rate,
                          .start_ms = start_ms,
                          .last_ms = start_ms,
                          .began_ns = now_ns};
}

static int64_t planned_ns(const struct pace *pace, int64_t time_ms)
{
    double after_ns = pace->rate > 0 ? (double)pace->done * 1e9 / pace->rate
                                     : (double)(time_ms - pace->start_ms) * 1e6 / pace->speed;

    return pace->began_ns + (int64_t)after_ns;
}

int64_t pace_due_ns(const struct pace *pace, int64_t time_ms, int64_t now_ns, int64_t wall_ms)
{
    int64_t due_ns = planned_ns(pace, time_ms), present_ns = now_ns + (time_ms - wall_ms) * 1000000;

    return due_ns > present_ns ? due_ns : present_ns;
}

void pace_done(struct pace *pace, int64_t time_ms, int64_t now_ns)
{
    int64_t late_ns = now_ns - planned_ns(pace, time_ms);

    if (late_ns > INT64_C(1000000) * PACE_SLACK_MS)
        pace->began_ns += late_ns;
    pace->last_ms = time_ms;
    pace->done++;
}

int64_t pace_behind_ms(double duration_s, double speed, double rate, double natural)
{
    double scale = rate > 0 ? rate / natural : speed;
    double behind_s = scale > 1 ? (duration_s > 0 ? duration_s : ENDLESS_S) * (scale - 1) : 0;

    if (rate > 0)
        behind_s = behind_s * RATE_MARGIN + RATE_MARGIN_S;
    return (int64_t)(behind_s * 1000);
}
