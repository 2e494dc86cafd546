/* SPDX-License-Identifier: Apache-2.0 */
/* What the operations of a block cost beside its linears, at the sizes of a 7B model: best of some
 * samples, in percent of the time of all products with weights. The linears' time is that of one of
 * them, scaled by their operations. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_mixers.h"
#include "graph/activate.h"
#include "graph/attention.h"
#include "graph/columns.h"
#include "graph/convolve.h"
#include "graph/norm.h"
#include "linalg/linalg.h"

enum { SAMPLES = 5, ROWS = 1024, HIDDEN = 4096, FFN = 11008, HEADS = 32, HEAD = HIDDEN / HEADS };

/* Every operation reads a and b [ROWS, FFN] and writes out; q, k, v are a. */
struct operands {
    float *a, *b, *out, *scores;
};

static void linear(const struct operands *o) {
    linalg_gemm_nt(ROWS, HIDDEN, HIDDEN, 1, o->a, HIDDEN, o->b, HIDDEN, 0, o->out, HIDDEN);
}

static void norm(const struct operands *o, enum norm kind) {
    const struct norm_rule rule = {kind, 1e-5, 1, HIDDEN, false, o->b, NULL};
    norm_rows(&rule, ROWS, o->a, o->out);
}
static void rms_norm(const struct operands *o) {
    norm(o, NORM_RMS);
}
static void layer_norm(const struct operands *o) {
    norm(o, NORM_LAYER);
}

static void gelu(const struct operands *o) {
    activate(ACT_GELU, ROWS * FFN, o->a, o->out);
}
static void gelu_tanh(const struct operands *o) {
    activate(ACT_GELU_TANH, ROWS * FFN, o->a, o->out);
}
static void relu2(const struct operands *o) {
    activate(ACT_RELU2, ROWS * FFN, o->a, o->out);
}

static void glu(const struct operands *o, enum act act) {
    const struct glu unit = {act, 1, 7, 1.702F, FFN, FFN};
    glu_rows(&unit, ROWS, o->a, o->b, o->out);
}
static void silu_unit(const struct operands *o) {
    glu(o, ACT_SILU);
}
static void gelu_tanh_unit(const struct operands *o) {
    glu(o, ACT_GELU_TANH);
}
static void clamped_unit(const struct operands *o) {
    glu(o, ACT_CLAMPED);
}

static void split(const struct operands *o) {
    const struct part parts[] = {{o->out, HIDDEN, false},
                                 {o->out + ROWS * HIDDEN, HIDDEN / 4, false},
                                 {o->out + ROWS * HIDDEN * 5 / 4, HIDDEN / 4, false}};
    columns_split(parts, 3, HEADS / 4, ROWS, o->a);
}
static void add(const struct operands *o) {
    columns_add(1, 0.5F, ROWS * HIDDEN, o->a, o->b, o->out);
}

static void convolution(const struct operands *o) {
    const struct filter f = {2 * HIDDEN, 4, o->b, NULL};
    convolve_sequence(&f, ROWS, o->a, o->out);
}

static void attend(const struct operands *o, struct attention a) {
    a.heads = a.kv_heads = HEADS;
    a.width = a.value_width = HEAD;
    a.scale = 0.09F;
    a.gain = 1;
    attention_sequence(&a, ROWS, o->a, o->b, o->b, o->scores, ROWS + 1, o->out);
}
static void plain_attention(const struct operands *o) {
    attend(o, (struct attention){.cap = 0});
}
static void capped_attention(const struct operands *o) {
    attend(o, (struct attention){.cap = 50});
}
static void alibi_attention(const struct operands *o) {
    float slopes[HEADS];
    attention_slopes(HEADS, slopes);
    attend(o, (struct attention){.slopes = slopes});
}

static const struct {
    const char *name;
    void (*run)(const struct operands *o);
} operations[] = {
    {"rms norm", rms_norm},
    {"layer norm", layer_norm},
    {"gelu", gelu},
    {"gelu tanh", gelu_tanh},
    {"relu2", relu2},
    {"silu unit", silu_unit},
    {"gelu tanh unit", gelu_tanh_unit},
    {"clamped unit", clamped_unit},
    {"split of q, k, v", split},
    {"add", add},
    {"convolution", convolution},
    {"attention", plain_attention},
    {"attention, soft cap", capped_attention},
    {"attention, ALiBi", alibi_attention},
};

static double best_time(void (*run)(const struct operands *o), const struct operands *o) {
    double best = 1e9;
    for (int i = 0; i < SAMPLES; i++) {
        const double start = omp_get_wtime();
        run(o);
        const double took = omp_get_wtime() - start;
        best = took < best ? took : best;
    }
    return best;
}

static float *numbers(int64_t count) {
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = (float)(i * 2654435761 % 65536) / 16384 - 2;
    return x;
}

int main(void) {
    linalg_init();
    const int64_t score_count = (int64_t)omp_get_max_threads() * ATTENTION_TILE * (ROWS + 1);
    struct operands o = {numbers(2 * ROWS * FFN), numbers(2 * ROWS * FFN), numbers(2 * ROWS * FFN),
                         numbers(score_count)};
    const int failed = !o.a || !o.b || !o.out || !o.scores;
    const double scale = 4 + 3.0 * FFN / HIDDEN; /* q, k, v, o, and gate, up, down */
    const double linears = failed ? 0 : scale * best_time(linear, &o);
    for (size_t i = 0; !failed && i < sizeof operations / sizeof operations[0]; i++)
        printf("%-20s %6.2f %% of a block's linears\n", operations[i].name,
               100 * best_time(operations[i].run, &o) / linears);
    free(o.a);
    free(o.b);
    free(o.out);
    free(o.scores);
    return failed || bench_mixers();
}
