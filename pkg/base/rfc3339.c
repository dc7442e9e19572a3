#include "base/rfc3339.h"

#include <ctype.h>
#include <string.h>

#define MINUTE_MS INT64_C(60000)
#define DAY_MS INT64_C(86400000)
#define FIRST_MS INT64_C(-62135596800000) /* 0001-01-01T00:00:00.000Z */
#define LAST_MS INT64_C(253402300799999)  /* 9999-12-31T23:59:59.999Z */

struct date {
    int year, month, day;
};

/* Days since the epoch and back, by Howard Hinnant's "chrono-compatible low-level date algorithms":
 * years start in March, so that the leap day is the last one; eras have 400 years. Years >= 0. */
static int64_t days_from_date(struct date date)
{
    int year = date.year - (date.month <= 2);
    int era = year / 400;
    int year_of_era = year - era * 400;
    int day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return (int64_t)era * 146097 + day_of_era - 719468;
}

static struct date date_from_days(int64_t days)
{
    int from_march = (int)(days + 719468);
    int era = from_march / 146097;
    int day_of_era = from_march - era * 146097;
    int year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    struct date date = {
        .year = year_of_era + era * 400 + (month_from_march >= 10),
        .month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
    };

    return date;
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

/* What is left to read. */
struct cursor {
    const char *at, *end;
};

static bool read_number(struct cursor *cursor, int digits, int min, int max, int *out)
{
    int value = 0;

    if (cursor->end - cursor->at < digits)
        return false;
    for (int i = 0; i < digits; i++) {
        char digit = *cursor->at++;
        if (digit < '0' || digit > '9')
            return false;
        value = value * 10 + (digit - '0');
    }
    *out = value;
    return value >= min && value <= max;
}

/* `wanted` is upper case; a letter may come in either. */
static bool read_byte(struct cursor *cursor, char wanted)
{
    if (cursor->at == cursor->end || toupper((unsigned char)*cursor->at) != wanted)
        return false;
    cursor->at++;
    return true;
}

static bool read_date(struct cursor *cursor, struct date *out)
{
    return read_number(cursor, 4, 1, 9999, &out->year) && read_byte(cursor, '-') &&
           read_number(cursor, 2, 1, 12, &out->month) && read_byte(cursor, '-') &&
           read_number(cursor, 2, 1, month_days(out->year, out->month), &out->day);
}

static bool read_fraction(struct cursor *cursor, int *out_ms)
{
    int scale = 100;
    const char *start = NULL;

    *out_ms = 0;
    if (!read_byte(cursor, '.'))
        return true;
    start = cursor->at;
    for (; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++) {
        *out_ms += (*cursor->at - '0') * scale;
        scale /= 10;
    }
    return cursor->at > start;
}

static bool read_zone(struct cursor *cursor, int *out_minutes)
{
    int hours = 0;
    int minutes = 0;

    *out_minutes = 0;
    if (read_byte(cursor, 'Z'))
        return true;

    bool east = read_byte(cursor, '+');
    if (!east && !read_byte(cursor, '-'))
        return false;
    if (!read_number(cursor, 2, 0, 23, &hours) || !read_byte(cursor, ':') ||
        !read_number(cursor, 2, 0, 59, &minutes))
        return false;
    *out_minutes = (hours * 60 + minutes) * (east ? 1 : -1);
    return true;
}

/* UTC has leap seconds at the end of a month only (ITU-R TF.460). */
static bool starts_month(int64_t time_ms)
{
    return time_ms >= FIRST_MS && time_ms <= LAST_MS && (time_ms - FIRST_MS) % DAY_MS == 0 &&
           date_from_days((time_ms - FIRST_MS) / DAY_MS + FIRST_MS / DAY_MS).day == 1;
}

bool rfc3339_parse(const char *text, size_t size, int64_t *out_ms)
{
    struct cursor cursor = {.at = text, .end = text + size};
    struct date date = {0};
    int hour = 0;
    int minute = 0;
    int second = 0;
    int fraction_ms = 0;
    int zone_minutes = 0;

    bool ok = read_date(&cursor, &date) && read_byte(&cursor, 'T') &&
              read_number(&cursor, 2, 0, 23, &hour) && read_byte(&cursor, ':') &&
              read_number(&cursor, 2, 0, 59, &minute) && read_byte(&cursor, ':') &&
              read_number(&cursor, 2, 0, 60, &second) && read_fraction(&cursor, &fraction_ms) &&
              read_zone(&cursor, &zone_minutes) && cursor.at == cursor.end;
    if (!ok)
        return false;

    int64_t minutes = (int64_t)hour * 60 + minute - zone_minutes;
    int64_t time_ms = days_from_date(date) * DAY_MS + minutes * MINUTE_MS + (int64_t)second * 1000;
    if (second == 60 && !starts_month(time_ms))
        return false;
    *out_ms = time_ms + (second == 60 ? 0 : fraction_ms);
    return *out_ms >= FIRST_MS && *out_ms <= LAST_MS;
}

static void put_number(char *at, int digits, int value)
{
    while (digits > 0) {
        at[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

void rfc3339_format(int64_t time_ms, char out[RFC3339_SIZE])
{
    if (time_ms < FIRST_MS)
        time_ms = FIRST_MS;
    if (time_ms > LAST_MS)
        time_ms = LAST_MS;

    int64_t days = time_ms / DAY_MS - (time_ms % DAY_MS < 0);
    int of_day_ms = (int)(time_ms - days * DAY_MS);
    struct date date = date_from_days(days);

    memcpy(out, "0000-00-00T00:00:00.000Z", RFC3339_SIZE);
    put_number(out, 4, date.year);
    put_number(out + 5, 2, date.month);
    put_number(out + 8, 2, date.day);
    put_number(out + 11, 2, of_day_ms / 3600000);
    put_number(out + 14, 2, of_day_ms / 60000 % 60);
    put_number(out + 17, 2, of_day_ms / 1000 % 60);
    put_number(out + 20, 3, of_day_ms % 1000);
}
