#include "http/http_route.h"

#include "base/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* One segment of the path for "{name}"; returns where the template goes on, NULL when there is no
 * such segment. */
static const char *take_segment(struct http_request *request, const char *brace, const char **path)
{
    const char *end = strchr(brace, '}');
    size_t size = strcspn(*path, "/");

    assert(end && request->parameter_count < HTTP_PARAMETERS_MAX);
    if (!size)
        return NULL;
    request->parameters[request->parameter_count++] = (struct http_parameter){
        .name = brace + 1,
        .name_size = (size_t)(end - brace - 1),
        .value = *path,
        .value_size = size,
    };
    *path += size;
    return end + 1;
}

static bool is_same(int wanted, int found, bool any_case)
{
    return wanted == found || (any_case && found > 0 && tolower(wanted) == tolower(found));
}

bool http_route_matches(const struct http_route *route, struct http_request *request)
{
    const char *wanted = route->path, *path = request->path;

    request->parameter_count = 0;
    while (wanted && *wanted) {
        if (*wanted == '{')
            wanted = take_segment(request, wanted, &path);
        else if (!is_same((unsigned char)*wanted++, http_request_next(&path), route->any_case))
            return false;
    }
    return wanted && !*path;
}

bool http_route_bind(struct http_request *request, struct arena *arena)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        struct http_parameter *parameter = &request->parameters[i];

        parameter->value =
            http_request_decode(arena, parameter->value, parameter->value_size, false);
        if (!utf8_is_valid(parameter->value, strlen(parameter->value)))
            return false;
    }
    return true;
}

static struct metrics_cell *status_cell(const struct http_families *families, const char *path,
                                        const char *method, int status)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", status);
    return metrics_cell(families->requests, (const char *const[]){path, method, text});
}

void http_families_count(const struct http_families *families, const char *const labels[2],
                         int status, double seconds)
{
    metrics_add(status_cell(families, labels[0], labels[1], status), 1);
    metrics_observe(metrics_cell(families->seconds, labels), seconds);
}

/* Two threads may both look a cell up the first time: they find the same one. */
void http_meter_count(struct http_meter *meter, const struct http_families *families, int status,
                      double seconds)
{
    _Atomic(struct metrics_cell *) *slot = &meter->by_status[status - HTTP_STATUS_MIN];
    struct metrics_cell *total = atomic_load(slot);
    struct metrics_cell *duration = atomic_load(&meter->seconds);

    if (!total) {
        total = status_cell(families, meter->path, meter->method, status);
        atomic_store(slot, total);
    }
    if (!duration) {
        duration =
            metrics_cell(families->seconds, (const char *const[]){meter->path, meter->method});
        atomic_store(&meter->seconds, duration);
    }
    metrics_add(total, 1);
    metrics_observe(duration, seconds);
}

void http_families_start(struct http_families *families, struct metrics *metrics)
{
    static const struct metrics_description requests = {
        .kind = METRICS_COUNTER,
        .name = "http_requests_total",
        .help = "Requests answered.",
        .labels = {"path", "method", "status"},
    };
    static const struct metrics_description seconds = {
        .kind = METRICS_HISTOGRAM,
        .name = "http_request_duration_seconds",
        .help = "From the request line to the beginning of the reply.",
        .labels = {"path", "method"},
        .buckets = METRICS_SECONDS,
        .bucket_count = METRICS_SECONDS_COUNT,
    };

    families->requests = metrics_family(metrics, &requests);
    families->seconds = metrics_family(metrics, &seconds);
}
