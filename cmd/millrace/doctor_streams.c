#include "doctor.h"

#include "catalogue.h"

#define FULL_NOTICE 80 /* percent */
#define FULL_WRONG 95
#define PATIENCE 2 /* times ack_wait */

static void see_room(struct doctor *doctor, const struct broker_stream_info *stream)
{
    const struct broker_stream *settings = &stream->settings;

    if (settings->max_bytes <= 0)
        return;
    double percent = (double)stream->bytes * 100 / (double)settings->max_bytes;
    if (percent < FULL_NOTICE)
        return;
    doctor_find(doctor, percent < FULL_WRONG ? BROKER_NOTICE : BROKER_WRONG, "full",
                "see which consumer is behind: millrace lag; or give the stream more max_bytes",
                "stream %s is %.0f %% full, and at 100 %% %s", settings->name, percent,
                settings->telemetry ? "drops its oldest messages" : "refuses messages");
}

static void see_progress(struct doctor *doctor, const struct catalogue_group *group)
{
    const struct broker_group *settings = &group->info.settings;
    const struct broker_lag *lag = &group->info.lag;
    int64_t waiting = lag->unread + lag->in_flight;
    AUTO(buffer_free) struct buffer age = {0};

    if (settings->ack_wait_ms <= 0 || lag->oldest_age_ms <= PATIENCE * settings->ack_wait_ms)
        return;
    age_print(&age, lag->oldest_age_ms);
    if (lag->in_flight == 0 && waiting > 0)
        doctor_find(doctor, BROKER_WRONG, "progress", "start what consumes it, or see its log",
                    "consumer %s: %lld messages wait, the oldest for %s, and nobody takes them",
                    settings->name, (long long)waiting, age.data);
    else if (settings->max_in_flight > 0 && lag->in_flight >= settings->max_in_flight)
        doctor_find(
            doctor, BROKER_WRONG, "progress",
            "see the log of what consumes it; it does not settle, or retries everything",
            "consumer %s: all %d that may be in flight are, the oldest for %s: nothing more "
            "is delivered",
            settings->name, settings->max_in_flight, age.data);
}

void doctor_see_streams(struct doctor *doctor, const struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->stream_count; i++)
        see_room(doctor, &catalogue->streams[i]);
    for (size_t i = 0; i < catalogue->group_count; i++)
        see_progress(doctor, &catalogue->groups[i]);
}
