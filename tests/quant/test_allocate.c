/* SPDX-License-Identifier: Apache-2.0 */
/* The allocation: against all combinations of small problems and against a table over every size of
 * a large one, with costs that tie, that rise with the size, and that leave no convex hull. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "problem.h"
#include "quant/allocate.h"
#include "support.h"

enum { ITEMS = 6, CHOICES = 4 };

struct small {
    struct allocate_choice choices[ITEMS][CHOICES];
    struct allocate_item items[ITEMS];
};

/* Integers from 0 to below `end`. */
static int draw(int end) {
    const int value = (int)(fabsf(normal()) * 1000.0f);
    return value % end;
}

static void make_small(struct small *p, bool integers) {
    for (int i = 0; i < ITEMS; i++) {
        p->items[i] = (struct allocate_item){p->choices[i], 1 + draw(CHOICES)};
        for (int c = 0; c < CHOICES; c++)
            p->choices[i][c] = (struct allocate_choice){
                (uint64_t)draw(12), integers ? (double)draw(9) : (double)normal()};
    }
}

struct best {
    double cost;
    uint64_t size;
};

static void try_all(const struct small *p, int item, struct best so_far, uint64_t capacity,
                    struct best *best) {
    if (so_far.size > capacity)
        return;
    if (item == ITEMS) {
        if (so_far.cost < best->cost ||
            (so_far.cost <= best->cost && so_far.size < best->size)) /* of equals the smaller */
            *best = so_far;
        return;
    }
    for (int c = 0; c < p->items[item].count; c++) {
        const struct allocate_choice *choice = &p->choices[item][c];
        try_all(p, item + 1, (struct best){so_far.cost + choice->cost, so_far.size + choice->size},
                capacity, best);
    }
}

static struct best cost_of(const struct allocate_item *items, int64_t count, const int *choice) {
    struct best sum = {0};
    for (int64_t i = 0; i < count; i++) {
        ck_assert(choice[i] >= 0 && choice[i] < items[i].count);
        sum.cost += items[i].choices[choice[i]].cost;
        sum.size += items[i].choices[choice[i]].size;
    }
    return sum;
}

static void compare_with_all(bool integers) {
    struct small p;
    problem_seed(integers ? 3 : 4);
    for (int trial = 0; trial < 60; trial++) {
        make_small(&p, integers);
        const uint64_t least = allocate_least(p.items, ITEMS);
        for (uint64_t capacity = least; capacity < least + 40; capacity += 3) {
            struct best best = {HUGE_VAL, 0};
            llmq_error err = {0};
            int choice[ITEMS];
            try_all(&p, 0, (struct best){0}, capacity, &best);
            ck_assert_ok(allocate(p.items, ITEMS, capacity, choice, &err), &err);
            const struct best found = cost_of(p.items, ITEMS, choice);
            ck_assert(found.size <= capacity);
            ck_assert_double_eq_tol(found.cost, best.cost, 1e-9);
            if (integers)
                ck_assert_uint_eq(found.size, best.size);
        }
    }
}

START_TEST(is_the_best_of_all_combinations) {
    compare_with_all(true);
    compare_with_all(false);
}
END_TEST

/* Blocks of a model: four kinds of items, costs that fall by about four with each bit. */
enum { MANY = 160, BITS = 4, UNIT = 64, MOST = MANY * 8 * 11 };

START_TEST(is_the_best_of_a_whole_model) {
    static const int wide[] = {3, 1, 11, 5}, bits[BITS] = {2, 3, 4, 8};
    struct allocate_choice(*choices)[BITS] = calloc(MANY, sizeof *choices);
    struct allocate_item items[MANY];
    double *best = malloc((MOST + 1) * sizeof *best);
    ck_assert(choices && best);
    problem_seed(5);
    for (int i = 0; i < MANY; i++) {
        const double scale = exp((double)normal());
        items[i] = (struct allocate_item){choices[i], BITS};
        for (int c = 0; c < BITS; c++)
            choices[i][c] =
                (struct allocate_choice){(uint64_t)(UNIT * wide[i % 4] * bits[c]),
                                         scale * pow(4, -bits[c]) * exp(0.2 * (double)normal())};
    }
    for (int s = 0; s <= MOST; s++) /* best[s]: with size s or less */
        best[s] = 0;
    for (int i = 0; i < MANY; i++)
        for (int s = MOST; s >= 0; s--) {
            double least = HUGE_VAL;
            for (int c = 0; c < BITS; c++) {
                const int size = wide[i % 4] * bits[c];
                if (size <= s)
                    least = fmin(least, best[s - size] + choices[i][c].cost);
            }
            best[s] = least;
        }
    for (int s = MANY * 5 * 2 + 7; s < MOST; s += MOST / 9) {
        llmq_error err = {0};
        int choice[MANY];
        ck_assert_ok(allocate(items, MANY, (uint64_t)(s * UNIT + UNIT - 1), choice, &err), &err);
        const struct best found = cost_of(items, MANY, choice);
        ck_assert(found.size < (uint64_t)((s + 1) * UNIT));
        ck_assert_double_eq_tol(found.cost, best[s], 1e-12 * best[s]);
    }
    free(best);
    free(choices);
}
END_TEST

START_TEST(refuses_what_does_not_fit) {
    const struct allocate_choice choices[] = {{5, 1.0}, {3, 2.0}};
    const struct allocate_item items[] = {{choices, 2}, {choices, 2}};
    llmq_error err = {0};
    int choice[2];
    ck_assert_uint_eq(allocate_least(items, 2), 6);
    ck_assert_int_eq(allocate(items, 2, 5, choice, &err), LLMQ_E_USAGE);
    ck_assert_ok(allocate(items, 2, 6, choice, &err), &err);
    ck_assert(choice[0] == 1 && choice[1] == 1);
    ck_assert_ok(allocate(items, 0, 0, choice, &err), &err);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_allocate");
    TCase *t = tcase_create("allocate");
    tcase_add_test(t, is_the_best_of_all_combinations);
    tcase_add_test(t, is_the_best_of_a_whole_model);
    tcase_add_test(t, refuses_what_does_not_fit);
    suite_add_tcase(s, t);
    return run_suite(s);
}
