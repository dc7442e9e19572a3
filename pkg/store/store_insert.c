/* Rows become one binary array per column, and the arrays become rows again on the server. */
#include "store/store_connection.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES_MAX ((size_t)256 << 20) /* the server takes 1 GB; no batch comes near */
#define KEPT_BYTES_MAX ((size_t)4 << 20)    /* of an array's memory, between batches */
#define NAME_SIZE 80

/* array_send() and array_recv() of PostgreSQL's arrayfuncs.c */
struct array_header {
    uint32_t dimensions, has_nulls, element_type, size, lower_bound;
};

struct element {
    const char *type;
    uint32_t oid; /* pg_type.dat */
    size_t bytes; /* 0: each has its own */
};

static const struct element elements[] = {
    [JSON_INT] = {"int4", 23, 4},   [JSON_DOUBLE] = {"float8", 701, 8},
    [JSON_BOOL] = {"bool", 16, 1},  [JSON_TEXT] = {"text", 25, 0},
    [JSON_ENUM] = {"text", 25, 0},  [JSON_TIME] = {"timestamptz", 1184, 8},
    [JSON_ID] = {"uuid", 2950, 16}, [JSON_OBJECT] = {"jsonb", 3802, 0},
};

/* What every table has after the columns of its event. */
static const struct store_column row_columns[] = {
    {.name = "stream_id", .kind = JSON_TEXT, .offset = offsetof(struct store_row, stream_id)},
    {.name = "traceparent", .kind = JSON_TEXT, .offset = offsetof(struct store_row, traceparent)},
};

static size_t count_columns(const struct store_table *table)
{
    size_t count = 0;

    while (table->columns[count].name)
        count++;
    return count;
}

/* The column behind the parameter `index` of the statement. */
static const struct store_column *column_at(const struct store_table *table, size_t own,
                                            size_t index)
{
    return index < own ? &table->columns[index] : &row_columns[index - own];
}

static void put_element(struct buffer *array, const void *bytes, size_t size)
{
    uint32_t length = htobe32((uint32_t)size);
    char *at = array->capacity - array->size > size + sizeof(length)
                   ? array->data + array->size
                   : buffer_reserve(array, size + sizeof(length));

    memcpy(at, &length, sizeof(length));
    memcpy(at + sizeof(length), bytes, size);
    array->size += size + sizeof(length);
}

static void put_null(struct buffer *array)
{
    uint32_t length = htobe32(UINT32_MAX);

    buffer_append(array, &length, sizeof(length));
}

static void put_text(struct buffer *array, const char *text)
{
    if (text)
        put_element(array, text, strlen(text));
    else
        put_null(array);
}

/* jsonb has its version in front of the text. */
static void put_object(struct buffer *array, const char *json)
{
    if (!json) {
        put_null(array);
        return;
    }
    size_t size = strlen(json) + 1;
    uint32_t length = htobe32((uint32_t)size);
    buffer_append(array, &length, sizeof(length));
    buffer_append(array, "\1", 1);
    buffer_append(array, json, size - 1);
}

static bool put_time(struct buffer *array, int64_t time_ms, struct error *err)
{
    int64_t time;

    if (time_ms == JSON_TIME_ABSENT) {
        put_null(array);
        return true;
    }
    if (!store_time_to_server(time_ms, &time))
        return error_set(err, ERROR_INVALID, "time %lld ms is out of range", (long long)time_ms);
    time = (int64_t)htobe64((uint64_t)time);
    put_element(array, &time, sizeof(time));
    return true;
}

static void put_number(struct buffer *array, const struct store_column *column, const char *member)
{
    uint64_t wide;
    uint32_t narrow;

    if (column->kind == JSON_DOUBLE) {
        memcpy(&wide, member, sizeof(wide));
        wide = htobe64(wide);
        put_element(array, &wide, sizeof(wide));
    } else if (column->kind == JSON_INT) {
        memcpy(&narrow, member, sizeof(narrow));
        narrow = htobe32(narrow);
        put_element(array, &narrow, sizeof(narrow));
    } else {
        put_element(array, member, 1);
    }
}

static bool put_value(struct buffer *array, const struct store_column *column, const void *event,
                      struct error *err)
{
    const char *member = column->constant ? column->constant : (const char *)event + column->offset;

    switch (column->kind) {
    case JSON_TEXT:
        put_text(array, *(const char *const *)(const void *)member);
        return true;
    case JSON_ENUM:
        put_text(array, column->words[*(const int *)(const void *)member]);
        return true;
    case JSON_OBJECT:
        put_object(array, *(const char *const *)(const void *)member);
        return true;
    case JSON_TIME:
        return put_time(array, *(const int64_t *)(const void *)member, err);
    case JSON_ID:
        if (id_is_zero((const struct id *)(const void *)member))
            put_null(array);
        else
            put_element(array, member, sizeof(struct id));
        return true;
    default:
        put_number(array, column, member);
        return true;
    }
}

struct batch {
    const struct store_table *table;
    const struct store_row *rows;
    size_t count;
    size_t own, columns; /* of the event, and with those of every table */
};

static bool fill_array(struct buffer *array, const struct batch *batch, size_t index,
                       struct error *err)
{
    const struct store_column *column = column_at(batch->table, batch->own, index);
    const struct element *element = &elements[column->kind];
    struct array_header header = {
        .dimensions = htobe32(1),
        .has_nulls = htobe32(1), /* may have; the server looks for itself */
        .element_type = htobe32(element->oid),
        .size = htobe32((uint32_t)batch->count),
        .lower_bound = htobe32(1),
    };

    buffer_clear(array);
    buffer_reserve(array, sizeof(header) + batch->count * (sizeof(uint32_t) + element->bytes));
    buffer_append(array, &header, sizeof(header));
    for (size_t i = 0; i < batch->count; i++) {
        const struct store_row *row = &batch->rows[i];
        if (row->table)
            column = column_at(row->table, batch->own, index);
        if (!put_value(array, column, index < batch->own ? row->event : row, err))
            return error_wrap(err, "column %s, row %zu", column->name, i);
    }
    return true;
}

static bool fill_arrays(struct store *store, const struct batch *batch,
                        struct store_statement *statement, struct error *err)
{
    size_t bytes = 0;

    for (size_t i = 0; i < batch->columns; i++) {
        struct buffer *array = &store->arrays[i];
        if (!fill_array(array, batch, i, err))
            return false;
        bytes += array->size;
        if (bytes > BATCH_BYTES_MAX)
            return error_set(err, ERROR_INVALID, "the batch has more than %zu bytes",
                             BATCH_BYTES_MAX);
        statement->values[i] = array->data;
        statement->lengths[i] = (int)array->size;
    }
    statement->count = batch->columns;
    return true;
}

static const char *separator(size_t index)
{
    return index ? ", " : "";
}

static void write_arrays(struct buffer *sql, const struct batch *batch)
{
    for (size_t i = 0; i < batch->columns; i++) {
        const struct store_column *column = column_at(batch->table, batch->own, i);
        buffer_print(sql, "%s$%zu::%s[]", separator(i), i + 1, elements[column->kind].type);
    }
}

static void write_insert(struct buffer *sql, const struct batch *batch, const char *suffix)
{
    buffer_print(sql, "INSERT INTO %s (", batch->table->name);
    for (size_t i = 0; i < batch->columns; i++)
        buffer_print(sql, "%s%s", separator(i), column_at(batch->table, batch->own, i)->name);
    buffer_text(sql, ") SELECT * FROM unnest(");
    write_arrays(sql, batch);
    buffer_print(sql, ")%s", suffix);
}

static void write_call(struct buffer *sql, const struct batch *batch)
{
    buffer_print(sql, "SELECT inserted, key, event FROM %s(", batch->table->function);
    write_arrays(sql, batch);
    buffer_text(sql, ")");
}

/* Runs the statement of the table; `suffix` is for those without a function. */
static bool run(struct store *store, const struct batch *batch,
                const struct store_statement *filled, const char *suffix, PGresult **out,
                struct error *err)
{
    char name[NAME_SIZE];
    struct store_statement statement = *filled;

    buffer_clear(&store->sql);
    if (batch->table->function)
        write_call(&store->sql, batch);
    else
        write_insert(&store->sql, batch, suffix);
    snprintf(name, sizeof(name), "store %s%s", batch->table->name, suffix);
    statement.name = name;
    statement.sql = store->sql.data;
    return store_execute(store, &statement, out, err);
}

/*
 * The plain statement costs half of the one that expects duplicates, and they are rare: they come
 * with redeliveries.
 */
static bool run_batch(struct store *store, const struct batch *batch, PGresult **out,
                      struct error *err)
{
    static const char *const suffixes[] = {"", " ON CONFLICT DO NOTHING"};
    struct store_statement statement = {0};

    if (!fill_arrays(store, batch, &statement, err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (run(store, batch, &statement, suffixes[i], out, err))
            return true;
        if (batch->table->function || strcmp(store->sqlstate, "23505") != 0)
            break;
    }
    if (store->parameter > 0 && (size_t)store->parameter <= batch->columns)
        error_wrap(err, "column %s",
                   column_at(batch->table, batch->own, (size_t)store->parameter - 1)->name);
    return false;
}

/* (inserted bigint, key text, event json), in binary: big-endian, and text as it is. */
static void read_effect(const PGresult *result, struct store_effect *effect)
{
    uint64_t inserted;

    memcpy(&inserted, PQgetvalue(result, 0, 0), sizeof(inserted));
    effect->inserted = be64toh(inserted);
    for (int i = 1; effect->follow && i < PQntuples(result); i++)
        effect->follow(effect->context, PQgetvalue(result, i, 1), PQgetvalue(result, i, 2),
                       (size_t)PQgetlength(result, i, 2));
}

/* What a function may return is ours to know, but not the compiler's. */
static bool is_effect(const PGresult *result)
{
    return PQntuples(result) > 0 && PQnfields(result) == 3 &&
           PQgetlength(result, 0, 0) == sizeof(uint64_t);
}

static bool take_effect(const struct store_table *table, PGresult *result,
                        struct store_effect *effect, struct error *err)
{
    if (!table->function)
        effect->inserted = strtoul(PQcmdTuples(result), NULL, 10);
    else if (is_effect(result))
        read_effect(result, effect);
    else
        return error_set(err, ERROR_INTERNAL, "%s does not return what it should", table->function);
    return true;
}

static void trim(struct store *store)
{
    for (size_t i = 0; i < STORE_COLUMNS_MAX; i++)
        if (store->arrays[i].capacity > KEPT_BYTES_MAX)
            buffer_free(&store->arrays[i]);
}

bool store_apply(struct store *store, const struct store_table *table, const struct store_row *rows,
                 size_t count, struct store_effect *effect, struct error *err)
{
    struct batch batch = {table, rows, count, count_columns(table), 0};
    AUTO(PQclear) PGresult *result = NULL;

    batch.columns = batch.own + ARRAY_LEN(row_columns);
    effect->inserted = 0;
    if (batch.columns > STORE_COLUMNS_MAX)
        return error_set(err, ERROR_INTERNAL, "table %s has too many columns", table->name);
    if (!count)
        return true;
    bool stored = store_begin(store, store->timeout_ms, err) &&
                  run_batch(store, &batch, &result, err) && take_effect(table, result, effect, err);
    trim(store);
    return stored || error_wrap(err, "insert into %s", table->name);
}

bool store_insert(struct store *store, const struct store_table *table,
                  const struct store_row *rows, size_t count, size_t *out_inserted,
                  struct error *err)
{
    struct store_effect effect = {0};
    bool stored = store_apply(store, table, rows, count, &effect, err);

    *out_inserted = effect.inserted;
    return stored;
}
