/*
 * median: where cars that have nothing to do stand best: the k floors for which the weighted
 * distance of all floors to their nearest one is least (the k-median of a line, exact).
 *
 * Dynamic programming over prefixes, each row by divide and conquer: O(n^2 + k n log n).
 *
 * Ownership  The table is the caller's; it is only room to work in.
 */
#ifndef DOMAIN_ELEVATOR_MEDIAN_H
#define DOMAIN_ELEVATOR_MEDIAN_H

#include "domain/elevator/plant.h"

/* Row k: best[n] is the cost of the first n floors with k medians, and the last of these serves
 * floors from[n] to n - 1. cost[a][b]: of floors a to b - 1 with one median. */
struct median_table {
    double mass[PLANT_FLOORS_MAX + 1], moment[PLANT_FLOORS_MAX + 1]; /* of the first n floors */
    double cost[PLANT_FLOORS_MAX + 1][PLANT_FLOORS_MAX + 1];
    double best[2][PLANT_FLOORS_MAX + 1];
    int16_t from[PLANT_CARS_MAX][PLANT_FLOORS_MAX + 1];
};

/* count, 1 to PLANT_CARS_MAX, medians into out, rising; weights of floors, none below 0. With more
 * medians than floors some floors come twice. Returns the sum of weight * distance. */
double median_floors(struct median_table *table, const double *weights, int floors, int count,
                     int *out);

/* The same sum for places anywhere, in any order. */
double median_cost(const double *weights, int floors, const int *places, int count);

#endif
