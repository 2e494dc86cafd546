/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny mixture of experts: see tiny_mixture.h.
 *
 * The rows of a router are r, -r, s, -s and 0: whatever it reads, one of each pair is above 0, and
 * these two are chosen. */
#include "tiny_mixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/safetensors/safetensors.h"
#include "pipeline/tiny_model.h"
#include "support.h"

static const char config[] =
    "{\"architectures\": [\"MixtralForCausalLM\"], \"model_type\": \"mixtral\","
    " \"hidden_size\": 32, \"intermediate_size\": 24, \"num_attention_heads\": 2,"
    " \"num_key_value_heads\": 1, \"num_hidden_layers\": 2, \"vocab_size\": 64,"
    " \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"num_local_experts\": 5,"
    " \"num_experts_per_tok\": 2, \"sliding_window\": null, \"torch_dtype\": \"bfloat16\"}\n";

/* Rows 0: a norm's vector. */
struct shape {
    const char *name;
    uint64_t rows, columns;
};
static const struct shape of_block[] = {
    {"input_layernorm", 0, MIXTURE_HIDDEN},
    {"self_attn.q_proj", MIXTURE_HIDDEN, MIXTURE_HIDDEN},
    {"self_attn.k_proj", MIXTURE_HIDDEN / 2, MIXTURE_HIDDEN},
    {"self_attn.v_proj", MIXTURE_HIDDEN / 2, MIXTURE_HIDDEN},
    {"self_attn.o_proj", MIXTURE_HIDDEN, MIXTURE_HIDDEN},
    {"post_attention_layernorm", 0, MIXTURE_HIDDEN},
    {"block_sparse_moe.gate", MIXTURE_EXPERTS, MIXTURE_HIDDEN},
};
static const struct shape of_expert[] = {
    {"w1", MIXTURE_FFN, MIXTURE_HIDDEN},
    {"w2", MIXTURE_HIDDEN, MIXTURE_FFN},
    {"w3", MIXTURE_FFN, MIXTURE_HIDDEN},
};
static const struct shape of_model[] = {
    {"model.embed_tokens", MIXTURE_VOCAB, MIXTURE_HIDDEN},
    {"model.norm", 0, MIXTURE_HIDDEN},
    {"lm_head", MIXTURE_VOCAB, MIXTURE_HIDDEN},
};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

#define TENSORS                                                                                    \
    (MIXTURE_BLOCKS * (COUNT(of_block) + MIXTURE_EXPERTS * COUNT(of_expert)) + COUNT(of_model))

struct list {
    struct st_spec specs[TENSORS];
    char names[TENSORS][96];
    size_t count;
};

static void add(struct list *l, const char *before, const struct shape *s) {
    char *name = l->names[l->count];
    snprintf(name, sizeof l->names[0], "%s%s.weight", before, s->name);
    l->specs[l->count] = (struct st_spec){name, DTYPE_BF16, 1, {s->columns}};
    if (s->rows)
        l->specs[l->count] = (struct st_spec){name, DTYPE_BF16, 2, {s->rows, s->columns}};
    l->count++;
}

static void list_tensors(struct list *l) {
    char before[64];
    for (int b = 0; b < MIXTURE_BLOCKS; b++) {
        snprintf(before, sizeof before, "model.layers.%d.", b);
        for (size_t t = 0; t < COUNT(of_block); t++)
            add(l, before, &of_block[t]);
        for (int e = 0; e < MIXTURE_EXPERTS; e++) {
            snprintf(before, sizeof before, "model.layers.%d.block_sparse_moe.experts.%d.", b, e);
            for (size_t t = 0; t < COUNT(of_expert); t++)
                add(l, before, &of_expert[t]);
        }
    }
    for (size_t t = 0; t < COUNT(of_model); t++)
        add(l, "", &of_model[t]);
}

static void put_router(struct st_writer *w, const struct st_spec *spec, uint64_t *state) {
    llmq_error err = {0};
    uint16_t rows[MIXTURE_EXPERTS][MIXTURE_HIDDEN] = {{0}};
    for (int i = 0; i < MIXTURE_HIDDEN; i++)
        for (int pair = 0; pair < 2; pair++) {
            const float u = (float)(random_next(state) % 2001) / 1000.0F - 1.0F;
            rows[2 * pair][i] = f32_to_bf16(0.5F * u);
            rows[2 * pair + 1][i] = f32_to_bf16(-0.5F * u);
        }
    ck_assert_ok(st_writer_put(w, spec->name, rows, sizeof rows, &err), &err);
}

void mixture_write(const char *dir, uint64_t seed) {
    llmq_error err = {0};
    struct st_writer *w = NULL;
    struct list *l = calloc(1, sizeof *l);
    list_tensors(l);
    ck_assert_ok(dir_make(dir, true, &err), &err);
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(file_write_atomic(path, config, strlen(config), &err), &err);
    free(path);
    ck_assert_ok(st_writer_create(dir, l->specs, l->count, 1u << 30, &w, &err), &err);
    for (size_t i = 0; i < l->count; i++)
        (strstr(l->names[i], "moe.gate") ? put_router : tiny_tensor_put)(w, &l->specs[i], &seed);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    free(l);
}
