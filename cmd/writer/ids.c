#include "ids.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* A ring of ids by age, and a table of open addressing that finds them. */
struct ids {
    struct id *ring;
    size_t room, most;
    size_t oldest, count; /* of the ring */
    uint32_t *slots;      /* place in the ring + 1; 0: free */
    size_t mask;
    uint64_t seed; /* so that nobody can choose ids that all meet */
};

struct ids *ids_new(size_t most, size_t slack)
{
    struct ids *ids = memory_alloc(sizeof(*ids));
    size_t slots = 16;

    ids->most = most;
    ids->room = memory_sum(most, slack);
    while (slots < ids->room + ids->room / 3)
        slots *= 2;
    ids->mask = slots - 1;
    ids->ring = memory_alloc(ids->room * sizeof(*ids->ring));
    ids->slots = memory_alloc(slots * sizeof(*ids->slots));
    ids->seed = (uint64_t)id_random() << 32 | id_random();
    return ids;
}

void ids_free(struct ids *ids)
{
    if (!ids)
        return;
    free(ids->ring);
    free(ids->slots);
    free(ids);
}

size_t ids_count(const struct ids *ids)
{
    return ids->count;
}

static uint64_t mix(uint64_t value)
{
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ULL;
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ULL;
    return value ^ value >> 32;
}

static size_t home_of(const struct ids *ids, const struct id *id)
{
    uint64_t halves[2];

    memcpy(halves, id->bytes, sizeof(halves));
    return mix(mix(halves[0] ^ ids->seed) + halves[1]) & ids->mask;
}

/* The slot that has it, or the free one where it would be. */
static size_t slot_of(const struct ids *ids, const struct id *id)
{
    size_t slot = home_of(ids, id);

    while (ids->slots[slot] && memcmp(&ids->ring[ids->slots[slot] - 1], id, sizeof(*id)) != 0)
        slot = (slot + 1) & ids->mask;
    return slot;
}

/* Frees a slot and moves up what would not be found any more behind the gap. */
static void free_slot(struct ids *ids, size_t gap)
{
    for (size_t next = (gap + 1) & ids->mask; ids->slots[next]; next = (next + 1) & ids->mask) {
        size_t home = home_of(ids, &ids->ring[ids->slots[next] - 1]);
        if (((next - home) & ids->mask) < ((next - gap) & ids->mask))
            continue; /* its home lies behind the gap */
        ids->slots[gap] = ids->slots[next];
        gap = next;
    }
    ids->slots[gap] = 0;
}

static void drop_oldest(struct ids *ids)
{
    free_slot(ids, slot_of(ids, &ids->ring[ids->oldest]));
    ids->oldest = (ids->oldest + 1) % ids->room;
    ids->count--;
}

bool ids_add(struct ids *ids, const struct id *id)
{
    if (ids->slots[slot_of(ids, id)])
        return false;
    if (ids->count == ids->room)
        drop_oldest(ids);

    size_t place = (ids->oldest + ids->count) % ids->room;
    ids->ring[place] = *id;
    ids->slots[slot_of(ids, id)] = (uint32_t)place + 1;
    ids->count++;
    return true;
}

void ids_take_back(struct ids *ids, size_t count)
{
    for (; count > 0 && ids->count > 0; count--) {
        size_t place = (ids->oldest + ids->count - 1) % ids->room;
        free_slot(ids, slot_of(ids, &ids->ring[place]));
        ids->count--;
    }
}

void ids_trim(struct ids *ids)
{
    while (ids->count > ids->most)
        drop_oldest(ids);
}
