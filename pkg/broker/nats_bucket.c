#include "broker/nats_bucket.h"

#include "broker/checks.h"
#include "broker/dead_letter.h"

#include <stdio.h>
#include <string.h>

#define API_SIZE 200
#define DEDUP_WINDOW_NS 120000000000LL /* how late the repetition of a change may come */
#define CREATE_TRIES 3 /* a stream that was just deleted can fail once to be made again */

void nats_bucket_subject(char out[NATS_BUCKET_SIZE], const char *bucket, const char *key)
{
    snprintf(out, NATS_BUCKET_SIZE, NATS_BUCKET_SUBJECT "%s.%s", bucket, key);
}

const char *nats_bucket_key(const char *bucket, const char *subject)
{
    size_t prefix = strlen(NATS_BUCKET_SUBJECT), size = strlen(bucket);
    struct error ignored;

    if (!subject || strncmp(subject, NATS_BUCKET_SUBJECT, prefix) != 0 ||
        strncmp(subject + prefix, bucket, size) != 0 || subject[prefix + size] != '.')
        return NULL;
    const char *key = subject + prefix + size + 1;
    return check_subject(key, &ignored) ? key : NULL;
}

bool nats_bucket_is_deletion(const char *operation, const char *marker)
{
    return marker ||
           (operation && (strcmp(operation, "DEL") == 0 || strcmp(operation, "PURGE") == 0));
}

/* ---- making it ---- */

/* As replicated as dead letters are: who wanted three of each message wants three of these. */
static bool choose_replicas(struct nats_broker *broker, int64_t until_ms, int64_t *out,
                            struct error *err)
{
    AUTO(document_free) struct document *dead = NULL;

    *out = 1;
    if (!nats_api(broker, "STREAM.INFO." DEAD_STREAM, "", until_ms, &dead, err))
        return err->code == ERROR_NOT_FOUND;
    *out = document_int(dead, "config.num_replicas", 1);
    return true;
}

static struct document *bucket_document(const char *bucket, int64_t replicas)
{
    struct document *document = document_new();
    char name[API_SIZE], subjects[NATS_BUCKET_SIZE];
    const char *list[] = {subjects};

    snprintf(name, sizeof(name), NATS_BUCKET_STREAM "%s", bucket);
    nats_bucket_subject(subjects, bucket, ">");
    document_set_text(document, "name", name);
    document_set_list(document, "subjects", list, 1);
    document_set_text(document, "retention", "limits");
    document_set_text(document, "storage", "file");
    document_set_text(document, "discard", "new");
    document_set_int(document, "max_consumers", -1);
    document_set_int(document, "max_msgs", -1);
    document_set_int(document, "max_bytes", -1);
    document_set_int(document, "max_msg_size", -1);
    document_set_int(document, "max_msgs_per_subject", 1);
    document_set_int(document, "num_replicas", replicas);
    document_set_int(document, "duplicate_window", DEDUP_WINDOW_NS);
    document_set_bool(document, "deny_delete", true);
    document_set_bool(document, "allow_rollup_hdrs", true);
    document_set_bool(document, "allow_direct", true);
    return document;
}

static bool create(struct nats_broker *broker, const char *bucket, int64_t until_ms,
                   struct document **out, struct error *err)
{
    AUTO(buffer_free) struct buffer body = {0};
    char subject[API_SIZE];
    int64_t replicas;

    if (!choose_replicas(broker, until_ms, &replicas, err))
        return false;
    AUTO(document_free) struct document *wanted = bucket_document(bucket, replicas);
    document_print(wanted, "", &body);
    snprintf(subject, sizeof(subject), "STREAM.CREATE." NATS_BUCKET_STREAM "%s", bucket);
    for (int i = 1; !nats_api(broker, subject, body.data, until_ms, out, err); i++)
        if (i == CREATE_TRIES || strcmp(err->reason, NATS_STORE_FAILED) != 0)
            return false;
    return true;
}

bool nats_bucket_open(struct nats_broker *broker, const char *bucket, int64_t until_ms,
                      struct document **out, struct error *err)
{
    char subject[API_SIZE];

    snprintf(subject, sizeof(subject), "STREAM.INFO." NATS_BUCKET_STREAM "%s", bucket);
    if (nats_api(broker, subject, "", until_ms, out, err))
        return true;
    if (strcmp(err->reason, NATS_NO_STREAM) != 0)
        return false;
    if (create(broker, bucket, until_ms, out, err))
        return true;
    struct error failed; /* somebody else may have been faster, with settings of his own */
    return err->code == ERROR_INVALID && nats_api(broker, subject, "", until_ms, out, &failed);
}
