/* A model folder opened for computing: its config, its tensors, and blocks loaded one at a time. */
#ifndef LLMQ_GRAPH_MODEL_H
#define LLMQ_GRAPH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json.h"
#include "formats/layout.h"
#include "formats/safetensors.h"
#include "llmq/error.h"
#include "llmq/matmul.h"
#include "models/config.h"

/* An open model folder. Immutable; reading from it is thread-safe. */
struct model {
    char *dir;
    struct json *config_json;
    struct model_config config;
    struct st_set *tensors;
    const struct layout *layout; /* how linears are packed; NULL: they are plain */
    struct layout_config layout_config;
};

/* y = x W^T + bias. Either `w` or `packed` is set, or neither when weights were not asked for. */
struct linear {
    int64_t n, k;
    float *w;                          /* [n, k]; in the block's arena */
    llmq_qmat *packed;                 /* owned by the block */
    enum llmq_activations activations; /* in products with `packed` */
    float *bias;                       /* [n] or NULL; in the block's arena */
};

/* One decoder block's weights. */
struct block {
    int64_t index;
    bool slides;                      /* attention limited to the config's window */
    float *attention_norm, *mlp_norm; /* [hidden]; in the block's arena, like all below */
    float *q_norm, *k_norm;           /* [head_dim] or NULL */
    struct linear linears[LINEAR_COUNT];
};

/* PLAIN expands packed weights to float32; PACKED keeps them for llmq_qmat_matmul; so does
 * PACKED_INT8, which has them multiplied with activations rounded to 8 bits. */
enum load_mode { LOAD_PLAIN, LOAD_PACKED, LOAD_PACKED_INT8 };

/* Open a folder (already resolved): config.json, tensors, quantization layout. Every tensor that
 * the family's table asks for must be there with the shape the config implies: the first that is
 * not is an LLMQ_E_INPUT naming it. Release with model_close. */
LLMQ_NODISCARD enum llmq_status model_open(const char *dir, struct model *out, llmq_error *err);
void model_close(struct model *m); /* accepts a zeroed struct */

/* "model.layers.3.self_attn.q_proj" in `buf`, and with `suffix` (may be "") appended. */
#define MODEL_NAME_MAX 256
const char *model_linear_name(const struct model *m, int64_t block, enum linear_role role,
                              const char *suffix, char buf[MODEL_NAME_MAX]);

/* The same for any tensor of a block under the family's name, e.g. family->mlp_norm. */
const char *model_block_tensor_name(const struct model *m, int64_t block, const char *name,
                                    const char *suffix, char buf[MODEL_NAME_MAX]);

/* The plain weight [n, k] of one linear, as model_load_block gives it with LOAD_PLAIN. */
LLMQ_NODISCARD enum llmq_status model_load_weight(const struct model *m, int64_t block,
                                                  enum linear_role role, float *out,
                                                  llmq_error *err);

/* Load block `index` into `arena` (which the caller resets between blocks). Call block_release
 * before the arena is reset. */
LLMQ_NODISCARD enum llmq_status model_load_block(const struct model *m, int64_t index,
                                                 enum load_mode mode, struct arena *arena,
                                                 struct block *out, llmq_error *err);
void block_release(struct block *b);

/* Is this linear stored packed? */
bool model_linear_packed(const struct model *m, int64_t block, enum linear_role role);

/* Decode the packed module of that name, which is [n, k] by the config, to the neutral form;
 * qlinear_free is the caller's. */
LLMQ_NODISCARD enum llmq_status model_load_qlinear(const struct model *m, const char *name,
                                                   int64_t n, int64_t k, struct qlinear *q,
                                                   llmq_error *err);

/* The output head's name ("lm_head") in `buf`. Is it stored packed? Then model_head_rows does not
 * give its rows: decode it by its name, [vocab, hidden]. */
const char *model_head_name(const struct model *m, char buf[MODEL_NAME_MAX]);
bool model_head_packed(const struct model *m);

/* Rows of the embedding for `count` token ids (each in [0, vocab)): out [count, hidden]. */
LLMQ_NODISCARD enum llmq_status model_embed(const struct model *m, const int32_t *ids,
                                            int64_t count, float *out, llmq_error *err);

/* The final norm's weight: out [hidden]. */
LLMQ_NODISCARD enum llmq_status model_final_norm(const struct model *m, float *out,
                                                 llmq_error *err);

/* Rows [begin, end) of a plain output head (the embedding when tied): out [end - begin, hidden]. */
LLMQ_NODISCARD enum llmq_status model_head_rows(const struct model *m, int64_t begin, int64_t end,
                                                float *out, llmq_error *err);

/* Bytes of a block's weights in memory when loaded PLAIN. */
uint64_t model_block_bytes(const struct model *m);

#endif
