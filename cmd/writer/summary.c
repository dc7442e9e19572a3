#include "summary.h"

#include "domain/parking.h"

void summary_write(const struct vehicle_summary *summary, struct buffer *out)
{
    struct json_writer writer = {.out = out};
    char id[ID_TEXT_SIZE];

    json_open(&writer, NULL, '{');
    json_text(&writer, "vehicle", summary->vehicle);
    json_time(&writer, "entryTime", summary->entry_time_ms);
    json_time(&writer, "exitTime", summary->exit_time_ms);
    json_double(&writer, "duration", summary->duration);
    json_bool(&writer, "matched", summary->matched);
    if (!id_is_zero(&summary->id)) {
        id_format(&summary->id, id);
        json_text(&writer, "id", id);
    }
    if (!id_is_zero(&summary->session)) {
        id_format(&summary->session, id);
        json_text(&writer, "session", id);
    }
    if (summary->revision > 0)
        json_int(&writer, "revision", summary->revision);
    if (summary->withdrawn)
        json_bool(&writer, "withdrawn", true);
    json_close(&writer, '}');
    buffer_append(out, "\n", 1);
}

static struct id derive_id(const struct vehicle_summary *summary)
{
    AUTO(buffer_free) struct buffer line = {0};

    summary_write(summary, &line);
    return id_derive("vehicle-summary", line.data, line.size);
}

bool summary_read(const char *json, size_t size, struct arena *arena, struct vehicle_summary *out,
                  struct error *err)
{
    if (size > SUMMARY_BYTES_MAX)
        return error_set(err, ERROR_TOO_LARGE, "more than %d bytes", SUMMARY_BYTES_MAX);
    if (!json_decode(vehicle_summary_fields, json, size, out, arena, err))
        return false;
    if (!parking_plate_is_valid(out->vehicle))
        return error_input(err, JSON_FORMAT, "/vehicle",
                           "field 'vehicle': want capital letters, digits and hyphens, with a "
                           "letter or digit at both ends");
    if (out->exit_time_ms < out->entry_time_ms)
        return error_input(err, JSON_RANGE, "/exitTime", "field 'exitTime': before the entry");
    if (out->duration <= 0)
        out->duration = (double)(out->exit_time_ms - out->entry_time_ms) / 1000;
    if (id_is_zero(&out->id))
        out->id = derive_id(out);
    return true;
}
