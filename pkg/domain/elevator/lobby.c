#include "domain/elevator/lobby.h"

#include <math.h>

#define ROUNDS 6
#define BUSY_SHARE 0.3
#define BUSY_RATE 0.05 /* one person in 20 s */

double lobby_round_s(const struct tour_model *model, double people)
{
    double all = model->pull_ahead[0][2], stops = 1, floors = 0;
    double stop_s = 2 * model->slow_s + model->opening_s + model->closing_s;

    for (int floor = 1; floor < model->floors; floor++) {
        double share = model->pull[0][floor] / all, beyond = model->pull_ahead[0][floor + 1] / all;
        stops += 1 - pow(1 - share, people);
        floors += 1 - pow(fmax(0, 1 - beyond), people);
    }
    return 2 * floors * model->floor_s + stops * stop_s + 2 * people * model->load_s +
           2 * model->turn_s;
}

double lobby_balance(const struct tour_model *model, double rate, int cars)
{
    double people = 1;

    for (int i = 0; i < ROUNDS; i++)
        people = fmin(fmax(rate * lobby_round_s(model, people) / cars, 1), model->capacity);
    return people;
}

bool lobby_is_busy(const struct rates *rates)
{
    double all = 0, lobby = rates_of_button(rates, 0, ELEVATOR_UP);

    for (int floor = 0; floor < rates->floors; floor++)
        all += rates_of_floor(rates, floor);
    return lobby > BUSY_RATE && lobby > BUSY_SHARE * all;
}
