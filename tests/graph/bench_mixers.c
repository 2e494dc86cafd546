/* SPDX-License-Identifier: Apache-2.0 */
/* See bench_mixers.h. A block of hidden size 2048 over 16 sequences of 2048 tokens, its linears
 * timed by one product over all of them and scaled by their operations. Token by token one
 * sequence is timed and counted 16 times. */
#include "bench_mixers.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/int64.h"
#include "graph/delta.h"
#include "graph/scan.h"
#include "graph/selective.h"
#include "linalg/linalg.h"

enum { SAMPLES = 3, SEQUENCES = 16, LENGTH = 2048, HIDDEN = 2048, INNER = 4096 };

/* Each has as many entries as any operation reads, `a` and `out` for all sequences; `decay` is at
 * most 0, `small` within -1/16 and 0, `steps` at least 0. */
struct operands {
    float *a, *b, *small, *decay, *steps, *out, *scratch;
};

static float *numbers(int64_t count, float size) {
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = size * ((float)(i * 2654435761 % 65536) / 65536 - 1);
    return x;
}

static void linear(const struct operands *o) {
    linalg_gemm_nt(SEQUENCES * LENGTH, HIDDEN, HIDDEN, 1, o->a, HIDDEN, o->b, HIDDEN, 0, o->out,
                   HIDDEN);
}

/* --- Mamba-2 ---------------------------------------------------------------------------------- */

static const struct scan scan2 = {.heads = INNER / 64, .groups = 1, .width = 64, .state = 128};

static struct scan_input scan2_input(const struct operands *o) {
    return (struct scan_input){o->a, o->b, o->b + LENGTH * 128, o->decay, o->b};
}

static void chunked2(const struct operands *o) {
    const struct scan_input in = scan2_input(o);
    scan_sequence(&scan2, LENGTH, &in, o->scratch, o->out);
}

/* States are 128 wide. */
static void scan_token(const struct scan *s, const struct scan_input *in, int64_t h, int64_t t,
                       float *S, float *out) {
    const int64_t at = (t * s->groups + h / (s->heads / s->groups)) * 128;
    const float *x = in->x + (t * s->heads + h) * s->width, *b = in->b + at, *c = in->c + at;
    const float fade = expf(in->decay[h * LENGTH + t]), gain = in->gain[h * LENGTH + t];
    for (int64_t i = 0; i < s->width; i++) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < 128; j++) {
            S[i * 128 + j] = fade * S[i * 128 + j] + gain * x[i] * b[j];
            sum += S[i * 128 + j] * c[j];
        }
        out[(t * s->heads + h) * s->width + i] = sum;
    }
}

static void plain_scan(const struct scan *s, const struct scan_input *in, float *out) {
#pragma omp parallel for schedule(static) default(none) shared(s, in, out)
    for (int64_t h = 0; h < s->heads; h++) {
        float S[128 * 128] = {0};
        for (int64_t t = 0; t < LENGTH; t++)
            scan_token(s, in, h, t, S, out);
    }
}

static void plain2(const struct operands *o) {
    const struct scan_input in = scan2_input(o);
    plain_scan(&scan2, &in, o->out);
}

/* --- lightning attention, as mixers.c runs it ------------------------------------------------- */

enum { LIGHTNING_HEADS = HIDDEN / 128 };
static const struct scan lightning = {
    .heads = LIGHTNING_HEADS, .groups = LIGHTNING_HEADS, .width = 128, .state = 128};

static struct scan_input lightning_input(const struct operands *o) {
    return (struct scan_input){o->a, o->small, o->small, o->decay, o->b};
}

static void chunked_lightning(const struct operands *o) {
    const struct scan_input in = lightning_input(o);
    scan_sequence(&lightning, LENGTH, &in, o->scratch, o->out);
}

static void plain_lightning(const struct operands *o) {
    const struct scan_input in = lightning_input(o);
    plain_scan(&lightning, &in, o->out);
}

/* --- the gated delta rule --------------------------------------------------------------------- */

enum { KEY_HEADS = 16, VALUE_HEADS = 32, SIDE = INNER / VALUE_HEADS, KEYS = KEY_HEADS * SIDE };

static const struct delta delta = {KEY_HEADS, VALUE_HEADS, SIDE, SIDE, 0.0884F, NULL};

/* Keys of a length of at most 1. */
static struct delta_input delta_input(const struct operands *o) {
    return (struct delta_input){o->small, o->small, o->a, o->decay, o->small};
}

static void chunked_delta(const struct operands *o) {
    const struct delta_input in = delta_input(o);
    delta_sequence(&delta, LENGTH, &in, o->scratch, o->out);
}

/* What the state says of a key, or of a query. */
static void read_state(const float *S, const float *key, float *out) {
    for (int j = 0; j < SIDE; j++)
        out[j] = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            out[j] += key[i] * S[i * SIDE + j];
}

static void token_delta(const struct delta_input *in, int64_t h, int64_t t, float *S, float *out) {
    const int64_t head = h / (VALUE_HEADS / KEY_HEADS);
    const float *q = in->q + t * KEYS + head * SIDE, *k = in->k + t * KEYS + head * SIDE;
    const float *v = in->v + (t * VALUE_HEADS + h) * SIDE, beta = in->beta[h * LENGTH + t];
    const float fade = expf(in->decay[h * LENGTH + t]);
    float e[SIDE];
    for (int i = 0; i < SIDE * SIDE; i++)
        S[i] *= fade;
    read_state(S, k, e);
    for (int i = 0; i < SIDE; i++)
        e[i] = beta * (v[i] - e[i]);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            S[i * SIDE + j] += k[i] * e[j];
    read_state(S, q, out + (t * VALUE_HEADS + h) * SIDE);
}

static void plain_delta(const struct operands *o) {
    const struct delta_input in = delta_input(o);
#pragma omp parallel for schedule(static) default(none) shared(in, o)
    for (int64_t h = 0; h < VALUE_HEADS; h++) {
        float S[SIDE * SIDE] = {0};
        for (int64_t t = 0; t < LENGTH; t++)
            token_delta(&in, h, t, S, o->out);
    }
}

/* --- Mamba-1 and RG-LRU ------------------------------------------------------------------------
 */

enum { STATE = 16, RANK = HIDDEN / 16, LRU_HEADS = 8, LRU_HEAD = HIDDEN / LRU_HEADS };

static void blocked1(const struct operands *o) {
    const struct selective s = {INNER, STATE, o->b, o->b, NULL};
    const struct selective_input in = {o->a, o->b, o->a, o->steps};
    selective_sequence(&s, LENGTH, &in, o->scratch, o->out);
}

static void plain1(const struct operands *o) {
#pragma omp parallel for schedule(static) default(none) shared(o)
    for (int64_t c = 0; c < INNER; c++) {
        float S[STATE] = {0};
        for (int64_t t = 0; t < LENGTH; t++) {
            const float step = o->steps[t * INNER + c], x = o->a[t * INNER + c];
            float y = o->b[c] * x;
            for (int64_t j = 0; j < STATE; j++) {
                const float rate = -expf(o->b[c * STATE + j]);
                S[j] = expf(rate * step) * S[j] + step * x * o->b[t * STATE + j];
                y += S[j] * o->a[t * STATE + j];
            }
            o->out[t * INNER + c] = y;
        }
    }
}

static void blocked_lru(const struct operands *o) {
    const struct lru l = {LRU_HEADS, LRU_HEAD, o->small, o->b, o->small, o->b, o->b, NULL, 0};
    lru_sequence(&l, LENGTH, o->a, o->scratch, o->out);
}

static float plain_gate(const struct operands *o, int64_t t, int64_t at) {
    const int64_t head = at / LRU_HEAD;
    float sum = o->b[at];
    for (int64_t k = 0; k < LRU_HEAD; k++)
        sum += o->a[t * HIDDEN + head * LRU_HEAD + k] *
               o->small[(head * LRU_HEAD + k) * LRU_HEAD + at % LRU_HEAD];
    return 1 / (1 + expf(-sum));
}

static void plain_lru(const struct operands *o) {
#pragma omp parallel for schedule(static) default(none) shared(o)
    for (int64_t at = 0; at < HIDDEN; at++) {
        float h = 0;
        for (int64_t t = 0; t < LENGTH; t++) {
            const float a = expf(-8 * plain_gate(o, t, at) * log1pf(expf(o->b[at])));
            h = a * h + sqrtf(1 - a * a) * plain_gate(o, t, at) * o->a[t * HIDDEN + at];
            o->out[t * HIDDEN + at] = h;
        }
    }
}

/* --- all -------------------------------------------------------------------------------------- */

/* Entries of the linears of a block that have the mixer. */
static const struct {
    const char *name;
    void (*run)(const struct operands *o), (*plain)(const struct operands *o);
    double weights;
} mixers[] = {
    {"gated delta rule", chunked_delta, plain_delta,
     HIDDEN *(2.0 * KEYS + 2 * INNER + 2 * VALUE_HEADS) + INNER *HIDDEN},
    {"Mamba-1 scan", blocked1, plain1, 3.0 * HIDDEN *INNER + INNER *(2.0 * RANK + 2 * STATE)},
    {"RG-LRU", blocked_lru, plain_lru, 3.0 * HIDDEN *HIDDEN},
    {"Mamba-2 scan", chunked2, plain2, HIDDEN *(2.0 * INNER + 2 * 128 + 64) + INNER *HIDDEN},
    {"lightning attention", chunked_lightning, plain_lightning, 5.0 * HIDDEN *HIDDEN},
};

static double best_time(void (*run)(const struct operands *o), const struct operands *o,
                        int sequences) {
    double best = 1e9;
    for (int i = 0; i < SAMPLES; i++) {
        struct operands mine = *o;
        const double start = omp_get_wtime();
        for (int n = 0; n < sequences; n++) {
            run(&mine);
            mine.a += LENGTH * INNER;
            mine.out += LENGTH * INNER;
        }
        best = fmin(best, omp_get_wtime() - start);
    }
    return best;
}

/* Both in percent of the linears, `entry` the seconds that one entry of their weights takes. */
static void print_shares(size_t i, double entry, const struct operands *o) {
    const double linears = entry * mixers[i].weights;
    printf("%-20s %6.2f %% of its block's linears, token by token %.2f %%\n", mixers[i].name,
           100 * best_time(mixers[i].run, o, SEQUENCES) / linears,
           100 * SEQUENCES * best_time(mixers[i].plain, o, 1) / linears);
}

int bench_mixers(void) {
    const int64_t one = (int64_t)LENGTH * INNER, all = SEQUENCES * one;
    const int64_t scratch =
        max_i64(max_i64(scan_scratch(&scan2, LENGTH), scan_scratch(&lightning, LENGTH)),
                delta_scratch(&delta, LENGTH));
    struct operands o = {numbers(all, 1),    numbers(one, 1),     numbers(one, 1.0F / 16),
                         numbers(one, 1),    numbers(one, -0.1F), numbers(all, 1),
                         numbers(scratch, 1)};
    const int failed = !o.a || !o.b || !o.small || !o.decay || !o.steps || !o.out || !o.scratch;
    const double entry = failed ? 0 : best_time(linear, &o, 1) / ((double)HIDDEN * HIDDEN);
    for (size_t i = 0; !failed && i < sizeof mixers / sizeof mixers[0]; i++)
        print_shares(i, entry, &o);
    free(o.a);
    free(o.b);
    free(o.small);
    free(o.decay);
    free(o.steps);
    free(o.out);
    free(o.scratch);
    return failed;
}
