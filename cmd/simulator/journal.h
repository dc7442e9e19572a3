/*
 * journal: a file with a JSON line for each event that was sent, once its fate is known:
 *
 *     {"kind":"entry","id":"…","time":"…","garage":"garage-1","plate":"ABC123","outcome":"accepted",
 *      "status":201,"attempts":1,"event":{…}}
 *
 * status is that of the last answer, 0 when there was none. Lines are in the order of the answers;
 * those of one plate are in the order of their times. `garage` and `plate` are parking's.
 *
 * Errors   Writing fails once, and the end of the run says so.
 * Threads  any.
 */
#ifndef SIMULATOR_JOURNAL_H
#define SIMULATOR_JOURNAL_H

#include "tally.h"

#include "base/error.h"

struct journal;

struct journal_entry {
    const struct traffic_event *event;
    enum tally_outcome outcome;
    int status, attempts;
    const char *reason; /* of a refusal or failure, or "" */
};

bool journal_open(struct journal **out, const char *path, struct error *err) MUST_CHECK;

/* NULL writes nowhere. */
void journal_write(struct journal *journal, const struct journal_entry *entry);

/* Everything is in the file. NULL is. */
bool journal_finish(struct journal *journal, struct error *err) MUST_CHECK;

void journal_close(struct journal *journal);
AUTO_DEFINE(struct journal *, journal_close)

#endif
