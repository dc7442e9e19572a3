#include "parking_duty.h"

#include "processor.h"

#include "domain/parking.h"
#include "messages/parking.h"

#include <string.h>

#define CURRENCY_SIZE 3

bool parking_settings_check(const struct parking_settings *settings, struct error *err)
{
    return (strlen(settings->currency) == CURRENCY_SIZE &&
            strspn(settings->currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == CURRENCY_SIZE) ||
           error_set(err, ERROR_INVALID, "PARKING_CURRENCY: want three capital letters, not '%s'",
                     settings->currency);
}

/* ---- summaries of sessions ---- */

static void add_price(const struct processor_settings *settings, void *event)
{
    const struct parking_settings *parking = &settings->parking;
    struct parking_summary *summary = event;
    struct parking_tariff tariff = {
        .free_s = (int64_t)parking->free_minutes * 60,
        .hour_cents = parking->hour_cents,
        .day_cents = parking->day_cents,
    };

    summary->currency = parking->currency;
    summary->amount_cents =
        summary->withdrawn ? 0 : (double)parking_price_cents(&tariff, summary->duration_s);
}

/* A session counts when it ends, and not again when it is corrected. */
static const char *matched_label(const void *event)
{
    const struct parking_summary *summary = event;

    if (summary->revision > 1)
        return NULL;
    return summary->matched ? "true" : "false";
}

static const struct metrics_description sessions = {
    METRICS_COUNTER, "parking_sessions_total", "Parking sessions that ended", {"matched"}, NULL, 0};

const struct emission_kind parking_emission = {
    .topic = "parking-summaries",
    .finish = add_price,
    .counter = &sessions,
    .label = matched_label,
};

/* ---- the writer ---- */

static void write_summary(const void *event, struct json_writer *out)
{
    const struct parking_summary *summary = event;
    char id[ID_TEXT_SIZE];

    id_format(&summary->id, id);
    json_text(out, "vehicle", summary->vehicle_plate);
    json_time(out, "entryTime", summary->entry_time_ms);
    json_time(out, "exitTime", summary->exit_time_ms);
    json_double(out, "duration", summary->duration_s);
    json_bool(out, "matched", summary->matched);
    json_text(out, "id", id);
    id_format(&summary->session_id, id);
    json_text(out, "session", id);
    if (summary->revision > 1)
        json_int(out, "revision", summary->revision);
    if (summary->withdrawn)
        json_bool(out, "withdrawn", true);
}

const struct delivery_kind parking_delivery = {.name = "writer", .write = write_summary};

/* ---- who is in ---- */

const struct occupancy_kind parking_occupancy = {
    .query = &store_parking_occupancy,
    .gauge = {METRICS_GAUGE,
              "parking_occupancy",
              "Vehicles in a garage: entries that nothing ended yet",
              {"garage"},
              NULL,
              0},
};
