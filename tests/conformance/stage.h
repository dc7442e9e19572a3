/*
 * stage: where a case plays: a broker, a stream of its own, and short words for what cases do.
 *
 * A case runs in a process of its own, so that it may crash or hang without company. Every word
 * below fails the case when the broker refuses; they belong to the case's main thread.
 */
#ifndef TESTS_CONFORMANCE_STAGE_H
#define TESTS_CONFORMANCE_STAGE_H

#include "support/test.h"

#include "broker/broker.h"
#include "support/cluster.h"

#define ACK_WAIT_MS 1000
#define LATE_MS 1000  /* what a redelivery may be late by */
#define WAIT_MS 10000 /* for what has to come; whether it came in time is judged by a stopwatch */
#define CALL_MS 5000  /* of a call that should succeed */
#define QUIET_MS 300  /* how long nothing has to come to be believed */

struct conformance_case;

struct stage {
    const struct conformance_case *test;
    const char *url;
    bool real;                            /* not memory:// */
    struct server *server;                /* the case's own, NULL when it asked for none */
    struct cluster *cluster;              /* the same, on a cluster */
    struct server *watched[CLUSTER_SIZE]; /* borrowed: those or the shared ones */
    size_t watched_count;
    struct broker *broker;
    char name[48]; /* of the stream; its subjects are "<name>.>" */
    char subjects[56];
    struct broker_stream stream; /* defaults, to be changed before stage_declare */
    struct broker_group group;   /* the same; its name is "group" */
};

/* What a case asks for. Where it cannot be had the case is skipped, and the table says why. */
enum conformance_needs {
    ANY_DRIVER = 0,
    ONLY_MEMORY = 1,
    ONLY_REAL = 2,
    OWN_SERVER = 4,   /* it does harm to the server, and there is one */
    ALONE = 8,        /* it measures time */
    OWN_CLUSTER = 16, /* it does harm to members of a cluster */
    ONE_SERVER = 32,  /* a cluster could do no differently: arguments, the client's own work */
    LOSS_TOLD = 64,   /* the broker tells when the bytes of a message are gone */
    LONG = 128,       /* it takes ten seconds and more, and is started before the others */
};

struct conformance_case {
    const char *name; /* the rule */
    void (*run)(struct stage *stage);
    int needs; /* enum conformance_needs */
};

struct conformance_list {
    const struct conformance_case *cases;
    size_t count;
};

extern const struct conformance_list delivery_cases, settle_cases, publish_cases, dead_cases,
    retention_cases, fault_cases, bound_cases, announce_cases, state_cases, watch_cases,
    inspect_cases;

extern const struct conformance_list cluster_cases, random_cases;

int64_t now_ms(void);      /* steady */
void pause_ms(int64_t ms); /* for what can only be waited for: "it stays so" */
struct broker *stage_broker(struct stage *stage); /* another connection; the case closes it */

void stage_declare(struct stage *stage); /* its stream and its group */
void stage_declare_group(struct stage *stage, const struct broker_group *group);

/* A message under "<stream>.<key>". The id and the receipt may be NULL: a new one, not wanted. */
void publish(struct stage *stage, const char *key, const char *id, const char *text,
             struct broker_receipt *out);
void publish_numbers(struct stage *stage, int from, int to); /* id and text "<n>", key "n" */
bool try_publish(struct stage *stage, const struct broker_message *message, int timeout_ms,
                 struct broker_receipt *out);

struct broker_consumer *consume(struct stage *stage); /* the stage's group; the case closes it */
struct broker_consumer *consume_as(struct broker *broker, const struct broker_group *group);
struct broker_batch take(struct broker_consumer *consumer, size_t max, int timeout_ms);
/* One, fetched on whatever happens; count 0 when the time is over. */
struct broker_batch fetch_through(struct broker_consumer *consumer, int64_t until_ms);
void settle_all(struct broker_consumer *consumer, size_t count, struct broker_verdict verdict);
void done(struct broker_consumer *consumer, size_t count);

/* Takes one, which has to be this one, and leaves it unsettled. */
struct broker_delivery take_this(struct broker_consumer *consumer, const char *text,
                                 unsigned attempt, int timeout_ms);
void expect_done(struct broker_consumer *consumer, const char *text, unsigned attempt,
                 int timeout_ms);
void expect_quiet(struct broker_consumer *consumer, int ms);

struct broker_lag lag(struct stage *stage);

/* Members of a cluster count an ack when they have voted on it, a moment after they took it;
 * elsewhere it has to be so at once. */
void expect_in_flight(struct stage *stage, int64_t count);
void expect_all_settled(struct stage *stage);
size_t count_stored(struct stage *stage, const char *stream, const char *subject_prefix);

/* Fails unless from <= value <= to, with the numbers. */
void expect_between(const char *what, int64_t value, int64_t from, int64_t to);

/*
 * How long something took, and for how long of that this process and the servers could run but had
 * no processor: what else the machine does is not the driver's fault, and is no excuse either.
 */
struct stopwatch {
    int64_t started_ms, own_ms;
    int64_t server_ms[CLUSTER_SIZE];
    pid_t servers[CLUSTER_SIZE];
};

struct stopwatch stopwatch_start(const struct stage *stage);
int64_t stopwatch_kept_ms(const struct stage *stage, const struct stopwatch *stopwatch);

/* Fails unless it took from_ms to to_ms; later only by what was kept from it. */
void expect_took(const char *what, const struct stage *stage, const struct stopwatch *stopwatch,
                 int64_t from_ms, int64_t to_ms);

#endif
