/* weather: its call, and what is answered here without asking anybody. */
#ifndef INGESTION_WEATHER_H
#define INGESTION_WEATHER_H

#include "call.h"

extern const struct call_route weather_call;

http_handler weather_forecast; /* the next five days, invented */
http_handler weather_health;

#endif
