#include "broker/redis_driver.h"

#include "base/clock.h"
#include "base/id.h"
#include "resilience/backoff.h"

#include <poll.h>
#include <string.h>

static const struct backoff retries = {.first_ms = 20, .most_ms = 250};

static int64_t steady_ms(void)
{
    return clock_steady_ms(clock_system());
}

static bool take_turn(struct redis_broker *broker, int64_t until_ms, struct error *err)
{
    pthread_mutex_lock(&broker->control_lock);
    while (broker->control_busy &&
           clock_wait(&broker->control_free, &broker->control_lock, until_ms))
        continue;
    bool taken = !broker->control_busy;
    broker->control_busy = true;
    pthread_mutex_unlock(&broker->control_lock);
    return taken || error_set(err, ERROR_UNAVAILABLE, "other requests wait for the server");
}

static void end_turn(struct redis_broker *broker)
{
    pthread_mutex_lock(&broker->control_lock);
    broker->control_busy = false;
    pthread_cond_signal(&broker->control_free);
    pthread_mutex_unlock(&broker->control_lock);
}

/* Not a replica that cannot write for long: its master may be found at the same name. */
static void look_elsewhere(struct redis_link *link, const struct error *refusal)
{
    if (redis_refusal_is_elsewhere(refusal))
        redis_link_give_up(link, refusal->message);
}

/* False: no time is left to ask again. */
static bool rest(unsigned attempt, int64_t until_ms)
{
    int64_t pause_ms = backoff_ms(&retries, attempt, id_random());

    if (steady_ms() + pause_ms >= until_ms)
        return false;
    poll(NULL, 0, (int)pause_ms);
    return true;
}

static bool may_ask_again(struct redis_link *link, const struct error *err, unsigned attempt,
                          int64_t until_ms)
{
    if (err->code != ERROR_UNAVAILABLE && err->code != ERROR_UNKNOWN)
        return false;
    look_elsewhere(link, err);
    return redis_link_is_connected(link) ? rest(attempt, until_ms)
                                         : steady_ms() < until_ms; /* connecting it rests itself */
}

bool redis_control(struct redis_broker *broker, const struct redis_request *request,
                   int64_t until_ms, redisReply **out, struct error *err)
{
    bool answered = false, uncertain = false;

    if (!take_turn(broker, until_ms, err))
        return false;
    for (unsigned attempt = 1;; attempt++) {
        answered = redis_link_ask(broker->control, request, until_ms, out, err);
        uncertain = uncertain || (!answered && err->code == ERROR_UNKNOWN);
        if (answered || !may_ask_again(broker->control, err, attempt, until_ms))
            break;
    }
    end_turn(broker);
    if (answered)
        return true;
    if (uncertain && err->code == ERROR_UNAVAILABLE)
        err->code = ERROR_UNKNOWN;
    redis_refused(broker, err);
    return false;
}
