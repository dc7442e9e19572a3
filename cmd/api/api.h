/*
 * api: what was stored, and how far behind its storing is, over HTTP.
 *
 * GET /logs              {"logs":[…],"next":cursor or null}: a page of log events, newest first
 * GET /logs/stats        a time's events counted per level, service, minute and message. An error
 *                        is an event of level ERROR or CRITICAL; error_rate is their share
 * GET /sites/{id}/readings {"site_id","readings":[…],"next"}: a page of readings, newest first
 * GET /sites/{id}/stats  {"site_id","from","to","bucket","buckets":[…]}: power in watts and energy
 *                        per hour or day, in UTC
 * GET /parking/sessions  {"sessions":[…],"next"}: a page of stays, newest entry first, without
 *                        those that turned out to be none
 * GET /parking/garages/{id} {"garage_id","from","to","occupancy","capacity","hours":[…]}: who is
 *                        in now, and entries and exits per hour that had any, in UTC
 * GET /parking/invoices  {"invoices":[…],"next"}: what each stay costs, by the last word on it
 * GET /WeatherForecast/requests/{id} what became of a request; 404 request_not_found until it is
 *                        known
 * GET /consumers         what each consumer has not settled; /consumers/{name}/lag: one of them
 * GET /dead-letters      what could not be done; POST /dead-letters/replay and DELETE
 *                        /dead-letters do it again, or remove it for good (dead_letters.h)
 * GET /health            the broker and the store
 *
 * energy_kwh is the area under the power of each device, drawn as straight lines between readings
 * that are next to each other, summed over the devices: two readings of 1000 W an hour apart are
 * 1 kWh. Lines are cut where buckets meet. Readings further apart than max_gap_s (an hour) are not
 * joined: what happened between them is not known, and counts as nothing. It is negative where a
 * site fed in.
 *
 * A page's `next` goes into `cursor` with the other parameters unchanged. Pages are cut by the
 * place of the last row, so what arrives meanwhile is neither repeated nor makes others be skipped.
 *
 * It starts and serves while the broker or the store is away: what needs them is answered 503 until
 * they are back. Requests that wait for either run on a pool of their own (query_pool.h), so that
 * health, metrics and refusals are answered at any load.
 *
 * Threads  api_start, api_refresh and api_stop from one thread.
 */
#ifndef API_API_H
#define API_API_H

#include "base/config.h"

struct api_settings {
    const char *host;
    int port;
    const char *broker_url, *database_url;
    int query_threads, query_queue, query_timeout_ms;
    const char *origins;
    int garage_capacity;
};

extern const struct config_field api_settings_table[];

struct api;

bool api_start(struct api **out, const struct api_settings *settings,
               struct error *err) MUST_CHECK; /* settings are borrowed until api_stop */
int api_port(const struct api *api);

/* Asks the broker and the store how they are, for readiness: call it every second or so. */
void api_refresh(struct api *api);

/* Answers what was asked, within 5 s. */
void api_stop(struct api *api);
AUTO_DEFINE(struct api *, api_stop)

#endif
