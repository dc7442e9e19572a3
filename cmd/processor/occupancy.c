#include "occupancy.h"

#include "base/document.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define NAMES_MAX 500 /* of one reading */
#define PATH_SIZE 32

struct occupancy {
    const struct occupancy_kind *kind; /* borrowed */
    struct metrics_family *gauge;
    struct metrics_cell **shown; /* not 0 after the last reading */
    size_t shown_count;
};

struct occupancy *occupancy_new(const struct occupancy_kind *kind, struct metrics *metrics)
{
    struct occupancy *occupancy = memory_alloc(sizeof(*occupancy));

    occupancy->kind = kind;
    occupancy->gauge = metrics_family(metrics, &kind->gauge);
    /* It lists pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    occupancy->shown = memory_alloc(NAMES_MAX * sizeof(*occupancy->shown));
    return occupancy;
}

void occupancy_free(struct occupancy *occupancy)
{
    if (!occupancy)
        return;
    free(occupancy->shown);
    free(occupancy);
}

static void show(struct occupancy *occupancy, const struct document *rows)
{
    int count = document_count(rows, "rows");

    for (size_t i = 0; i < occupancy->shown_count; i++)
        metrics_set(occupancy->shown[i], 0);
    occupancy->shown_count = 0;
    for (int i = 0; i < count && i < NAMES_MAX; i++) {
        char path[PATH_SIZE];

        snprintf(path, sizeof(path), "rows.%d.name", i);
        const char *name = document_text(rows, path);
        struct metrics_cell *cell = metrics_cell(occupancy->gauge, &name);
        snprintf(path, sizeof(path), "rows.%d.count", i);
        metrics_set(cell, document_number(rows, path, 0));
        occupancy->shown[occupancy->shown_count++] = cell;
    }
}

bool occupancy_read(struct occupancy *occupancy, struct store *store, struct error *err)
{
    const struct store_value limit = {.present = true, .type = STORE_INT, .integer = NAMES_MAX};
    AUTO(buffer_free) struct buffer json = {0};
    AUTO(document_free) struct document *rows = NULL;
    struct json_writer writer = {.out = &json};
    struct store_page page = {0};

    json_open(&writer, NULL, '{');
    json_open(&writer, "rows", '[');
    bool selected = store_select(store, occupancy->kind->query, &limit, &writer, &page, err);
    buffer_free(&page.last_keys);
    json_close(&writer, ']');
    json_close(&writer, '}');
    if (!selected || !document_parse(&rows, json.data, json.size, err))
        return false;
    show(occupancy, rows);
    return true;
}
