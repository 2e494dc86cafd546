/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ on the first layer of a real model, against the codes and errors of the reference
 * implementation of the paper (plain settings: no act-order, min-max grid, damping 0.01). The data
 * is not part of the project: without it these tests are skipped. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/safetensors/safetensors.h"
#include "linalg/linalg.h"
#include "quant/quant.h"
#include "support.h"
#include "textbook.h"

#define GROUP 128

/* Rounding of the reference, whose factor is float32 Cholesky - inverse - Cholesky, and of ours,
 * relative to a row's largest weight. */
#define FLOAT_GAP 2e-4

static const struct {
    const char *module, *hessian;
} modules[] = {{"self_attn.q_proj", "qkv"}, {"self_attn.o_proj", "o"}, {"mlp.gate_proj", "gateup"}};

static struct st_set *set;

static const struct st_tensor *find(const char *prefix, const char *module, const char *part) {
    char name[128];
    snprintf(name, sizeof name, "%s%s%s", prefix, module, part);
    const struct st_tensor *t = st_find(set, name);
    ck_assert_msg(t != NULL, "no tensor %s", name);
    return t;
}

static void *read_tensor(const struct st_tensor *t) {
    void *data = malloc(t->nbytes);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(st_read(set, t, 0, t->nbytes, data, NULL), LLMQ_OK);
    return data;
}

/* The reference's result for a module. */
static struct qlinear read_reference(const char *kind, const char *module, bool sym) {
    const struct st_tensor *codes = find(kind, module, ".codes");
    struct qlinear q = {0};
    ck_assert_int_eq(
        qlinear_alloc((int64_t)codes->shape[0], (int64_t)codes->shape[1], 4, GROUP, &q, NULL),
        LLMQ_OK);
    q.sym = sym;
    float *zeros = read_tensor(find(kind, module, ".zero"));
    const struct st_tensor *scales = find(kind, module, ".scale");
    ck_assert_int_eq(st_read(set, codes, 0, codes->nbytes, q.codes, NULL), LLMQ_OK);
    ck_assert_int_eq(st_read(set, scales, 0, scales->nbytes, q.scales, NULL), LLMQ_OK);
    for (int64_t i = 0; i < q.n * q.groups; i++)
        q.zeros[i] = (uint8_t)zeros[i];
    free(zeros);
    return q;
}

/* The reference's "gptq_rel" or "rtn_rel" for a module. */
static double read_error(const char *kind, const char *module, const char *key) {
    llmq_error err = {0};
    struct json *errors = NULL;
    char name[128], *path = shared_path("quality/minimind2_layer0_errors.json");
    double value = 0;
    ck_assert_ptr_nonnull(path);
    snprintf(name, sizeof name, "%s%s", kind, module);
    ck_assert_ok(json_read(path, &errors, &err), &err);
    ck_assert(json_as_double(json_get(json_get(errors, name), key), &value));
    json_free(&errors);
    free(path);
    return value;
}

/* All of q by the textbook; the worst gaps. */
static struct textbook_trail follow(const struct textbook *t, const struct quant_grid *grid,
                                    const float *W, const struct qlinear *q) {
    struct textbook_trail trail = {0};
    trail.zero_gap = -1;
    for (int64_t row = 0; row < q->n; row++)
        textbook_follow(t, grid, W + row * q->k, q, row, &trail);
    return trail;
}

static void expect_ties_only(const char *whose, const struct textbook_trail *trail) {
    printf("  %s: %lld codes differ from the textbook's, gaps: code %.1e, zero %.1e, scale %.1e\n",
           whose, (long long)trail->other_codes, trail->code_gap, trail->zero_gap,
           trail->scale_gap);
    ck_assert_msg(trail->code_gap < FLOAT_GAP, "%s: code gap %g", whose, trail->code_gap);
    ck_assert_msg(trail->zero_gap < FLOAT_GAP, "%s: zero gap %g", whose, trail->zero_gap);
    ck_assert_msg(trail->scale_gap < FLOAT_GAP, "%s: scale gap %g", whose, trail->scale_gap);
}

static double differing_codes(const struct qlinear *a, const struct qlinear *b) {
    int64_t count = 0;
    for (int64_t i = 0; i < a->n * a->k; i++)
        count += a->codes[i] != b->codes[i];
    return (double)count / (double)(a->n * a->k);
}

/* Round-to-nearest's error is the reference's. */
static void check_rounding(const struct quant_grid *grid, const float *W, const float *H, int64_t n,
                           int64_t k, double reference) {
    const struct quant_inputs inputs = {.H = H};
    struct qlinear q = {0};
    double error = 0;
    ck_assert_int_eq(rtn_quantize(grid, W, NULL, n, k, &q, NULL), LLMQ_OK);
    ck_assert_int_eq(quant_error(W, &q, &inputs, &error, NULL), LLMQ_OK);
    ck_assert_double_eq_tol(error, reference, 1e-3 * reference);
    qlinear_free(&q);
}

static void check_module(const char *module, const char *hessian, bool sym) {
    const char *kind = sym ? "sym." : "asym.";
    const struct quant_grid grid = {
        .bits = 4, .group = GROUP, .sym = sym, .zmax = 15, .storage = SCALE_F32};
    struct quant_options options = {.act_order = ACT_ORDER_NONE, .damp = 0.01};
    struct qlinear reference = read_reference(kind, module, sym), q = {0};
    int64_t n = reference.n, k = reference.k;
    float *W = read_tensor(find("W.", module, ""));
    double *Hd = read_tensor(find("H.", hessian, ""));
    float *H = malloc((size_t)(k * k) * sizeof *H);
    ck_assert_ptr_nonnull(H);
    for (int64_t i = 0; i < k * k; i++)
        H[i] = (float)Hd[i];

    struct gptq_factor *f = NULL;
    struct quant_outcome outcome = {0};
    struct textbook t;
    ck_assert_int_eq(gptq_factor_create(H, k, GROUP, &options, &f, NULL), LLMQ_OK);
    ck_assert_int_eq(gptq_quantize(&grid, f, W, H, n, &q, &outcome, NULL), LLMQ_OK);
    const struct quant_inputs inputs = {.H = H};
    double error = 0;
    ck_assert_int_eq(quant_error(W, &q, &inputs, &error, NULL), LLMQ_OK);
    double gptq = read_error(kind, module, "gptq_rel");
    printf("%s%s: error %.6g (reference %.6g), %lld rows RTN, %.3f %% of codes "
           "differ from the reference's\n",
           kind, module, error, gptq, (long long)outcome.rows_kept_rtn,
           100 * differing_codes(&q, &reference));
    textbook_init(&t, Hd, k, GROUP, ACT_ORDER_NONE, 0.01);
    struct textbook_trail ours = follow(&t, &grid, W, &q),
                          theirs = follow(&t, &grid, W, &reference);
    expect_ties_only("reference", &theirs);
    expect_ties_only("llmq", &ours);
    ck_assert_int_eq(outcome.rows_kept_rtn, 0);
    ck_assert_double_eq_tol(error, gptq, 1e-3 * gptq);
    check_rounding(&grid, W, H, n, k, read_error(kind, module, "rtn_rel"));

    textbook_free(&t);
    gptq_factor_free(&f);
    qlinear_free(&q);
    qlinear_free(&reference);
    free(W);
    free(H);
    free(Hd);
}

/* The data, or NULL where it is absent. */
static void open_data(void) {
    llmq_error err = {0};
    char *path = shared_path("quality/minimind2_layer0_crosscheck.safetensors");
    if (path)
        ck_assert_ok(st_open_file(path, &set, &err), &err);
    free(path);
}

static void close_data(void) {
    st_close(&set);
}

START_TEST(test_codes_and_errors_are_the_references) {
    if (set)
        check_module(modules[_i / 2].module, modules[_i / 2].hessian, _i % 2);
}
END_TEST

int main(void) {
    Suite *s = suite_create("crosscheck");
    TCase *tc = tcase_create("crosscheck");
    tcase_set_timeout(tc, 0);
    tcase_add_checked_fixture(tc, open_data, close_data);
    tcase_add_loop_test(tc, test_codes_and_errors_are_the_references, 0, 6);
    suite_add_tcase(s, tc);
    linalg_init();
    return run_suite(s);
}
