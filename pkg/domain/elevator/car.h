/*
 * car: one elevator car as a state machine. Time goes in, what happened comes out.
 *
 *     idle -> [turning] -> accelerating -> moving ... -> decelerating -> doors opening -> open
 *          -> closing -> idle, or on
 *
 * A struct of plain values: copy it, store it, resume it. It has one next event, at until_ms;
 * whoever drives it, simulated or real, calls car_advance when that time has come. Between floors,
 * at mid-floor, is the last moment at which the next floor can still become a stop: when
 * car_decides() says so, give it its newest command first.
 *
 * Invariant  Doors that are not shut imply a car that stands at a floor; every change of state
 *            checks it. A car never turns around with riders for floors ahead.
 * People     The car counts its load and knows its riders' buttons, not who they are. While its
 *            doors are open and car_is_ready(), its driver lets one person off or on, lets it wait,
 *            or closes it. First those who get off.
 * Lantern    The direction that an open car serves; 0: any. Chosen when doors begin to open: the
 *            riders' direction; else that of travel if a call assigned here or any stop beyond asks
 *            for it; else the opposite one if anything asks for that. A car that has become empty
 *            chooses again.
 * Units      Milliseconds of any clock that does not run backwards.
 */
#ifndef DOMAIN_ELEVATOR_CAR_H
#define DOMAIN_ELEVATOR_CAR_H

#include "domain/elevator/stops.h"

#define CAR_NEVER INT64_MAX
#define CAR_NOWHERE (-1)

enum car_state {
    CAR_IDLE,
    CAR_TURNING,
    CAR_ACCELERATING,
    CAR_MOVING,
    CAR_DECELERATING,
    CAR_OPENING,
    CAR_OPEN,
    CAR_CLOSING,
    CAR_OUT_OF_SERVICE,
    CAR_STATES, /* how many there are */
};

enum car_event {
    CAR_DID_NOTHING, /* it is not yet time */
    CAR_STANDS,      /* idle, or out of service */
    CAR_TURNS,
    CAR_LEAVES,
    CAR_PASSES,      /* a floor, without stopping: the position event of the floors between */
    CAR_STAYS_ON,    /* past a mid-floor at full speed */
    CAR_BRAKES,      /* for the next floor: a call there is now frozen */
    CAR_OPENS,       /* doors begin to open */
    CAR_OPENED,      /* and are */
    CAR_TRANSFERRED, /* somebody is off or on, or the time to wait is over */
};

/* What a group's dispatcher wants of a car. Idempotent: the whole of it each time. */
struct car_command {
    struct floor_set hall[2]; /* the hall calls that are its own, by stops_side */
    int park;                 /* where to stand when there is nothing to do, or CAR_NOWHERE */
    int64_t hold_until_ms;    /* how long to stand open when nobody moves; the past: not at all */
};

struct car {
    enum car_state state;
    int position;  /* in half floors: odd is mid-floor */
    int direction; /* of travel, the last one while it stands */
    int lantern;   /* direction served while doors are not shut, 0: any */
    int load;      /* people */
    bool retiring; /* finishes its riders, then goes out of service */
    bool waits;    /* stands open, and nobody moves */
    int64_t until_ms;
    struct stops stops;
    int park;
    int64_t hold_until_ms;
};

struct car car_at(int floor);

/* ---- questions ---- */

const char *car_state_name(enum car_state state); /* "idle", … */
bool car_may_become(enum car_state from, enum car_state to);
bool car_is_sound(const struct car *car); /* the invariants */
bool car_is_in_motion(const struct car *car);
bool car_doors_are_shut(const struct car *car);

/* Where it stands or, in motion, the floor it comes to next. */
int car_floor(const struct car *car);

/* Its next event is a choice of where to go: mid-floor, or doors that are shut. */
bool car_decides(const struct car *car);

/* Doors open, and nobody in them. */
bool car_is_ready(const struct car *car);

/* Nothing to do and nobody in it: free to be sent anywhere. */
bool car_is_free(const struct car *car);

/* ---- events ---- */

/* What is due at now_ms: one step. Call again until it did nothing. */
enum car_event car_advance(struct car *car, const struct plant *plant, int64_t now_ms);

/* Takes effect at once when it stands idle: then the answer is CAR_TURNS, CAR_LEAVES, CAR_OPENS. */
enum car_event car_command(struct car *car, const struct plant *plant,
                           const struct car_command *command, int64_t now_ms);

/* A rider presses a button. For the floor where the doors are open: nothing. */
void car_call(struct car *car, int floor);

/* A hall call went out: whoever was to serve it need not. */
void car_forget(struct car *car, int floor, int direction);

/* Of a ready car, for transfer_ms. car_board presses the button. */
void car_alight(struct car *car, int64_t now_ms, int transfer_ms);
void car_board(struct car *car, int destination, int64_t now_ms, int transfer_ms);

/* Chooses the lantern anew if the car is open and empty; direction is that of some call that is
 * lit here, or 0: it decides when nothing assigned does. */
void car_choose_lantern(struct car *car, int direction);

void car_wait(struct car *car, int64_t until_ms); /* stands open so long */
void car_close(struct car *car, const struct plant *plant, int64_t now_ms);

/* Drops its hall calls, finishes its riders, then stands; and takes part again. */
void car_retire(struct car *car, int64_t now_ms);
void car_return(struct car *car);

#endif
