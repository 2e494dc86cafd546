/* SPDX-License-Identifier: Apache-2.0 */
/* The search for AWQ's scales: it finds what salient channels gain, never does harm, shares a scale
 * among the columns of a channel, and returns scales that stored norms can take exactly. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "problem.h"
#include "quant/awq.h"
#include "support.h"

enum { N = 96, K = 128, GROUP = 32, MOST_CHANNELS = K + 40 };

/* Two consumers of an input in which some channels are much larger than the rest. */
struct layer {
    struct problem a, b;
    float magnitude[K];
    int64_t channel[K];
    struct awq_consumer consumers[2];
    struct awq_problem p;
};

static void layer_create(struct layer *l, uint32_t seed, float salience) {
    problem_seed(seed);
    l->a = problem_create(N, K);
    l->b = problem_create(N / 2, K);
    for (int64_t i = 0; i < K; i++) { /* D H D keeps H positive semidefinite */
        float scale = i % 11 == 0 ? salience : 1;
        for (int64_t j = 0; j < K; j++) {
            l->a.H[i * K + j] *= scale;
            l->a.H[j * K + i] *= scale;
        }
        l->channel[i] = i;
    }
    awq_magnitude(l->a.H, K, l->magnitude);
    struct quant_grid grid = grid_of(4, GROUP, false, SCALE_DUAL);
    l->consumers[0] = (struct awq_consumer){l->a.W, N, grid};
    l->consumers[1] = (struct awq_consumer){l->b.W, N / 2, grid};
    l->p = (struct awq_problem){.k = K,
                                .H = l->a.H,
                                .magnitude = l->magnitude,
                                .consumers = l->consumers,
                                .count = 2,
                                .channels = K,
                                .channel = l->channel};
}

static void layer_free(struct layer *l) {
    problem_free(&l->a);
    problem_free(&l->b);
}

/* tr(dW H dW^T) of a consumer with these scales, the long way: scaled weights rounded, taken back,
 * multiplied out in double. */
static double loss_of(const struct layer *l, const struct awq_consumer *c, const float *scales) {
    llmq_error err = {0};
    struct qlinear q = {0};
    float *W = malloc((size_t)(c->n * K) * sizeof *W), importance[K];
    double *d = malloc((size_t)(c->n * K) * sizeof *d), sum = 0;
    for (int64_t i = 0; i < c->n * K; i++)
        W[i] = c->W[i] * scales[l->channel[i % K]];
    quant_importance(l->p.H, K, importance);
    for (int64_t i = 0; i < K; i++)
        importance[i] /= scales[l->channel[i]] * scales[l->channel[i]];
    ck_assert_ok(rtn_quantize(&c->grid, W, importance, c->n, K, &q, &err), &err);
    qlinear_dequantize(&q, 0, c->n, W);
    for (int64_t i = 0; i < c->n * K; i++)
        d[i] = (double)c->W[i] - (double)W[i] / (double)scales[l->channel[i % K]];
    for (int64_t r = 0; r < c->n; r++)
        for (int64_t i = 0; i < K; i++)
            for (int64_t j = 0; j < K; j++)
                sum += d[r * K + i] * (double)l->p.H[i * K + j] * d[r * K + j];
    qlinear_free(&q);
    free(W);
    free(d);
    return sum;
}

static void check_search(struct layer *l, float *scales, struct awq_outcome *o) {
    llmq_error err = {0};
    float ones[MOST_CHANNELS];
    double before = 0, after = 0;
    ck_assert_ok(awq_search(&l->p, scales, o, &err), &err);
    for (int64_t i = 0; i < MOST_CHANNELS; i++)
        ones[i] = 1;
    for (int i = 0; i < l->p.count; i++) {
        double plain = loss_of(l, &l->consumers[i], ones);
        double scaled = loss_of(l, &l->consumers[i], scales);
        ck_assert_double_le(scaled, plain * (1 + 1e-4));
        before += plain;
        after += scaled;
    }
    ck_assert_double_eq_tol(before / o->identity_loss, 1, 1e-4);
    ck_assert_double_eq_tol(after / o->loss, 1, 1e-4);
    ck_assert_double_le(o->loss, o->identity_loss);
}

START_TEST(salient_channels_are_scaled_up_and_the_loss_falls) {
    struct layer l;
    struct awq_outcome o;
    float scales[K];
    for (int search = RANGE_MINMAX; search <= RANGE_WEIGHTED; search += RANGE_WEIGHTED) {
        layer_create(&l, 1, 20);
        l.consumers[0].grid.search = l.consumers[1].grid.search = (enum range_search)search;
        check_search(&l, scales, &o);
        ck_assert(o.scaled);
        ck_assert_double_lt(o.loss, 0.7 * o.identity_loss);
        ck_assert(scales[11] > 1.5F * scales[12]);
        layer_free(&l);
    }
}
END_TEST

START_TEST(no_consumer_is_ever_worse_than_without_a_scale) {
    struct layer l;
    struct awq_outcome o;
    float scales[K];
    int scaled = 0, bits[] = {2, 3, 4, 8};
    for (uint32_t seed = 1; seed <= 12; seed++) {
        layer_create(&l, seed, (float)(1 + seed % 3));
        for (int i = 0; i < 2; i++)
            l.consumers[i].grid = grid_of(bits[seed % 4], GROUP, seed % 2, SCALE_DUAL);
        check_search(&l, scales, &o);
        for (int64_t i = 0; !o.scaled && i < K; i++)
            ck_assert(scales[i] == 1);
        scaled += o.scaled;
        layer_free(&l);
    }
    ck_assert_int_gt(scaled, 0);
}
END_TEST

START_TEST(columns_of_one_channel_share_its_scale) {
    struct layer l;
    struct awq_outcome o;
    float scales[K];
    layer_create(&l, 2, 20);
    for (int64_t i = 0; i < K; i++)
        l.channel[i] = i / 32 * 16 + i % 16; /* two heads to a key-value head */
    l.p.channels = K / 2;
    check_search(&l, scales, &o);
    ck_assert(o.scaled);
    layer_free(&l);
}
END_TEST

START_TEST(a_channel_that_is_never_active_keeps_scale_one) {
    struct layer l;
    struct awq_outcome o;
    float scales[K];
    layer_create(&l, 3, 20);
    for (int64_t i = 0; i < K; i++)
        l.a.H[5 * K + i] = l.a.H[i * K + 5] = 0;
    l.magnitude[5] = 0;
    check_search(&l, scales, &o);
    ck_assert(o.scaled);
    ck_assert(scales[5] == 1);
    layer_free(&l);
}
END_TEST

/* Of a fused linear's rows columns read some. */
START_TEST(channels_that_no_column_reads_keep_scale_one) {
    struct layer l;
    struct awq_outcome o;
    float scales[MOST_CHANNELS], anchor[MOST_CHANNELS];
    layer_create(&l, 5, 20);
    for (int64_t i = 0; i < K; i++)
        l.channel[i] += 24;
    for (int64_t i = 0; i < MOST_CHANNELS; i++)
        anchor[i] = i % 3 ? 0.375F : 0;
    l.p.channels = MOST_CHANNELS;
    l.p.anchor = anchor;
    l.p.anchor_dtype = DTYPE_BF16;
    check_search(&l, scales, &o);
    ck_assert(o.scaled);
    for (int64_t i = 0; i < MOST_CHANNELS; i++)
        ck_assert(scales[i] > 0 && isfinite(scales[i]) &&
                  (i < 24 || i >= K + 24 ? scales[i] == 1 : 1));
    layer_free(&l);
}
END_TEST

static float through(enum dtype type, float v) {
    uint16_t stored = 0;
    dtype_from_f32(type, &v, 1, &stored);
    dtype_to_f32(type, &stored, 1, &v);
    return v;
}

/* What is stored of anchor / scale, rounded to its type, times scale is anchor again. */
static void check_anchor(enum dtype type, float added) {
    struct layer l;
    struct awq_outcome o;
    float scales[K], anchor[K];
    layer_create(&l, 4, 20);
    for (int64_t i = 0; i < K; i++)
        anchor[i] = i == 7 ? 0 : i == 8 ? 3e-5F : through(type, 1 - added + 0.5F * uniform());
    anchor[8] = through(type, anchor[8]);
    l.p.anchor = anchor;
    l.p.anchor_dtype = type;
    l.p.anchor_added = added;
    check_search(&l, scales, &o);
    ck_assert(o.scaled);
    for (int64_t i = 0; i < K; i++) {
        const float whole = anchor[i] + added;
        const float back = through(type, whole / scales[i] - added) + added;
        ck_assert(fabsf(back * scales[i] - whole) <= 4e-7F * fabsf(whole));
    }
    layer_free(&l);
}

START_TEST(scales_leave_stored_norms_exact) {
    check_anchor(DTYPE_BF16, 0);
    check_anchor(DTYPE_F16, 0);
    check_anchor(DTYPE_BF16, 1);
    check_anchor(DTYPE_F16, 1);
}
END_TEST

/* A norm's bias is divided too; rounded at random it would be off by 2^-10 of itself and more. */
START_TEST(scales_suit_what_follows_the_anchor) {
    struct layer l;
    struct awq_outcome o;
    float scales[K], anchor[K], follower[K];
    double worst = 0;
    layer_create(&l, 4, 20);
    for (int64_t i = 0; i < K; i++) {
        anchor[i] = through(DTYPE_BF16, 1 + 0.5F * uniform());
        follower[i] = i == 7 ? 0 : through(DTYPE_BF16, 0.25F + 0.1F * uniform());
    }
    l.p.anchor = anchor;
    l.p.follower = follower;
    l.p.anchor_dtype = l.p.follower_dtype = DTYPE_BF16;
    check_search(&l, scales, &o);
    ck_assert(o.scaled);
    for (int64_t i = 0; i < K; i++) {
        const float whole = through(DTYPE_BF16, anchor[i] / scales[i]) * scales[i];
        const float back = through(DTYPE_BF16, follower[i] / scales[i]) * scales[i];
        ck_assert(fabsf(whole - anchor[i]) <= 2e-7F * anchor[i]);
        worst = fmax(worst, follower[i] > 0 ? (double)fabsf(back / follower[i] - 1) : 0);
    }
    ck_assert_double_le(worst, 1.3e-4);
    layer_free(&l);
}
END_TEST

START_TEST(limits_keep_the_producers_steps_storable) {
    struct layer l;
    struct awq_outcome o;
    float scales[K], limit[K], small[K * K];
    layer_create(&l, 1, 20);
    struct quant_grid grid = grid_of(4, GROUP, false, SCALE_DUAL);
    for (int64_t i = 0; i < K * K; i++)
        small[i] = 0x1p-9F * uniform();
    for (int64_t i = 0; i < K; i++) /* one row has no range to lose */
        small[11 * K + i] *= 0x1p-8F;
    awq_row_limits(&grid, small, K, K, limit);
    ck_assert(limit[11] == 1);
    l.p.limit = limit;
    check_search(&l, scales, &o);
    ck_assert(o.scaled);
    for (int64_t i = 0; i < K; i++) {
        ck_assert(limit[i] >= 1);
        ck_assert(scales[i] <= limit[i]);
    }
    layer_free(&l);
}
END_TEST

START_TEST(threads_do_not_change_the_scales) {
    struct layer l;
    struct awq_outcome one, three;
    float first[K], second[K];
    layer_create(&l, 6, 20);
    omp_set_num_threads(1);
    check_search(&l, first, &one);
    omp_set_num_threads(3);
    check_search(&l, second, &three);
    omp_set_num_threads(1);
    ck_assert_mem_eq(first, second, sizeof first);
    ck_assert_double_eq(one.loss, three.loss);
    layer_free(&l);
}
END_TEST

/* One row has nearly all of the loss, and other sizes of columns than the rest: what is made of
 * their means does not help it. */
START_TEST(equalizing_is_one_more_candidate) {
    struct layer l;
    struct awq_outcome without, with;
    float scales[K], produced[K];
    llmq_error err = {0};
    layer_create(&l, 71, 1);
    l.p.count = 1;
    for (int64_t i = 0; i < K; i++) {
        const float size = powf(10, uniform());
        l.a.W[i] = 1e3F * size;
        produced[i] = 2 / size;
    }
    ck_assert_ok(awq_search(&l.p, scales, &without, &err), &err);
    ck_assert(!without.equalized);
    l.p.equalize = true;
    l.p.produced = produced;
    ck_assert_ok(awq_search(&l.p, scales, &with, &err), &err);
    ck_assert(with.equalized && with.scaled && with.loss < without.loss);
    ck_assert_double_eq(with.identity_loss, without.identity_loss);
    const double sum = loss_of(&l, &l.consumers[0], scales);
    ck_assert_double_eq_tol(with.loss, sum, 1e-3 * sum);
    /* r1 / s and r2 s are in one ratio for all channels */
    for (int64_t i = 0; i < K; i++) {
        const float ratio = produced[i] / (scales[i] * scales[i] * fabsf(l.a.W[i]));
        const float first = produced[0] / (scales[0] * scales[0] * fabsf(l.a.W[0]));
        ck_assert_double_eq_tol((double)(ratio / first), 1, 1e-4);
    }
    layer_free(&l);
}
END_TEST

/* Without a linear that makes the channels, their norm's weights count. */
START_TEST(norms_are_equalized_by_their_weights) {
    struct layer l;
    struct awq_outcome outcome;
    float scales[K], gamma[K];
    llmq_error err = {0};
    layer_create(&l, 72, 1);
    l.p.count = 1;
    for (int64_t i = 0; i < K; i++) {
        const float size = exp2f((float)(i % 5) - 2);
        l.a.W[i] = 1e3F * size;
        gamma[i] = 1 / size;
    }
    l.p.equalize = true;
    l.p.anchor = gamma;
    l.p.anchor_dtype = DTYPE_F32;
    ck_assert_ok(awq_search(&l.p, scales, &outcome, &err), &err);
    ck_assert(outcome.equalized);
    for (int64_t i = 5; i < K; i++)
        ck_assert_double_eq_tol((double)(scales[i] / scales[i % 5]), 1, 1e-5);
    ck_assert_double_eq_tol((double)(scales[0] / scales[2]), 4, 1e-4);
    layer_free(&l);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_awq");
    TCase *t = tcase_create("search");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 120);
    tcase_add_test(t, salient_channels_are_scaled_up_and_the_loss_falls);
    tcase_add_test(t, no_consumer_is_ever_worse_than_without_a_scale);
    tcase_add_test(t, columns_of_one_channel_share_its_scale);
    tcase_add_test(t, a_channel_that_is_never_active_keeps_scale_one);
    tcase_add_test(t, channels_that_no_column_reads_keep_scale_one);
    tcase_add_test(t, scales_leave_stored_norms_exact);
    tcase_add_test(t, scales_suit_what_follows_the_anchor);
    tcase_add_test(t, limits_keep_the_producers_steps_storable);
    tcase_add_test(t, threads_do_not_change_the_scales);
    tcase_add_test(t, equalizing_is_one_more_candidate);
    tcase_add_test(t, norms_are_equalized_by_their_weights);
    suite_add_tcase(s, t);
    return run_suite(s);
}
