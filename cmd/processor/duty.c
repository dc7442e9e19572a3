#include "duty.h"

#include "parking_duty.h"

#include <assert.h>
#include <string.h>

/* What becomes of each consumer's events. A new consumer is a new row. */
const struct duty duties[] = {
    {.name = "logs", .sources = {{"logs", &store_logs}}},
    {.name = "readings", .sources = {{"readings", &store_readings}}},
    {
        .name = "parking",
        .sources = {{"parking-entries", &store_parking_entries},
                    {"parking-exits", &store_parking_exits}},
        .emits = &parking_emission,
        .shows = &parking_occupancy,
    },
    {
        .name = "summaries",
        .sources = {{"parking-summaries", &store_parking_summaries}},
        .delivers = &parking_delivery,
    },
    {.name = "weather", .sources = {{"weather-results", &store_weather_results}}},
};

const size_t duty_count = ARRAY_LEN(duties);

static_assert(ARRAY_LEN(duties) <= DUTIES_MAX, "room for one more");

const struct duty *duty_find(const char *name, size_t length)
{
    for (size_t i = 0; i < duty_count; i++)
        if (strncmp(duties[i].name, name, length) == 0 && !duties[i].name[length])
            return &duties[i];
    return NULL;
}

size_t duty_source_count(const struct duty *duty)
{
    size_t count = 0;

    while (count < BATCH_TOPICS_MAX && duty->sources[count].topic)
        count++;
    return count;
}

const struct topic *duty_topic(const struct duty *duty, size_t source)
{
    return topic_find(duty->sources[source].topic);
}
