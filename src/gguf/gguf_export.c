/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of a GGUF result: see gguf_export.h. Keys and their meaning:
 * gguf-py/gguf/constants.py and src/llama-model.cpp of ggml-org/llama.cpp. */
#include "gguf/gguf_export.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/int64.h"
#include "base/strbuf.h"
#include "gguf/gguf_archs.h"
#include "graph/rope.h"
#include "models/gguf_names.h"

/* general.file_type: what most tensors are. */
enum file_type { FILE_Q4_0 = 2, FILE_Q4_1 = 3, FILE_Q8_0 = 7 };

/* A tensor that Hugging Face checkpoints lack: of the rotary frequencies' divisors. */
struct made {
    const char *name;
    float *data; /* [count] */
    int64_t count;
};

enum { MADE_MOST = 2 };

/* llama.cpp rounds contexts up to multiples of it. */
enum { CONTEXT_STEP = 256 };

struct gguf_export {
    struct gguf_metadata metadata;
    const struct blocks *blocks; /* the model's */
    const char *tied_head;       /* name of an output head to leave out, or NULL */
    struct made made[MADE_MOST];
    int made_count;
    bool has_tokenizer;
};

/* --- metadata --------------------------------------------------------------------------------- */

/* Positions at which llama.cpp computes what the model does. Where an architecture has no windows
 * it attends to everything, and it knows no scaling that changes with length: up to where these set
 * in, both are the same. */
static int64_t context_length(const struct gguf_arch *arch, const struct model_config *c) {
    int64_t length = min_i64(c->max_positions, INT32_MAX);
    for (int64_t b = 0; arch->window_period == 0 && b < c->blocks; b++)
        if (c->layers[b] & T_WINDOW && c->facts.dims[DIM_WINDOW] < length)
            length = c->facts.dims[DIM_WINDOW];
    return c->rope.type == ROPE_LONGROPE ? min_i64(length, c->rope.original_max_positions) : length;
}

static void put_scaling(const struct rope_config *r, const char *type, struct gguf_metadata *g) {
    gguf_put_string(g, ".rope.scaling.type", type);
    gguf_put_f32(g, ".rope.scaling.factor", r->factor);
    gguf_put_u32(g, ".rope.scaling.original_context_length", (uint32_t)r->original_max_positions);
}

/* llama.cpp computes YaRN's ramp and magnitude from the factor alone. */
static bool is_plain_yarn(const struct rope_config *r) {
    const double natural = r->factor > 1.0 ? 0.1 * log(r->factor) + 1.0 : 1.0;
    return r->truncate && fabs(r->attention_factor - natural) < 1e-6 &&
           fabs(r->beta_fast - 32.0) < 1e-6 && fabs(r->beta_slow - 1.0) < 1e-6;
}

/* Room for a tensor of divisors. NULL: no memory. */
static float *add_made(struct gguf_export *e, const char *name, int64_t count) {
    struct made *m = &e->made[e->made_count++];
    *m = (struct made){name, calloc((size_t)count, sizeof *m->data), count};
    return m->data;
}

static enum llmq_status make_llama3(const struct model_config *c, struct gguf_export *e,
                                    llmq_error *err) {
    const struct rope rope = rope_of(c, false);
    float *divisors = add_made(e, "rope_freqs.weight", rope.width / 2);
    if (!divisors)
        return error_memory(err, "rotary frequencies");
    for (int64_t i = 0; i < rope.width / 2; i++)
        divisors[i] = rope_llama3_divisor(&rope, i);
    return LLMQ_OK;
}

/* Of both regimes, though the context ends with the first: which one is used goes by the size of
 * the context, whatever the length of a text. */
static enum llmq_status make_longrope(const struct model_config *c, struct gguf_export *e,
                                      llmq_error *err) {
    const struct rope_config *r = &c->rope;
    if (r->original_max_positions % CONTEXT_STEP != 0)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "config.json: original_max_position_embeddings: expected a multiple of "
                         "%d, the step of llama.cpp's contexts, found %" PRId64,
                         CONTEXT_STEP, r->original_max_positions);
    float *few = add_made(e, "rope_factors_short.weight", r->pairs);
    float *many = add_made(e, "rope_factors_long.weight", r->pairs);
    if (!few || !many)
        return error_memory(err, "rotary frequencies");
    for (int64_t i = 0; i < r->pairs; i++) {
        few[i] = (float)r->short_factor[i];
        many[i] = (float)r->long_factor[i];
    }
    gguf_put_u32(&e->metadata, ".rope.scaling.original_context_length",
                 (uint32_t)r->original_max_positions);
    gguf_put_f32(&e->metadata, ".rope.scaling.attn_factor", r->attention_factor);
    return LLMQ_OK;
}

static enum llmq_status put_rope(const struct model_config *c, struct gguf_export *e,
                                 llmq_error *err) {
    switch (c->rope.type) {
    case ROPE_LINEAR:
        put_scaling(&c->rope, "linear", &e->metadata);
        return LLMQ_OK;
    case ROPE_YARN:
        if (!is_plain_yarn(&c->rope))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "config.json: YaRN scaling with settings of its own: GGUF files hold "
                             "the usual beta_fast 32, beta_slow 1 and attention factor");
        put_scaling(&c->rope, "yarn", &e->metadata);
        return LLMQ_OK;
    case ROPE_LLAMA3:
        return make_llama3(c, e, err);
    case ROPE_LONGROPE:
        return make_longrope(c, e, err);
    case ROPE_DYNAMIC:      /* context_length stays where it sets in */
    case ROPE_PROPORTIONAL: /* of no architecture */
    case ROPE_DEFAULT:
    default:
        return LLMQ_OK;
    }
}

static void put_general(const struct model *m, const struct layout_config *config,
                        struct gguf_metadata *g) {
    const enum file_type type = config->bits == 8 ? FILE_Q8_0 : config->sym ? FILE_Q4_0 : FILE_Q4_1;
    gguf_put_string(g, "general.name", path_base(m->dir));
    gguf_put_u32(g, "general.file_type", (uint32_t)type);
    gguf_put_u32(g, "general.quantization_version", 2);
}

enum llmq_status gguf_export_create(const struct model *m, const struct layout_config *config,
                                    struct gguf_export **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct model_config *c = &m->config;
    const struct gguf_arch *arch = NULL;
    *out = NULL;
    status = gguf_arch_of(m->blocks, &arch, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s", m->dir);
    struct gguf_export *e = calloc(1, sizeof *e);
    if (!e)
        return error_memory(err, "the metadata of a GGUF file");
    e->blocks = m->blocks;
    e->tied_head = c->tied ? c->family->head : NULL;
    gguf_metadata_begin(&e->metadata, arch->name);
    put_general(m, config, &e->metadata);
    gguf_arch_put(arch, m->blocks, context_length(arch, c), &e->metadata);
    LLMQ_TRY(put_rope(c, e, err));
    LLMQ_TRY(
        gguf_tokenizer_put(m->dir, c->vocab, m->config_json, &e->metadata, &e->has_tokenizer, err));
    *out = e;
    e = NULL;

cleanup:
    gguf_export_free(&e);
    return status;
}

void gguf_export_free(struct gguf_export **e) {
    if (!*e)
        return;
    gguf_metadata_free(&(*e)->metadata);
    for (int i = 0; i < (*e)->made_count; i++)
        free((*e)->made[i].data);
    free(*e);
    *e = NULL;
}

/* The pairs and the head of the file, a copy of them; strings that grow have up to as much again.
 */
uint64_t gguf_export_bytes(const struct gguf_export *e) {
    return 2 * 2 * (uint64_t)e->metadata.pairs.len;
}

const char *gguf_export_caveat(const struct gguf_export *e) {
    return e->has_tokenizer ? NULL
                            : "the GGUF file has no tokenizer, since the model's folder has no "
                              "tokenizer.json: it takes and gives token ids";
}

/* --- tensors ---------------------------------------------------------------------------------- */

bool gguf_export_drops(const struct gguf_export *e, const struct st_tensor *t) {
    return (e->tied_head && strcmp(t->name, e->tied_head) == 0) ||
           text_ends_with(t->name, ".rotary_emb.inv_freq");
}

enum llmq_status gguf_export_check(const struct gguf_export *e, const struct st_tensor *t,
                                   llmq_error *err) {
    const enum dtype d = gguf_export_dtype(t);
    struct gguf_tensor place;
    if (gguf_tensor_of(e->blocks, t->name, &place) &&
        (d == DTYPE_F32 || d == DTYPE_F16 || d == DTYPE_BF16 || dtype_block(d) > 1))
        return LLMQ_OK;
    return error_set(err, LLMQ_E_UNSUPPORTED,
                     "tensor '%.200s': GGUF files of this family have no place for it as %s",
                     t->name, dtype_name(t->dtype));
}

enum dtype gguf_export_dtype(const struct st_tensor *t) {
    if (dtype_block(st_stored_dtype(t)) > 1)
        return st_stored_dtype(t);
    const bool half = t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
    return t->rank == 1 && half ? DTYPE_F32 : st_copy_dtype(t);
}

static enum llmq_status find_place(const struct gguf_export *e, const struct st_spec *spec,
                                   struct gguf_place *out, llmq_error *err) {
    struct gguf_tensor t;
    if (!gguf_tensor_of(e->blocks, spec->name, &t))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': GGUF files of %s models have no place for it",
                         spec->name, e->metadata.arch);
    *out = (struct gguf_place){.heads = (uint64_t)t.heads,
                               .plus_one = t.plus_one,
                               .part = (uint64_t)t.part,
                               .parts = (uint64_t)t.parts};
    memcpy(out->name, t.name, sizeof t.name);
    return LLMQ_OK;
}

/* The specs with those of what is made here behind them, and their places. */
static enum llmq_status list_places(const struct gguf_export *e, size_t count, struct st_spec *all,
                                    struct gguf_place *places, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < count; i++)
        status = find_place(e, &all[i], &places[i], err);
    for (int i = 0; i < e->made_count; i++) {
        const struct made *m = &e->made[i];
        all[count + (size_t)i] = (struct st_spec){m->name, DTYPE_F32, 1, {(uint64_t)m->count}};
        (void)snprintf(places[count + (size_t)i].name, GGUF_NAME_MAX, "%s", m->name);
    }
    return status;
}

static enum llmq_status put_made(const struct gguf_export *e, struct st_writer *w,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < e->made_count; i++)
        status = st_writer_put(w, e->made[i].name, e->made[i].data,
                               (size_t)e->made[i].count * sizeof *e->made[i].data, err);
    return status;
}

enum llmq_status gguf_export_open(const struct gguf_export *e, const char *dir,
                                  const struct st_spec *specs, size_t count, bool resume,
                                  struct st_writer **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct st_spec *all = calloc(count + MADE_MOST, sizeof *all);
    struct gguf_place *places = calloc(count + MADE_MOST, sizeof *places);
    *out = NULL;
    if (!all || !places)
        LLMQ_TRY(error_memory(err, "the tensors of a GGUF file"));
    if (count > 0)
        memcpy(all, specs, count * sizeof *all);
    LLMQ_TRY(list_places(e, count, all, places, err));
    const struct gguf_plan plan = {all, places, count + (size_t)e->made_count, &e->metadata};
    LLMQ_TRY((resume ? gguf_writer_reopen : gguf_writer_create)(dir, &plan, out, err));
    LLMQ_TRY(put_made(e, *out, err));

cleanup:
    free(all);
    free(places);
    if (status != LLMQ_OK)
        st_writer_abort(out);
    return status;
}
