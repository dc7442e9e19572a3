/* doctor: what its parts share: findings as they are made. */
#ifndef MILLRACE_DOCTOR_H
#define MILLRACE_DOCTOR_H

#include "sheet.h"

struct doctor {
    const struct command_context *context;
    struct broker *broker; /* open while it is looked at */
    struct sheet sheet;
    bool wrong; /* something is */
    bool away;  /* the broker or the database */
};

/* remedy "": there is nothing to do. */
void doctor_find(struct doctor *doctor, enum broker_grade grade, const char *subject,
                 const char *remedy, const char *format, ...) PRINTF_LIKE(5, 6);

/* What could not be asked: away, or wrong. */
void doctor_find_error(struct doctor *doctor, const char *subject, const char *remedy,
                       const struct error *err);

void doctor_see_broker(struct doctor *doctor);
void doctor_see_store(struct doctor *doctor);

/* doctor_streams.c: whether streams have room and consumers get on. */
struct catalogue;
void doctor_see_streams(struct doctor *doctor, const struct catalogue *catalogue);

#endif
