/* api: answers questions about what was stored. */
#include "api.h"

#include "base/log.h"
#include "base/service.h"

#define REFRESH_MS 1000

static bool run(const void *settings, struct error *err)
{
    AUTO(api_stop) struct api *api = NULL;
    const struct api_settings *set = settings;

    if (!api_start(&api, set, err))
        return false;
    log_info("listening", log_text("host", set->host), log_int("port", api_port(api)));
    do
        api_refresh(api);
    while (!service_wait(REFRESH_MS));
    return true;
}

int main(int argc, char **argv)
{
    static const struct service api = {
        .name = "api",
        .summary = "answers questions about what was stored",
        .settings = api_settings_table,
        .settings_size = sizeof(struct api_settings),
        .run = run,
    };
    return service_main(&api, argc, argv);
}
