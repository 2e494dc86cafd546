/* Fold tables: every family's is complete, channels follow the heads, and a table that forgets a
 * reader or names a wrong producer is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/fold.h"
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

START_TEST(every_family_folds_all_its_stages) {
    llmq_error err = {0};
    for (int i = 0; family_at(i); i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", family_at(i)->model_types[0]);
        struct model_config c = parse(text);
        for (enum block_stage s = 0; s < STAGE_COUNT; s++) {
            ck_assert_int_ne(c.family->folds[s].producer, FOLD_NONE);
            ck_assert_ok(fold_check(&c, s, &err), &err);
        }
    }
}
END_TEST

START_TEST(query_heads_share_the_channels_of_their_key_value_head) {
    struct model_config c = parse("{\"model_type\":\"llama\",\"hidden_size\":64,\"head_dim\":8,"
                                  "\"num_attention_heads\":6,\"num_key_value_heads\":2}");
    llmq_error err = {0};
    ck_assert_int_eq(fold_channels(&c, STAGE_ATTENTION_IN), 64);
    ck_assert_int_eq(fold_channels(&c, STAGE_ATTENTION_OUT), 16);
    ck_assert_int_eq(fold_channels(&c, STAGE_MLP_OUT), c.intermediate);
    ck_assert_ok(fold_check(&c, STAGE_ATTENTION_OUT, &err), &err);
    /* Heads 0 to 2 read key-value head 0, heads 3 to 5 read 1. */
    ck_assert_int_eq(fold_channel(&c, STAGE_ATTENTION_OUT, 0), 0);
    ck_assert_int_eq(fold_channel(&c, STAGE_ATTENTION_OUT, 2 * 8 + 5), 5);
    ck_assert_int_eq(fold_channel(&c, STAGE_ATTENTION_OUT, 3 * 8 + 5), 8 + 5);
    ck_assert_int_eq(fold_channel(&c, STAGE_ATTENTION_OUT, 5 * 8 + 7), 15);
    ck_assert_int_eq(fold_channel(&c, STAGE_MLP_IN, 17), 17);
}
END_TEST

/* The table with one entry changed is refused with this message. */
static void assert_refused(enum block_stage stage, struct family_fold fold, const char *part) {
    llmq_error err = {0};
    struct model_config c = parse("{\"model_type\":\"llama\"}");
    struct family broken = *c.family;
    broken.folds[stage] = fold;
    c.family = &broken;
    ck_assert_fails(fold_check(&c, stage, &err), LLMQ_E_UNSUPPORTED, part, &err);
}

START_TEST(an_incomplete_or_wrong_table_is_refused) {
    const struct family *f = family_find("llama");
    struct family_fold fold = f->folds[STAGE_ATTENTION_IN];
    fold.consumers &= ~FOLD_ROLE(LINEAR_V);
    assert_refused(STAGE_ATTENTION_IN, fold, "self_attn.v_proj reads it, but the family's table");
    fold.consumers |= FOLD_ROLE(LINEAR_V) | FOLD_ROLE(LINEAR_O);
    assert_refused(STAGE_ATTENTION_IN, fold, "self_attn.o_proj does not read it");
    fold = f->folds[STAGE_ATTENTION_IN];
    fold.producer = FOLD_MLP_NORM;
    assert_refused(STAGE_ATTENTION_IN, fold, "does not reach");
    fold = f->folds[STAGE_MLP_OUT];
    fold.linear = LINEAR_GATE; /* its scale would have to pass the activation */
    assert_refused(STAGE_MLP_OUT, fold, "folding mlp.gate_proj: its scale does not reach");
    fold = f->folds[STAGE_MLP_OUT];
    fold.linear = LINEAR_V;
    assert_refused(STAGE_MLP_OUT, fold, "does not reach");
}
END_TEST

START_TEST(channels_that_do_not_match_the_columns_are_refused) {
    llmq_error err = {0};
    struct model_config c = parse("{\"model_type\":\"llama\",\"hidden_size\":64,\"head_dim\":8,"
                                  "\"num_attention_heads\":6,\"num_key_value_heads\":2}");
    struct family plain = *c.family;
    plain.folds[STAGE_ATTENTION_OUT].map = FOLD_SAME; /* 16 channels, 48 columns */
    c.family = &plain;
    ck_assert_fails(fold_check(&c, STAGE_ATTENTION_OUT, &err), LLMQ_E_UNSUPPORTED,
                    "16 columns of self_attn.o_proj expected, 48 found", &err);
}
END_TEST

int main(void) {
    Suite *s = suite_create("fold");
    TCase *t = tcase_create("fold");
    tcase_add_test(t, every_family_folds_all_its_stages);
    tcase_add_test(t, query_heads_share_the_channels_of_their_key_value_head);
    tcase_add_test(t, an_incomplete_or_wrong_table_is_refused);
    tcase_add_test(t, channels_that_do_not_match_the_columns_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
