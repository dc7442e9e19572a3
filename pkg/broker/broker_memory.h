/*
 * broker_memory: what a test can do to a memory:// broker.
 *
 * memory://NAME is the reference model of the contract. The same name opened twice in one process
 * is the same broker; what it holds lives until its last handle is closed. Leases, delays and
 * dedup windows run by options.clock of the handle that was opened first, the time-outs of calls
 * by the machine's clock: after clock_fake_advance a waiting fetch looks again within
 * BROKER_MEMORY_POLL_MS.
 *
 * Globals  the list of named brokers, under a lock of its own: names have to meet somewhere.
 * Threads  any. done of broker_publish_async is called before broker_publish_async returns, by the
 *          thread that called it. Each listener and each watch has a thread of its own, which calls
 *          back without a lock; unlisten and unwatch wait for a callback that has begun, so that
 *          none runs after them, and are not for callbacks.
 */
#ifndef BROKER_BROKER_MEMORY_H
#define BROKER_BROKER_MEMORY_H

#include "broker/broker.h"

#define BROKER_MEMORY_POLL_MS 2

/* What a listener may have waiting for it; what comes beyond it is lost, and told by a GAP. */
#define BROKER_MEMORY_NOTICES 1024
#define BROKER_MEMORY_NOTICE_BYTES (8UL * 1024 * 1024)

enum broker_memory_fault {
    BROKER_MEMORY_UNAVAILABLE, /* refused: UNAVAILABLE */
    BROKER_MEMORY_FULL,        /* refused: FULL */
    BROKER_MEMORY_LOST,        /* UNKNOWN, and it was not stored */
    BROKER_MEMORY_STORED,      /* UNKNOWN, and it was stored */
};

/* The next `times` publishes to the stream (NULL: to any) end like this. */
void broker_memory_fail(struct broker *broker, const char *stream, enum broker_memory_fault fault,
                        unsigned times);

/* While it is away every operation is UNAVAILABLE; what it holds, and its time, go on. When it is
 * back, every listener gets a GAP. */
void broker_memory_away(struct broker *broker, bool away);

/* What it holds stays when its last handle is closed, until it is told the opposite. */
void broker_memory_keep(struct broker *broker, bool keep);

#endif
