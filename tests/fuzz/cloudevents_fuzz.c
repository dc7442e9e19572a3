/* The first lines of the input are the values of the headers, the rest is the body. */
#include "event/cloudevents.h"

#include "event/header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADERS 6

static const char *const names[HEADERS] = {
    HEADER_CONTENT_TYPE, HEADER_CE_SPECVERSION, HEADER_CE_ID,
    HEADER_CE_SOURCE,    HEADER_CE_TYPE,        HEADER_CE_TIME,
};

/* An empty line is a header that did not come. */
static const char *header(void *context, const char *name)
{
    char **values = context;

    for (size_t i = 0; i < HEADERS; i++)
        if (strcmp(names[i], name) == 0)
            return values[i] && *values[i] ? values[i] : NULL;
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    char *rest = copy;
    char *values[HEADERS] = {NULL};
    struct error err = {.code = ERROR_NONE};
    struct cloudevent event;
    struct arena *arena = arena_new(1024);

    memcpy(copy, data, size);
    copy[size] = '\0';
    for (size_t i = 0; i < HEADERS && rest; i++)
        values[i] = strsep(&rest, "\n");
    struct cloudevent_request request = {.header = header,
                                         .context = values,
                                         .body = rest ? rest : "",
                                         .size = rest ? (size_t)(copy + size - rest) : 0};
    (void)cloudevent_is(&request);
    if (!cloudevent_read(&request, arena, &event, &err)) {
        if (err.code != ERROR_INVALID || !err.reason)
            abort();
    } else if (id_is_zero(&event.id) || !*event.source || !*event.type) {
        abort();
    }
    arena_free(arena);
    free(copy);
    return 0;
}
