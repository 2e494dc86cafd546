/* SPDX-License-Identifier: Apache-2.0 */
/* What is derived from rows with mixers that keep a state over tokens: convolutions, scans, the
 * gated delta rule, lightning attention. */
#include "models/graph_told.h"
#include "models/rows.h"
#include "models/shapes.h"
#include "support.h"

/* A scale of x passes the scan and ends at the convolution's activation; the steps do not pass. */
START_TEST(what_a_scan_reads_is_made_once) {
    struct graph g;
    llmq_error err = {0};
    struct graph_param params[GRAPH_PARAMS];
    uint64_t shape[GRAPH_PARAM_RANK];
    assert_rounds(shape_scanned, 0,
                  "0 [X]: in<ATTN_IN/ln\n1 [X SCAN_NORM]: out<SCAN_NORM+X/gated\n");
    ck_assert_ok(graph_make(shape_scanned, T_ALWAYS, &shape_facts, V_X, &g, &err), &err);
    const int count = graph_params(&g, params);
    ck_assert_int_eq(count, 9);
    ck_assert_str_eq(params[4].suffix, ".A_log");
    ck_assert_str_eq(params[6].suffix, ".dt_bias");
    ck_assert_int_eq(params[6].vector, 3);
    ck_assert_int_eq(params[7].rows, 0);
    ck_assert_int_eq(params[7].columns, 20);
    ck_assert_int_eq(graph_param_shape(&params[4], shape), 1);
    ck_assert_uint_eq(shape[0], 4);
    assert_folds(shape_scanned, &shape_facts, V_X,
                 "ATTN_IN: ln\nSCAN_GATED: a convolution lies between\n");
}
END_TEST

START_TEST(sides_of_a_scan_that_contradict_each_other) {
    static const struct {
        enum dim dim;
        int64_t size;
        const char *why;
    } wrong[] = {
        {DIM_SSM_HEADS, 3, "the scan that makes SCAN: its heads do not divide what it reads"},
        {DIM_SSM_GROUPS, 3, "the scan that makes SCAN: its groups do not divide its heads"},
        {DIM_SSM_STATE, 4, "the scan that makes SCAN: B or C has not a state for every group"},
    };
    struct facts facts = shape_facts;
    struct graph g;
    llmq_error err = {0};
    facts.dims[wrong[_i].dim] = wrong[_i].size;
    facts.dims[DIM_SSM_IN] = 52 + facts.dims[DIM_SSM_HEADS];
    ck_assert_int_eq(graph_make(shape_scanned, T_ALWAYS, &facts, V_X, &g, &err),
                     LLMQ_E_UNSUPPORTED);
    ck_assert_str_eq(err.message, wrong[_i].why);
}
END_TEST

/* The linear that stays plain is made anew, what is split of it kept; a scale ends at the norm of
 * the heads, which serves them all, or at the values' rows of the linear, which the others share.
 */
START_TEST(what_a_delta_rule_reads_is_made_once) {
    struct graph g;
    llmq_error err = {0};
    struct graph_param params[GRAPH_PARAMS];
    assert_rounds(shape_delta, 0,
                  "0 [X BETA FADE]: in<ATTN_IN/ln\n1 [X SCAN_GATED]: out<SCAN_GATED+X/heads\n");
    ck_assert_ok(graph_make(shape_delta, T_ALWAYS, &shape_facts, V_X, &g, &err), &err);
    ck_assert_int_eq(g.width[V_SCAN], 20);
    struct graph_fold fold = graph_fold_find(&g, V_SCAN_GATED);
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 13), 3);
    ck_assert_int_eq(graph_params(&g, params), 7);
    ck_assert_str_eq(params[3].suffix, ".A_log");
    ck_assert_str_eq(params[4].suffix, ".dt_bias");
    ck_assert_int_eq(params[4].columns, 4);
    /* Runs of 3 of a query, 3 of a key, 10 of two values and 10 of two gates. */
    ck_assert_ok(graph_make(shape_delta, T_ALWAYS | T_CLIP, &shape_facts, V_X, &g, &err), &err);
    fold = graph_fold_find(&g, V_SCAN_GATED);
    ck_assert_str_eq(g.node[fold.producer].row->name, "in");
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 0), 6);
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 13), 26 + 6 + 3);
}
END_TEST

/* Queries, keys, values, betas and time steps of these widths. */
static void assert_delta_refused(const enum dim w[5], int64_t key_heads, const char *why) {
    struct node rows[] = {
        {LINEAR(Q, X, NONE, "q")},        {LINEAR(K, X, NONE, "k")},
        {LINEAR(V, X, NONE, "v")},        {LINEAR(BETA, X, NONE, "b")},
        {LINEAR(FADE, X, NONE, "a")},     {DELTA(SCAN, Q, K, V, BETA, FADE, "mixer")},
        {LINEAR(Z, SCAN, HIDDEN, "out")}, {END}};
    struct facts facts = shape_facts;
    struct graph g;
    llmq_error err = {0};
    for (int i = 0; i < 5; i++)
        rows[i].width[0] = w[i];
    facts.dims[DIM_DELTA_KEY_HEADS] = key_heads;
    ck_assert_fails(graph_make(rows, T_ALWAYS, &facts, V_X, &g, &err), LLMQ_E_UNSUPPORTED, why,
                    &err);
}

START_TEST(sides_of_a_delta_rule_that_contradict_each_other) {
    const enum dim K = DIM_DELTA_K, V = DIM_DELTA_V, HEADS = DIM_DELTA_VALUE_HEADS;
    static const char two[] = "it has not a query and a key for every key head";
    static const char four[] = "it has not a beta and a time step for every value head";
    assert_delta_refused((const enum dim[]){K, K, V, HEADS, HEADS}, 3,
                         "the delta rule that makes SCAN: its key heads do not divide its value");
    assert_delta_refused((const enum dim[]){V, K, V, HEADS, HEADS}, 2, two);
    assert_delta_refused((const enum dim[]){K, V, V, HEADS, HEADS}, 2, two);
    assert_delta_refused((const enum dim[]){K, K, K, HEADS, HEADS}, 2, "not a value for every");
    assert_delta_refused((const enum dim[]){K, K, V, K, HEADS}, 2, four);
    assert_delta_refused((const enum dim[]){K, K, V, HEADS, K}, 2, four);
}
END_TEST

/* What the linear lacks is what the stream lacks, over what both are multiplied by. */
START_TEST(a_stream_that_is_scaled_where_it_goes_on) {
    struct graph g;
    llmq_error err = {0};
    struct facts facts = shape_facts;
    assert_rounds(
        shape_fading, 0,
        "0 [ATTN_IN]: q<ATTN_IN k<ATTN_IN v<ATTN_IN\n1 [ATTN_IN SCAN]: out<SCAN+ATTN_IN/v\n");
    ck_assert_ok(graph_make(shape_fading, T_ALWAYS, &facts, V_X, &g, &err), &err);
    ck_assert_double_eq_tol(find_node(&g, "out")->gain, 0.5 / 1.25, 1e-15);
    ck_assert_int_eq(g.width[V_SCAN], 20);
    facts.dims[DIM_HEADS] = 3;
    ck_assert_fails(graph_make(shape_fading, T_ALWAYS, &facts, V_X, &g, &err), LLMQ_E_UNSUPPORTED,
                    "the lightning attention that makes SCAN: its heads do not divide", &err);
}
END_TEST

/* Its input is a half of what its linear makes; the weight has a middle side of 1. */
START_TEST(a_scale_passes_a_convolution_without_bias_or_activation) {
    struct graph g;
    llmq_error err = {0};
    struct graph_param params[GRAPH_PARAMS];
    uint64_t shape[GRAPH_PARAM_RANK];
    assert_rounds(shape_convolved, 0, "0 [X]: in<ATTN_IN/ln\n1 [X MID]: out<MID+X/in\n");
    ck_assert_ok(graph_make(shape_convolved, T_ALWAYS, &shape_facts, V_X, &g, &err), &err);
    const struct graph_fold fold = graph_fold_find(&g, V_MID);
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 7), 40 + 7);
    ck_assert_int_eq(graph_params(&g, params), 4);
    ck_assert_str_eq(params[2].name, "conv");
    ck_assert_int_eq(graph_param_shape(&params[2], shape), 3);
    const uint64_t want[] = {40, 1, 3};
    ck_assert_mem_eq(shape, want, sizeof want);
    assert_rounds(shape_convolved, T_MLP_BIAS, "0 [X]: in<ATTN_IN/ln\n1 [X MID]: out<MID+X\n");
    ck_assert_ok(graph_make(shape_convolved, T_ALWAYS | T_MLP_BIAS, &shape_facts, V_X, &g, &err),
                 &err);
    ck_assert_int_eq(graph_params(&g, params), 5);
    ck_assert_str_eq(graph_fold_find(&g, V_MID).why, "a convolution lies between");
}
END_TEST

int main(void) {
    Suite *s = suite_create("graph mixers");
    TCase *t = tcase_create("graph mixers");
    tcase_add_test(t, what_a_scan_reads_is_made_once);
    tcase_add_loop_test(t, sides_of_a_scan_that_contradict_each_other, 0, 3);
    tcase_add_test(t, what_a_delta_rule_reads_is_made_once);
    tcase_add_test(t, sides_of_a_delta_rule_that_contradict_each_other);
    tcase_add_test(t, a_stream_that_is_scaled_where_it_goes_on);
    tcase_add_test(t, a_scale_passes_a_convolution_without_bias_or_activation);
    suite_add_tcase(s, t);
    return run_suite(s);
}
