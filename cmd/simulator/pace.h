/*
 * pace: when the next event's turn comes. Pure: the time is passed in.
 *
 * Simulated time runs `speed` times faster than time, or (rate) so fast that there are `rate`
 * events a second. No event is due before its simulated time: what has caught up with the present
 * goes on with it. Lost time is lost: after a delay of more than PACE_SLACK_MS simulated time goes
 * on from where it stood, instead of running after the clock.
 *
 * Units  nanoseconds of the steady clock; milliseconds of wall time and of simulated time.
 */
#ifndef SIMULATOR_PACE_H
#define SIMULATOR_PACE_H

#include <stdint.h>

#define PACE_SLACK_MS 100

struct pace {
    double speed, rate; /* one of them is 0 */
    int64_t start_ms, last_ms;
    int64_t began_ns; /* when simulated time would have started, had no time been lost */
    uint64_t done;    /* events */
};

void pace_start(struct pace *pace, double speed, double rate, int64_t start_ms, int64_t now_ns);

/* When an event of this simulated time is due. */
int64_t pace_due_ns(const struct pace *pace, int64_t time_ms, int64_t now_ns, int64_t wall_ms);

/* The event was handed over. */
void pace_done(struct pace *pace, int64_t time_ms, int64_t now_ns);

/*
 * How far in the past simulated time has to start so that it does not catch up with the present
 * before the end. A duration of 0 s counts as an hour. natural: events of a simulated second, which
 * with a rate gives the speed; as that is an average, a little is added.
 */
int64_t pace_behind_ms(double duration_s, double speed, double rate, double natural);

#endif
