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
        {"", 0, INFINITY},
        {LIMIT("null"), 0, INFINITY},
        {LIMIT("[0.0, Infinity]"), 0, INFINITY},
        {LIMIT("[0.0, {\"__float__\": \"Infinity\"}]"), 0, INFINITY},
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

int main(void) {
    Suite *s = suite_create("config of recurrent layers");
    TCase *t = tcase_create("recurrent");
    tcase_add_test(t, limits_may_be_infinite_in_either_spelling);
    tcase_add_test(t, limits_that_are_none_are_refused_by_name);
    tcase_add_test(t, sizes_that_are_automatic_follow_from_others);
    tcase_add_test(t, layers_are_recurrent_by_the_words_of_both_versions);
    suite_add_tcase(s, t);
    return run_suite(s);
}
