/* Rows of a result become JSON straight from their binary form. */
#include "store/store_connection.h"

#include "base/clock.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)

/* Result types, pg_type.dat. */
enum {
    BOOL = 16,
    INT8 = 20,
    INT4 = 23,
    TEXT = 25,
    FLOAT8 = 701,
    TIME = 1184,
    UUID = 2950,
    JSONB = 3802
};

struct parameter_bytes {
    uint64_t number;
};

static bool bind_value(struct store_statement *statement, struct parameter_bytes *bytes,
                       const struct store_value *value, struct error *err)
{
    size_t i = statement->count++;
    int64_t integer = value->integer;

    if (!value->present)
        return true; /* NULL */
    statement->values[i] = (const char *)&bytes->number;
    statement->lengths[i] = sizeof(bytes->number);
    switch (value->type) {
    case STORE_TEXT:
        statement->values[i] = value->text;
        statement->lengths[i] = (int)strlen(value->text);
        return true;
    case STORE_ID:
        statement->values[i] = (const char *)value->id.bytes;
        statement->lengths[i] = sizeof(value->id.bytes);
        return true;
    case STORE_DOUBLE:
        memcpy(&bytes->number, &value->number, sizeof(bytes->number));
        bytes->number = htobe64(bytes->number);
        return true;
    case STORE_TIME:
        if (!store_time_to_server(value->integer, &integer))
            return error_set(err, ERROR_INVALID, "parameter %zu: the time is out of range", i + 1);
        break;
    default:
        break;
    }
    bytes->number = htobe64((uint64_t)integer);
    return true;
}

static bool bind(const struct store_query *query, const struct store_value *values,
                 struct store_statement *statement, struct parameter_bytes *bytes,
                 struct error *err)
{
    statement->name = query->name;
    statement->sql = query->sql;
    for (size_t i = 0; i < query->parameter_count; i++) {
        if (values[i].present && values[i].type != query->parameters[i])
            return error_set(err, ERROR_INTERNAL, "parameter %zu has the wrong type", i + 1);
        if (!bind_value(statement, &bytes[i], &values[i], err))
            return false;
    }
    return true;
}

static uint64_t wide(const char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return be64toh(value);
}

static int32_t narrow(const char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return (int32_t)be32toh(value);
}

static double real(const char *bytes)
{
    uint64_t bits = wide(bytes);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void uuid_text(const char *bytes, char out[ID_TEXT_SIZE])
{
    struct id id;

    memcpy(id.bytes, bytes, sizeof(id.bytes));
    id_format(&id, out);
}

struct cell {
    const char *name, *bytes;
    Oid type;
    size_t size;
};

static bool write_cell(struct json_writer *out, const struct cell *cell, struct error *err)
{
    char text[ID_TEXT_SIZE];

    switch (cell->type) {
    case BOOL:
        json_bool(out, cell->name, cell->bytes[0]);
        return true;
    case INT8:
        json_int(out, cell->name, (int64_t)wide(cell->bytes));
        return true;
    case INT4:
        json_int(out, cell->name, narrow(cell->bytes));
        return true;
    case FLOAT8:
        json_double(out, cell->name, real(cell->bytes));
        return true;
    case TIME:
        json_time(out, cell->name, store_time_from_server((int64_t)wide(cell->bytes)));
        return true;
    case TEXT:
        json_bytes(out, cell->name, cell->bytes, cell->size);
        return true;
    case UUID:
        uuid_text(cell->bytes, text);
        json_text(out, cell->name, text);
        return true;
    case JSONB: /* its version, then the text */
        json_raw(out, cell->name, cell->bytes + 1, cell->size - 1);
        return true;
    default:
        return error_set(err, ERROR_INTERNAL, "column %s has the unknown type %u", cell->name,
                         cell->type);
    }
}

static bool write_row(const PGresult *result, int row, struct json_writer *out, struct error *err)
{
    for (int i = 0; i < PQnfields(result); i++) {
        struct cell cell = {.name = PQfname(result, i),
                            .bytes = PQgetvalue(result, row, i),
                            .type = PQftype(result, i),
                            .size = (size_t)PQgetlength(result, row, i)};
        if (cell.name[0] == '@')
            continue;
        if (PQgetisnull(result, row, i))
            json_null(out, cell.name);
        else if (!write_cell(out, &cell, err))
            return false;
    }
    return true;
}

static void keep_key(struct buffer *keys, const struct cell *cell)
{
    char id[ID_TEXT_SIZE];

    if (cell->type == TIME) {
        buffer_print(keys, "%lld", (long long)store_time_from_server((int64_t)wide(cell->bytes)));
    } else if (cell->type == INT8) {
        buffer_print(keys, "%lld", (long long)wide(cell->bytes));
    } else if (cell->type == UUID) {
        uuid_text(cell->bytes, id);
        buffer_text(keys, id);
    } else {
        buffer_append(keys, cell->bytes, cell->size);
    }
}

static void keep_keys(const PGresult *result, struct buffer *keys)
{
    int last = PQntuples(result) - 1;

    buffer_clear(keys);
    for (int i = 0; last >= 0 && i < PQnfields(result); i++) {
        struct cell cell = {.name = PQfname(result, i),
                            .bytes = PQgetvalue(result, last, i),
                            .type = PQftype(result, i),
                            .size = (size_t)PQgetlength(result, last, i)};
        if (cell.name[0] != '@')
            continue;
        if (keys->size)
            buffer_text(keys, "|");
        keep_key(keys, &cell);
    }
}

static bool write_rows(const PGresult *result, struct json_writer *out, struct store_page *page,
                       struct error *err)
{
    int rows = PQntuples(result);

    if (page->single)
        return rows == 0 || write_row(result, 0, out, err);
    for (int i = 0; i < rows; i++) {
        json_open(out, NULL, '{');
        if (!write_row(result, i, out, err))
            return false;
        json_close(out, '}');
    }
    return true;
}

static bool run(struct store *store, const struct store_query *query,
                const struct store_value *parameters, PGresult **out, struct error *err)
{
    struct store_statement statement = {0};
    struct parameter_bytes bytes[STORE_PARAMETERS_MAX];

    return bind(query, parameters, &statement, bytes, err) &&
           store_execute(store, &statement, out, err);
}

static int64_t earlier(int64_t time_ms, const struct store_value *bound)
{
    return bound->present && bound->integer < time_ms ? bound->integer : time_ms;
}

/* Raises the lower bound to a day below the upper one; false: the range is no longer than that. */
static bool narrow_range(const struct store_query *query, struct store_value *parameters)
{
    struct store_value *from = &parameters[query->newest.from - 1];
    int64_t end_ms = clock_wall_ms(clock_system());

    end_ms = earlier(end_ms, &parameters[query->newest.to - 1]);
    end_ms = earlier(end_ms, &parameters[query->newest.cursor - 1]);
    if (end_ms < INT64_MIN + DAY_MS || (from->present && from->integer >= end_ms - DAY_MS))
        return false;
    *from = (struct store_value){.present = true, .type = STORE_TIME, .integer = end_ms - DAY_MS};
    return true;
}

static bool run_newest(struct store *store, const struct store_query *query,
                       const struct store_value *parameters, PGresult **out, struct error *err)
{
    struct store_value narrowed[STORE_PARAMETERS_MAX];

    memcpy(narrowed, parameters, query->parameter_count * sizeof(*narrowed));
    if (narrowed[query->newest.limit - 1].present && narrow_range(query, narrowed)) {
        if (!run(store, query, narrowed, out, err))
            return false;
        if (PQntuples(*out) >= narrowed[query->newest.limit - 1].integer)
            return true;
        PQclear(*out);
        *out = NULL;
    }
    return run(store, query, parameters, out, err);
}

bool store_select(struct store *store, const struct store_query *query,
                  const struct store_value *parameters, struct json_writer *out,
                  struct store_page *page, struct error *err)
{
    AUTO(PQclear) PGresult *result = NULL;
    bool newest = query->newest.limit != 0;

    if (!store_begin(store, store->timeout_ms, err) ||
        !(newest ? run_newest : run)(store, query, parameters, &result, err) ||
        !write_rows(result, out, page, err))
        return error_wrap(err, "select %s", query->name);
    page->rows = (size_t)PQntuples(result);
    keep_keys(result, &page->last_keys);
    return true;
}
