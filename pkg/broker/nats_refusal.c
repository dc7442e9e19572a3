#include "broker/nats_refusal.h"

static const struct nats_refusal refusals[] = {
    {10002, ERROR_FULL, "account_full", false},
    {10004, ERROR_UNAVAILABLE, "cluster_incomplete", true},
    {10005, ERROR_UNAVAILABLE, "no_peers", true},
    {10006, ERROR_UNAVAILABLE, "cluster_inactive", true},
    {10008, ERROR_UNAVAILABLE, "cluster_unavailable", true},
    {10009, ERROR_UNAVAILABLE, "no_leader", true},
    {10014, ERROR_NOT_FOUND, NATS_NO_CONSUMER, false},
    {10023, ERROR_FULL, "insufficient_resources", false},
    {10028, ERROR_FULL, "memory_full", false},
    {10037, ERROR_NOT_FOUND, NATS_NO_MESSAGE, false},
    {10039, ERROR_DENIED, "no_jetstream_for_account", false},
    {10041, ERROR_UNAVAILABLE, "no_leader", true},
    {10043, ERROR_NOT_FOUND, NATS_NO_MESSAGE, false},
    {10047, ERROR_FULL, "storage_full", false},
    {10054, ERROR_TOO_LARGE, "message_too_large", false},
    {10057, ERROR_NOT_FOUND, NATS_NO_MESSAGE, false},
    {10059, ERROR_NOT_FOUND, NATS_NO_STREAM, false},
    {10071, ERROR_CONFLICT, "wrong_last_sequence", false},
    {10076, ERROR_UNAVAILABLE, "no_jetstream", true},
    {10077, ERROR_FULL, NATS_STORE_FAILED, false},
    {10097, ERROR_TOO_LARGE, "headers_too_large", false},
    {10109, ERROR_DENIED, "stream_sealed", false},
    {10118, ERROR_UNAVAILABLE, "stream_offline", true},
    {10119, ERROR_UNAVAILABLE, "consumer_offline", true},
    {10158, ERROR_UNAVAILABLE, "duplicate_in_process", true},
    {10164, ERROR_CONFLICT, "wrong_last_sequence", false},
};

const struct nats_refusal *nats_refusal(int number, int status)
{
    static const struct nats_refusal not_found = {0, ERROR_NOT_FOUND, "not_found", false};
    static const struct nats_refusal refused = {0, ERROR_INVALID, "refused", false};
    static const struct nats_refusal passing = {0, ERROR_UNAVAILABLE, "unavailable", true};

    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (refusals[i].number == number)
            return &refusals[i];
    return status == 404 ? &not_found : status >= 500 ? &passing : &refused;
}
