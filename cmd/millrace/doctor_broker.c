#include "doctor.h"

#include "survey.h"

#include "broker/dead_letter.h"

#include <stdio.h>
#include <string.h>

#define LETTERS_MAX 10000 /* that are counted */
#define PAGE_LETTERS 500
#define REASONS_MAX 16

/* ---- what the broker says of itself ---- */

static void on_finding(void *context, const struct broker_finding *finding)
{
    doctor_find(context, finding->grade, finding->subject, finding->remedy, "%s", finding->fact);
}

static void see_server(struct doctor *doctor)
{
    struct error err;

    if (broker_examine(doctor->broker, on_finding, doctor, doctor->context->options->timeout_ms,
                       &err))
        return;
    if (strcmp(err.reason, "unsupported") == 0)
        doctor_find(doctor, BROKER_NOTICE, "server", "", "%s", err.message);
    else
        doctor_find_error(doctor, "server", "", &err);
}

/* ---- topology ---- */

struct topology_view {
    struct doctor *doctor;
    size_t same;
};

static void on_item(void *context, const struct survey_item *item)
{
    struct topology_view *view = context;
    const char *kind = item->consumer ? "consumer" : "stream";
    const char *name = item->consumer ? item->consumer : item->stream;

    view->same += item->state == SURVEY_SAME;
    if (item->state == SURVEY_MISSING)
        doctor_find(view->doctor, BROKER_WRONG, "topology", "run: millrace declare --apply",
                    "%s %s is missing", kind, name);
    if (item->state == SURVEY_DRIFTED)
        doctor_find(view->doctor, BROKER_NOTICE, "topology",
                    "set the same settings here as there, or change it with the broker's tools",
                    "%s %s differs: %s", kind, name, item->detail);
}

static void see_topology(struct doctor *doctor, const struct catalogue *catalogue)
{
    struct topology_view view = {.doctor = doctor};
    struct topology_settings settings;
    struct error err;

    if (!survey_settings(&settings, &err)) {
        doctor_find(doctor, BROKER_WRONG, "settings", "correct it in the environment", "%s",
                    err.message);
        return;
    }
    survey(catalogue, &settings, on_item, &view);
    if (view.same)
        doctor_find(doctor, BROKER_FINE, "topology", "",
                    "%zu streams and consumers are as declared", view.same);
}

/* ---- dead letters ---- */

struct tally {
    char reasons[REASONS_MAX][64];
    size_t counts[REASONS_MAX];
    size_t reason_count, letters;
};

static void on_letter(void *context, const struct broker_delivery *letter)
{
    struct tally *tally = context;
    const char *reason = broker_header(letter, DEAD_REASON);
    size_t i = 0;

    if (!reason)
        reason = "unknown";
    while (i < tally->reason_count &&
           strncmp(tally->reasons[i], reason, sizeof(tally->reasons[i]) - 1) != 0)
        i++;
    tally->letters++;
    if (i == REASONS_MAX)
        return;
    if (i == tally->reason_count)
        snprintf(tally->reasons[tally->reason_count++], sizeof(tally->reasons[i]), "%s", reason);
    tally->counts[i]++;
}

/* *out_more: there are more than were counted. */
static bool count_letters(const struct doctor *doctor, struct tally *tally, bool *out_more,
                          struct error *err)
{
    const struct dead_filter any = {0};
    char from[BROKER_SEQUENCE_SIZE] = "";

    do {
        struct dead_page page = {.from = from, .max = PAGE_LETTERS};
        if (!dead_letter_list(doctor->broker, &any, &page, on_letter, tally,
                              doctor->context->options->timeout_ms, err))
            return false;
        memcpy(from, page.next, sizeof(from));
    } while (*from && tally->letters < LETTERS_MAX && !command_is_interrupted());
    *out_more = *from != '\0';
    return true;
}

static void see_dead_letters(struct doctor *doctor)
{
    AUTO(buffer_free) struct buffer reasons = {0};
    struct tally tally = {0};
    struct error err;
    bool more = false;

    if (!count_letters(doctor, &tally, &more, &err)) {
        if (err.code != ERROR_NOT_FOUND)
            doctor_find_error(doctor, "dead_letters", "", &err);
        return;
    }
    if (tally.letters == 0) {
        doctor_find(doctor, BROKER_FINE, "dead_letters", "", "there are none");
        return;
    }
    buffer_text(&reasons, "");
    for (size_t i = 0; i < tally.reason_count; i++)
        buffer_print(&reasons, "%s%zu %s", i ? ", " : "", tally.counts[i], tally.reasons[i]);
    doctor_find(doctor, BROKER_NOTICE, "dead_letters",
                "see: millrace dead list; then millrace dead replay or purge", "%s%zu: %s",
                more ? "at least " : "", tally.letters, reasons.data);
}

static void see_all(struct doctor *doctor)
{
    int timeout_ms = doctor->context->options->timeout_ms;
    AUTO(catalogue_free) struct catalogue catalogue = {0};
    struct error err;

    doctor_find(doctor, BROKER_FINE, "broker", "", "it answers");
    see_server(doctor);
    if (catalogue_load(&catalogue, doctor->broker, timeout_ms, &err)) {
        see_topology(doctor, &catalogue);
        doctor_see_streams(doctor, &catalogue);
    } else {
        doctor_find_error(doctor, "topology", "", &err);
    }
    see_dead_letters(doctor);
}

void doctor_see_broker(struct doctor *doctor)
{
    const struct options *options = doctor->context->options;
    const struct broker_options broker_options = {.name = "millrace doctor"};
    AUTO(broker_close) struct broker *broker = NULL;
    struct error err;

    if (!broker_open(&broker, options->broker_url, &broker_options, &err) ||
        !broker_ping(broker, options->timeout_ms, &err)) {
        doctor_find_error(doctor, "broker", "start it, or say where it is: --broker, BROKER_URL",
                          &err);
        return;
    }
    doctor->broker = broker;
    see_all(doctor);
    doctor->broker = NULL;
}
