/* SPDX-License-Identifier: Apache-2.0 */
/* What is derived from rows of layers that have two of something, or share it with others: two
 * attentions, heads in pairs, blocks that take turns with a set of tensors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/blocks.h"
#include "models/graph_told.h"
#include "models/parts.h"
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

static struct blocks *create(const struct model_config *c) {
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    ck_assert_ok(blocks_create(c, &blocks, &err), &err);
    return blocks;
}

/* What experts sum up to is kept to the layer's end, as one value after the round behind theirs. */
START_TEST(two_attentions_of_a_layer_are_quantized_one_after_the_other) {
    struct model_config c = parse("{\"model_type\":\"longcat_flash\"}");
    struct blocks *blocks = create(&c);
    assert_graph(
        blocks_graph(blocks, 0),
        "0 [X]: self_attn.0.q_a_proj<ATTN_IN/input_layernorm.0 "
        "self_attn.0.kv_a_proj_with_mqa<ATTN_IN/input_layernorm.0\n"
        "1 [X Q_A_NORM KV_C_NORM K_PE]: self_attn.0.q_b_proj<Q_A_NORM/self_attn.0.q_a_layernorm "
        "self_attn.0.kv_b_proj<KV_C_NORM/self_attn.0.kv_a_layernorm\n"
        "2 [X CONTEXT]: self_attn.0.o_proj<CONTEXT+X/self_attn.0.kv_b_proj\n"
        "3 [Y ROUTE IDLE_OUT]: mlp.experts.%d.<MLP_IN mlps.0.gate_proj<MLP_IN "
        "mlps.0.up_proj<MLP_IN\n"
        "4 [Y MID ROUTED IDLE_OUT]: mlps.0.down_proj<MID+Y/mlps.0.up_proj\n"
        "5 [SHORTCUT 2_X]: self_attn.1.q_a_proj<2_ATTN_IN/input_layernorm.1 "
        "self_attn.1.kv_a_proj_with_mqa<2_ATTN_IN/input_layernorm.1\n"
        "6 [SHORTCUT 2_X 2_Q_A_NORM 2_KV_C_NORM 2_K_PE]: "
        "self_attn.1.q_b_proj<2_Q_A_NORM/self_attn.1.q_a_layernorm "
        "self_attn.1.kv_b_proj<2_KV_C_NORM/self_attn.1.kv_a_layernorm\n"
        "7 [SHORTCUT 2_X 2_CONTEXT]: self_attn.1.o_proj<2_CONTEXT+2_X/self_attn.1.kv_b_proj\n"
        "8 [SHORTCUT 2_Y]: mlps.1.gate_proj<2_MLP_IN/post_attention_layernorm.1 "
        "mlps.1.up_proj<2_MLP_IN/post_attention_layernorm.1\n"
        "9 [SHORTCUT 2_Y 2_MID]: mlps.1.down_proj<2_MID+2_Y/mlps.1.up_proj\n");
    blocks_free(&blocks);
    config_free(&c);
}
END_TEST

START_TEST(each_of_two_attentions_is_merged_by_itself) {
    struct model_config c = parse("{\"model_type\":\"longcat_flash\",\"num_layers\":1,"
                                  "\"n_routed_experts\":2,\"moe_topk\":2}");
    struct blocks *blocks = create(&c);
    char merged[256] = "", name[FAMILY_NAME_MAX];
    for (int64_t i = 0; i < blocks_linear_count(blocks); i++) {
        const struct linear_place at = blocks_linear_at(blocks, i);
        if (at.expert < 0 && part_merged_with_next(blocks, i))
            strcat(merged, blocks_node_name(blocks, at, " ", name));
    }
    ck_assert_str_eq(merged,
                     "model.layers.0.self_attn.0.q_a_proj model.layers.0.mlps.0.gate_proj "
                     "model.layers.0.self_attn.1.q_a_proj model.layers.0.mlps.1.gate_proj ");
    blocks_free(&blocks);
    config_free(&c);
}
END_TEST

/* Names of the tensors of a block: of its norm, of a shared linear, of an adapter, of its own. */
static void assert_shared(const struct blocks *b, int64_t block, const char *home, int turn) {
    const struct graph *g = blocks_graph(b, block);
    struct graph_param params[GRAPH_PARAMS];
    char found[FAMILY_NAME_MAX], want[FAMILY_NAME_MAX];
    int shared = 0, owned = 0;
    for (int i = graph_params(g, params) - 1; i >= 0; i--) {
        const char *name = params[i].name, *number = strstr(name, "%d");
        blocks_param_name(b, block, -1, &params[i], found);
        if (!params[i].shared)
            snprintf(want, sizeof want, "model.layers.%d.%s%s", (int)block, name, params[i].suffix);
        else if (number)
            snprintf(want, sizeof want, "model.layers.%s.%.*s%d%s%s", home, (int)(number - name),
                     name, turn, number + 2, params[i].suffix);
        else
            snprintf(want, sizeof want, "model.layers.%s.%s%s", home, name, params[i].suffix);
        ck_assert_str_eq(found, want);
        shared += params[i].shared;
        owned += params[i].shared && blocks_param_owned(b, block, &params[i]);
    }
    ck_assert_int_eq(shared, 10); /* two of them of adapters */
    ck_assert_int_eq(owned, block == strtol(home, NULL, 10) ? 10 : 2);
}

START_TEST(blocks_that_take_turns_share_tensors) {
    struct model_config c = parse("{\"model_type\":\"zamba2\",\"num_hidden_layers\":6,"
                                  "\"num_mem_blocks\":2,\"layers_block_type\":[\"mamba\","
                                  "\"hybrid\",\"hybrid\",\"mamba\",\"hybrid\",\"hybrid\"]}");
    struct blocks *blocks = create(&c);
    struct linear_place at;
    assert_shared(blocks, 1, "1", 0);
    assert_shared(blocks, 2, "2", 1);
    assert_shared(blocks, 4, "1", 2);
    assert_shared(blocks, 5, "2", 3);
    ck_assert_int_eq(blocks->home[3], -1);
    ck_assert(
        !blocks_find_linear(blocks, "model.layers.1.shared_transformer.self_attn.q_proj", &at));
    ck_assert(blocks_find_linear(blocks, "model.layers.4.linear", &at));
    blocks_free(&blocks);
    config_free(&c);
}
END_TEST

START_TEST(heads_that_make_no_pairs_are_refused) {
    struct model_config c = parse("{\"model_type\":\"diffllama\",\"num_key_value_heads\":1}");
    struct blocks *blocks = NULL;
    llmq_error err = {0};
    ck_assert_int_eq(blocks_create(&c, &blocks, &err), LLMQ_E_UNSUPPORTED);
    ck_assert_str_eq(err.message, "diffllama: the split that makes V_LEFT: it has no width");
    config_free(&c);
}
END_TEST

int main(void) {
    Suite *s = suite_create("graphs of layers that have two of something");
    TCase *t = tcase_create("graph_twice");
    tcase_add_test(t, two_attentions_of_a_layer_are_quantized_one_after_the_other);
    tcase_add_test(t, each_of_two_attentions_is_merged_by_itself);
    tcase_add_test(t, blocks_that_take_turns_share_tensors);
    tcase_add_test(t, heads_that_make_no_pairs_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
