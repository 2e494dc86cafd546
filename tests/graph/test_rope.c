/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation against plain double precision: parts of heads, stretched bases, chosen factors. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/rope.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

/* Heads of 10, of which 6 from entry 3 on are rotated. */
enum { LENGTH = 9, HEADS = 3, HEAD = 10, SKIP = 3, ROTATED = 6 };

static void want_rotation(bool neighbours, bool backwards, const float *x, double *out) {
    for (int64_t i = 0; i < LENGTH * HEADS * HEAD; i++)
        out[i] = (double)x[i];
    for (int64_t h = 0; h < LENGTH * HEADS; h++)
        for (int64_t i = 0; i < ROTATED / 2; i++) {
            const int64_t begin = h * HEAD + SKIP;
            const int64_t at = begin + (neighbours ? 2 * i : i);
            const int64_t other = neighbours ? at + 1 : at + ROTATED / 2;
            const double way = backwards ? -1 : 1;
            const double angle = way * (double)(h / HEADS) * pow(500, -(double)(2 * i) / ROTATED);
            const double a = (double)x[at], b = (double)x[other];
            out[at] = 2 * (a * cos(angle) - b * sin(angle));
            out[other] = 2 * (b * cos(angle) + a * sin(angle));
        }
}

/* The other way round is the way back: <a, turned b> = <a turned back, b>. */
static void check_way_back(const struct rope_table *table, struct rope_heads heads,
                           const float *b) {
    enum { COUNT = LENGTH * HEADS * HEAD };
    float *a = random_row(40, COUNT, 1), turned[COUNT], back[COUNT];
    double forth = 0, sum = 0;
    rope_rotate(table, &heads, LENGTH, b, turned);
    heads.backwards = !heads.backwards;
    rope_rotate(table, &heads, LENGTH, a, back);
    for (int i = 0; i < COUNT; i++) {
        forth += (double)a[i] * (double)turned[i];
        sum += (double)back[i] * (double)b[i];
    }
    ck_assert_near(forth, sum, 1e-4);
    free(a);
}

START_TEST(part_of_each_head_is_rotated_and_the_rest_copied) {
    llmq_error err = {0};
    const struct rope_config config = {.theta = 500, .attention_factor = 2};
    const struct rope rope = {&config, ROTATED, 64};
    const struct rope_heads heads = {HEADS, HEAD, SKIP, _i / 2 == 1, _i % 2 == 1};
    struct rope_table table = {0};
    double want[LENGTH * HEADS * HEAD];
    float *x = random_row(1, LENGTH * HEADS * HEAD, 3);
    float *out = random_row(2, LENGTH * HEADS * HEAD, 3);
    want_rotation(heads.neighbours, heads.backwards, x, want);
    ck_assert_ok(rope_table_prepare(&rope, LENGTH, &table, &err), &err);
    rope_rotate(&table, &heads, LENGTH, x, out);
    for (int i = 0; i < LENGTH * HEADS * HEAD; i++)
        ck_assert_near(out[i], want[i], 1e-5);
    rope_rotate(&table, &heads, LENGTH, x, x);
    ck_assert_same(x, out, LENGTH * HEADS * HEAD);
    check_way_back(&table, heads, out);
    rope_table_free(&table);
    free(x), free(out);
}
END_TEST

/* The cosine of frequency 1 at position 1. */
static double first_angle(const struct rope *rope, int64_t length, struct rope_table *table) {
    llmq_error err = {0};
    ck_assert_ok(rope_table_prepare(rope, length, table, &err), &err);
    return acos((double)table->cos[rope->width / 2 + 1]);
}

/* Dynamic NTK scaling has no golden case beyond the trained length: check the formula itself. */
START_TEST(dynamic_rope_stretches_the_base) {
    const struct rope_config config = {
        .type = ROPE_DYNAMIC, .theta = 10000, .factor = 3, .attention_factor = 1};
    const struct rope rope = {&config, 16, 64};
    const double base = 10000 * pow(3.0 * 128 / 64 - 2.0, 16.0 / 14.0);
    struct rope_table table = {0};
    ck_assert_near(first_angle(&rope, 64, &table), pow(10000, -2.0 / 16), 1e-6);
    ck_assert_near(first_angle(&rope, 128, &table), pow(base, -2.0 / 16), 1e-6);
    ck_assert_near(first_angle(&rope, 64, &table), pow(10000, -2.0 / 16), 1e-6);
    rope_table_free(&table);
}
END_TEST

/* Long factors from one token beyond the original context, and back. */
START_TEST(longrope_chooses_its_factors_by_the_length) {
    const struct rope_config config = {.type = ROPE_LONGROPE,
                                       .theta = 100,
                                       .attention_factor = 1,
                                       .original_max_positions = 32,
                                       .pairs = 2,
                                       .short_factor = {1, 2},
                                       .long_factor = {1, 5}};
    const struct rope rope = {&config, 4, 128};
    struct rope_table table = {0};
    ck_assert_near(first_angle(&rope, 32, &table), 0.1 / 2, 1e-5);
    ck_assert_near(first_angle(&rope, 33, &table), 0.1 / 5, 1e-5);
    ck_assert_near(first_angle(&rope, 90, &table), 0.1 / 5, 1e-5);
    ck_assert_near(first_angle(&rope, 5, &table), 0.1 / 2, 1e-5);
    rope_table_free(&table);
}
END_TEST

/* Of a head's frequencies a part turns, the others stand still. */
START_TEST(a_proportional_rotation_stops_at_its_part) {
    llmq_error err = {0};
    const struct rope_config config = {
        .type = ROPE_PROPORTIONAL, .theta = 100, .attention_factor = 1, .part = 0.5};
    const struct rope rope = {&config, 8, 64};
    struct rope_table table = {0};
    ck_assert_ok(rope_table_prepare(&rope, 3, &table, &err), &err);
    for (int i = 0; i < 4; i++) {
        const double angle = i < 2 ? 2 * pow(100, -2.0 * i / 8) : 0;
        ck_assert_near(table.cos[2 * 4 + i], cos(angle), 1e-6);
        ck_assert_near(table.sin[2 * 4 + i], sin(angle), 1e-6);
    }
    rope_table_free(&table);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rope");
    TCase *t = tcase_create("rope");
    linalg_init();
    tcase_add_loop_test(t, part_of_each_head_is_rotated_and_the_rest_copied, 0, 4);
    tcase_add_test(t, dynamic_rope_stretches_the_base);
    tcase_add_test(t, longrope_chooses_its_factors_by_the_length);
    tcase_add_test(t, a_proportional_rotation_stops_at_its_part);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
