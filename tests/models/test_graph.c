/* What is derived from a block's rows: for the families against their older tables, entry by entry;
 * for the shapes that other families have (parallel branches, fused linears, norms behind the
 * branches, latent attention, experts) against what the data flow of such a block means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "models/blocks.h"
#include "models/fold.h"
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

static const struct graph_node *find_node(const struct graph *g, const char *name) {
    for (int i = 0; i < g->count; i++)
        if (g->node[i].row->name && strcmp(g->node[i].row->name, name) == 0)
            return &g->node[i];
    ck_abort_msg("no row takes %s", name);
}

static enum value source_of(const struct graph *g, const char *name) {
    return find_node(g, name)->in[0];
}

static void compare_linear(const struct model_config *c, const struct graph *g,
                           enum linear_role role) {
    const struct family_linear *old = &c->family->linears[role];
    const struct graph_node *n = find_node(g, old->name);
    int64_t rows = 0, columns = 0;
    config_linear_shape(c, role, &rows, &columns);
    ck_assert_int_eq(n->width[0], rows);
    ck_assert_int_eq(g->width[n->in[0]], columns);
    ck_assert_int_eq(n->round, (int)old->stage);
    ck_assert_int_eq(graph_node_biased(g, n), config_linear_bias(c, role));
    ck_assert(graph_node_quantized(n));
    const bool adds = role == LINEAR_O || role == LINEAR_DOWN;
    ck_assert_int_eq(n->stream, role == LINEAR_O ? V_X : adds ? V_Y : V_NONE);
}

static const char *old_producer(const struct family *f, const struct family_fold *fold) {
    return fold->producer == FOLD_LINEAR           ? f->linears[fold->linear].name
           : fold->producer == FOLD_ATTENTION_NORM ? "input_layernorm"
                                                   : "post_attention_layernorm";
}

static void compare_fold(const struct model_config *c, const struct graph *g,
                         enum block_stage stage) {
    const struct family *f = c->family;
    const struct family_fold *old = &f->folds[stage];
    enum linear_role first = 0;
    while (f->linears[first].stage != stage)
        first++;
    const enum value source = source_of(g, f->linears[first].name);
    const struct graph_fold fold = graph_fold_find(g, source);
    ck_assert_int_ge(fold.producer, 0);
    ck_assert_str_eq(g->node[fold.producer].row->name, old_producer(f, old));
    ck_assert_int_eq(fold.channels, fold_channels(c, stage));
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++) {
        const int64_t index = find_node(g, f->linears[role].name) - g->node;
        ck_assert_int_eq(fold.consumers >> index & 1, (old->consumers & FOLD_ROLE(role)) != 0);
    }
    for (int64_t column = 0; column < g->width[source]; column++)
        ck_assert_int_eq(graph_fold_channel(g, &fold, column), fold_channel(c, stage, column));
}

static void compare_family(const struct model_config *c) {
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    ck_assert_ok(blocks_create(c, &blocks, &err), &err);
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        ck_assert_int_eq(g->rounds, STAGE_COUNT);
        ck_assert_int_eq(g->output, V_Z);
        for (enum linear_role role = 0; role < LINEAR_COUNT; role++)
            compare_linear(c, g, role);
        for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++)
            compare_fold(c, g, stage);
        const enum value stored[STAGE_COUNT][3] = {{V_X}, {V_X, V_CONTEXT}, {V_Y}, {V_Y, V_MID}};
        for (int round = 0; round < STAGE_COUNT; round++)
            ck_assert_mem_eq(g->stored[round], stored[round], sizeof stored[round]);
    }
    free(blocks);
}

START_TEST(families_derive_what_their_tables_said) {
    for (int i = 0; family_at(i); i++)
        for (int bits = 0; bits < 8; bits++) {
            char text[256];
            snprintf(text, sizeof text,
                     "{\"model_type\":\"%s\",\"hidden_size\":48,\"intermediate_size\":80,"
                     "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"head_dim\":8,"
                     "\"num_hidden_layers\":3}",
                     family_at(i)->model_types[0]);
            struct model_config c = parse(text);
            c.attention_bias = bits & 1;
            c.mlp_bias = bits & 2;
            c.slides[1] = bits & 4;
            compare_family(&c);
        }
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
    free(blocks);
}
END_TEST

/* --- other shapes ----------------------------------------------------------------------------- */

static void tell_linear(const struct graph *g, const struct graph_node *n, struct strbuf *b) {
    const struct graph_fold fold = graph_fold_find(g, n->in[0]);
    strbuf_printf(b, " %s<%s", n->row->name, schema_value_name(n->in[0]));
    if (n->stream != V_NONE)
        strbuf_printf(b, "+%s", schema_value_name(n->stream));
    if (fold.producer >= 0)
        strbuf_printf(b, "/%s", g->node[fold.producer].row->name);
}

/* "0 [X]: a<ATTN_IN/ln_1 b<...": for each round what is kept, and each linear with what it reads,
 * the stream that it adds to and what its columns' scale is divided out of. */
static void assert_rounds(const struct node *rows, unsigned traits, const char *expected) {
    struct graph *g = malloc(sizeof *g);
    struct strbuf b = {0};
    llmq_error err = {0};
    ck_assert_ptr_nonnull(g);
    ck_assert_ok(graph_make(rows, T_ALWAYS | traits, shape_sizes, V_X, g, &err), &err);
    for (int round = 0; round < g->rounds; round++) {
        strbuf_printf(&b, "%d [", round);
        for (int s = 0; g->stored[round][s] != V_NONE; s++)
            strbuf_printf(&b, "%s%s", s ? " " : "", schema_value_name(g->stored[round][s]));
        strbuf_puts(&b, "]:");
        for (int i = 0; i < g->count; i++)
            if (g->node[i].round == round && graph_node_quantized(&g->node[i]))
                tell_linear(g, &g->node[i], &b);
        strbuf_puts(&b, "\n");
    }
    ck_assert_str_eq(b.data, expected);
    strbuf_free(&b);
    free(g);
}

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
    ck_assert_ok(graph_make(shape_fused, T_ALWAYS, shape_sizes, V_X, &g, &err), &err);
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
    int64_t dims[DIM_COUNT];
    struct graph g;
    llmq_error err = {0};
    memcpy(dims, shape_sizes, sizeof dims);
    dims[DIM_KV_HEADS] = 4; /* every head has keys and values of its own */
    ck_assert_ok(graph_make(shape_latent, T_ALWAYS | T_Q_LORA, dims, V_X, &g, &err), &err);
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
    ck_assert_ok(graph_make(shape_latent, T_ALWAYS, dims, V_X, &g, &err), &err);
    ck_assert_int_eq(find_node(&g, "q")->round, 0);
    ck_assert_int_eq(g.producer[V_Q_A], -1);
}
END_TEST

START_TEST(experts_are_one_step_and_share_a_scale_with_the_router) {
    struct graph g;
    llmq_error err = {0};
    assert_rounds(shape_experts, 0,
                  "0 [X]: experts<MLP_IN/ln shared.gate<MLP_IN/ln shared.up<MLP_IN/ln\n"
                  "1 [Y_ROUTED SHARED_MID SHARED_SWITCH]: shared.down<SHARED_MID/shared.up\n");
    ck_assert_ok(graph_make(shape_experts, T_ALWAYS, shape_sizes, V_X, &g, &err), &err);
    const struct graph_fold fold = graph_fold_find(&g, V_MLP_IN);
    const char *const readers[] = {"gate", "experts", "shared.gate", "shared.up", "switch"};
    uint64_t expected = 0;
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        expected |= UINT64_C(1) << (find_node(&g, readers[i]) - g.node);
    ck_assert_uint_eq(fold.consumers, expected);
    /* The expert is a block of its own kind. */
    ck_assert_ok(graph_make(shape_expert, T_ALWAYS, shape_sizes, V_E, &g, &err), &err);
    ck_assert_int_eq(g.rounds, 2);
    ck_assert_str_eq(g.node[graph_fold_find(&g, V_MID).producer].row->name, "w3");
}
END_TEST

/* --- rows that make no block ------------------------------------------------------------------ */

static void assert_refused(const struct node *rows, const char *part) {
    struct graph g;
    llmq_error err = {0};
    ck_assert_fails(graph_make(rows, T_ALWAYS, shape_sizes, V_X, &g, &err), LLMQ_E_UNSUPPORTED,
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
    tcase_add_test(t, families_derive_what_their_tables_said);
    tcase_add_test(t, blocks_are_sorted_by_kind);
    tcase_add_test(t, parallel_branches_share_a_round);
    tcase_add_test(t, a_fused_linear_is_folded_through_its_split);
    tcase_add_test(t, a_norm_behind_a_branch_hides_the_stream);
    tcase_add_test(t, latent_attention_takes_a_round_for_each_bottleneck);
    tcase_add_test(t, experts_are_one_step_and_share_a_scale_with_the_router);
    tcase_add_test(t, rows_that_make_no_block_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
