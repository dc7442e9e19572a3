#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>

static const struct sheet_column columns[] = {
    {"grade", "GRADE", SHEET_TEXT},
    {"subject", "SUBJECT", SHEET_TEXT},
    {"fact", "FACT", SHEET_SENTENCE},
    {"remedy", "REMEDY", SHEET_SENTENCE},
};

static const char *const grades[] = {
    [BROKER_FINE] = "fine", [BROKER_NOTICE] = "notice", [BROKER_WRONG] = "wrong"};

void doctor_find(struct doctor *doctor, enum broker_grade grade, const char *subject,
                 const char *remedy, const char *format, ...)
{
    char fact[512], shown[512];
    va_list args;

    va_start(args, format);
    vsnprintf(fact, sizeof(fact), format, args);
    va_end(args);
    snprintf(shown, sizeof(shown), "%s%s", *remedy && !doctor->context->options->json ? "-> " : "",
             remedy);
    doctor->wrong = doctor->wrong || grade == BROKER_WRONG;
    sheet_text(&doctor->sheet, grades[grade]);
    sheet_text(&doctor->sheet, subject);
    sheet_text(&doctor->sheet, fact);
    sheet_text(&doctor->sheet, shown);
}

void doctor_find_error(struct doctor *doctor, const char *subject, const char *remedy,
                       const struct error *err)
{
    doctor->away = doctor->away || command_exit_code(err) == EXIT_AWAY;
    doctor_find(doctor, BROKER_WRONG, subject, remedy, "%s", err->message);
}

int run_doctor(const struct command_context *context)
{
    struct doctor doctor = {.context = context};

    sheet_start(&doctor.sheet, context->options, columns, ARRAY_LEN(columns));
    doctor_see_broker(&doctor);
    if (!command_is_interrupted())
        doctor_see_store(&doctor);
    sheet_end(&doctor.sheet);
    if (doctor.away)
        return EXIT_AWAY;
    return doctor.wrong || command_is_interrupted() ? EXIT_WRONG : EXIT_DONE;
}
