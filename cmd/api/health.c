#include "health.h"

#include "base/log.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

#define PING_TIMEOUT_MS 1000

static const char *const names[HEALTH_PARTS] = {
    [HEALTH_BROKER] = "broker", [HEALTH_STORE] = "store"};

struct health {
    struct broker *broker; /* borrowed */
    struct store *store;
    bool refreshed; /* at least once */
    pthread_mutex_t lock;
    struct {
        bool well;
        struct error error; /* when it is not */
    } parts[HEALTH_PARTS];  /* guarded by lock */
};

bool health_open(struct health **out, struct broker *broker, const char *database_url,
                 struct error *err)
{
    const struct store_options options = {.name = "millrace api health",
                                          .timeout_ms = PING_TIMEOUT_MS};
    struct store *store;

    if (!store_open(&store, database_url, &options, err))
        return false;

    struct health *health = memory_alloc(sizeof(*health));
    health->broker = broker;
    health->store = store;
    for (int i = 0; i < HEALTH_PARTS; i++)
        (void)error_set(&health->parts[i].error, ERROR_UNAVAILABLE, "not asked yet");
    pthread_mutex_init(&health->lock, NULL);
    *out = health;
    return true;
}

void health_close(struct health *health)
{
    if (health == NULL)
        return;
    store_close(health->store);
    pthread_mutex_destroy(&health->lock);
    free(health);
}

static void note(struct health *health, enum health_part part, bool well, const struct error *why)
{
    pthread_mutex_lock(&health->lock);
    bool was_well = health->parts[part].well;
    health->parts[part].well = well;
    if (!well)
        health->parts[part].error = *why;
    pthread_mutex_unlock(&health->lock);

    if (well && !was_well)
        log_info("the dependency answers", log_text("dependency", names[part]));
    if (!well && (was_well || !health->refreshed))
        log_warning("the dependency does not answer", log_text("dependency", names[part]),
                    log_text("error", why->message));
}

void health_refresh(struct health *health)
{
    struct error err;
    bool well = broker_ping(health->broker, PING_TIMEOUT_MS, &err);

    note(health, HEALTH_BROKER, well, &err);
    well = store_ping(health->store, &err);
    note(health, HEALTH_STORE, well, &err);
    health->refreshed = true;
}

bool health_check(struct health *health, enum health_part part, struct error *err)
{
    pthread_mutex_lock(&health->lock);
    bool well = health->parts[part].well;
    if (!well)
        *err = health->parts[part].error;
    pthread_mutex_unlock(&health->lock);
    return well;
}
