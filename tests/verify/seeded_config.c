/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded: what the configs say of the model, of its format and of its modules. See seeded.h. */
#include "pipeline/edit_checkpoint.h"
#include "seeded.h"

#define Q0  "model.layers.0.self_attn.q_proj"
#define UP0 "model.layers.0.mlp.up_proj"

static void config(const char *dir, const char *old, const char *text) {
    edit_text(dir, "config.json", old, text);
}

static void seed_model(const char *dir) {
    config(dir, "\"hidden_size\": 64", "\"hidden_size\": \"wide\"");
}

static void seed_family(const char *dir) {
    config(dir, "\"model_type\": \"llama\"", "\"model_type\": \"zebra\"");
}

static void seed_no_bits(const char *dir) {
    config(dir, "\"bits\": 4,", "");
}

static void seed_no_desc_act(const char *dir) {
    config(dir, "\"desc_act\": false,", "");
}

static void seed_no_status(const char *dir) {
    config(dir, "\"quantization_status\": \"compressed\",", "");
}

static void seed_zero_point_key(const char *dir) {
    config(dir, "\"desc_act\": false,", "\"desc_act\": false, \"zero_point\": true,");
}

static void seed_no_marlin_key(const char *dir) {
    config(dir, "\"desc_act\": false", "\"desc_act\": false, \"is_marlin_format\": false");
}

static void seed_marlin_key(const char *dir) {
    config(dir, "\"desc_act\": false,", "\"desc_act\": false, \"is_marlin_format\": true,");
}

static void seed_ct_key(const char *dir) {
    config(dir, "\"num_bits\": 4,", "\"num_bits\": 4, \"surprise\": 1,");
}

static void seed_ct_new_key(const char *dir) {
    config(dir, "\"num_bits\": 4,", "\"num_bits\": 4, \"scale_dtype\": null,");
}

static void seed_dataset(const char *dir) {
    config(dir, "\"desc_act\": false,", "\"desc_act\": false, \"dataset\": \"mine\",");
}

static void seed_damp(const char *dir) {
    config(dir, "\"desc_act\": false,", "\"desc_act\": false, \"damp_percent\": 1.5,");
}

static void seed_disagreement(const char *dir) {
    edit_text(dir, "quantize_config.json", "\"sym\": true", "\"sym\": false");
}

static void seed_place(const char *dir) {
    edit_move_config(dir, NULL);
}

static void seed_awq_zero_point(const char *dir) {
    config(dir, "\"zero_point\": true", "\"zero_point\": false");
}

static void seed_dtype(const char *dir) {
    config(dir, "\"float16\"", "\"bfloat16\"");
}

static void seed_desc_act(const char *dir) {
    config(dir, "\"desc_act\": false", "\"desc_act\": true");
    edit_text(dir, "quantize_config.json", "\"desc_act\": false", "\"desc_act\": true");
}

static void seed_flat_list(const char *dir) {
    config(dir, "\"desc_act\": false,",
           "\"desc_act\": false, \"modules_in_block_to_quantize\": [\"mlp.up_proj\"],");
}

static void seed_short_list(const char *dir) {
    config(dir, "\"desc_act\": false,",
           "\"desc_act\": false, \"modules_in_block_to_quantize\": [[\"mlp.up_proj\"]],");
}

static void seed_not_convert(const char *dir) {
    config(dir, "\"modules_to_not_convert\": null", "\"modules_to_not_convert\": [\"up_proj\"]");
}

static void seed_pattern(const char *dir) {
    config(dir, "\"ignore\": [", "\"ignore\": [\"re:(.*\", ");
}

static void seed_ignore(const char *dir) {
    config(dir, "[\"lm_head\"]", "[\"lm_head\", \"" UP0 "\"]");
}

static const struct seeded rows[] = {
    {"config-model", "g", seed_model, "hidden_size", false},
    {"family-unknown", "g", seed_family, "zebra", false},
    {"config-readable", "g", seed_no_bits, "bits", false},
    {"config-keys", "g", seed_no_desc_act, "desc_act", false},
    {"config-keys", "c", seed_no_status, "quantization_status", false},
    {"config-misread", "g", seed_zero_point_key, "zero_point", false},
    {"config-misread", "g", seed_no_marlin_key, "is_marlin_format", false},
    {"config-forbidden", "g", seed_marlin_key, "is_marlin_format", false},
    {"config-forbidden", "c", seed_ct_key, "surprise", false},
    {"config-new-keys", "c", seed_ct_new_key, "scale_dtype", false},
    {"config-values", "g", seed_dataset, "dataset", false},
    {"config-values", "g", seed_damp, "damp_percent", false},
    {"config-agree", "g", seed_disagreement, "quantize_config.json", false},
    {"config-place", "g", seed_place, "quantize_config.json", false},
    {"awq-zero-point", "a", seed_awq_zero_point, "zero_point", false},
    {"model-dtype", "a", seed_dtype, "bfloat16", false},
    {"desc-act", "g", seed_desc_act, "desc_act", false},
    {"in-block-form", "g", seed_flat_list, "list of lists", false},
    {"in-block-match", "g", seed_short_list, Q0, false},
    {"skip-packed", "a", seed_not_convert, UP0, false},
    {"skip-packed", "c", seed_ignore, UP0, false},
    {"config-patterns", "c", seed_pattern, "missing closing parenthesis", false},
};

const struct seeded_list seeded_config = {rows, sizeof rows / sizeof rows[0]};
