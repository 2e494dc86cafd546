/* Model families as data.
 *
 * A family is one table: what config.json calls it, the defaults of absent keys, the tensor names,
 * which linear reads which input, where biases are. The forward pass, the planner and the loaders'
 * rules read the table; no other file names a family. Adding one is a table, a line in family.c
 * and a fixture. */
#ifndef LLMQ_MODELS_FAMILY_H
#define LLMQ_MODELS_FAMILY_H

#include <stdbool.h>
#include <stdint.h>

#include "models/schema.h"

/* The linears of a decoder block, in the order of the data flow. */
enum linear_role {
    LINEAR_Q,
    LINEAR_K,
    LINEAR_V,
    LINEAR_O,
    LINEAR_GATE,
    LINEAR_UP,
    LINEAR_DOWN,
    LINEAR_COUNT
};

/* Linears of one stage read the same input, so they share one Hessian; stages follow each other
 * in the data flow. */
enum block_stage {
    STAGE_ATTENTION_IN,  /* normalised residual stream -> q, k, v */
    STAGE_ATTENTION_OUT, /* attention output -> o */
    STAGE_MLP_IN,        /* normalised residual stream -> gate, up */
    STAGE_MLP_OUT,       /* gated activation -> down */
    STAGE_COUNT
};

enum bias_rule { BIAS_NEVER, BIAS_ALWAYS, BIAS_IF_ATTENTION, BIAS_IF_MLP };

/* When attention is limited to a window:
 * NEVER     no sliding window in this family
 * VALUE     `sliding_window` of the config is the window of every layer, null means none
 * SWITCHED  only when `use_sliding_window` is true, from layer `max_window_layers` on */
enum window_rule { WINDOW_NEVER, WINDOW_VALUE, WINDOW_SWITCHED };

/* What a scale per channel can be divided out of. */
enum fold_producer { FOLD_NONE, FOLD_ATTENTION_NORM, FOLD_MLP_NORM, FOLD_LINEAR };

/* Which channel of the producer an input column of its consumers reads. */
enum fold_map {
    FOLD_SAME,    /* column i reads channel i */
    FOLD_BY_HEAD, /* the channels of a key-value head feed all query heads that share it */
};

#define FOLD_ROLE(role) (1u << (role))

/* A scale per channel of what the linears of a stage read can be divided out of its producer and
 * multiplied into the linears' columns, and the block computes the same (Lin et al.,
 * arXiv:2306.00978). The consumers must be all that read the producer: see fold_check. */
struct family_fold {
    enum fold_producer producer;
    enum linear_role linear; /* FOLD_LINEAR: the one whose output rows and bias are divided */
    enum fold_map map;
    unsigned consumers; /* set of FOLD_ROLE */
};

struct family_linear {
    const char *name; /* within the block, e.g. "self_attn.q_proj" */
    enum block_stage stage;
    enum bias_rule bias;
};

/* Values of config keys that files may omit. */
struct family_defaults {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads; /* 0: as many as attention heads */
    int64_t head_dim;            /* 0: hidden_size / num_attention_heads */
    int64_t max_position_embeddings;
    int64_t sliding_window; /* 0: none */
    int64_t max_window_layers;
    double rms_norm_eps, rope_theta;
    bool tie_word_embeddings;
};

#define FAMILY_MAX_TYPES 4

struct family {
    const char *name;
    const char *model_types[FAMILY_MAX_TYPES]; /* config.json model_type, NULL-terminated */

    /* Tensor names. block_prefix takes the block's number. */
    const char *embedding, *block_prefix, *final_norm, *head;
    const char *attention_norm, *mlp_norm; /* RMSNorm weights [hidden] */
    const char *q_norm, *k_norm;           /* RMSNorm per head [head_dim], NULL: none */
    struct family_linear linears[LINEAR_COUNT];
    const struct node *rows;               /* the same block as data flow: models/graph.h */
    struct family_fold folds[STAGE_COUNT]; /* by the stage of the consumers */

    enum window_rule window;
    struct family_defaults defaults;

    /* What config.json may call the class of the model, the usual name first; NULL-terminated. */
    const char *const *architectures;
    /* Keys of models/config_neutral.c that the family's tables honour, and those that are true of
     * the family whether they are there or not; NULL: none. */
    const char *const *honoured_keys, *const *inherent_keys;

    /* What GGUF files call the architecture (formats/gguf_file.h), NULL: no such files. */
    const char *gguf;
};

/* The family of a model_type, or NULL. family_at iterates: NULL past the end. */
const struct family *family_find(const char *model_type);
const struct family *family_at(int index);

#endif
