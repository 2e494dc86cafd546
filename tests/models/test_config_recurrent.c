/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json says of recurrent layers: which they are, limits that may be infinite, lists of
 * numbers, sizes that follow from others. */
#include <math.h>
#include <stdlib.h>

#include "models/config_rows.h"

#define LIMIT(x) "\"time_step_limit\":" x

START_TEST(limits_may_be_infinite_in_either_spelling) {
    static const struct {
        const char *members;
        double min, max;
    } rows[] = {
        {"", 0, (double)INFINITY},
        {LIMIT("null"), 0, (double)INFINITY},
        {LIMIT("[0.0, Infinity]"), 0, (double)INFINITY},
        {LIMIT("[0.0, {\"__float__\": \"Infinity\"}]"), 0, (double)INFINITY},
        {LIMIT("[0.001, 0.1]"), 0.001, 0.1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_double_eq(number_of("granitemoehybrid", rows[i].members, NUM_STEP_MIN),
                            rows[i].min);
        const double max = number_of("granitemoehybrid", rows[i].members, NUM_STEP_MAX);
        ck_assert(!(max < rows[i].max) && !(max > rows[i].max));
    }
}
END_TEST

START_TEST(limits_that_are_none_are_refused_by_name) {
    static const char *const model = "granitemoehybrid";
    const struct row rows[] = {
        {model, LIMIT("5"), WRONG("'time_step_limit' is 5: expected a list of 2")},
        {model, LIMIT("[0.0]"), WRONG("'time_step_limit' is [0]: expected a list of 2")},
        {model, LIMIT("[0.0, 1.0, 2.0]"), WRONG("expected a list of 2")},
        {model, LIMIT("{\"__float__\": \"Infinity\"}"), WRONG("expected a list of 2")},
        {model, LIMIT("[0.0, null]"), WRONG("'time_step_limit[1]' is null")},
        {model, LIMIT("[0.0, NaN]"), WRONG("'time_step_limit[1]' is null")},
        {model, LIMIT("[0.0, -Infinity]"), WRONG("'time_step_limit[1]' is ")},
        {model, LIMIT("[0.0, \"Infinity\"]"), WRONG("'time_step_limit[1]' is \"Infinity\"")},
        {model, LIMIT("[0.0, {\"__float__\": \"NaN\"}]"), WRONG("'time_step_limit[1]' is {")},
        {model, LIMIT("[0.0, {\"__float__\": \"-Infinity\"}]"), WRONG("'time_step_limit[1]'")},
        {model, LIMIT("[0.0, {\"__float__\": \"infinity\"}]"), WRONG("'time_step_limit[1]'")},
        {model, LIMIT("[0.0, {\"__float__\": \"1e9\"}]"), WRONG("'time_step_limit[1]'")},
        {model, LIMIT("[0.0, {\"__float__\": 1}]"), WRONG("'time_step_limit[1]'")},
        {model, LIMIT("[0.0, {\"__float__\": \"Infinity\", \"a\": 1}]"), WRONG("[1]'")},
        {model, LIMIT("[Infinity, Infinity]"), WRONG("'time_step_limit[0]' is ")},
        /* only a limit may be infinite */
        {model, "\"rms_norm_eps\":Infinity", WRONG("'rms_norm_eps'")},
        {model, "\"rms_norm_eps\":{\"__float__\":\"Infinity\"}", WRONG("'rms_norm_eps'")},
        {model, "\"mamba_d_state\":{\"__float__\":\"Infinity\"}", WRONG("'mamba_d_state'")},
        {"llama", "\"rope_theta\":{\"__float__\":\"Infinity\"}", WRONG("rope_theta")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(sizes_that_are_automatic_follow_from_others) {
    ck_assert_int_eq(dim_of("granitemoehybrid", "", DIM_SSM_HEAD), 4096 * 2 / 128);
    ck_assert_int_eq(dim_of("granitemoehybrid", "\"mamba_d_head\":\"auto\"", DIM_SSM_X), 8192);
    ck_assert_int_eq(dim_of("granitemoehybrid",
                            "\"mamba_d_head\":\"auto\",\"mamba_expand\":1,\"mamba_n_heads\":64",
                            DIM_SSM_HEAD),
                     64);
    static const struct row rows[] = {
        {"granitemoehybrid", "\"mamba_d_head\":\"half\"", WRONG("'mamba_d_head' is \"half\"")},
        {"granitemoehybrid", "\"mamba_d_state\":\"auto\"", WRONG("'mamba_d_state' is \"auto\"")},
    };
    CHECK(rows);
}
END_TEST

#define TWO_LAYERS(types) "\"num_hidden_layers\":2,\"layer_types\":" types

START_TEST(layers_are_recurrent_by_the_words_of_both_versions) {
    static const char *const configs[] = {TWO_LAYERS("[\"mamba\",\"attention\"]"),
                                          TWO_LAYERS("[\"linear_attention\",\"full_attention\"]")};
    for (int i = 0; i < 2; i++) {
        ck_assert(traits_of("granitemoehybrid", configs[i], 0) & T_RECURRENT);
        ck_assert(!(traits_of("granitemoehybrid", configs[i], 1) & T_RECURRENT));
    }
    static const struct row rows[] = {
        {"granitemoehybrid", TWO_LAYERS("[\"mamba\",\"mamba2\"]"), REFUSED("\"mamba2\"")},
        {"granitemoehybrid", TWO_LAYERS("[\"mamba\"]"), WRONG("1 entries for 2 layers")},
        {"granitemoehybrid", "\"position_embedding_type\":\"alibi\"", REFUSED("rope or nope")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(layers_are_of_the_kind_that_a_letter_says) {
    static const char letters[] = "\"hybrid_override_pattern\":\"M-*E\"";
    static const char words[] =
        "\"layers_block_type\":[\"linear_attention\",\"mlp\",\"full_attention\",\"moe\"]";
    static const trait_set kinds[] = {T_RECURRENT, T_DENSE, 0, T_SPARSE};
    const trait_set all = T_RECURRENT | T_DENSE | T_SPARSE;
    ck_assert_int_eq(dim_of("nemotron_h", letters, DIM_LAYERS), 4);
    ck_assert_int_eq(dim_of("nemotron_h", words, DIM_LAYERS), 4);
    for (int i = 0; i < 4; i++) {
        ck_assert((traits_of("nemotron_h", letters, i) & all) == kinds[i]);
        ck_assert((traits_of("nemotron_h", words, i) & all) == kinds[i]);
    }
    static const struct row rows[] = {
        {"nemotron_h", "\"hybrid_override_pattern\":\"M-X\"",
         REFUSED("'hybrid_override_pattern' has \"M-X\" for layer 2: expected one of M, *, -, E")},
        {"nemotron_h", "\"hybrid_override_pattern\":\"\"", WRONG("not empty")},
        {"nemotron_h", "\"hybrid_override_pattern\":4", WRONG("expected a list or a text")},
        {"nemotron_h", "\"hybrid_override_pattern\":[\"M\"]", WRONG("expected a letter")},
        {"nemotron_h", "\"layers_block_type\":\"M\"", WRONG("expected a list")},
        {"nemotron_h", "\"layers_block_type\":[\"mamba\",\"window\"]", REFUSED("\"window\"")},
        {"nemotron_h", "\"layers_block_type\":[\"mamba\"],\"num_hidden_layers\":52", GOOD},
        {"nemotron_h", "\"moe_latent_size\":64", REFUSED("moe_latent_size")},
        {"nemotron_h", "\"n_shared_experts\":2", REFUSED("n_shared_experts")},
        {"nemotron_h", "\"mamba_hidden_act\":\"gelu\"", REFUSED("mamba_hidden_act")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(every_factor_has_its_entry) {
    static const char five[] = "\"ssm_multipliers\":[0.5,1.5,2.5,3.5,4.5]";
    ck_assert_double_eq(number_of("falcon_h1", five, NUM_MIX_Z), 0.5);
    ck_assert_double_eq(number_of("falcon_h1", five, NUM_MIX_DT), 4.5);
    ck_assert_double_eq(number_of("falcon_h1", "\"ssm_multipliers\":null", NUM_MIX_B), 1);
    ck_assert_double_eq(number_of("falcon_h1", "\"key_multiplier\":null", NUM_KEY), 1);
    ck_assert_int_eq(dim_of("falcon_h1", "\"mamba_d_ssm\":null", DIM_SSM_X), 8192);
    ck_assert_int_eq(dim_of("falcon_h1", "", DIM_SSM_X), 1024);
    static const struct row rows[] = {
        {"falcon_h1", "\"ssm_multipliers\":[1,1,1,1]", WRONG("expected a list of 5")},
        {"falcon_h1", "\"mlp_multipliers\":[1,1,1]", WRONG("expected a list of 2")},
        {"falcon_h1", "\"mlp_multipliers\":[1,\"x\"]", WRONG("'mlp_multipliers[1]' is \"x\"")},
        {"llama", "\"mlp_multipliers\":[1,2]", REFUSED("mlp_multipliers")},
        {"mamba2", "\"norm_before_gate\":true", REFUSED("norm_before_gate")},
        {"mamba2", "\"rms_norm\":false", REFUSED("rms_norm")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(layers_take_turns_by_period_and_remainder) {
    static const trait_set all = T_RECURRENT | T_SPARSE;
    static const trait_set kinds[] = {T_RECURRENT, T_RECURRENT | T_SPARSE, T_RECURRENT, T_SPARSE};
    static const char own[] = "\"attn_layer_period\":4,\"attn_layer_offset\":3";
    for (int i = 0; i < 4; i++)
        ck_assert((traits_of("jamba", own, i) & all) == (kinds[i] & all));
    ck_assert(!(traits_of("jamba", "", 12) & T_RECURRENT));
    ck_assert(traits_of("jamba", "", 11) & T_SPARSE);
    ck_assert(!(traits_of("jamba", "\"num_experts\":1,\"num_experts_per_tok\":1", 11) & T_SPARSE));
    static const struct row rows[] = {
        {"jamba", "\"attn_layer_period\":4,\"attn_layer_offset\":4",
         WRONG("'attn_layer_offset' is 4: expected less than 'attn_layer_period', 4")},
        {"llama", "\"attn_layer_period\":4", REFUSED("attn_layer_period")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(layers_take_turns_by_a_list_that_begins_anew) {
    static const char two[] = "\"block_types\":[\"attention\",\"recurrent\"]";
    for (int i = 0; i < 6; i++) {
        ck_assert(!(traits_of("recurrent_gemma", "", i) & T_RECURRENT) == (i % 3 == 2));
        ck_assert(!(traits_of("recurrent_gemma", two, i) & T_RECURRENT) == (i % 2 == 0));
    }
    static const struct row rows[] = {
        {"recurrent_gemma", "\"block_types\":[\"recurrent\",\"mlp\"]", REFUSED("\"mlp\"")},
        {"recurrent_gemma", "\"block_types\":\"recurrent\"", WRONG("expected a list")},
    };
    CHECK(rows);
    /* transformers keeps the square root of 2560 in bfloat16 */
    ck_assert_double_eq(number_of("recurrent_gemma", "", NUM_EMBED), 50.5);
    ck_assert_int_eq(dim_of("recurrent_gemma", "", DIM_FFN), 3840);
}
END_TEST

START_TEST(ranks_follow_from_the_hidden_size) {
    ck_assert_int_eq(dim_of("mamba", "", DIM_SSM_RANK), 48);
    ck_assert_int_eq(dim_of("mamba", "\"hidden_size\":100", DIM_SSM_RANK), 7);
    ck_assert_int_eq(dim_of("mamba", "\"time_step_rank\":\"auto\"", DIM_SSM_RANK), 48);
    ck_assert_int_eq(dim_of("mamba", "\"time_step_rank\":12", DIM_SSM_DBC), 12 + 2 * 16);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config of recurrent layers");
    TCase *t = tcase_create("recurrent");
    tcase_add_test(t, limits_may_be_infinite_in_either_spelling);
    tcase_add_test(t, limits_that_are_none_are_refused_by_name);
    tcase_add_test(t, sizes_that_are_automatic_follow_from_others);
    tcase_add_test(t, layers_are_recurrent_by_the_words_of_both_versions);
    tcase_add_test(t, layers_are_of_the_kind_that_a_letter_says);
    tcase_add_test(t, every_factor_has_its_entry);
    tcase_add_test(t, layers_take_turns_by_period_and_remainder);
    tcase_add_test(t, layers_take_turns_by_a_list_that_begins_anew);
    tcase_add_test(t, ranks_follow_from_the_hidden_size);
    suite_add_tcase(s, t);
    return run_suite(s);
}
