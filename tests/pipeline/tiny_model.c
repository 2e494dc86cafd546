/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny random Llama checkpoint: see tiny_model.h. */
#include "tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"
#include "support.h"

#define HIDDEN       64
#define INTERMEDIATE 96
#define KV           32
#define BLOCKS       2

static const char config[] =
    "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n"
    "  \"hidden_size\": 64,\n  \"intermediate_size\": 96,\n  \"num_attention_heads\": 4,\n"
    "  \"num_key_value_heads\": 2,\n  \"num_hidden_layers\": 2,\n  \"vocab_size\": 64,\n"
    "  \"max_position_embeddings\": 64,\n  \"rms_norm_eps\": 1e-05,\n  \"my_key\": 1.50,\n"
    "  \"torch_dtype\": \"bfloat16\"\n}\n";

static const struct {
    const char *name;
    uint64_t rows, columns; /* rows 0: a norm's vector */
} block_tensors[] = {
    {"input_layernorm.weight", 0, HIDDEN},
    {"self_attn.q_proj.weight", HIDDEN, HIDDEN},
    {"self_attn.k_proj.weight", KV, HIDDEN},
    {"self_attn.v_proj.weight", KV, HIDDEN},
    {"self_attn.o_proj.weight", HIDDEN, HIDDEN},
    {"post_attention_layernorm.weight", 0, HIDDEN},
    {"mlp.gate_proj.weight", INTERMEDIATE, HIDDEN},
    {"mlp.up_proj.weight", INTERMEDIATE, HIDDEN},
    {"mlp.down_proj.weight", HIDDEN, INTERMEDIATE},
    /* only in the model with biases */
    {"self_attn.q_proj.bias", 0, HIDDEN},
    {"self_attn.k_proj.bias", 0, KV},
    {"self_attn.v_proj.bias", 0, KV},
    {"self_attn.o_proj.bias", 0, HIDDEN},
};

#define BIASES    4
#define PER_BLOCK (sizeof block_tensors / sizeof block_tensors[0])
#define MAX_SPECS (BLOCKS * PER_BLOCK + 4)

static size_t list_specs(struct st_spec specs[MAX_SPECS], char names[MAX_SPECS][96], int stray,
                         int biases) {
    size_t count = 0;
    for (size_t b = 0; b < BLOCKS; b++) {
        for (size_t t = 0; t < PER_BLOCK - (biases ? 0 : BIASES); t++, count++) {
            snprintf(names[count], sizeof names[count], "model.layers.%zu.%s", b,
                     block_tensors[t].name);
            bool vector = block_tensors[t].rows == 0;
            specs[count] = (struct st_spec){names[count], DTYPE_BF16, vector ? 1 : 2, {0}};
            specs[count].shape[0] = vector ? block_tensors[t].columns : block_tensors[t].rows;
            specs[count].shape[1] = vector ? 0 : block_tensors[t].columns;
        }
    }
    specs[count++] =
        (struct st_spec){"model.embed_tokens.weight", DTYPE_BF16, 2, {TINY_VOCAB, HIDDEN}};
    specs[count++] = (struct st_spec){"model.norm.weight", DTYPE_BF16, 1, {HIDDEN}};
    specs[count++] = (struct st_spec){"lm_head.weight", DTYPE_BF16, 2, {TINY_VOCAB, HIDDEN}};
    if (stray)
        specs[count++] = (struct st_spec){"model.layers.0.self_attn.bias_mask", DTYPE_I64, 1, {4}};
    return count;
}

void tiny_tensor_put(struct st_writer *w, const struct st_spec *spec, uint64_t *state) {
    llmq_error err = {0};
    size_t count = 1;
    for (int d = 0; d < spec->rank; d++)
        count *= (size_t)spec->shape[d];
    float *values = calloc(count, sizeof *values);
    void *data = calloc(count, 8);
    size_t bytes = spec->dtype == DTYPE_I64 ? count * 8 : count * 2;
    for (size_t i = 0; i < count; i++) {
        float u = (float)((double)(random_next(state) >> 40) * 0x1p-23 - 1.0);
        values[i] = spec->rank == 1 ? 1.0f + 0.1f * u : 0.3f * u;
    }
    if (spec->dtype == DTYPE_BF16)
        dtype_from_f32(DTYPE_BF16, values, count, data);
    ck_assert_ok(st_writer_put(w, spec->name, data, bytes, &err), &err);
    free(values);
    free(data);
}

static void write_model(const char *dir, uint64_t seed, int stray, int biases) {
    static char names[MAX_SPECS][96];
    static struct st_spec specs[MAX_SPECS];
    llmq_error err = {0};
    struct st_writer *w = NULL;
    uint64_t state = seed;
    size_t count = list_specs(specs, names, stray, biases);
    ck_assert_ok(dir_make(dir, true, &err), &err);
    char *path = path_join(dir, "config.json", &err), *text = strdup(config);
    if (biases) {
        free(text);
        ck_assert_ok(
            json_text_set(config, sizeof config - 1, "attention_bias", "true", &text, &err), &err);
    }
    ck_assert_ok(file_write_atomic(path, text, strlen(text), &err), &err);
    free(text);
    free(path);
    ck_assert_ok(st_writer_create(dir, specs, count, 1u << 30, &w, &err), &err);
    for (size_t i = 0; i < count; i++)
        tiny_tensor_put(w, &specs[i], &state);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
}

void tiny_model_write(const char *dir, uint64_t seed, int stray) {
    write_model(dir, seed, stray, 0);
}

void tiny_model_write_biased(const char *dir, uint64_t seed) {
    write_model(dir, seed, 0, 1);
}

void tiny_model_add_salience(const char *dir) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    struct file f;
    const uint16_t eight = f32_to_bf16(8);
    char *path = path_join(dir, "model.safetensors", NULL), name[96];
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    for (int block = 0; block < 2; block++)
        for (int norm = 0; norm < 2; norm++) {
            snprintf(name, sizeof name, "model.layers.%d.%s_layernorm.weight", block,
                     norm ? "input" : "post_attention");
            const struct st_tensor *t = st_find(set, name);
            ck_assert_ptr_nonnull(t);
            for (uint64_t i = 0; i < t->shape[0]; i += 7)
                ck_assert_ok(file_pwrite(&f, &eight, 2, t->begin + 2 * i, &err), &err);
        }
    file_close(&f, &err);
    st_close(&set);
    free(path);
}

void tiny_windows_write(const char *path, int windows, int length, uint64_t seed) {
    llmq_error err = {0};
    struct strbuf b = {0};
    uint64_t state = seed;
    strbuf_puts(&b, "[");
    for (int w = 0; w < windows; w++) {
        strbuf_puts(&b, w ? ",[" : "[");
        for (int i = 0; i < length; i++)
            strbuf_printf(&b, "%s%d", i ? "," : "", (int)(random_next(&state) % TINY_VOCAB));
        strbuf_puts(&b, "]");
    }
    strbuf_puts(&b, "]");
    ck_assert_ok(file_write_atomic(path, b.data, b.len, &err), &err);
    strbuf_free(&b);
}
