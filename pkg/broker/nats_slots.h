/*
 * nats_slots: the publishes that are under way, and which of them wait for the sender.
 *
 * A slot is named by a token that is good for one use of it: an answer that comes late, when the
 * slot has another use, names none.
 *
 * Ownership  A slot in use owns its message; whoever gives the slot back destroys it.
 * Threads    The caller's lock is held around every call; a token may be written without it by who
 * has taken the slot.
 */
#ifndef BROKER_NATS_SLOTS_H
#define BROKER_NATS_SLOTS_H

#include "broker/broker.h"
#include "broker/nats_refusal.h"

#include <nats/nats.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NATS_TOKEN_SIZE 11

enum nats_slot_state {
    NATS_SLOT_FREE,
    NATS_SLOT_QUEUED,  /* waits for the sender */
    NATS_SLOT_SENDING, /* in the library's hands */
    NATS_SLOT_SENT,    /* waits for its answer, or to be sent again */
    NATS_SLOT_WAITING, /* could not be sent or was refused for now */
};

struct nats_slot {
    natsMsg *message;
    broker_done *done; /* NULL when it was called already */
    void *context;
    int64_t until_ms, next_ms;
    const struct nats_refusal *refusal; /* the latest */
    size_t size;
    uint32_t generation, following; /* in the free list or the queue */
    uint16_t sends, answers, refusals;
    uint8_t state;
    bool quick;
};

struct nats_slots {
    struct nats_slot *all;
    uint32_t count, used; /* of the first `used` some are not free */
    uint32_t free_first, queue_first, queue_last;
    size_t queue_count;
};

void nats_slots_init(struct nats_slots *slots, size_t count);
void nats_slots_free(struct nats_slots *slots);

bool nats_slots_all_taken(const struct nats_slots *slots);
struct nats_slot *nats_slots_take(struct nats_slots *slots); /* one has to be free */

/* Returns what was its message. */
natsMsg *nats_slots_give_back(struct nats_slots *slots, struct nats_slot *slot) MUST_CHECK;

void nats_slots_token(const struct nats_slots *slots, const struct nats_slot *slot,
                      char out[NATS_TOKEN_SIZE + 1]);

/* The slot a token means, or NULL: it is answered already, or in another use. */
struct nats_slot *nats_slots_find(struct nats_slots *slots, const char *token);

/* First in, first out; queue_count says how many there are. */
void nats_slots_queue(struct nats_slots *slots, struct nats_slot *slot);
struct nats_slot *nats_slots_unqueue(struct nats_slots *slots);

#endif
