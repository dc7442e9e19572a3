/*
 * move: everything that one broker's consumers have not settled, and its dead letters, to another.
 *
 * Errors  FULL, UNAVAILABLE, TIMEOUT and UNKNOWN pass: it goes on until nothing has moved for
 *         --wait seconds. The rest ends it. A stream that stays full does not keep the others.
 */
#include "catalogue.h"
#include "command.h"
#include "option.h"
#include "patience.h"
#include "sheet.h"

#include "base/memory.h"
#include "broker/transfer.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS 50         /* for the next message, before asking whether there is one */
#define STEP_MS 500        /* for one that is known to be there */
#define AGAIN_MS 500       /* until what failed is tried again */
#define WAIT_MS 30000      /* and no shorter than what a crashed worker holds needs to come back: */
#define LEASE_LATE_MS 5000 /* after the end of its lease */
#define MAX_ATTEMPTS 10    /* of a consumer, where the broker does not say */

struct move {
    const struct command_context *context;
    struct broker *from, *to;
    struct catalogue catalogue; /* of `from` */
    struct progress progress;
    struct sheet sheet;
    int64_t wait_ms, until_ms; /* when it gives up, unless something moves */
    bool waiting;              /* it was told that there is trouble */
    bool incomplete;
    struct error full; /* of the first stream that stayed full; else ERROR_NONE */
};

/* A consumer of a stream, or the whole of one that has none. */
struct lane {
    struct transfer_route route;
    struct transfer *transfer;
    int64_t expected, moved, left;
    bool idle;    /* nothing came last time */
    bool awaited; /* though something is left */
    bool done;    /* nothing is left */
};

static int64_t now_ms(void)
{
    return clock_steady_ms(clock_system());
}

static bool passes(const struct error *err)
{
    return err->code == ERROR_FULL || err->code == ERROR_UNAVAILABLE ||
           err->code == ERROR_TIMEOUT || err->code == ERROR_UNKNOWN;
}

/* ---- one stream ---- */

/* The consumer that is behind all others, so that what several have not settled comes to be taken
 * by all of them together: each after the first is a duplicate there, inside its dedup window. */
static struct lane *lane_behind(struct lane *lanes, size_t count)
{
    struct lane *behind = NULL;

    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &lanes[i];
        if (!lane->idle && (!behind || transfer_reached_ms(lane->transfer) <
                                           transfer_reached_ms(behind->transfer)))
            behind = lane;
    }
    return behind;
}

static bool count_left(const struct move *move, struct lane *lane, struct error *err)
{
    struct broker_lag lag;

    if (!broker_lag(move->from, lane->route.stream, lane->route.group->name,
                    move->context->options->timeout_ms, &lag, err))
        return false;
    lane->left = lag.unread + lag.in_flight;
    return true;
}

/* Of a stream without consumers nothing came, so nothing is left. */
static bool judge(const struct move *move, struct lane *lane, struct error *err)
{
    lane->left = 0;
    if (lane->route.group && !count_left(move, lane, err))
        return false;
    lane->done = lane->left == 0;
    lane->awaited = !lane->done;
    lane->idle = false;
    return true;
}

/* All were idle: is there nothing any more, or is it somewhere else? */
static bool look_again(const struct move *move, struct lane *lanes, size_t count, bool *out_done,
                       struct error *err)
{
    *out_done = true;
    for (size_t i = 0; i < count; i++) {
        if (!judge(move, &lanes[i], err))
            return false;
        *out_done = *out_done && lanes[i].done;
    }
    return true;
}

static bool step(struct move *move, struct lane *lane, struct error *err)
{
    size_t moved;
    bool taken = transfer_step(lane->transfer, lane->awaited ? STEP_MS : LOOK_MS, &moved, err);

    lane->moved += (int64_t)moved;
    lane->idle = taken && !moved;
    lane->awaited = lane->awaited && !moved;
    lane->done = false;
    progress_add(&move->progress, moved);
    if (moved)
        move->until_ms = now_ms() + move->wait_ms;
    return taken;
}

static void tell_waiting(struct move *move, const struct error *err)
{
    if (!move->waiting) {
        progress_end(&move->progress);
        command_tell(move->context, "waiting: %s", err->message);
    }
    move->waiting = true;
}

/* Until nothing is left, or nothing has moved for so long, or somebody had enough. */
static bool drain(struct move *move, struct lane *lanes, size_t count, struct error *err)
{
    struct error trouble = {0};
    bool done = false;

    move->until_ms = now_ms() + move->wait_ms;
    while (!done && now_ms() < move->until_ms && !command_is_interrupted()) {
        struct lane *lane = lane_behind(lanes, count);
        if (lane ? step(move, lane, err) : look_again(move, lanes, count, &done, err)) {
            trouble.code = ERROR_NONE;
            continue;
        }
        if (!passes(err))
            return false;
        trouble = *err;
        tell_waiting(move, err);
        patience_wait(-1, AGAIN_MS);
    }
    *err = trouble;
    return done || command_is_interrupted() || trouble.code == ERROR_NONE;
}

static bool open_lanes(struct lane *lanes, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        if (!transfer_open(&lanes[i].transfer, &lanes[i].route, err))
            return false;
    return true;
}

static bool finish_lanes(const struct move *move, struct lane *lanes, size_t count,
                         struct error *err)
{
    int timeout_ms = move->context->options->timeout_ms;
    bool finished = true;
    struct error next;

    for (size_t i = 0; i < count; i++)
        if (lanes[i].transfer && !transfer_finish(lanes[i].transfer, timeout_ms, &next)) {
            if (finished)
                *err = next;
            finished = false;
        }
    return finished;
}

/* Asked for, or else reckoned. */
static int64_t left_of(const struct move *move, struct lane *lane)
{
    struct error ignored;

    if (lane->done)
        return 0;
    if (lane->route.group && count_left(move, lane, &ignored))
        return lane->left;
    return lane->expected > lane->moved ? lane->expected - lane->moved : 0;
}

static void tell_lane(struct move *move, struct lane *lane)
{
    sheet_text(&move->sheet, lane->route.stream);
    sheet_text(&move->sheet, lane->route.group ? lane->route.group->name : NULL);
    sheet_number(&move->sheet, lane->moved);
    sheet_number(&move->sheet, left_of(move, lane));
    move->incomplete = move->incomplete || !lane->done;
}

static bool move_lanes(struct move *move, struct lane *lanes, size_t count, struct error *err)
{
    struct error trouble;
    bool drained = open_lanes(lanes, count, err) && drain(move, lanes, count, err);
    bool finished = finish_lanes(move, lanes, count, &trouble);

    for (size_t i = 0; i < count; i++) {
        transfer_close(lanes[i].transfer);
        tell_lane(move, &lanes[i]);
    }
    if (drained && !finished)
        *err = trouble;
    return drained && finished;
}

/* ---- all of them ---- */

static size_t make_lanes(struct move *move, const struct broker_stream_info *stream,
                         struct lane *out)
{
    const struct lane lane = {
        .route = {.from = move->from, .to = move->to, .stream = stream->settings.name}};
    size_t count = 0;

    for (size_t i = 0; i < move->catalogue.group_count; i++) {
        const struct catalogue_group *group = &move->catalogue.groups[i];
        if (strcmp(group->stream, stream->settings.name) != 0)
            continue;
        out[count] = lane;
        out[count].route.group = &group->info.settings;
        out[count++].expected = group->info.lag.unread + group->info.lag.in_flight;
    }
    if (count == 0) {
        out[count] = lane;
        out[count++].expected = (int64_t)stream->messages;
    }
    return count;
}

static bool move_stream(struct move *move, const struct broker_stream_info *stream,
                        bool with_consumers, struct error *err)
{
    struct lane *lanes = memory_alloc((move->catalogue.group_count + 1) * sizeof(*lanes));
    size_t count = make_lanes(move, stream, lanes);
    bool meant = (lanes[0].route.group != NULL) == with_consumers;
    bool moved = !meant || move_lanes(move, lanes, count, err);

    free(lanes);
    if (moved || err->code != ERROR_FULL)
        return moved;
    if (move->full.code == ERROR_NONE)
        move->full = *err;
    return true;
}

static bool move_streams(struct move *move, bool with_consumers, struct error *err)
{
    for (size_t i = 0; i < move->catalogue.stream_count; i++) {
        if (command_is_interrupted()) {
            move->incomplete = true;
            return true;
        }
        if (!move_stream(move, &move->catalogue.streams[i], with_consumers, err))
            return false;
    }
    return true;
}

/* Consumers first: what workers that still run give up on the way is a dead letter, and moves too.
 */
static bool move_all(struct move *move, struct error *err)
{
    if (!move_streams(move, true, err) || !move_streams(move, false, err))
        return false;
    if (move->full.code != ERROR_NONE)
        *err = move->full;
    return move->full.code == ERROR_NONE;
}

/* ---- before and after ---- */

static bool declare_streams(struct move *move, const struct catalogue *there, struct error *err)
{
    for (size_t i = 0; i < move->catalogue.stream_count; i++) {
        const struct broker_stream *stream = &move->catalogue.streams[i].settings;
        if (!catalogue_stream(there, stream->name) &&
            !broker_declare(move->to, stream, 1, NULL, 0, NULL, NULL,
                            move->context->options->timeout_ms, err))
            return error_wrap(err, "make stream %s as it is here (or declare it there before)",
                              stream->name);
    }
    return true;
}

static bool declare_groups(struct move *move, const struct catalogue *there, struct error *err)
{
    for (size_t i = 0; i < move->catalogue.group_count; i++) {
        struct broker_group *group = &move->catalogue.groups[i].info.settings;
        if (!group->max_attempts)
            group->max_attempts = MAX_ATTEMPTS;
        if (!catalogue_group(there, group->stream, group->name) &&
            !broker_declare(move->to, NULL, 0, group, 1, NULL, NULL,
                            move->context->options->timeout_ms, err))
            return error_wrap(err, "make consumer %s as it is here (or declare it there before)",
                              group->name);
    }
    return true;
}

/* What is there already stays as it is. */
static bool declare(struct move *move, struct error *err)
{
    AUTO(catalogue_free) struct catalogue there = {0};

    return catalogue_load(&there, move->to, move->context->options->timeout_ms, err) &&
           declare_streams(move, &there, err) && declare_groups(move, &there, err);
}

static bool prepare(struct move *move, struct error *err)
{
    int timeout_ms = move->context->options->timeout_ms;

    if (!broker_ping(move->from, timeout_ms, err) ||
        !catalogue_load(&move->catalogue, move->from, timeout_ms, err))
        return error_wrap(err, "--from");
    if (!broker_ping(move->to, timeout_ms, err) || !declare(move, err))
        return error_wrap(err, "--to");
    return transfer_check_apart(move->from, move->to, timeout_ms, err);
}

/* What is to be moved; and how long it can be until it comes. */
static uint64_t plan(struct move *move)
{
    const struct options *options = move->context->options;
    const struct catalogue *catalogue = &move->catalogue;
    struct lane *lanes = memory_alloc((catalogue->group_count + 1) * sizeof(*lanes));
    int64_t total = 0, lease_ms = 0;

    for (size_t i = 0; i < catalogue->stream_count; i++) {
        size_t count = make_lanes(move, &catalogue->streams[i], lanes);
        for (size_t k = 0; k < count; k++)
            total += lanes[k].expected;
    }
    free(lanes);
    for (size_t i = 0; i < catalogue->group_count; i++)
        if (catalogue->groups[i].info.settings.ack_wait_ms > lease_ms)
            lease_ms = catalogue->groups[i].info.settings.ack_wait_ms;
    lease_ms += LEASE_LATE_MS;
    move->wait_ms = lease_ms > WAIT_MS ? lease_ms : WAIT_MS;
    if (option_is_given(options, OPTION_WAIT))
        move->wait_ms = options->wait_s * 1000LL;
    return (uint64_t)total;
}

static int conclude(const struct move *move)
{
    if (!move->incomplete)
        return EXIT_DONE;
    command_tell(move->context, "%s",
                 command_is_interrupted()
                     ? "interrupted: run it again, it goes on with what is left"
                     : "not everything has moved: what workers hold and what waits for a retry is "
                       "left. Run it again");
    return EXIT_WRONG;
}

static int run(struct move *move)
{
    static const struct sheet_column columns[] = {
        {"stream", "STREAM", SHEET_TEXT},
        {"consumer", "CONSUMER", SHEET_TEXT},
        {"moved", "MOVED", SHEET_NUMBER},
        {"left", "LEFT", SHEET_NUMBER},
    };
    const struct options *options = move->context->options;
    struct error err;

    if (!prepare(move, &err))
        return command_fail(move->context, &err);
    sheet_start(&move->sheet, options, columns, ARRAY_LEN(columns));
    progress_start(&move->progress, options, "moved", plan(move));
    bool moved = move_all(move, &err);
    progress_end(&move->progress);
    sheet_end(&move->sheet);
    return moved ? conclude(move) : command_fail(move->context, &err);
}

/* What cannot be opened was typed wrongly: that a broker is away shows later. */
static bool open_brokers(struct move *move, struct error *err)
{
    const struct options *options = move->context->options;

    if (!broker_open(&move->from, options->from, NULL, err))
        return error_wrap(err, "--from");
    return broker_open(&move->to, options->to, NULL, err) || error_wrap(err, "--to");
}

int run_move(const struct command_context *context)
{
    const struct options *options = context->options;
    struct move move = {.context = context};
    struct error err;

    if (!options->from || !options->to)
        return command_misused(context, "move needs --from URL and --to URL");
    if (strcmp(options->from, options->to) == 0)
        return command_misused(context, "--from and --to are the same broker");
    int code = open_brokers(&move, &err) ? run(&move) : command_fail(context, &err);
    if (!move.to && err.code == ERROR_INVALID)
        code = EXIT_USAGE;
    catalogue_free(&move.catalogue);
    broker_close(move.to);
    broker_close(move.from);
    return code;
}
