#include "domain/elevator/run.h"

#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define END_MS (3 * (int64_t)ELEVATOR_HOUR_MS)
#define NOBODY (-1)

struct person {
    const struct passenger *passenger; /* borrowed */
    int next;                          /* behind in the queue, or beside in the car */
    int64_t boarded_ms, left_ms;       /* CAR_NEVER: not yet */
};

struct queue {
    int first, last, count;
};

struct run {
    const struct elevator_run_options *options;
    struct dispatcher *dispatcher;
    struct bank bank;
    struct car cars[PLANT_CARS_MAX];
    struct car_command commands[PLANT_CARS_MAX];
    struct queue waiting[2][PLANT_FLOORS_MAX];
    int riders[PLANT_CARS_MAX][PLANT_FLOORS_MAX]; /* first of those who get off there */
    struct person *people;
    size_t arrived, delivered;
};

/* ---- queues and lamps ---- */

static void enqueue(struct run *run, struct queue *queue, int person)
{
    run->people[person].next = NOBODY;
    if (queue->first == NOBODY)
        queue->first = person;
    else
        run->people[queue->last].next = person;
    queue->last = person;
    queue->count++;
}

static int dequeue(struct run *run, struct queue *queue)
{
    int person = queue->first;

    queue->first = run->people[person].next;
    queue->count--;
    return person;
}

static int count_riders_to(const struct run *run, int car, int floor)
{
    int count = 0;

    for (int i = run->riders[car][floor]; i != NOBODY; i = run->people[i].next)
        count++;
    return count;
}

/* Some car stands there with open doors, for that direction, and will have room for one more. */
static bool is_welcome(const struct run *run, int floor, int direction)
{
    int waiting = run->waiting[stops_side(direction)][floor].count;

    for (int i = 0; i < run->options->plant.cars; i++) {
        const struct car *car = &run->cars[i];
        bool stands = (car->state == CAR_OPENING || car->state == CAR_OPEN) &&
                      car->position == 2 * floor &&
                      (car->lantern == direction || (!car->lantern && !waiting));
        int load = car->load - count_riders_to(run, i, floor);
        if (stands && load + waiting < run->options->plant.capacity)
            return true;
    }
    return false;
}

static void light(struct run *run, int floor, int direction, double weight)
{
    int side = stops_side(direction);
    struct hall_call *call = &run->bank.calls[side][floor];

    if (!floor_set_has(&run->bank.lit[side], floor))
        *call = (struct hall_call){.pressed_ms = run->bank.now_ms, .weight = 1};
    floor_set_add(&run->bank.lit[side], floor);
    if (weight > call->weight)
        call->weight = weight;
}

static void put_out(struct run *run, int floor, int direction)
{
    floor_set_remove(&run->bank.lit[stops_side(direction)], floor);
    for (int i = 0; i < run->options->plant.cars; i++)
        car_forget(&run->cars[i], floor, direction);
}

static double weight_of(const struct run *run, const struct passenger *passenger)
{
    double weight = run->options->priority_weight;

    return passenger->priority && weight > 0 ? weight : 1;
}

/* ---- cars ---- */

static void watch(struct run *run, enum elevator_moment moment)
{
    if (run->options->watch)
        run->options->watch(run->options->context, moment, &run->bank);
}

static void decide(struct run *run);

/* Who waits where a car begins to close presses again, unless another car stands ready. */
static void leave_behind(struct run *run, int floor, int direction, bool full)
{
    int side = stops_side(direction);
    double weight = 1;

    if (!run->waiting[side][floor].count || is_welcome(run, floor, direction))
        return;
    for (int i = run->waiting[side][floor].first; i != NOBODY; i = run->people[i].next)
        weight = fmax(weight, weight_of(run, run->people[i].passenger));
    light(run, floor, direction, weight);
    if (full)
        run->bank.calls[side][floor].behind = 1;
}

static void let_off(struct run *run, int index)
{
    struct car *car = &run->cars[index];
    int *first = &run->riders[index][car_floor(car)];
    struct person *person = &run->people[*first];

    *first = person->next;
    car_alight(car, run->bank.now_ms, person->passenger->load_ms);
    person->left_ms = car->until_ms;
    run->delivered++;
}

static void let_on(struct run *run, int index)
{
    struct car *car = &run->cars[index];
    int floor = car_floor(car);
    int who = dequeue(run, &run->waiting[stops_side(car->lantern)][floor]);
    struct person *person = &run->people[who];
    int to = person->passenger->to;

    person->boarded_ms = run->bank.now_ms;
    person->next = run->riders[index][to];
    run->riders[index][to] = who;
    car_board(car, to, run->bank.now_ms, person->passenger->load_ms);
    dispatcher_boarded(run->dispatcher, floor, to, run->bank.now_ms);
}

/* The lantern of an empty car with nothing to do: for whoever is here. */
static void show_lantern(struct run *run, struct car *car)
{
    int floor = car_floor(car), before = car->lantern, here = 0;

    if (car->load || (car->lantern && run->waiting[stops_side(car->lantern)][floor].count))
        return;
    for (int direction = ELEVATOR_DOWN; direction <= ELEVATOR_UP; direction += 2)
        if (run->waiting[stops_side(direction)][floor].count && here != car->direction)
            here = direction;
    car_choose_lantern(car, here);
    if (car->lantern && car->lantern != before)
        put_out(run, floor, car->lantern);
}

static bool can_board(const struct run *run, const struct car *car)
{
    return car->lantern && run->waiting[stops_side(car->lantern)][car_floor(car)].count &&
           car->load < run->options->plant.capacity;
}

/* The doors are open and nobody is in them: what is next? */
static void serve(struct run *run, int index)
{
    struct car *car = &run->cars[index];
    int floor = car_floor(car);

    if (run->riders[index][floor] != NOBODY) {
        let_off(run, index);
        return;
    }
    show_lantern(run, car);
    if (can_board(run, car)) {
        let_on(run, index);
        return;
    }
    decide(run);
    show_lantern(run, car);
    if (can_board(run, car)) {
        let_on(run, index);
        return;
    }
    if (car->hold_until_ms > run->bank.now_ms && car->load < run->options->plant.capacity) {
        car_wait(car, car->hold_until_ms);
        return;
    }
    car_close(car, &run->options->plant, run->bank.now_ms);
    leave_behind(run, floor, ELEVATOR_UP, car->lantern == ELEVATOR_UP);
    leave_behind(run, floor, ELEVATOR_DOWN, car->lantern == ELEVATOR_DOWN);
    decide(run);
}

/* What follows at once from something that a car did. */
static void follow(struct run *run, int index, enum car_event event)
{
    struct car *car = &run->cars[index];

    switch (event) {
    case CAR_OPENS:
        if (car->lantern)
            put_out(run, car_floor(car), car->lantern);
        decide(run);
        break;
    case CAR_OPENED:
    case CAR_TRANSFERRED:
        serve(run, index);
        break;
    case CAR_STANDS:
        decide(run);
        break;
    default:
        break;
    }
}

/* A car that stands may do something at once, which is decided about again. */
static void decide(struct run *run)
{
    watch(run, ELEVATOR_DECIDES);
    dispatcher_decide(run->dispatcher, &run->bank, run->commands);
    watch(run, ELEVATOR_DECIDED);
    for (int i = 0; i < run->options->plant.cars; i++) {
        struct car *car = &run->cars[i];
        enum car_event event =
            car_command(car, &run->options->plant, &run->commands[i], run->bank.now_ms);
        if (event == CAR_OPENS && car->lantern)
            put_out(run, car_floor(car), car->lantern);
        if (car->state == CAR_OPEN && car->waits && car->hold_until_ms <= run->bank.now_ms)
            car->until_ms = run->bank.now_ms;
    }
}

static void advance(struct run *run, int index)
{
    struct car *car = &run->cars[index];

    run->bank.now_ms = car->until_ms;
    run->bank.deciding = car_is_in_motion(car) ? index : NOBODY;
    if (car_decides(car))
        decide(run);
    run->bank.deciding = NOBODY;
    follow(run, index, car_advance(car, &run->options->plant, run->bank.now_ms));
}

/* ---- people ---- */

static void wake(struct run *run, int floor)
{
    for (int i = 0; i < run->options->plant.cars; i++)
        if (car_is_ready(&run->cars[i]) && run->cars[i].position == 2 * floor)
            serve(run, i);
}

static void arrive(struct run *run)
{
    int who = (int)run->arrived++;
    const struct passenger *passenger = run->people[who].passenger;
    int direction = passenger->to > passenger->from ? ELEVATOR_UP : ELEVATOR_DOWN;

    run->bank.now_ms = passenger->arrival_ms;
    bool welcome = is_welcome(run, passenger->from, direction);
    enqueue(run, &run->waiting[stops_side(direction)][passenger->from], who);
    if (welcome) {
        wake(run, passenger->from);
        return;
    }
    light(run, passenger->from, direction, weight_of(run, passenger));
    decide(run);
}

/* ---- the hour ---- */

static int next_car(const struct run *run)
{
    int next = 0;

    for (int i = 1; i < run->options->plant.cars; i++)
        if (run->cars[i].until_ms < run->cars[next].until_ms)
            next = i;
    return next;
}

/* False: it is over. */
static bool step(struct run *run)
{
    const struct elevator_traffic *traffic = run->options->traffic;
    int car = next_car(run);
    int64_t arrival_ms =
        run->arrived < traffic->count ? traffic->passengers[run->arrived].arrival_ms : CAR_NEVER;
    int64_t next_ms = run->cars[car].until_ms < arrival_ms ? run->cars[car].until_ms : arrival_ms;

    if (next_ms >= END_MS || run->delivered == traffic->count)
        return false;
    if (arrival_ms <= next_ms)
        arrive(run);
    else
        advance(run, car);
    watch(run, ELEVATOR_HAPPENED);
    return true;
}

static struct run *run_new(const struct elevator_run_options *options)
{
    struct run *run = memory_alloc(sizeof(*run));

    assert(plant_is_valid(&options->plant));
    run->options = options;
    run->dispatcher = dispatcher_new(&options->plant, options->rule, options->seed);
    run->bank.plant = &options->plant;
    run->bank.cars = run->cars;
    run->bank.deciding = NOBODY;
    run->people = memory_alloc(options->traffic->count * sizeof(*run->people) + 1);
    for (size_t i = 0; i < options->traffic->count; i++)
        run->people[i] = (struct person){.passenger = &options->traffic->passengers[i],
                                         .next = NOBODY,
                                         .boarded_ms = CAR_NEVER,
                                         .left_ms = CAR_NEVER};
    for (int floor = 0; floor < PLANT_FLOORS_MAX; floor++) {
        run->waiting[0][floor] = run->waiting[1][floor] = (struct queue){NOBODY, NOBODY, 0};
        for (int i = 0; i < PLANT_CARS_MAX; i++)
            run->riders[i][floor] = NOBODY;
    }
    for (int i = 0; i < options->plant.cars; i++)
        run->cars[i] = car_at(0);
    return run;
}

static void run_free(struct run *run)
{
    dispatcher_free(run->dispatcher);
    free(run->people);
    free(run);
}

static double elapsed_s(int64_t from_ms, int64_t to_ms)
{
    return (double)((to_ms == CAR_NEVER ? END_MS : to_ms) - from_ms) / 1000;
}

static void count_person(const struct person *person, struct elevator_result *out)
{
    double wait_s = elapsed_s(person->passenger->arrival_ms, person->boarded_ms);

    out->people++;
    out->undelivered += person->left_ms == CAR_NEVER;
    out->wait_s += wait_s;
    out->wait_squared_s2 += wait_s * wait_s;
    out->system_s += elapsed_s(person->passenger->arrival_ms, person->left_ms);
    out->over_60_share += wait_s > 60;
    if (wait_s > out->longest_wait_s)
        out->longest_wait_s = wait_s;
    if (person->passenger->priority) {
        out->priority_people++;
        out->priority_wait_s += wait_s;
    } else {
        out->other_wait_s += wait_s;
    }
}

static double share(double sum, size_t count)
{
    return count ? sum / (double)count : 0;
}

static void sum_up(const struct run *run, struct elevator_result *out)
{
    *out = (struct elevator_result){0};
    for (size_t i = 0; i < run->options->traffic->count; i++)
        count_person(&run->people[i], out);
    out->wait_s = share(out->wait_s, out->people);
    out->wait_squared_s2 = share(out->wait_squared_s2, out->people);
    out->system_s = share(out->system_s, out->people);
    out->over_60_share = share(out->over_60_share, out->people);
    out->priority_wait_s = share(out->priority_wait_s, out->priority_people);
    out->other_wait_s = share(out->other_wait_s, out->people - out->priority_people);
}

void elevator_run(const struct elevator_run_options *options, struct elevator_result *out)
{
    struct run *run = run_new(options);

    while (step(run))
        ;
    sum_up(run, out);
    run_free(run);
}
