/* Every rule of llmq verify, each with a checkpoint that breaks it: a good one with one thing
 * changed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "llmq/convert.h"
#include "llmq/quantize.h"
#include "llmq/verify.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_model.h"
#include "support.h"
#include "verify/verify.h"

#define Q0    "model.layers.0.self_attn.q_proj"
#define K0    "model.layers.0.self_attn.k_proj"
#define Q1    "model.layers.1.self_attn.q_proj"
#define UP0   "model.layers.0.mlp.up_proj"
#define NORM0 "model.layers.0.input_layernorm.weight"

static llmq_error err;

/* Base checkpoints: the source, symmetric and asymmetric GPTQ, AWQ and compressed-tensors. */
static const struct {
    const char *name, *format;
    bool sym;
} bases[] = {{"g", "gptq", true},
             {"ga", "gptq", false},
             {"a", "awq", true},
             {"c", "compressed-tensors", true}};

/* Where other weights lie as [in, out]: GPT-2. */
static const char turned_base[] = "t";

static llmq_quantize_report quantized; /* of the first base */

static llmq_quantize_report make_base(const char *source, const char *name, const char *format,
                                      bool sym) {
    llmq_quantize_options o;
    llmq_quantize_report r;
    char *model = strdup(scratch_path(source));
    llmq_quantize_options_init(&o, LLMQ_METHOD_RTN);
    o.model = model;
    o.out = scratch_path(name);
    o.format = format;
    o.group = 32;
    o.sym = sym;
    ck_assert_ok(llmq_quantize(&o, NULL, &r, &err), &err);
    free(model);
    return r;
}

static void setup(void) {
    llmq_quantize_report r;
    scratch_setup();
    tiny_model_write(scratch_path("source"), 1, 0);
    tiny_gpt2_write(scratch_path("gpt2"), 1);
    quantized = make_base("source", bases[0].name, bases[0].format, bases[0].sym);
    for (size_t i = 1; i < sizeof bases / sizeof bases[0]; i++) {
        r = make_base("source", bases[i].name, bases[i].format, bases[i].sym);
        llmq_quantize_report_free(&r);
    }
    r = make_base("gpt2", turned_base, "compressed-tensors", true);
    llmq_quantize_report_free(&r);
}

static void teardown(void) {
    llmq_quantize_report_free(&quantized);
    scratch_teardown();
}

/* --- one thing wrong -------------------------------------------------------------------------- */

static void nothing(const char *dir) {
    (void)dir;
}

static void config(const char *dir, const char *old, const char *text) {
    edit_text(dir, "config.json", old, text);
}

static void split(const char *dir, uint64_t limit) {
    struct edit e;
    edit_read(dir, &e);
    edit_write(dir, &e, limit);
}

static void seed_index(const char *dir) {
    split(dir, 20000);
    edit_text(dir, "model.safetensors.index.json", "\"model.norm.weight\"", "\"model.norm.wait\"");
}

static void seed_stale(const char *dir) {
    char *from = path_join(dir, "model.safetensors", &err),
         *to = path_join(dir, "old.safetensors", &err);
    ck_assert_ok(file_copy(from, to, &err), &err);
    free(from);
    free(to);
}

static void write_file(const char *dir, const char *name, const char *text) {
    char *path = path_join(dir, name, &err);
    ck_assert_ok(file_write_atomic(path, text, strlen(text), &err), &err);
    free(path);
}

static void seed_no_index(const char *dir) {
    struct edit e;
    edit_read(dir, &e);
    edit_write(dir, &e, 16384);
    char *path = path_join(dir, "model.safetensors.index.json", &err);
    ck_assert_int_eq(remove(path), 0);
    free(path);
}

static void seed_two_containers(const char *dir) {
    write_file(dir, "model.safetensors.index.json", "{}");
}

static void seed_file_name(const char *dir) {
    char *from = path_join(dir, "model.safetensors", &err);
    char *to = path_join(dir, "gptq_model-4bit-32g.safetensors", &err);
    ck_assert_int_eq(rename(from, to), 0);
    free(from);
    free(to);
}

static void seed_other_weights(const char *dir) {
    write_file(dir, "pytorch_model.bin", "x");
}

static void seed_metadata(const char *dir) {
    char *path = path_join(dir, "model.safetensors", &err), *data = NULL;
    size_t len = 0, at = 8;
    ck_assert_ok(file_read(path, 1 << 24, &data, &len, &err), &err);
    while (at + 4 < len && memcmp(data + at, "\"pt\"", 4) != 0)
        at++;
    ck_assert_uint_lt(at + 4, len);
    memcpy(data + at, "\"tf\"", 4);
    ck_assert_ok(file_write_atomic(path, data, len, &err), &err);
    free(data);
    free(path);
}

/* Remove a tensor. */
static void without(const char *dir, const char *name) {
    struct edit e;
    edit_read(dir, &e);
    edit_remove(&e, name);
    edit_write(dir, &e, 1u << 30);
}

static void seed_model_tensors(const char *dir) {
    without(dir, "model.norm.weight");
}

static void seed_orphans(const char *dir) {
    without(dir, Q0 ".qweight");
}

static void seed_missing(const char *dir) {
    without(dir, "lm_head.weight");
}

/* Add or replace a tensor of zeros, but for `first`. */
static void with(const char *dir, const char *name, enum dtype dtype, uint64_t rows,
                 uint64_t columns, uint16_t first) {
    struct edit e;
    uint16_t *data = calloc((size_t)((rows ? rows : 1) * columns), 8);
    data[0] = first;
    edit_read(dir, &e);
    edit_put(&e, name, dtype, rows, columns, data);
    edit_write(dir, &e, 1u << 30);
    free(data);
}

static void seed_both(const char *dir) {
    with(dir, Q0 ".weight", DTYPE_BF16, 64, 64, 1);
}

static void seed_stray(const char *dir) {
    with(dir, "model.layers.0.self_attn.rotary_emb.position_ids", DTYPE_I64, 0, 16, 1);
}

static void seed_stray_bool(const char *dir) {
    with(dir, "model.layers.0.self_attn.mask", DTYPE_BOOL, 0, 16, 1);
}

static void seed_bias_zero(const char *dir) {
    with(dir, Q0 ".bias", DTYPE_F16, 0, 64, 0);
}

static void seed_bias(const char *dir) {
    with(dir, Q0 ".bias", DTYPE_F16, 0, 64, 0x3c00);
}

static void seed_nan(const char *dir) {
    with(dir, NORM0, DTYPE_BF16, 0, 64, 0x7fc0);
}

static void seed_norm(const char *dir) {
    with(dir, NORM0, DTYPE_BF16, 0, 64, 0x3f80);
}

static void seed_head(const char *dir) {
    with(dir, "lm_head.weight", DTYPE_BF16, TINY_VOCAB, 64, 0x3f80);
}

static void seed_tied(const char *dir) {
    config(dir, "\"my_key\": 1.50", "\"my_key\": 1.50, \"tie_word_embeddings\": true");
}

/* Names of a model that was saved without its head. */
static void seed_names(const char *dir) {
    struct edit e;
    edit_read(dir, &e);
    for (size_t i = 0; i < e.count; i++)
        if (strncmp(e.specs[i].name, "model.", 6) == 0) {
            char *name = strdup(e.specs[i].name + 6);
            free((char *)(uintptr_t)e.specs[i].name);
            e.specs[i].name = name;
        }
    edit_write(dir, &e, 1u << 30);
}

static void seed_two_names(const char *dir) {
    with(dir, "module.model.layers.0.input_layernorm.weight", DTYPE_BF16, 0, 64, 1);
}

static void seed_extra_layer(const char *dir) {
    with(dir, "model.layers.2.self_attn.q_proj.weight", DTYPE_BF16, 64, 64, 1);
}

static void seed_lora(const char *dir) {
    with(dir, Q0 ".lora_A.weight", DTYPE_BF16, 8, 64, 1);
}

static void seed_cache_scale(const char *dir) {
    with(dir, "model.layers.0.self_attn.k_scale", DTYPE_F32, 0, 1, 1);
}

/* Put the decoded module `from` under the name `to`. */
static void transplant(const char *dir, const char *from, const char *to) {
    struct edit e;
    struct qlinear q = {0};
    edit_decode(dir, from, &q);
    edit_read(dir, &e);
    edit_encode(&e, &layout_gptq, to, &q);
    edit_write(dir, &e, 1u << 30);
    qlinear_free(&q);
}

static void seed_tied_packed(const char *dir) {
    transplant(dir, Q0, "lm_head");
    seed_tied(dir);
}

static void seed_shape(const char *dir) {
    transplant(dir, Q0, K0);
}

static void seed_other_matrix(const char *dir) {
    transplant(dir, Q1, Q0);
}

static void seed_extra_module(const char *dir) {
    transplant(dir, Q1, "model.layers.0.self_attn.extra_proj");
}

static void make_plain(const char *dir, const char *module, const struct layout *layout) {
    struct edit e;
    struct qlinear q = {0};
    edit_decode(dir, module, &q);
    edit_read(dir, &e);
    edit_make_plain(&e, layout, module, &q);
    edit_write(dir, &e, 1u << 30);
    qlinear_free(&q);
}

static void seed_plain(const char *dir) {
    make_plain(dir, K0, &layout_gptq);
}

static void seed_plain_ct(const char *dir) {
    make_plain(dir, "model.layers.0.mlp.down_proj", &layout_compressed_tensors);
}

static void seed_fused_grid(const char *dir) {
    struct edit e;
    struct qlinear q = {0}, wide = {0};
    edit_decode(dir, K0, &q);
    ck_assert_ok(qlinear_alloc(q.n, q.k, q.bits, 64, &wide, &err), &err);
    memcpy(wide.codes, q.codes, (size_t)(q.n * q.k));
    wide.sym = true;
    for (int64_t n = 0; n < q.n; n++) {
        wide.scales[n] = q.scales[n * q.groups];
        wide.zeros[n] = 8;
    }
    edit_read(dir, &e);
    edit_encode(&e, &layout_gptq, K0, &wide);
    edit_write(dir, &e, 1u << 30);
    qlinear_free(&q);
    qlinear_free(&wide);
}

/* Overwrite the first bytes of a tensor. */
static void poke(const char *dir, const char *name, const void *value, size_t size) {
    struct edit e;
    edit_read(dir, &e);
    memcpy(edit_data(&e, name, NULL), value, size);
    edit_write(dir, &e, 1u << 30);
}

static void poke16(const char *dir, const char *name, uint16_t value) {
    poke(dir, name, &value, sizeof value);
}

static void poke32(const char *dir, const char *name, uint32_t value) {
    poke(dir, name, &value, sizeof value);
}

static void seed_scale_nan(const char *dir) {
    poke16(dir, Q0 ".scales", 0x7e00);
}

static void seed_scale_negative(const char *dir) {
    poke16(dir, Q0 ".scales", 0xbc00);
}

static void seed_scale_zero(const char *dir) {
    poke16(dir, Q0 ".scales", 0);
}

static void seed_scale_tiny(const char *dir) {
    poke16(dir, Q0 ".scales", 0x0005);
}

static void seed_scale_most(const char *dir) {
    poke16(dir, Q0 ".scales", 0x7bf8);
}

static void seed_beyond_half(const char *dir) {
    poke16(dir, "model.embed_tokens.weight", 0x4880); /* 2^18 in BF16 */
}

static void seed_packed_beyond_half(const char *dir) {
    poke16(dir, Q0 ".scales", 0x7b53);
}

static void seed_zero_range(const char *dir) {
    poke32(dir, Q0 ".qzeros", 0xffffffff);
}

static void seed_zero_asymmetric(const char *dir) {
    poke32(dir, Q0 ".qzeros", 0x77777776);
}

static void seed_group_range(const char *dir) {
    poke32(dir, Q0 ".g_idx", 2);
}

static void seed_group_order(const char *dir) {
    poke32(dir, Q0 ".g_idx", 1);
}

static void seed_wide_map(const char *dir) {
    struct edit e;
    edit_read(dir, &e);
    edit_widen(&e, Q0 ".g_idx");
    edit_write(dir, &e, 1u << 30);
}

static void seed_no_zeros(const char *dir) {
    without(dir, Q0 ".qzeros");
}

static void seed_version(const char *dir) {
    config(dir, "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"gptq_v2\"");
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

static void seed_group_size(const char *dir) {
    config(dir, "\"group_size\": 32", "\"group_size\": 64");
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

static void seed_signed_zeros(const char *dir) {
    with(dir, Q0 ".weight_zero_point", DTYPE_I8, 64, 2, 0);
}

static void seed_idle_map(const char *dir) {
    struct edit e;
    int32_t unset[64];
    memset(unset, 0xff, sizeof unset);
    edit_read(dir, &e);
    edit_put(&e, Q0 ".weight_g_idx", DTYPE_I32, 0, 64, unset);
    edit_write(dir, &e, 1u << 30);
}

/* --- the cases -------------------------------------------------------------------------------- */

static const struct seeded {
    const char *rule, *base;
    void (*seed)(const char *dir);
    const char *where; /* part of the finding's file, tensor or message */
    bool against;
} cases[] = {
    {"index", "g", seed_index, "model.norm", false},
    {"stale-weights", "g", seed_stale, "old.safetensors", false},
    {"stale-weights", "source", seed_stale, "old.safetensors", false},
    {"two-containers", "g", seed_two_containers, "index.json", false},
    {"file-name", "g", seed_file_name, "gptq_model-4bit-32g", false},
    {"shard-index", "g", seed_no_index, "without an index", false},
    {"shard-index", "source", seed_no_index, "without an index", false},
    {"other-weights", "g", seed_other_weights, "pytorch_model.bin", false},
    {"metadata-format", "g", seed_metadata, "found tf", false},
    {"tokenizer", "g", nothing, "no tokenizer", false},
    {"model-tensors", "g", seed_model_tensors, "model.norm.weight", false},
    {"model-tensors", "source", seed_model_tensors, "model.norm.weight", false},
    {"model-tensors", "c", seed_missing, "lm_head.weight", false},
    {"packed-orphans", "g", seed_orphans, Q0 ".qzeros", false},
    {"packed-and-plain", "g", seed_both, Q0 ".weight", false},
    {"stray-buffers", "g", seed_stray, "I64", false},
    {"stray-buffers", "a", seed_stray_bool, "BOOL", false},
    {"fused-status", "g", seed_plain, K0, false},
    {"fused-grid", "g", seed_fused_grid, K0, false},
    {"tied-head-packed", "g", seed_tied_packed, "lm_head", false},
    {"tied-head", "g", seed_tied, "lm_head.weight", false},
    {"tensor-names", "source", seed_names, "names lack", false},
    {"tensor-names", "g", seed_names, "names lack", false},
    {"tensor-prefix", "g", seed_two_names, "two models", false},
    {"unused-tensors", "g", seed_extra_layer, "model.layers.2.", false},
    {"foreign-tensors", "source", seed_lora, "lora_A", false},
    {"turned-packed", turned_base, nothing, "h.0.attn.c_attn", false},
    {"cache-scales", "c", seed_cache_scale, "k_scale", false},
    {"finite", "g", seed_nan, NORM0, false},
    {"finite", "source", seed_nan, NORM0, false},
    {"finite", "g", seed_scale_nan, Q0 ".scales", false},
    {"half-range", "a", seed_beyond_half, "row 0, column 0 is 262144", false},
    {"half-range-packed", "a", seed_packed_beyond_half, Q0, false},
    {"bias-zero", "g", seed_bias_zero, Q0 ".bias", false},
    {"bias-unknown", "g", seed_bias, Q0 ".bias", false},
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
    {"in-block-plain", "g", seed_plain, K0, false},
    {"skip-packed", "a", seed_not_convert, UP0, false},
    {"skip-packed", "c", seed_ignore, UP0, false},
    {"skip-plain", "c", seed_plain_ct, "down_proj", false},
    {"config-patterns", "c", seed_pattern, "missing closing parenthesis", false},
    {"decode", "g", seed_scale_negative, Q0, false},
    {"decode", "g", seed_group_range, "g_idx", false},
    {"decode", "g", seed_version, "found 7 throughout", false},
    {"module-shape", "g", seed_shape, K0, false},
    {"grid-config", "g", seed_group_size, Q0, false},
    {"grid-config", "a", seed_group_size, Q0, false},
    {"scale-range", "g", seed_scale_zero, Q0, false},
    {"scale-coarse", "g", seed_scale_tiny, Q0, false},
    {"scale-coarse", "g", seed_scale_most, Q0, false},
    {"zero-range", "ga", seed_zero_range, Q0, false},
    {"zeros-symmetric", "g", seed_zero_asymmetric, Q0, false},
    {"groups-in-order", "g", seed_group_order, Q0, false},
    {"old-form", "c", seed_signed_zeros, Q0, false},
    {"idle-map", "c", seed_idle_map, Q0, false},
    {"packed-form", "g", seed_wide_map, "I64", false},
    {"packed-form", "g", seed_no_zeros, Q0 ".qzeros", false},
    {"kernel-shape", "g", nothing, "[64, 64]", false},
    {"stacks", "ga", nothing, "vLLM", false},
    {"against-error", "g", seed_other_matrix, Q0, true},
    {"against-shape", "g", seed_extra_module, "extra_proj", true},
    {"against-fold", "g", seed_norm, NORM0, true},
    {"against-kept", "g", seed_head, "lm_head.weight", true},
    {"against-changed", "g", seed_norm, NORM0, true},
    {"against-added", "g", seed_bias_zero, Q0 ".bias", true},
    {"against-missing", "g", seed_missing, "lm_head.weight", true},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static void copy_folder(const char *from, const char *to) {
    struct dir_list list = {0};
    ck_assert_ok(dir_remove(to, &err), &err);
    ck_assert_ok(dir_make(to, false, &err), &err);
    ck_assert_ok(dir_list_read(from, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++) {
        char *a = path_join(from, list.names[i], &err), *b = path_join(to, list.names[i], &err);
        ck_assert_ok(file_copy(a, b, &err), &err);
        free(a);
        free(b);
    }
    dir_list_free(&list);
}

static bool mentions(const llmq_finding *f, const char *where) {
    return strstr(f->file, where) || strstr(f->tensor, where) || strstr(f->message, where);
}

static bool lists(const llmq_findings *list, const char *rule, const char *where) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].rule, rule) == 0 && mentions(&list->items[i], where))
            return true;
    return false;
}

static bool is_violation(const char *rule) {
    llmq_rule_info info;
    for (size_t i = 0; llmq_verify_rule_at(i, &info); i++)
        if (strcmp(info.id, rule) == 0)
            return info.violation;
    ck_abort_msg("no rule %s", rule);
    return false;
}

static void verify(const char *name, bool against, llmq_verify_report *r) {
    char *model = strdup(scratch_path(name)), *original = strdup(scratch_path("source"));
    const llmq_verify_options o = {.model = model, .against = against ? original : NULL};
    ck_assert_ok(llmq_verify(&o, NULL, r, &err), &err);
    free(model);
    free(original);
}

START_TEST(every_violation_is_found_by_its_rule) {
    char *dir = strdup(scratch_path("case"));
    for (size_t i = 0; i < CASES; i++) {
        llmq_verify_report r;
        copy_folder(scratch_path(cases[i].base), dir);
        cases[i].seed(dir);
        verify("case", cases[i].against, &r);
        const bool violation = is_violation(cases[i].rule);
        ck_assert_msg(lists(violation ? &r.violations : &r.warnings, cases[i].rule, cases[i].where),
                      "case %zu: %s not found", i, cases[i].rule);
        if (violation)
            ck_assert_msg(!r.ok, "case %zu: %s, and yet ok", i, cases[i].rule);
        for (size_t s = 0; s < r.stack_count; s++)
            ck_assert_msg(!r.stacks[s].loads || !verify_rule_concerns(cases[i].rule, (int)s),
                          "case %zu: %s, and yet %s loads it", i, cases[i].rule, r.stacks[s].stack);
        llmq_verify_report_free(&r);
    }
    free(dir);
}
END_TEST

START_TEST(every_rule_has_a_case) {
    llmq_rule_info info;
    size_t i = 0;
    for (; llmq_verify_rule_at(i, &info); i++) {
        bool found = false;
        for (size_t c = 0; c < CASES; c++)
            found = found || strcmp(cases[c].rule, info.id) == 0;
        ck_assert_msg(found, "no case for rule %s", info.id);
        ck_assert_uint_gt(strlen(info.what), 10);
        ck_assert_msg(!info.violation || verify_rule_concerns(info.id, -1),
                      "whom does rule %s concern?", info.id);
        for (size_t j = 0; j < i; j++) {
            llmq_rule_info other;
            ck_assert(llmq_verify_rule_at(j, &other));
            ck_assert_msg(strcmp(other.id, info.id) != 0, "two rules %s", info.id);
        }
    }
    ck_assert_uint_ge(i, 40);
}
END_TEST

/* What was found when nothing was seeded is about the tiny model: it has no tokenizer, and shapes
 * that kernels pad. */
START_TEST(good_checkpoints_pass) {
    static const char *const expected[] = {"tokenizer", "kernel-shape", "stacks"};
    for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++) {
        llmq_verify_report r;
        verify(bases[b].name, true, &r);
        ck_assert_msg(r.ok, "%s: %s", bases[b].name, r.ok ? "" : r.violations.items[0].message);
        ck_assert_str_eq(r.format, bases[b].format);
        ck_assert_uint_eq(r.module_count, 14);
        ck_assert_int_eq(r.changed, 0);
        ck_assert_int_eq(r.equal, 7);
        for (size_t i = 0; i < r.warnings.count; i++) {
            bool known = false;
            for (size_t e = 0; e < 3; e++)
                known = known || strcmp(r.warnings.items[i].rule, expected[e]) == 0;
            ck_assert_msg(known, "%s: %s", bases[b].name, r.warnings.items[i].rule);
        }
        llmq_verify_report_free(&r);
    }
    llmq_verify_report r;
    verify("source", false, &r);
    ck_assert(r.ok);
    ck_assert_uint_eq(r.stack_count, 0);
    llmq_verify_report_free(&r);
}
END_TEST

/* Rounding to nearest reports the same relative error when it quantizes. */
START_TEST(error_against_the_original_is_the_quantizers) {
    llmq_verify_report r;
    verify("g", true, &r);
    ck_assert_uint_eq(quantized.module_count, r.module_count);
    for (size_t i = 0; i < r.module_count; i++)
        for (size_t j = 0; j < quantized.module_count; j++)
            if (strcmp(r.modules[i].name, quantized.modules[j].name) == 0)
                ck_assert_double_eq_tol(r.modules[i].error, quantized.modules[j].error, 1e-6);
    ck_assert(r.error > 1e-4 && r.error < 0.1);
    llmq_verify_report_free(&r);
    verify("g", false, &r);
    ck_assert(isnan(r.error) && isnan(r.modules[0].error));
    llmq_verify_report_free(&r);
}
END_TEST

/* Infinity in the original: its error is no number, which is not the same as none. */
START_TEST(an_original_that_is_not_finite_is_told) {
    char *original = strdup(scratch_path("original")), *model = strdup(scratch_path("g"));
    const llmq_verify_options o = {.model = model, .against = original};
    llmq_verify_report r;
    copy_folder(scratch_path("source"), original);
    poke16(original, Q0 ".weight", 0x7f80);
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    ck_assert(lists(&r.violations, "against-error", Q0));
    ck_assert(isfinite(r.error));
    llmq_verify_report_free(&r);
    free(original);
    free(model);
}
END_TEST

/* A conversion, judged by the checkpoint it was made from, which is packed itself. */
START_TEST(conversions_have_no_error) {
    char *from = strdup(scratch_path("g")), *to = strdup(scratch_path("converted"));
    llmq_convert_options o;
    llmq_convert_report converted;
    llmq_verify_report r;
    llmq_convert_options_init(&o);
    o.model = from;
    o.out = to;
    o.format = "compressed-tensors";
    ck_assert_ok(llmq_convert(&o, NULL, &converted, &err), &err);
    llmq_convert_report_free(&converted);
    const llmq_verify_options v = {.model = to, .against = from};
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    ck_assert(r.ok && r.error <= 0 && r.equal == 7);
    llmq_verify_report_free(&r);
    free(from);
    free(to);
}
END_TEST

/* A norm that changed without the weights behind it is no fold, and both are told. */
START_TEST(changed_norms_are_no_folds) {
    llmq_verify_report r;
    char *dir = strdup(scratch_path("case"));
    copy_folder(scratch_path("g"), dir);
    seed_norm(dir);
    verify("case", true, &r);
    ck_assert(lists(&r.warnings, "against-changed", NORM0));
    ck_assert(lists(&r.violations, "against-fold", NORM0));
    ck_assert_int_eq(r.changed, 1);
    ck_assert_int_eq(r.folded, 0);
    llmq_verify_report_free(&r);
    free(dir);
}
END_TEST

/* --- what cannot be read ---------------------------------------------------------------------- */

static void assert_unreadable(const char *dir, enum llmq_status code, const char *part) {
    llmq_verify_report r;
    const llmq_verify_options o = {.model = dir};
    ck_assert_fails(llmq_verify(&o, NULL, &r, &err), code, part, &err);
    ck_assert_int_eq(llmq_exit_code(code), 3);
    llmq_verify_report_free(&r);
}

START_TEST(folders_that_are_no_checkpoint) {
    char *dir = strdup(scratch_path("case"));
    ck_assert_ok(dir_make(dir, false, &err), &err);
    assert_unreadable(dir, LLMQ_E_NOT_FOUND, "config.json");
    write_file(dir, "config.json", "{\"model_type\": \"llama\"");
    assert_unreadable(dir, LLMQ_E_INPUT, "config.json");
    write_file(dir, "config.json", "{\"model_type\": \"llama\"}");
    assert_unreadable(dir, LLMQ_E_NOT_FOUND, "expected model.safetensors");
    copy_folder(scratch_path("g"), dir);
    write_file(dir, "model.safetensors", "\x10\0\0\0\0\0\0\0{}");
    assert_unreadable(dir, LLMQ_E_ST_HEADER_TOO_SMALL, "model.safetensors");
    copy_folder(scratch_path("g"), dir);
    config(dir, "\"quant_method\": \"gptq\"", "\"quant_method\": \"exl3\"");
    assert_unreadable(dir, LLMQ_E_UNSUPPORTED, "exl3");
    copy_folder(scratch_path("g"), dir);
    config(dir, "\"bits\": 4", "\"bits\": 5");
    assert_unreadable(dir, LLMQ_E_UNSUPPORTED, "found 5");
    free(dir);
}
END_TEST

/* The writers check their own result by the same rules. */
START_TEST(written_folders_keep_the_rules_for_headers) {
    char *dir = strdup(scratch_path("case"));
    copy_folder(scratch_path("g"), dir);
    ck_assert_ok(verify_written(dir, NULL, &err), &err);
    seed_stale(dir);
    ck_assert_fails(verify_written(dir, NULL, &err), LLMQ_E_CHECK, "stale-weights", &err);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_violation_is_found_by_its_rule);
    tcase_add_test(t, every_rule_has_a_case);
    tcase_add_test(t, good_checkpoints_pass);
    tcase_add_test(t, error_against_the_original_is_the_quantizers);
    tcase_add_test(t, an_original_that_is_not_finite_is_told);
    tcase_add_test(t, conversions_have_no_error);
    tcase_add_test(t, changed_norms_are_no_folds);
    tcase_add_test(t, folders_that_are_no_checkpoint);
    tcase_add_test(t, written_folders_keep_the_rules_for_headers);
    suite_add_tcase(s, t);
    return run_suite(s);
}
