/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded: files of the folder, and tensors by their names and dense values. See seeded.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "bases.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_model.h"
#include "seeded.h"
#include "support.h"
#include "verify/record.h"

#define Q0    "model.layers.0.self_attn.q_proj"
#define NORM0 "model.layers.0.input_layernorm.weight"

static llmq_error err;

static void write_shards(const char *dir, uint64_t limit) {
    struct edit e;
    edit_read(dir, &e);
    edit_write(dir, &e, limit);
}

static void seed_index(const char *dir) {
    write_shards(dir, 20000);
    edit_text(dir, "model.safetensors.index.json", "\"model.norm.weight\"", "\"model.norm.wait\"");
}

static void seed_stale(const char *dir) {
    base_copy_file(dir, "model.safetensors", "old.safetensors");
}

static void seed_no_index(const char *dir) {
    write_shards(dir, 16384);
    char *path = path_join(dir, "model.safetensors.index.json", &err);
    ck_assert_int_eq(remove(path), 0);
    free(path);
}

static void seed_two_containers(const char *dir) {
    base_write(dir, "model.safetensors.index.json", "{}");
}

static void seed_file_name(const char *dir) {
    char *from = path_join(dir, "model.safetensors", &err);
    char *to = path_join(dir, "gptq_model-4bit-32g.safetensors", &err);
    ck_assert_int_eq(rename(from, to), 0);
    free(from);
    free(to);
}

static void seed_other_weights(const char *dir) {
    base_write(dir, "pytorch_model.bin", "x");
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

static void seed_model_tensors(const char *dir) {
    edit_take(dir, "model.norm.weight");
}

static void seed_orphans(const char *dir) {
    edit_take(dir, Q0 ".qweight");
}

static void seed_missing(const char *dir) {
    edit_take(dir, "lm_head.weight");
}

static void seed_both(const char *dir) {
    edit_add(dir, Q0 ".weight", DTYPE_BF16, 64, 64, 1);
}

static void seed_stray(const char *dir) {
    edit_add(dir, "model.layers.0.self_attn.rotary_emb.position_ids", DTYPE_I64, 0, 16, 1);
}

static void seed_stray_bool(const char *dir) {
    edit_add(dir, "model.layers.0.self_attn.mask", DTYPE_BOOL, 0, 16, 1);
}

static void seed_bias_zero(const char *dir) {
    edit_add(dir, Q0 ".bias", DTYPE_F16, 0, 64, 0);
}

static void seed_bias(const char *dir) {
    edit_add(dir, Q0 ".bias", DTYPE_F16, 0, 64, 0x3c00);
}

static void seed_nan(const char *dir) {
    edit_add(dir, NORM0, DTYPE_BF16, 0, 64, 0x7fc0);
}

static void seed_norm(const char *dir) {
    edit_add(dir, NORM0, DTYPE_BF16, 0, 64, 0x3f80);
}

static void seed_head(const char *dir) {
    edit_add(dir, "lm_head.weight", DTYPE_BF16, TINY_VOCAB, 64, 0x3f80);
}

/* Names of a model that was saved without its head. */
static void seed_names(const char *dir) {
    edit_rename(dir, "model.", "");
}

static void seed_two_names(const char *dir) {
    edit_add(dir, "module.model.layers.0.input_layernorm.weight", DTYPE_BF16, 0, 64, 1);
}

static void seed_extra_layer(const char *dir) {
    edit_add(dir, "model.layers.2.self_attn.q_proj.weight", DTYPE_BF16, 64, 64, 1);
}

static void seed_lora(const char *dir) {
    edit_add(dir, Q0 ".lora_A.weight", DTYPE_BF16, 8, 64, 1);
}

static void seed_cache_scale(const char *dir) {
    edit_add(dir, "model.layers.0.self_attn.k_scale", DTYPE_F32, 0, 1, 1);
}

/* The record of the result that the case was copied from. */
static void put_record(const char *dir) {
    char *from = path_join(scratch_path("g"), RECORD_NAME, &err);
    char *to = path_join(dir, RECORD_NAME, &err);
    ck_assert_ok(file_copy(from, to, &err), &err);
    free(from);
    free(to);
}

static void seed_record(const char *dir) {
    put_record(dir);
    edit_text(dir, RECORD_NAME, "\"command\": \"rtn\"", "\"command\": \"awq\"");
}

static void seed_changed(const char *dir) {
    put_record(dir);
    edit_text(dir, "quantize_config.json", "\"bits\": 4", "\"bits\":  4");
}

static void seed_gone(const char *dir) {
    put_record(dir);
    char *path = path_join(dir, "quantize_config.json", &err);
    ck_assert_int_eq(remove(path), 0);
    free(path);
}

static void seed_added(const char *dir) {
    put_record(dir);
    base_write(dir, "notes.txt", "x");
}

static const struct seeded rows[] = {
    {"record", "g", seed_record, "llmq.json", false},
    {"file-changed", "g", seed_changed, "quantize_config.json", false},
    {"file-missing", "g", seed_gone, "quantize_config.json", false},
    {"file-added", "g", seed_added, "notes.txt", false},
    {"index", "g", seed_index, "model.norm", false},
    {"stale-weights", "g", seed_stale, "old.safetensors", false},
    {"stale-weights", "source", seed_stale, "old.safetensors", false},
    {"two-containers", "g", seed_two_containers, "index.json", false},
    {"file-name", "g", seed_file_name, "gptq_model-4bit-32g", false},
    {"shard-index", "g", seed_no_index, "without an index", false},
    {"shard-index", "source", seed_no_index, "without an index", false},
    {"other-weights", "g", seed_other_weights, "pytorch_model.bin", false},
    {"metadata-format", "g", seed_metadata, "found tf", false},
    {"tokenizer", "g", NULL, "no tokenizer", false},
    {"model-tensors", "g", seed_model_tensors, "model.norm.weight", false},
    {"model-tensors", "source", seed_model_tensors, "model.norm.weight", false},
    {"model-tensors", "c", seed_missing, "lm_head.weight", false},
    {"packed-orphans", "g", seed_orphans, Q0 ".qzeros", false},
    {"packed-and-plain", "g", seed_both, Q0 ".weight", false},
    {"stray-buffers", "g", seed_stray, "I64", false},
    {"stray-buffers", "a", seed_stray_bool, "BOOL", false},
    {"tied-head", "g", edit_tie, "lm_head.weight", false},
    {"tensor-names", "source", seed_names, "names lack", false},
    {"tensor-names", "g", seed_names, "names lack", false},
    {"tensor-prefix", "g", seed_two_names, "two models", false},
    {"unused-tensors", "g", seed_extra_layer, "model.layers.2.", false},
    {"foreign-tensors", "source", seed_lora, "lora_A", false},
    {"cache-scales", "c", seed_cache_scale, "k_scale", false},
    {"finite", "g", seed_nan, NORM0, false},
    {"finite", "source", seed_nan, NORM0, false},
    {"bias-zero", "g", seed_bias_zero, Q0 ".bias", false},
    {"bias-unknown", "g", seed_bias, Q0 ".bias", false},
    {"against-fold", "g", seed_norm, NORM0, true},
    {"against-kept", "g", seed_head, "lm_head.weight", true},
    {"against-changed", "g", seed_norm, NORM0, true},
    {"against-added", "g", seed_bias_zero, Q0 ".bias", true},
    {"against-missing", "g", seed_missing, "lm_head.weight", true},
};

const struct seeded_list seeded_files = {rows, sizeof rows / sizeof rows[0]};
