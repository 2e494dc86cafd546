/* Model families as data.
 *
 * A family is one table: what config.json calls it, the defaults of absent keys, the tensor names,
 * and the data flow of a block as rows (models/schema.h). The forward pass, the planner and the
 * loaders' rules read what is derived from it; no other file names a family. Adding one is a table,
 * a line in family.c and a fixture. */
#ifndef LLMQ_MODELS_FAMILY_H
#define LLMQ_MODELS_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "models/schema.h"

/* When attention is limited to a window:
 * NEVER     no sliding window in this family
 * VALUE     `sliding_window` of the config is the window of every layer, null means none
 * SWITCHED  only when `use_sliding_window` is true, from layer `max_window_layers` on */
enum window_rule { WINDOW_NEVER, WINDOW_VALUE, WINDOW_SWITCHED };

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
    const struct node *rows; /* the data flow of a block: models/graph.h */

    enum window_rule window;
    struct family_defaults defaults;

    /* What config.json may call the class of the model, the usual name first; NULL-terminated. */
    const char *const *architectures;
    /* Keys of models/config_neutral.c that the family's tables honour, and those that are true of
     * the family whether they are there or not; NULL: none. */
    const char *const *honoured_keys, *const *inherent_keys;

    /* What GGUF files call the architecture (formats/gguf/gguf_file.h), NULL: no such files. */
    const char *gguf;
};

/* The family of a model_type, or NULL. family_at iterates: NULL past the end. */
const struct family *family_find(const char *model_type);
const struct family *family_at(int index);

/* --- names ------------------------------------------------------------------------------------ */

/* "model.layers.3.mlp.up_proj.weight" in `buf`: of a block, what it calls `name`, and `suffix`. The
 * one place where names of a block's tensors are made. */
enum { FAMILY_NAME_MAX = 256 };
const char *family_block_name(const struct family *f, int64_t block, const char *name,
                              const char *suffix, char buf[FAMILY_NAME_MAX]);

/* The inverse: the block that a tensor's name lies in, and the rest of the name; false: in none. */
bool family_block_of(const struct family *f, const char *name, int64_t *block, const char **rest);

/* The module that every block begins with, which tells one in a folder. */
const char *family_first_module(const struct family *f);

/* The trait by which the module that a block calls by these `len` bytes has a bias; 0: it has none.
 */
unsigned family_bias_trait(const struct family *f, const char *module, size_t len);

#endif
