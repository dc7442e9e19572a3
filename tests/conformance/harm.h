/*
 * harm: what somebody does to a server behind the driver's back, by the kind of server.
 *
 * Every word fails the case when the server refuses.
 */
#ifndef TESTS_CONFORMANCE_HARM_H
#define TESTS_CONFORMANCE_HARM_H

#include "conformance/stage.h"

void harm_delete_group(struct stage *stage);
void harm_delete_stream(struct stage *stage); /* with all that belongs to it */
void harm_delete_message(struct stage *stage, const char *sequence);

/* Another max_bytes, and a setting that no driver knows; and whether both are still so. */
void harm_change_stream(struct stage *stage, int64_t max_bytes);
bool harm_is_kept(struct stage *stage, int64_t max_bytes);

/* A server of the same kind for everybody, but the user of limited_url cannot publish to the
 * stage's stream. The case closes it. */
struct server *harm_start_guarded(struct stage *stage, char *limited_url, size_t size);

#endif
