#include "domain/traffic.h"

#include "domain/load_curve.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

#define SECOND_MS 1000
#define LOG_WAIT_LEAST_MS 500
#define LOG_WAIT_MOST_MS 4000
#define BURST_PROBABILITY 0.01
#define BURST_LEAST 10
#define BURST_MOST 40
#define BURST_WAIT_LEAST_MS 20
#define BURST_WAIT_MOST_MS 200
#define WEATHER_WAIT_LEAST_MS 1000
#define WEATHER_WAIT_MOST_MS 9000
#define SOLAR_EVERY 4
#define METER_NOISE 0.05

/* Something that acts again and again. */
struct source {
    bool (*act)(struct traffic *traffic, struct source *source, struct traffic_event *out);
    int64_t next_ms;
    struct traffic_random random;
    int index; /* among those of its kind */
    int place;
    uint64_t acted;
    int burst;             /* of a service: how many more errors */
    const char *complaint; /* and what they say */
    double factor;         /* of a meter */
};

struct traffic {
    struct traffic_options options;
    struct garage_town *town;
    struct source *sources;
    struct source **heap; /* the one that acts next is first */
    size_t count;
};

/* ---- the heap ---- */

static bool is_before(const struct source *a, const struct source *b)
{
    return a->next_ms != b->next_ms ? a->next_ms < b->next_ms : a < b;
}

static void sink(struct traffic *traffic, size_t at)
{
    struct source **heap = traffic->heap;

    for (;;) {
        size_t first = at, left = 2 * at + 1, right = left + 1;
        if (left < traffic->count && is_before(heap[left], heap[first]))
            first = left;
        if (right < traffic->count && is_before(heap[right], heap[first]))
            first = right;
        if (first == at)
            return;
        struct source *moved = heap[at];
        heap[at] = heap[first];
        heap[first] = moved;
        at = first;
    }
}

/* ---- what sources do: each returns whether there is something to report ---- */

static void name_event(struct source *source, enum traffic_kind kind, struct traffic_event *out)
{
    const uint64_t halves[] = {traffic_random_next(&source->random),
                               traffic_random_next(&source->random)};

    *out = (struct traffic_event){
        .kind = kind, .time_ms = source->next_ms, .order = halves[0], .place = source->place};
    for (size_t i = 0; i < sizeof(out->id.bytes); i++)
        out->id.bytes[i] = (uint8_t)(halves[i / 8] >> i % 8 * 8);   /* the same on every machine */
    out->id.bytes[6] = (uint8_t)((out->id.bytes[6] & 0x0f) | 0x80); /* RFC 9562, 5.8 */
    out->id.bytes[8] = (uint8_t)((out->id.bytes[8] & 0x3f) | 0x80);
}

static void wait_next(struct source *source, int64_t least_ms, int64_t most_ms)
{
    source->next_ms += traffic_random_between(&source->random, least_ms, most_ms);
}

static void drive(struct source *source, enum traffic_kind kind, int car, struct traffic_event *out)
{
    name_event(source, kind, out);
    out->order = traffic_random_next(&(struct traffic_random){(uint64_t)car});
    garage_plate(car, out->plate);
}

static bool enter(struct traffic *traffic, struct source *source, struct traffic_event *out)
{
    int car;
    bool entered =
        garage_enter(traffic->town, source->place, source->next_ms, &source->random, &car);

    if (entered)
        drive(source, TRAFFIC_ENTRY, car, out);
    wait_next(source, SECOND_MS, (int64_t)traffic->options.entry_wait_s * SECOND_MS);
    return entered && traffic_random_happens(&source->random, TRAFFIC_ENTRY_REPORTED);
}

static bool leave(struct traffic *traffic, struct source *source, struct traffic_event *out)
{
    int car;
    bool left = garage_leave(traffic->town, source->place, source->next_ms, &source->random, &car);

    if (left)
        drive(source, TRAFFIC_EXIT, car, out);
    wait_next(source, SECOND_MS, (int64_t)traffic->options.exit_wait_s * SECOND_MS);
    return left;
}

static bool measure(struct traffic *traffic, struct source *source, struct traffic_event *out)
{
    const struct load_curve *curve = source->index % SOLAR_EVERY == SOLAR_EVERY - 1
                                         ? &load_curve_solar_house
                                         : &load_curve_house;
    double noise = 1 + METER_NOISE * (2 * traffic_random_share(&source->random) - 1);
    double power_w = load_curve_power_w(curve, source->next_ms) * source->factor * noise;

    name_event(source, TRAFFIC_READING, out);
    out->reading.meter = source->index % traffic->options.meters;
    out->reading.power_w = (double)(int64_t)(power_w * 10) / 10; /* as a meter shows it */
    source->next_ms += TRAFFIC_METER_MS;
    return true;
}

static const struct message {
    enum traffic_level level;
    int weight; /* of 100 */
    const char *text;
} messages[] = {
    {TRAFFIC_INFO, 40, "request served"},  {TRAFFIC_INFO, 20, "user signed in"},
    {TRAFFIC_INFO, 20, "cache refreshed"}, {TRAFFIC_DEBUG, 10, "connection taken from the pool"},
    {TRAFFIC_WARNING, 5, "slow query"},    {TRAFFIC_WARNING, 3, "retrying a call"},
    {TRAFFIC_ERROR, 2, "request failed"},
};

static const char *const complaints[] = {
    "database does not answer",
    "no space left on device",
    "connection refused by upstream",
    "certificate has expired",
};

static const struct message *draw_message(struct traffic_random *random)
{
    int64_t drawn = traffic_random_between(random, 0, 99);
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(messages) && drawn >= messages[i].weight)
        drawn -= messages[i++].weight;
    return &messages[i];
}

static bool report(struct traffic *traffic, struct source *source, struct traffic_event *out)
{
    struct traffic_random *random = &source->random;
    const struct message *message = draw_message(random);

    (void)traffic;
    name_event(source, TRAFFIC_LOG, out);
    out->log.level = source->burst ? TRAFFIC_ERROR : message->level;
    out->log.message = source->burst ? source->complaint : message->text;
    if (source->burst) {
        source->burst--;
    } else if (traffic_random_happens(random, BURST_PROBABILITY)) {
        source->burst = (int)traffic_random_between(random, BURST_LEAST, BURST_MOST);
        source->complaint = complaints[traffic_random_below(random, ARRAY_LEN(complaints))];
    }
    if (source->burst)
        wait_next(source, BURST_WAIT_LEAST_MS, BURST_WAIT_MOST_MS);
    else
        wait_next(source, LOG_WAIT_LEAST_MS, LOG_WAIT_MOST_MS);
    return true;
}

static const struct {
    const char *city, *location;
} cities[] = {
    {"Berlin", "Germany"}, {"Paris", "France"},  {"London", "United Kingdom"},
    {"Madrid", "Spain"},   {"Rome", "Italy"},    {"Vienna", "Austria"},
    {"Oslo", "Norway"},    {"Tokyo", "Japan"},   {"Sydney", "Australia"},
    {"Cairo", "Egypt"},    {"Nairobi", "Kenya"}, {"Toronto", "Canada"},
    {"Lima", "Peru"},      {"Mumbai", "India"},  {"São Paulo", "Brazil"},
};

static bool ask(struct traffic *traffic, struct source *source, struct traffic_event *out)
{
    size_t turn = source->acted++ % ARRAY_LEN(cities);

    (void)traffic;
    name_event(source, TRAFFIC_WEATHER, out);
    out->weather.city = cities[turn].city;
    out->weather.location = cities[turn].location;
    wait_next(source, WEATHER_WAIT_LEAST_MS, WEATHER_WAIT_MOST_MS);
    return true;
}

/* ---- life ---- */

static const struct source_kind {
    enum traffic_system system;
    bool (*act)(struct traffic *traffic, struct source *source, struct traffic_event *out);
} kinds[] = {
    {TRAFFIC_PARKING, enter}, {TRAFFIC_PARKING, leave},     {TRAFFIC_READINGS, measure},
    {TRAFFIC_LOGS, report},   {TRAFFIC_WEATHER_CALLS, ask},
};

static int count_sources(const struct traffic_options *options, enum traffic_system system)
{
    if (!(options->systems & system))
        return 0;
    switch (system) {
    case TRAFFIC_PARKING:
        return options->garages;
    case TRAFFIC_READINGS:
        return options->sites * options->meters;
    case TRAFFIC_LOGS:
        return options->services;
    default:
        return 1;
    }
}

/* They begin within the first seconds, not all at once. */
static struct source make_source(const struct traffic *traffic, size_t kind, int index)
{
    struct source source = {
        .act = kinds[kind].act,
        .random =
            traffic_random_start(traffic->options.seed, (uint64_t)kind << 32 | (uint32_t)index),
        .next_ms = traffic->options.start_ms,
        .index = index,
        .place = kinds[kind].system == TRAFFIC_READINGS ? index / traffic->options.meters : index,
    };

    source.factor = 0.5 + traffic_random_share(&source.random);
    wait_next(&source, 0,
              kinds[kind].system == TRAFFIC_READINGS ? TRAFFIC_METER_MS - 1 : 2 * SECOND_MS);
    return source;
}

struct traffic *traffic_new(const struct traffic_options *options)
{
    struct traffic *traffic = memory_alloc(sizeof(*traffic));
    size_t count = 0;

    assert(options->systems & TRAFFIC_EVERYTHING);
    traffic->options = *options;
    if (options->systems & TRAFFIC_PARKING)
        traffic->town = garage_town_new(options->garages, options->capacity);
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++)
        count += (size_t)count_sources(options, kinds[kind].system);
    traffic->sources = memory_alloc(count * sizeof(*traffic->sources));
    traffic->heap = memory_alloc(count * sizeof(struct source *));
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++)
        for (int i = 0; i < count_sources(options, kinds[kind].system); i++) {
            traffic->heap[traffic->count] = &traffic->sources[traffic->count];
            traffic->sources[traffic->count++] = make_source(traffic, kind, i);
        }
    for (size_t at = count; at > 0; at--)
        sink(traffic, at - 1);
    return traffic;
}

void traffic_free(struct traffic *traffic)
{
    if (!traffic)
        return;
    garage_town_free(traffic->town);
    free(traffic->sources);
    free(traffic->heap);
    free(traffic);
}

void traffic_next(struct traffic *traffic, struct traffic_event *out)
{
    for (bool reported = false; !reported; sink(traffic, 0)) {
        struct source *source = traffic->heap[0];
        reported = source->act(traffic, source, out);
    }
}

static double mean_s(double least_ms, double most_ms)
{
    return (least_ms + most_ms) / 2 / SECOND_MS;
}

double traffic_per_second(const struct traffic_options *options)
{
    double entry_s = (1 + (double)options->entry_wait_s) / 2;
    double exit_s = (1 + (double)options->exit_wait_s) / 2;
    double burst = BURST_PROBABILITY * (BURST_LEAST + BURST_MOST) / 2; /* errors to each log */
    double log_s = (mean_s(LOG_WAIT_LEAST_MS, LOG_WAIT_MOST_MS) +
                    burst * mean_s(BURST_WAIT_LEAST_MS, BURST_WAIT_MOST_MS)) /
                   (1 + burst);
    const double rates[] = {
        count_sources(options, TRAFFIC_PARKING) * (1 + TRAFFIC_ENTRY_REPORTED) /
            (entry_s > exit_s ? entry_s : exit_s),
        count_sources(options, TRAFFIC_READINGS) * (double)SECOND_MS / TRAFFIC_METER_MS,
        count_sources(options, TRAFFIC_LOGS) / log_s,
        count_sources(options, TRAFFIC_WEATHER_CALLS) /
            mean_s(WEATHER_WAIT_LEAST_MS, WEATHER_WAIT_MOST_MS),
    };
    double all = 0;

    for (size_t i = 0; i < ARRAY_LEN(rates); i++)
        all += rates[i];
    return all;
}

const struct garage_town *traffic_town(const struct traffic *traffic)
{
    return traffic->town;
}
