#include "domain/elevator/median.h"

#include <math.h>
#include <stdlib.h>

struct range {
    int low, high, from_low, from_high;
};

/* Of floors first to last - 1, around the one that halves their weight. */
static double cost_around(const struct median_table *table, int first, int last, int at)
{
    double below =
        at * (table->mass[at] - table->mass[first]) - (table->moment[at] - table->moment[first]);
    double above =
        table->moment[last] - table->moment[at] - at * (table->mass[last] - table->mass[at]);

    return below + above;
}

static bool is_below_middle(const struct median_table *table, int first, int last, int at)
{
    return table->mass[at + 1] < (table->mass[first] + table->mass[last]) / 2;
}

/* The middle only rises as floors are added above. */
static void fill_costs(struct median_table *table, int floors)
{
    for (int first = 0; first <= floors; first++) {
        table->cost[first][first] = 0;
        for (int last = first + 1, at = first; last <= floors; last++) {
            while (at < last - 1 && is_below_middle(table, first, last, at))
                at++;
            table->cost[first][last] = cost_around(table, first, last, at);
        }
    }
}

static int middle(const struct median_table *table, int first, int last)
{
    int at = first;

    while (at < last - 1 && is_below_middle(table, first, last, at))
        at++;
    return at;
}

static void fill_one(struct median_table *table, int row, int n, const struct range *range)
{
    const double *before = table->best[(row + 1) % 2];
    double least = INFINITY;

    for (int from = range->from_low; from <= range->from_high && from <= n; from++) {
        double cost = before[from] + table->cost[from][n];
        if (cost < least) {
            least = cost;
            table->from[row][n] = (int16_t)from;
        }
    }
    table->best[row % 2][n] = least;
}

/* The best from[] does not fall as n rises: each half needs to look only on its side. */
static void fill(struct median_table *table, int row,
                 struct range range) // NOLINT(misc-no-recursion)
{
    if (range.low > range.high)
        return;
    int n = (range.low + range.high) / 2;
    fill_one(table, row, n, &range);
    int from = table->from[row][n];
    fill(table, row, (struct range){range.low, n - 1, range.from_low, from});
    fill(table, row, (struct range){n + 1, range.high, from, range.from_high});
}

double median_floors(struct median_table *table, const double *weights, int floors, int count,
                     int *out)
{
    int last = floors;

    table->mass[0] = table->moment[0] = 0;
    for (int i = 0; i < floors; i++) {
        table->mass[i + 1] = table->mass[i] + weights[i];
        table->moment[i + 1] = table->moment[i] + weights[i] * i;
    }
    fill_costs(table, floors);
    for (int n = 0; n <= floors; n++) {
        table->best[0][n] = table->cost[0][n];
        table->from[0][n] = 0;
    }
    for (int row = 1; row < count; row++)
        fill(table, row, (struct range){0, floors, 0, floors});
    for (int row = count - 1; row >= 0; row--) {
        int first = table->from[row][last];
        out[row] = first < last ? middle(table, first, last) : first < floors ? first : floors - 1;
        last = first;
    }
    return table->best[(count - 1) % 2][floors];
}

double median_cost(const double *weights, int floors, const int *places, int count)
{
    double cost = 0;

    for (int floor = 0; floor < floors; floor++) {
        int least = floors;
        for (int i = 0; i < count; i++)
            if (abs(places[i] - floor) < least)
                least = abs(places[i] - floor);
        cost += weights[floor] * least;
    }
    return cost;
}
