#include "domain/elevator/stops.h"

int floor_set_count(const struct floor_set *set)
{
    int count = 0;

    for (int i = 0; i < FLOOR_SET_WORDS; i++)
        count += __builtin_popcountll(set->words[i]);
    return count;
}

int floor_set_lowest(const struct floor_set *set)
{
    for (int i = 0; i < FLOOR_SET_WORDS; i++)
        if (set->words[i])
            return i * 64 + __builtin_ctzll(set->words[i]);
    return STOPS_NONE;
}

int floor_set_highest(const struct floor_set *set)
{
    for (int i = FLOOR_SET_WORDS - 1; i >= 0; i--)
        if (set->words[i])
            return i * 64 + 63 - __builtin_clzll(set->words[i]);
    return STOPS_NONE;
}

int floor_set_farthest(const struct floor_set *set, int direction)
{
    return direction > 0 ? floor_set_highest(set) : floor_set_lowest(set);
}

struct floor_set stops_all(const struct stops *stops)
{
    struct floor_set all;

    for (int i = 0; i < FLOOR_SET_WORDS; i++)
        all.words[i] = stops->riders.words[i] | stops->hall[0].words[i] | stops->hall[1].words[i];
    return all;
}

bool stops_are_ahead(const struct stops *stops, int floor, int direction)
{
    struct floor_set all = stops_all(stops);
    int farthest = floor_set_farthest(&all, direction);

    return farthest != STOPS_NONE && (farthest - floor) * direction > 0;
}

bool stops_at(const struct stops *stops, int floor, int direction, bool full)
{
    if (floor_set_has(&stops->riders, floor))
        return true;
    if (full)
        return false;
    return floor_set_has(&stops->hall[stops_side(direction)], floor) ||
           (floor_set_has(&stops->hall[stops_side(-direction)], floor) &&
            !stops_are_ahead(stops, floor, direction));
}

/* One sweep from the floor (included) on; what was listed is taken out of rest. */
static int list_sweep(struct stops *rest, int *floor, int direction, int *out, int limit)
{
    struct floor_set all = stops_all(rest);
    int end = floor_set_farthest(&all, direction), count = 0;

    for (int at = *floor; (end - at) * direction >= 0 && count < limit; at += direction) {
        if (!stops_at(rest, at, direction, false))
            continue;
        out[count++] = at;
        floor_set_remove(&rest->riders, at);
        floor_set_remove(&rest->hall[stops_side(direction)], at);
        if (at == end)
            floor_set_remove(&rest->hall[stops_side(-direction)], at);
        *floor = at;
    }
    return count;
}

int stops_list(const struct stops *stops, int floor, int direction, int *out, int limit)
{
    struct stops rest = *stops;
    int count = 0;

    for (int sweep = 0; sweep < 3; sweep++, direction = -direction) {
        struct floor_set all = stops_all(&rest);
        if (floor_set_is_empty(&all))
            break;
        count += list_sweep(&rest, &floor, direction, out + count, limit - count);
    }
    return count;
}
