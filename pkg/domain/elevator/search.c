#include "domain/elevator/search.h"

#include "domain/traffic_random.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

#define CACHE_SIZE 8192 /* a power of two */
#define GAIN 1e-6
#define COST_OF_TOUR 4   /* of one that is evaluated, in those that are remembered */
#define COST_OF_CHOICE 4 /* of the cars for a call, likewise */
#define TAKEN_MIN 2
#define TAKEN_MAX 4
/* What makes a car far, in floors. */
#define FAR_PER_CALL 4.0
#define FAR_PER_RIDER 0.3

struct part {
    struct floor_set hall[2];
    uint64_t key; /* of the set and the car */
    int calls;
    double cost;
};

struct remembered {
    uint64_t key;
    double cost;
};

struct plan {
    struct part parts[PLANT_CARS_MAX];
    int car[DECISION_CALLS_MAX]; /* of each call */
};

struct search {
    struct search_limits limits;
    struct traffic_random random;
    const struct tour_model *model; /* borrowed while it searches, as is the next */
    const struct decision *decision;
    int cars, left; /* of the budget */
    struct tour_start starts[PLANT_CARS_MAX];
    int usable[PLANT_CARS_MAX], usable_count;
    uint64_t keys[DECISION_CALLS_MAX];
    struct plan plan, kept;
    struct remembered cache[CACHE_SIZE];
};

struct search *search_new(const struct search_limits *limits, uint64_t seed)
{
    struct search *search = memory_alloc(sizeof(*search));

    search->limits = *limits;
    search->random = traffic_random_start(seed, 1);
    return search;
}

void search_free(struct search *search)
{
    free(search);
}

/* ---- evaluating ---- */

static void evaluate(struct search *search, int car, struct part *part)
{
    struct remembered *remembered = &search->cache[part->key & (CACHE_SIZE - 1)];

    search->left--;
    if (remembered->key != part->key) {
        remembered->key = part->key;
        remembered->cost = tour_cost(search->model, &search->starts[car], part->hall);
        search->left -= COST_OF_TOUR;
    }
    part->cost = remembered->cost;
}

static void part_with(const struct search *search, const struct part *part, int call,
                      struct part *out)
{
    *out = *part;
    out->key ^= search->keys[call];
    out->calls++;
    decision_add(out->hall, &search->decision->calls[call]);
}

static void part_without(const struct search *search, const struct part *part, int call,
                         struct part *out)
{
    *out = *part;
    out->key ^= search->keys[call];
    out->calls--;
    decision_remove(out->hall, &search->decision->calls[call]);
}

/* ---- the cars worth a try ---- */

static double find_distance(const struct search *search, int car, const struct open_call *call)
{
    const struct tour_start *start = &search->starts[car];
    int ahead = (call->floor - start->floor) * start->direction, span = search->model->floors;
    double distance = abs(ahead);

    if (start->load > 0 && (ahead < 0 || call->direction != start->direction))
        distance = ahead < 0 ? span + distance : span - distance;
    return distance + FAR_PER_CALL * search->plan.parts[car].calls + FAR_PER_RIDER * start->load;
}

struct candidates {
    int car[PLANT_CARS_MAX], count;
};

static void find_candidates(struct search *search, int call, struct candidates *out)
{
    double distance[PLANT_CARS_MAX] = {0};

    out->count = 0;
    if (search->usable_count <= search->limits.candidates) {
        for (int i = 0; i < search->usable_count; i++)
            out->car[out->count++] = search->usable[i];
        return;
    }
    search->left -= COST_OF_CHOICE;
    for (int i = 0; i < search->usable_count; i++) {
        int car = search->usable[i], at = out->count;
        double it = find_distance(search, car, &search->decision->calls[call]);
        if (at == search->limits.candidates && distance[at - 1] <= it)
            continue;
        if (at == search->limits.candidates)
            at--;
        else
            out->count++;
        for (; at > 0 && distance[at - 1] > it; at--) {
            distance[at] = distance[at - 1];
            out->car[at] = out->car[at - 1];
        }
        distance[at] = it;
        out->car[at] = car;
    }
}

/* ---- changing ---- */

static void insert(struct search *search, int call)
{
    struct candidates candidates;
    struct part part, best_part = {0};
    double least = INFINITY;
    int best = DECISION_NOBODY;

    find_candidates(search, call, &candidates);
    for (int i = 0; i < candidates.count; i++) {
        int car = candidates.car[i];
        if (decision_has(search->plan.parts[car].hall, &search->decision->calls[call]))
            continue;
        part_with(search, &search->plan.parts[car], call, &part);
        evaluate(search, car, &part);
        if (part.cost - search->plan.parts[car].cost < least) {
            least = part.cost - search->plan.parts[car].cost;
            best = car;
            best_part = part;
        }
        if (search->left <= 0)
            break;
    }
    search->plan.car[call] = best;
    if (best != DECISION_NOBODY)
        search->plan.parts[best] = best_part;
}

static void take_out(struct search *search, int call)
{
    int car = search->plan.car[call];
    struct part part;

    if (car == DECISION_NOBODY)
        return;
    part_without(search, &search->plan.parts[car], call, &part);
    evaluate(search, car, &part);
    search->plan.parts[car] = part;
    search->plan.car[call] = DECISION_NOBODY;
}

static bool is_fixed(const struct search *search, int call)
{
    return search->decision->calls[call].frozen || search->plan.car[call] == DECISION_NOBODY;
}

static bool move(struct search *search, int call)
{
    int from = search->plan.car[call];
    struct candidates candidates;
    struct part without, with, best_part = {0};
    int best = DECISION_NOBODY;

    part_without(search, &search->plan.parts[from], call, &without);
    evaluate(search, from, &without);
    double gain = search->plan.parts[from].cost - without.cost, most = GAIN;
    find_candidates(search, call, &candidates);
    for (int i = 0; i < candidates.count && search->left > 0; i++) {
        int car = candidates.car[i];
        if (decision_has(search->plan.parts[car].hall, &search->decision->calls[call]))
            continue;
        part_with(search, &search->plan.parts[car], call, &with);
        evaluate(search, car, &with);
        double gained = gain - (with.cost - search->plan.parts[car].cost);
        if (gained > most) {
            most = gained;
            best = car;
            best_part = with;
        }
    }
    if (best == DECISION_NOBODY)
        return false;
    search->plan.parts[from] = without;
    search->plan.parts[best] = best_part;
    search->plan.car[call] = best;
    return true;
}

static bool swap(struct search *search, int one, int other)
{
    int car_one = search->plan.car[one], car_other = search->plan.car[other];
    struct part *part_one = &search->plan.parts[car_one], *part_other;
    struct part new_one, new_other;

    part_other = &search->plan.parts[car_other];
    if (decision_has(part_one->hall, &search->decision->calls[other]) ||
        decision_has(part_other->hall, &search->decision->calls[one]))
        return false;
    part_without(search, part_one, one, &new_one);
    part_with(search, &new_one, other, &new_one);
    evaluate(search, car_one, &new_one);
    if (new_one.cost - part_one->cost - part_other->cost > 0) /* no tour costs less than 0 */
        return false;
    part_without(search, part_other, other, &new_other);
    part_with(search, &new_other, one, &new_other);
    evaluate(search, car_other, &new_other);
    if (new_one.cost + new_other.cost > part_one->cost + part_other->cost - GAIN)
        return false;
    *part_one = new_one;
    *part_other = new_other;
    search->plan.car[one] = car_other;
    search->plan.car[other] = car_one;
    return true;
}

static bool swap_with_any(struct search *search, int one)
{
    bool changed = false;

    for (int other = 0; other < one && search->left > 0; other++)
        if (!is_fixed(search, other) && search->plan.car[one] != search->plan.car[other])
            changed |= swap(search, one, other);
    return changed;
}

static bool move_all(struct search *search)
{
    bool changed = false;

    for (int i = 0; i < search->decision->count && search->left > 0; i++)
        if (!is_fixed(search, i))
            changed |= move(search, i);
    return changed;
}

static bool swap_all(struct search *search)
{
    bool changed = false;

    if (search->decision->count >= search->limits.swap_below)
        return false;
    for (int i = 0; i < search->decision->count && search->left > 0; i++)
        if (!is_fixed(search, i))
            changed |= swap_with_any(search, i);
    return changed;
}

static void improve(struct search *search)
{
    while (search->left > 0 && (move_all(search) || swap_all(search)))
        ;
}

/* ---- from the last plan to the next ---- */

static void begin(struct search *search)
{
    const struct bank *bank = search->decision->bank;

    search->cars = bank->plant->cars;
    search->left = search->limits.budget;
    search->usable_count = 0;
    for (int i = 0; i < search->decision->count; i++)
        search->keys[i] = traffic_random_next(&search->random);
    for (int car = 0; car < search->cars; car++) {
        struct part *part = &search->plan.parts[car];
        tour_begin(search->model, &bank->cars[car], bank->now_ms, &search->starts[car]);
        if (decision_may_use(search->decision, car))
            search->usable[search->usable_count++] = car;
        *part = (struct part){.key = traffic_random_next(&search->random)};
    }
    for (int i = 0; i < search->decision->count; i++) {
        int car = search->plan.car[i] = search->decision->calls[i].car;
        if (car != DECISION_NOBODY)
            part_with(search, &search->plan.parts[car], i, &search->plan.parts[car]);
    }
    for (int car = 0; car < search->cars; car++)
        evaluate(search, car, &search->plan.parts[car]);
}

static double total(const struct search *search)
{
    double sum = 0;

    for (int car = 0; car < search->cars; car++)
        sum += search->plan.parts[car].cost;
    return sum;
}

/* Keeps the better of what was kept and what it comes to. */
static void restart(struct search *search)
{
    int count = search->decision->count;
    int taken[TAKEN_MAX],
        wanted = (int)traffic_random_between(&search->random, TAKEN_MIN, TAKEN_MAX);

    for (int i = 0; i < wanted; i++) {
        taken[i] = (int)traffic_random_below(&search->random, (uint64_t)count);
        if (is_fixed(search, taken[i]))
            taken[i] = DECISION_NOBODY;
        else
            take_out(search, taken[i]);
    }
    for (int i = 0; i < wanted; i++)
        if (taken[i] != DECISION_NOBODY)
            insert(search, taken[i]);
    improve(search);
}

static void search_further(struct search *search)
{
    double least = total(search);

    for (int i = 0; i < search->limits.restarts && search->left > 0; i++) {
        search->kept = search->plan;
        restart(search);
        if (total(search) < least - GAIN)
            least = total(search);
        else
            search->plan = search->kept;
    }
}

void search_assign(struct search *search, struct decision *decision, const struct tour_model *model)
{
    search->decision = decision;
    search->model = model;
    begin(search);
    for (int i = 0; i < decision->count; i++)
        if (search->plan.car[i] == DECISION_NOBODY && search->usable_count)
            insert(search, i);
    improve(search);
    if (decision->count >= TAKEN_MIN && search->usable_count > 1)
        search_further(search);
    for (int i = 0; i < decision->count; i++)
        decision_give(decision, i, search->plan.car[i]);
}
