#include "broker/nats_slots.h"

#include "base/memory.h"

#include <stdlib.h>

#define INDEX_BITS 20 /* of a token; the rest is the slot's generation */
#define DIGIT_BITS 5
#define NONE UINT32_MAX

void nats_slots_init(struct nats_slots *slots, size_t count)
{
    uint32_t most = 1U << INDEX_BITS;

    slots->count = count < most ? (uint32_t)count : most;
    slots->used = 0;
    slots->all = memory_alloc(slots->count * sizeof(*slots->all));
    for (uint32_t i = 0; i < slots->count; i++)
        slots->all[i].following = i + 1 < slots->count ? i + 1 : NONE;
    slots->free_first = 0;
    slots->queue_first = slots->queue_last = NONE;
    slots->queue_count = 0;
}

void nats_slots_free(struct nats_slots *slots)
{
    free(slots->all);
}

static uint32_t index_of(const struct nats_slots *slots, const struct nats_slot *slot)
{
    return (uint32_t)(slot - slots->all);
}

bool nats_slots_all_taken(const struct nats_slots *slots)
{
    return slots->free_first == NONE;
}

struct nats_slot *nats_slots_take(struct nats_slots *slots)
{
    uint32_t index = slots->free_first;
    struct nats_slot *slot = &slots->all[index];

    slots->free_first = slot->following;
    if (index >= slots->used)
        slots->used = index + 1;
    return slot;
}

natsMsg *nats_slots_give_back(struct nats_slots *slots, struct nats_slot *slot)
{
    natsMsg *message = slot->message;

    slot->message = NULL;
    slot->state = NATS_SLOT_FREE;
    slot->generation++;
    slot->following = slots->free_first;
    slots->free_first = index_of(slots, slot);
    return message;
}

void nats_slots_token(const struct nats_slots *slots, const struct nats_slot *slot,
                      char out[NATS_TOKEN_SIZE + 1])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    uint64_t token = (uint64_t)slot->generation << INDEX_BITS | index_of(slots, slot);

    for (int i = NATS_TOKEN_SIZE - 1; i >= 0; i--, token >>= DIGIT_BITS)
        out[i] = digits[token & 31];
    out[NATS_TOKEN_SIZE] = '\0';
}

static bool read_token(const char *text, uint32_t *index, uint32_t *generation)
{
    uint64_t token = 0;

    for (int i = 0; i < NATS_TOKEN_SIZE; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'v' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        token = token << DIGIT_BITS | (unsigned)digit;
    }
    *index = (uint32_t)(token & ((1U << INDEX_BITS) - 1));
    *generation = (uint32_t)(token >> INDEX_BITS);
    return text[NATS_TOKEN_SIZE] == '\0';
}

struct nats_slot *nats_slots_find(struct nats_slots *slots, const char *token)
{
    uint32_t index, generation;

    if (!read_token(token, &index, &generation) || index >= slots->count)
        return NULL;
    struct nats_slot *slot = &slots->all[index];
    return slot->generation == generation && slot->done ? slot : NULL;
}

void nats_slots_queue(struct nats_slots *slots, struct nats_slot *slot)
{
    uint32_t index = index_of(slots, slot);

    slot->state = NATS_SLOT_QUEUED;
    slot->following = NONE;
    if (slots->queue_first == NONE)
        slots->queue_first = index;
    else
        slots->all[slots->queue_last].following = index;
    slots->queue_last = index;
    slots->queue_count++;
}

struct nats_slot *nats_slots_unqueue(struct nats_slots *slots)
{
    struct nats_slot *slot = &slots->all[slots->queue_first];

    slots->queue_first = slot->following;
    slots->queue_count--;
    return slot;
}
