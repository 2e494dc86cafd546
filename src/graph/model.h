/* SPDX-License-Identifier: Apache-2.0 */
/* A model folder opened for computing: its config, its tensors, and blocks loaded one at a time. */
#ifndef LLMQ_GRAPH_MODEL_H
#define LLMQ_GRAPH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json.h"
#include "formats/encodings/encoding.h"
#include "formats/layouts/layout.h"
#include "formats/loaders/quant_config.h"
#include "formats/safetensors/safetensors.h"
#include "graph/batch.h"
#include "graph/naming.h"
#include "graph/norm.h"
#include "graph/tying.h"
#include "llmq/error.h"
#include "llmq/matmul.h"
#include "models/blocks.h"
#include "models/ends.h"

/* What becomes of the weights [n, k] of linears and routers when they were read, and of the vectors
 * of blocks and of the norms at the model's ends: other numbers take their place. */
struct weight_edit {
    void *c;
    enum llmq_status (*apply)(void *c, struct linear_place at, float *w, llmq_error *err);
    void (*vector)(void *c, const struct st_tensor *t, float *values); /* or NULL */
};

/* An open model folder. Immutable; reading from it is thread-safe. */
struct model {
    char *dir;
    struct json *config_json;
    struct model_config config; /* `tied` as the tensors have it, whatever the file says */
    struct blocks *blocks;      /* what the config's blocks are made of */
    struct st_set *tensors;     /* under the family's names */
    struct naming naming;       /* what they are in the files */
    enum tying tying;
    struct quant_config quant;        /* what layout_config may point into */
    const struct layout *layout;      /* how linears are packed; NULL: they are plain */
    struct encoding_settings encoded; /* of plain ones that the files hold as small floats */
    struct layout_config layout_config;
    const struct weight_edit *edit; /* the caller's, in a copy of the struct: of what is loaded
                                       plain; NULL: there is none */
};

/* Open a folder (already resolved): config.json, tensors, quantization layout. Every tensor that
 * the family's table asks for must be there with the shape the config implies: the first that is
 * not is an LLMQ_E_INPUT naming it. LLMQ_E_UNSUPPORTED when tensors say that the model computes
 * something else than the family does (graph/inventory.h). Release with model_close. */
LLMQ_NODISCARD enum llmq_status model_open(const char *dir, struct model *out, llmq_error *err);

/* The same as a model of the family of that name, see config_parse_as; NULL: as its model_type
 * says. */
LLMQ_NODISCARD enum llmq_status model_open_as(const char *dir, const char *family,
                                              struct model *out, llmq_error *err);

/* How a folder is read. */
struct model_reading {
    const char *family; /* as above */
    bool drafts;        /* layers that predict further tokens are blocks, see draft_layers_settle */
};
LLMQ_NODISCARD enum llmq_status model_open_by(const char *dir, const struct model_reading *how,
                                              struct model *out, llmq_error *err);
void model_close(struct model *m); /* accepts a zeroed struct */

/* "model.layers.3.self_attn.q_proj" in `buf`, and with `suffix` (may be "") appended. */
#define MODEL_NAME_MAX FAMILY_NAME_MAX
const char *model_node_name(const struct model *m, int64_t block, int node, const char *suffix,
                            char buf[MODEL_NAME_MAX]);

/* The weight [n, k] of one linear or router, as block_load gives it with LOAD_PLAIN: turned where
 * it is stored as [k, n], taken out of the stack where experts are stacked, decoded where it is
 * packed.
 */
LLMQ_NODISCARD enum llmq_status model_load_weight(const struct model *m, struct linear_place at,
                                                  float *out, llmq_error *err);

/* The graph of block `index`. */
const struct graph *model_graph(const struct model *m, int64_t index);

/* Let the disk look for the tensors of block `index` (may be past the end). */
void model_read_ahead(const struct model *m, int64_t index);

/* A plain tensor, [rows, cols] or, with rows 0, [cols], as float32 in `arena`. */
LLMQ_NODISCARD enum llmq_status model_load_f32(const struct model *m, const char *name,
                                               int64_t rows, int64_t cols, struct arena *arena,
                                               float **out, llmq_error *err);

/* Is this linear stored packed? */
bool model_linear_packed(const struct model *m, struct linear_place at);

/* Decode the packed module of that name, which is [n, k] by the config, to the neutral form;
 * qlinear_free is the caller's. */
LLMQ_NODISCARD enum llmq_status model_load_qlinear(const struct model *m, const char *name,
                                                   int64_t n, int64_t k, struct qlinear *q,
                                                   llmq_error *err);

/* The same for products; llmq_qmat_free is the caller's. */
LLMQ_NODISCARD enum llmq_status model_load_packed(const struct model *m, const char *name,
                                                  int64_t n, int64_t k, llmq_qmat **out,
                                                  llmq_error *err);

/* The output head's name ("lm_head") in `buf`. Is it stored packed? Then model_head_rows does not
 * give its rows: decode it by its name, [vocab, hidden]. */
const char *model_head_name(const struct model *m, char buf[MODEL_NAME_MAX]);
bool model_head_packed(const struct model *m);

/* What goes into the first block: `ids` (each in [0, vocab)) of the sequences of a batch, whose
 * offsets are places in `ids`: out [rows, stream], behind the hidden state 0. LLMQ_E_INPUT when a
 * sequence is longer than the learned positions reach. */
LLMQ_NODISCARD enum llmq_status model_embed(const struct model *m, const int32_t *ids,
                                            const struct batch *b, float *out, llmq_error *err);

/* The same where `past` tokens of each sequence came before. */
LLMQ_NODISCARD enum llmq_status model_embed_from(const struct model *m, const int32_t *ids,
                                                 const struct batch *b, int64_t past, float *out,
                                                 llmq_error *err);

/* The norm behind the last block: x [rows, stream], in its place [rows, hidden]. */
LLMQ_NODISCARD enum llmq_status model_final_norm(const struct model *m, int64_t rows, float *x,
                                                 llmq_error *err);

/* The way back: dx [rows, hidden] = the gradient towards what the last norm reads, x, where dy is
 * that towards what it makes. weight and bias [hidden] += those towards its own, or NULL. */
LLMQ_NODISCARD enum llmq_status model_final_norm_back(const struct model *m, int64_t rows,
                                                      const struct norm_back *b, llmq_error *err);

/* The bias of an output head that has one (T_HEAD_BIAS): out [vocab]. */
LLMQ_NODISCARD enum llmq_status model_head_bias(const struct model *m, float *out, llmq_error *err);

/* Rows [begin, end) of a plain output head (the embedding when tied): out [end - begin, hidden]. */
LLMQ_NODISCARD enum llmq_status model_head_rows(const struct model *m, int64_t begin, int64_t end,
                                                float *out, llmq_error *err);

#endif
