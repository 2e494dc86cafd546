/* The metadata of a GGUF result: see gguf_export.h. Keys and their meaning:
 * gguf-py/gguf/constants.py and src/llama-model.cpp of ggml-org/llama.cpp. */
#include "gguf/gguf_export.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/int64.h"
#include "base/strbuf.h"
#include "graph/rope.h"

/* general.file_type: what most tensors are. */
enum file_type { FILE_Q4_0 = 2, FILE_Q4_1 = 3, FILE_Q8_0 = 7 };

struct gguf_export {
    struct gguf_metadata metadata;
    const char *tied_head; /* name of an output head to leave out, or NULL */
    float *rope_freqs;     /* [rope_count] or NULL */
    int64_t rope_count;
    bool has_tokenizer;
};

/* --- metadata --------------------------------------------------------------------------------- */

/* Positions at which llama.cpp computes what the model does. It attends to everything where some
 * models limit attention to a window, and knows no scaling that changes with length: up to where
 * these set in, both are the same. */
static int64_t context_length(const struct model_config *c) {
    int64_t length = min_i64(c->max_positions, INT32_MAX);
    for (int64_t b = 0; b < c->blocks; b++)
        if (c->layers[b] & T_WINDOW && c->facts.dims[DIM_WINDOW] < length)
            length = c->facts.dims[DIM_WINDOW];
    return length;
}

static void put_sizes(const struct model_config *c, struct gguf_metadata *g) {
    gguf_put_u32(g, ".context_length", (uint32_t)context_length(c));
    gguf_put_u32(g, ".embedding_length", (uint32_t)c->hidden);
    gguf_put_u32(g, ".block_count", (uint32_t)c->blocks);
    gguf_put_u32(g, ".feed_forward_length", (uint32_t)c->facts.dims[DIM_FFN]);
    gguf_put_u32(g, ".vocab_size", (uint32_t)c->vocab);
    gguf_put_u32(g, ".attention.key_length", (uint32_t)c->facts.dims[DIM_HEAD]);
    gguf_put_u32(g, ".attention.value_length", (uint32_t)c->facts.dims[DIM_HEAD]);
    gguf_put_f32(g, ".attention.layer_norm_rms_epsilon", c->facts.numbers[NUM_EPS]);
    gguf_put_u32(g, ".rope.dimension_count", (uint32_t)c->facts.dims[DIM_HEAD]);
    gguf_put_f32(g, ".rope.freq_base", c->rope.theta);
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

/* Divisors of the frequencies, which llama.cpp reads as a tensor. */
static enum llmq_status make_rope_freqs(const struct model_config *c, struct gguf_export *e,
                                        llmq_error *err) {
    const struct rope rope = rope_of(c, false);
    e->rope_count = rope.width / 2;
    e->rope_freqs = calloc((size_t)e->rope_count, sizeof *e->rope_freqs);
    if (!e->rope_freqs)
        return error_memory(err, "rotary frequencies");
    for (int64_t i = 0; i < e->rope_count; i++)
        e->rope_freqs[i] = rope_llama3_divisor(&rope, i);
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
        return make_rope_freqs(c, e, err);
    case ROPE_LONGROPE:
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "config.json: rope type longrope: llmq writes no such GGUF files");
    case ROPE_DYNAMIC: /* context_length stays where it sets in */
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
    *out = NULL;
    if (!c->family->gguf)
        return error_set(err, LLMQ_E_UNSUPPORTED, "%s: GGUF files of %s models are not supported",
                         m->dir, c->family->name);
    struct gguf_export *e = calloc(1, sizeof *e);
    if (!e)
        return error_memory(err, "the metadata of a GGUF file");
    e->tied_head = c->tied ? c->family->head : NULL;
    gguf_metadata_begin(&e->metadata, c->family->gguf, (uint32_t)c->facts.dims[DIM_HEADS],
                        (uint32_t)c->facts.dims[DIM_KV_HEADS]);
    put_general(m, config, &e->metadata);
    put_sizes(c, &e->metadata);
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
    free((*e)->rope_freqs);
    free(*e);
    *e = NULL;
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

enum llmq_status gguf_export_check(const struct st_tensor *t, llmq_error *err) {
    const enum dtype d = gguf_export_dtype(t);
    if (gguf_has_name(t->name) && (d == DTYPE_F32 || d == DTYPE_F16 || d == DTYPE_BF16))
        return LLMQ_OK;
    return error_set(err, LLMQ_E_UNSUPPORTED,
                     "tensor '%.200s': GGUF files of this family have no place for it as %s",
                     t->name, dtype_name(t->dtype));
}

enum dtype gguf_export_dtype(const struct st_tensor *t) {
    return t->rank == 1 && (t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16) ? DTYPE_F32 : t->dtype;
}

enum llmq_status gguf_export_open(const struct gguf_export *e, const char *dir,
                                  const struct st_spec *specs, size_t count, bool resume,
                                  struct st_writer **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const size_t made = e->rope_freqs ? 1 : 0;
    struct st_spec *all = calloc(count + 1, sizeof *all);
    *out = NULL;
    if (!all)
        return error_memory(err, "the tensors of a GGUF file");
    if (count > 0)
        memcpy(all, specs, count * sizeof *all);
    all[count] = (struct st_spec){GGUF_ROPE_FREQS, DTYPE_F32, 1, {(uint64_t)e->rope_count}};
    LLMQ_TRY((resume ? gguf_writer_reopen : gguf_writer_create)(dir, all, count + made,
                                                                &e->metadata, out, err));
    if (made)
        LLMQ_TRY(st_writer_put(*out, GGUF_ROPE_FREQS, e->rope_freqs,
                               (size_t)e->rope_count * sizeof *e->rope_freqs, err));

cleanup:
    free(all);
    if (status != LLMQ_OK)
        st_writer_abort(out);
    return status;
}
