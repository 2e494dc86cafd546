/* SPDX-License-Identifier: Apache-2.0 */
/* What is derived from a block's rows: of the families, and of the shapes that other families have
 * (parallel branches, fused linears, norms behind the branches, latent attention, experts). Mixers
 * that keep a state have a suite of their own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "models/blocks.h"
#include "models/graph_told.h"
#include "models/rows.h"
#include "models/shapes.h"
#include "support.h"

static struct model_config parse(const char *text) {
    llmq_error err = {0};
    struct json *json = NULL;
    struct model_config c;
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, &err), &err);
    ck_assert_ok(config_parse(json, &c, &err), &err);
    json_free(&json);
    return c;
}

/* --- the families ----------------------------------------------------------------------------- */

/* Which linears have biases, by the config's two flags. */
static const struct {
    const char *model_type;
    bool attention_bias, mlp_bias;
    const char *biased; /* in order, a letter each: q k v o g u d */
} biases[] = {
    {"llama", false, false, ""},      {"llama", true, false, "qkvo"}, {"llama", false, true, "gud"},
    {"llama", true, true, "qkvogud"}, {"mistral", true, true, ""},    {"qwen2", true, true, "qkv"},
    {"qwen2", false, false, "qkv"},   {"qwen3", false, false, ""},    {"qwen3", true, true, "qkvo"},
};

static void assert_biases(const struct graph *g, const char *biased) {
    char found[16] = "";
    for (int i = 0; i < g->linear_count; i++) {
        const struct graph_node *n = &g->node[g->linear[i]];
        const char *dot = strchr(n->row->name, '.');
        if (graph_node_biased(g, n))
            strncat(found, dot + 1, 1);
    }
    ck_assert_str_eq(found, biased);
}

/* What stays plain between two of them takes no round. */
static void assert_kind(const char *config, int64_t layer, const char *expected) {
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    struct model_config c = parse(config);
    ck_assert_ok(blocks_create(&c, &blocks, &err), &err);
    assert_graph(blocks_graph(blocks, layer), expected);
    blocks_free(&blocks);
    config_free(&c);
}

START_TEST(recurrent_mixers_take_two_rounds) {
    assert_kind(
        "{\"model_type\":\"mamba\"}", 0,
        "0 [X]: mixer.in_proj<ATTN_IN/norm\n1 [X SCAN_GATED]: mixer.out_proj<SCAN_GATED+X\n");
    assert_kind("{\"model_type\":\"mamba2\"}", 0,
                "0 [X]: mixer.in_proj<ATTN_IN/norm\n"
                "1 [X SCAN_NORM]: mixer.out_proj<SCAN_NORM+X/mixer.norm\n");
    assert_kind("{\"model_type\":\"recurrent_gemma\"}", 0,
                "0 [X]: temporal_block.linear_x<ATTN_IN/temporal_pre_norm "
                "temporal_block.linear_y<ATTN_IN/temporal_pre_norm\n"
                "1 [X SCAN_GATED]: temporal_block.linear_out<SCAN_GATED+X\n"
                "2 [Y]: mlp_block.gate_proj<MLP_IN/channel_pre_norm "
                "mlp_block.up_proj<MLP_IN/channel_pre_norm\n"
                "3 [Y MID]: mlp_block.down_proj<MID+Y/mlp_block.up_proj\n");
}
END_TEST

START_TEST(families_are_quantized_in_four_rounds) {
    for (size_t i = 0; i < sizeof biases / sizeof biases[0]; i++) {
        char text[256];
        struct blocks *blocks = NULL;
        llmq_error err = {0};
        snprintf(text, sizeof text,
                 "{\"model_type\":\"%s\",\"hidden_size\":48,\"intermediate_size\":80,"
                 "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"head_dim\":8,"
                 "\"num_hidden_layers\":3}",
                 biases[i].model_type);
        struct model_config c = parse(text);
        for (int64_t layer = 0; layer < c.blocks; layer++)
            c.layers[layer] = T_ALWAYS | (biases[i].attention_bias ? T_ATTENTION_BIAS : 0u) |
                              (biases[i].mlp_bias ? T_MLP_BIAS : 0u);
        ck_assert_ok(blocks_create(&c, &blocks, &err), &err);
        assert_graph(&blocks->kinds[0],
                     "0 [X]: self_attn.q_proj<ATTN_IN/input_layernorm "
                     "self_attn.k_proj<ATTN_IN/input_layernorm "
                     "self_attn.v_proj<ATTN_IN/input_layernorm\n"
                     "1 [X CONTEXT]: self_attn.o_proj<CONTEXT+X/self_attn.v_proj\n"
                     "2 [Y]: mlp.gate_proj<MLP_IN/post_attention_layernorm "
                     "mlp.up_proj<MLP_IN/post_attention_layernorm\n"
                     "3 [Y MID]: mlp.down_proj<MID+Y/mlp.up_proj\n");
        assert_biases(&blocks->kinds[0], biases[i].biased);
        blocks_free(&blocks);
        config_free(&c);
    }
}
END_TEST

/* OPT's fc2 reads what relu leaves of fc1; GELU, in GPT-2's place of it, keeps no scale. */
START_TEST(a_scale_passes_relu_and_no_other_activation) {
    static const struct {
        const char *act, *last;
    } rows[] = {{"relu", "3 [Y MID]: fc2<MID+Y/fc1\n"}, {"gelu", "3 [Y MID]: fc2<MID+Y\n"}};
    for (size_t i = 0; i < 2; i++) {
        struct blocks *blocks = NULL;
        llmq_error err = {0};
        char text[128], expected[512];
        snprintf(text, sizeof text, "{\"model_type\":\"opt\",\"activation_function\":\"%s\"}",
                 rows[i].act);
        struct model_config c = parse(text);
        ck_assert_ok(blocks_create(&c, &blocks, &err), &err);
        snprintf(expected, sizeof expected,
                 "0 [X]: self_attn.q_proj<ATTN_IN/self_attn_layer_norm "
                 "self_attn.k_proj<ATTN_IN/self_attn_layer_norm "
                 "self_attn.v_proj<ATTN_IN/self_attn_layer_norm\n"
                 "1 [X CONTEXT]: self_attn.out_proj<CONTEXT+X/self_attn.v_proj\n"
                 "2 [Y]: fc1<MLP_IN/final_layer_norm\n%s",
                 rows[i].last);
        assert_graph(&blocks->kinds[0], expected);
        blocks_free(&blocks);
        config_free(&c);
    }
}
END_TEST

START_TEST(query_heads_share_the_channels_of_their_key_value_head) {
    struct model_config c = parse("{\"model_type\":\"llama\",\"hidden_size\":64,\"head_dim\":8,"
                                  "\"num_attention_heads\":6,\"num_key_value_heads\":2}");
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    ck_assert_ok(blocks_create(&c, &blocks, &err), &err);
    const struct graph *g = &blocks->kinds[0];
    const struct graph_fold fold = graph_fold_find(g, V_CONTEXT);
    ck_assert_int_eq(fold.channels, 16);
    /* Heads 0 to 2 read key-value head 0, heads 3 to 5 read 1. */
    static const int64_t columns[][2] = {{0, 0}, {21, 5}, {29, 13}, {47, 15}};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        ck_assert_int_eq(graph_fold_channel(g, &fold, columns[i][0]), columns[i][1]);
    const struct graph_fold norm = graph_fold_find(g, V_MLP_IN);
    ck_assert_int_eq(norm.channels, 64);
    ck_assert_int_eq(graph_fold_channel(g, &norm, 17), 17);
    blocks_free(&blocks);
    config_free(&c);
}
END_TEST

START_TEST(linears_of_a_model_have_numbers_names_and_shapes) {
    struct model_config c =
        parse("{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,"
              "\"num_key_value_heads\":2,\"head_dim\":24,\"intermediate_size\":80,"
              "\"num_hidden_layers\":3}");
    static const int64_t shapes[7][2] = {{96, 64}, {48, 64}, {48, 64}, {64, 96},
                                         {80, 64}, {80, 64}, {64, 80}};
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    char name[FAMILY_NAME_MAX];
    ck_assert_ok(blocks_create(&c, &blocks, &err), &err);
    ck_assert_int_eq(blocks_linear_count(blocks), 21);
    for (int64_t i = 0; i < 21; i++) {
        const struct linear_place at = blocks_linear_at(blocks, i);
        struct linear_place found = {-1, -1, 0};
        int64_t n = 0, k = 0;
        blocks_linear_shape(blocks, at, &n, &k);
        ck_assert(n == shapes[i % 7][0] && k == shapes[i % 7][1]);
        ck_assert_int_eq(at.block, i / 7);
        ck_assert_int_eq(blocks_linear_number(blocks, at), i);
        ck_assert(blocks_find_linear(blocks, blocks_node_name(blocks, at, "", name), &found));
        ck_assert(found.block == at.block && found.node == at.node && found.expert == -1);
    }
    ck_assert_str_eq(name, "model.layers.2.mlp.down_proj");
    static const char *const others[] = {"model.layers.3.mlp.down_proj",
                                         "model.norm",
                                         "lm_head",
                                         "model.layers.1.input_layernorm",
                                         "model.layers.1.mlp.down_proj.weight",
                                         "model.layers..mlp.down_proj"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct linear_place found;
        ck_assert_msg(!blocks_find_linear(blocks, others[i], &found), "%s", others[i]);
    }
    blocks_free(&blocks);
    config_free(&c);
}
END_TEST

START_TEST(blocks_are_sorted_by_kind) {
    struct model_config c =
        parse("{\"model_type\":\"qwen2\",\"hidden_size\":64,\"num_attention_heads\":4,"
              "\"num_key_value_heads\":2,\"num_hidden_layers\":5,\"sliding_window\":16,"
              "\"use_sliding_window\":true,\"max_window_layers\":3}");
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    ck_assert_ok(blocks_create(&c, &blocks, &err), &err);
    const uint8_t expected[] = {0, 0, 0, 1, 1};
    ck_assert_int_eq(blocks->kind_count, 2);
    ck_assert_mem_eq(blocks->kind_of, expected, sizeof expected);
    ck_assert_uint_eq(blocks->kinds[0].traits & T_WINDOW, 0);
    ck_assert_uint_eq(blocks->kinds[1].traits & T_WINDOW, T_WINDOW);
    blocks_free(&blocks);
    config_free(&c);
}
END_TEST

/* --- other shapes ----------------------------------------------------------------------------- */

START_TEST(parallel_branches_share_a_round) {
    assert_rounds(shape_parallel, 0,
                  "0 [X]: q<ATTN_IN/ln k<ATTN_IN/ln v<ATTN_IN/ln fc1<ATTN_IN/ln\n"
                  "1 [X CONTEXT MID]: dense<CONTEXT+X/v\n"
                  "2 [Y MID]: fc2<MID+Y\n");
}
END_TEST

START_TEST(a_fused_linear_is_folded_through_its_split) {
    struct graph g;
    llmq_error err = {0};
    assert_rounds(shape_fused, 0,
                  "0 [X]: c_attn<ATTN_IN/ln_1\n1 [X CONTEXT]: c_proj<CONTEXT+X/c_attn\n");
    ck_assert_ok(graph_make(shape_fused, T_ALWAYS, &shape_facts, V_X, &g, &err), &err);
    const struct graph_fold fold = graph_fold_find(&g, V_CONTEXT);
    ck_assert_int_eq(fold.channels, 48);
    /* A run of a key-value head: two query heads, a key, a value, of 6 each. */
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 0), 18);
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 6 + 5), 23);   /* second head, same values */
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 12), 24 + 18); /* third: the next run */
}
END_TEST

START_TEST(a_norm_behind_a_branch_hides_the_stream) {
    assert_rounds(shape_post_norm, 0,
                  "0 [X]: self_attn.q_proj<ATTN_IN/input_layernorm "
                  "self_attn.k_proj<ATTN_IN/input_layernorm "
                  "self_attn.v_proj<ATTN_IN/input_layernorm\n"
                  "1 [X CONTEXT]: self_attn.o_proj<CONTEXT/self_attn.v_proj\n");
}
END_TEST

START_TEST(latent_attention_takes_a_round_for_each_bottleneck) {
    struct facts facts = shape_facts;
    struct graph g;
    llmq_error err = {0};
    facts.dims[DIM_KV_HEADS] = 4; /* every head has keys and values of its own */
    ck_assert_ok(graph_make(shape_latent, T_ALWAYS | T_Q_LORA, &facts, V_X, &g, &err), &err);
    ck_assert_int_eq(g.rounds, 3);
    ck_assert_int_eq(find_node(&g, "q_a")->round, 0);
    ck_assert_int_eq(find_node(&g, "kv_a")->round, 0);
    ck_assert_int_eq(find_node(&g, "q_b")->round, 1);
    ck_assert_int_eq(find_node(&g, "kv_b")->round, 1);
    ck_assert_int_eq(find_node(&g, "o")->round, 2);
    ck_assert_int_eq(g.width[V_K], 24);
    ck_assert_int_eq(g.width[V_CONTEXT], 20);
    const enum value kept[] = {V_X, V_Q_A_NORM, V_KV_C_NORM, V_K_PE, V_NONE};
    ck_assert_mem_eq(g.stored[1], kept, sizeof kept);
    const struct graph_fold fold = graph_fold_find(&g, V_CONTEXT);
    ck_assert_str_eq(g.node[fold.producer].row->name, "kv_b");
    /* Head by head: 4 of the key, 5 of the value. */
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 0), 4);
    ck_assert_int_eq(graph_fold_channel(&g, &fold, 5), 9 + 4);
    /* Without the bottleneck its shape_latent are left out and q goes with kv_a. */
    ck_assert_ok(graph_make(shape_latent, T_ALWAYS, &facts, V_X, &g, &err), &err);
    ck_assert_int_eq(find_node(&g, "q")->round, 0);
    ck_assert_int_eq(g.producer[V_Q_A], -1);
}
END_TEST

static bool fold_is_exact(const struct node *rows, enum value source) {
    struct graph g;
    llmq_error err = {0};
    ck_assert_ok(graph_make(rows, T_ALWAYS, &shape_facts, V_X, &g, &err), &err);
    return graph_fold_find(&g, source).exact;
}

START_TEST(what_no_scale_passes_has_no_fold) {
    struct facts facts = shape_facts;
    static const struct node clipped[] = {{NORM(ATTN_IN, X, "ln")},
                                          {LINEAR(Q, ATTN_IN, ATTN, "q")},
                                          {LINEAR(K, ATTN_IN, KV, "k")},
                                          {LINEAR(V, ATTN_IN, KV, "v")},
                                          {CLIP(V_CLIP, V)},
                                          {ATTENTION(CONTEXT, Q, K, V_CLIP)},
                                          {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "o")},
                                          {ADD(Z, X, ATTN_OUT)},
                                          {END}};
    static const struct node on_the_stream[] = {
        GATED_ROWS(X, 0),      {NORM(MLP_POST, MLP_OUT, "post")},
        {ADD(Y, X, MLP_POST)}, {LINEAR(ATTN_OUT, Y, HIDDEN, "o")},
        {ADD(Z, Y, ATTN_OUT)}, {END}};
    assert_folds(clipped, &facts, V_X, "ATTN_IN: ln\nCONTEXT: a bound lies between\n");
    assert_folds(on_the_stream, &facts, V_X,
                 "X: it is part of the residual stream\nMID: mlp.up_proj\n"
                 "Y: it is part of the residual stream\n");
    assert_folds(shape_plain, &facts, V_X,
                 "CONTEXT: a linear that is not quantized makes it\nMLP_IN: ln_2\n"
                 "MID: an activation lies between\n");
    assert_folds(shape_experts, &facts, V_X, "MLP_IN: ln\nMLP_IN: ln\nSHARED_MID: shared.up\n");
    ck_assert(fold_is_exact(shape_experts, V_MLP_IN) &&
              !fold_is_exact(shape_experts, V_SHARED_MID));
    facts.norm = NORM_RMS1;
    assert_folds(shape_experts, &facts, V_X,
                 "MLP_IN: a linear that is not quantized reads it too\n"
                 "MLP_IN: a linear that is not quantized reads it too\nSHARED_MID: shared.up\n");
    facts.norm = NORM_LAYER_BARE;
    assert_folds(shape_fused, &facts, V_X, "ATTN_IN: the norm has no weight\nCONTEXT: c_attn\n");
    facts.act = ACT_CLAMPED;
    assert_folds(shape_expert, &facts, V_E,
                 "E: it is what the block is given\nMID: a bound lies between\n");
}
END_TEST

/* Experts' rows one below the other: a stack without a side for the experts. */
START_TEST(a_flat_stack_has_two_sides) {
    const struct node rows[] = {
        {LINEAR(MID, E, FFN, "w1"), .storage = STORED_STACK, .stack = "w1", .flat = true},
        {LINEAR(E_OUT, MID, HIDDEN, "w2"), .storage = STORED_STACK_T, .stack = "w2", .flat = true},
        {END},
    };
    struct graph g;
    llmq_error err = {0};
    struct graph_param params[GRAPH_PARAMS];
    uint64_t shape[GRAPH_PARAM_RANK];
    const int64_t *d = shape_facts.dims;
    ck_assert_ok(graph_make(rows, T_ALWAYS, &shape_facts, V_E, &g, &err), &err);
    ck_assert_int_eq(graph_params(&g, params), 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(graph_param_shape(&params[i], shape), 2);
        ck_assert_uint_eq(shape[0], (uint64_t)(d[DIM_EXPERTS] * d[DIM_FFN]));
        ck_assert_uint_eq(shape[1], (uint64_t)d[DIM_HIDDEN]);
    }
}
END_TEST

START_TEST(experts_are_one_step) {
    struct graph g;
    llmq_error err = {0};
    assert_rounds(shape_experts, 0,
                  "0 [X]: experts<MLP_IN/ln shared.gate<MLP_IN/ln shared.up<MLP_IN/ln\n"
                  "1 [X ROUTED SHARED_MID SHARED_SWITCH]: shared.down<SHARED_MID/shared.up\n");
    /* The expert is a block of its own kind. */
    ck_assert_ok(graph_make(shape_expert, T_ALWAYS, &shape_facts, V_E, &g, &err), &err);
    ck_assert_int_eq(g.rounds, 2);
    ck_assert_str_eq(g.node[graph_fold_find(&g, V_MID).producer].row->name, "w3");
}
END_TEST

/* --- rows that make no block ------------------------------------------------------------------ */

static void assert_refused(const struct node *rows, const char *part) {
    struct graph g;
    llmq_error err = {0};
    ck_assert_fails(graph_make(rows, T_ALWAYS, &shape_facts, V_X, &g, &err), LLMQ_E_UNSUPPORTED,
                    part, &err);
}

START_TEST(rows_that_make_no_block_are_refused) {
    assert_refused((const struct node[]){{LINEAR(Q, ATTN_IN, ATTN, "q")}, {END}},
                   "the linear that makes Q: it reads what was not made before");
    assert_refused((const struct node[]){{NORM(ATTN_IN, X, "a")}, {NORM(ATTN_IN, X, "b")}, {END}},
                   "the norm that makes ATTN_IN: the value was made before");
    assert_refused((const struct node[]){{NORM(ATTN_IN, X, "a")}, {NORM(Z, X, "b")}, {END}},
                   "the norm that makes ATTN_IN: nothing reads it");
    assert_refused((const struct node[]){{LINEAR(UP, X, FFN, "up")}, {ADD(Z, X, UP)}, {END}},
                   "the add that makes Z: it adds values of different widths");
    assert_refused((const struct node[]){{LINEAR(Z, X, HIDDEN, "up"), .shared = true}, {END}},
                   "the linear that makes Z: several blocks have it: it stays plain");
    assert_refused((const struct node[]){{LINEAR(UP, X, NONE, "up")}, {ADD(Z, X, UP)}, {END}},
                   "the linear that makes UP: it has no width");
    assert_refused((const struct node[]){{LINEAR(GATE_UP, X, FFN2, "both")},
                                         {SPLIT(GATE_UP, ONE), .out = {V_GATE, V_UP},
                                          .width = {DIM_FFN, DIM_EXPERT_FFN}},
                                         {GLU(Z, GATE, UP)},
                                         {END}},
                   "the split that makes GATE: its parts do not add up");
}
END_TEST

int main(void) {
    Suite *s = suite_create("graph");
    TCase *t = tcase_create("graph");
    tcase_add_test(t, families_are_quantized_in_four_rounds);
    tcase_add_test(t, a_scale_passes_relu_and_no_other_activation);
    tcase_add_test(t, query_heads_share_the_channels_of_their_key_value_head);
    tcase_add_test(t, linears_of_a_model_have_numbers_names_and_shapes);
    tcase_add_test(t, blocks_are_sorted_by_kind);
    tcase_add_test(t, parallel_branches_share_a_round);
    tcase_add_test(t, a_fused_linear_is_folded_through_its_split);
    tcase_add_test(t, a_norm_behind_a_branch_hides_the_stream);
    tcase_add_test(t, latent_attention_takes_a_round_for_each_bottleneck);
    tcase_add_test(t, a_flat_stack_has_two_sides);
    tcase_add_test(t, experts_are_one_step);
    tcase_add_test(t, recurrent_mixers_take_two_rounds);
    tcase_add_test(t, what_no_scale_passes_has_no_fold);
    tcase_add_test(t, rows_that_make_no_block_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
