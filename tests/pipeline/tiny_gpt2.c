/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny random GPT-2 checkpoint: see tiny_model.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/safetensors/safetensors.h"
#include "support.h"
#include "tiny_model.h"

enum { HIDDEN = 64, FFN = 128, POSITIONS = 32, BLOCKS = 2 };

static const char config[] =
    "{\"model_type\": \"gpt2\", \"n_embd\": 64, \"n_head\": 4, \"n_layer\": 2,"
    " \"n_inner\": 128, \"n_positions\": 32, \"vocab_size\": 64,"
    " \"architectures\": [\"GPT2LMHeadModel\"]}\n";

static const struct {
    const char *name;
    uint64_t shape[4]; /* up to the first 0 */
} block_tensors[] = {
    {"ln_1.weight", {HIDDEN}},
    {"ln_1.bias", {HIDDEN}},
    {"attn.c_attn.weight", {HIDDEN, 3 * HIDDEN}},
    {"attn.c_attn.bias", {3 * HIDDEN}},
    {"attn.c_proj.weight", {HIDDEN, HIDDEN}},
    {"attn.c_proj.bias", {HIDDEN}},
    {"attn.bias", {1, 1, POSITIONS, POSITIONS}},
    {"ln_2.weight", {HIDDEN}},
    {"ln_2.bias", {HIDDEN}},
    {"mlp.c_fc.weight", {HIDDEN, FFN}},
    {"mlp.c_fc.bias", {FFN}},
    {"mlp.c_proj.weight", {FFN, HIDDEN}},
    {"mlp.c_proj.bias", {HIDDEN}},
};
enum { PER_BLOCK = sizeof block_tensors / sizeof block_tensors[0], SPECS = BLOCKS * PER_BLOCK + 4 };

static const struct st_spec ends[] = {
    {"wte.weight", DTYPE_BF16, 2, {TINY_VOCAB, HIDDEN}},
    {"wpe.weight", DTYPE_BF16, 2, {POSITIONS, HIDDEN}},
    {"ln_f.weight", DTYPE_BF16, 1, {HIDDEN}},
    {"ln_f.bias", DTYPE_BF16, 1, {HIDDEN}},
};

static void list_specs(struct st_spec specs[SPECS], char names[SPECS][64]) {
    size_t count = 0;
    for (int b = 0; b < BLOCKS; b++)
        for (int t = 0; t < PER_BLOCK; t++, count++) {
            struct st_spec *s = &specs[count];
            (void)snprintf(names[count], 64, "h.%d.%s", b, block_tensors[t].name);
            *s = (struct st_spec){.name = names[count], .dtype = DTYPE_BF16};
            for (; s->rank < 4 && block_tensors[t].shape[s->rank] > 0; s->rank++)
                s->shape[s->rank] = block_tensors[t].shape[s->rank];
        }
    memcpy(specs + count, ends, sizeof ends);
}

void tiny_gpt2_write(const char *dir, uint64_t seed) {
    static char names[SPECS][64];
    static struct st_spec specs[SPECS];
    llmq_error err = {0};
    struct st_writer *w = NULL;
    uint64_t state = seed;
    list_specs(specs, names);
    ck_assert_ok(dir_make(dir, true, &err), &err);
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(file_write_atomic(path, config, strlen(config), &err), &err);
    free(path);
    ck_assert_ok(st_writer_create(dir, specs, SPECS, 1u << 30, &w, &err), &err);
    for (size_t i = 0; i < SPECS; i++)
        tiny_tensor_put(w, &specs[i], &state);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
}
