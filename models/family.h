/* SPDX-License-Identifier: Apache-2.0 */
/* Model families as data.
 *
 * A family is one table: what config.json calls it, which keys say what, the tensor names, and the
 * data flow of a block as rows (models/schema.h). The forward pass, the planner and the loaders'
 * rules read what is derived from it; no other file names a family. Adding one is a table, a line
 * in family.c and a fixture. */
#ifndef LLMQ_MODELS_FAMILY_H
#define LLMQ_MODELS_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "models/schema.h"

#define FAMILY_MAX_TYPES 4

/* A stack that does less with a packed model of a family than with others. */
struct family_limit {
    const char *stack;  /* as formats/loaders/compat.h calls it; NULL: the list is at its end */
    const char *except; /* a format that it does take; NULL: none */
    bool refuses;       /* it does not load, or computes something else; false: a caveat */
    const char *note;
};

/* Layers that predict tokens beyond the next one. Each is a block of the family's rows, and reads
 * what the layer before it makes of a token, beside the embedding of the token that was predicted
 * last: both behind a norm, joined, and through a projection (DeepSeek-AI, arXiv:2412.19437,
 * section 2.2). */
struct draft_wiring {
    const char *prefix; /* of their blocks, with a number from 0 on; NULL: as the model's own, whose
                         * numbers go on */
    /* Modules within each layer or, `shared` by all of them, under their whole names. */
    const char *token_norm, *hidden_norm, *projection;
    const char *out_norm; /* behind a layer, before the next one reads it; NULL: none */
    bool shared;
    bool hidden_first;     /* of the two that are joined; else the embedding is */
    bool behind_norm;      /* the model's last norm comes before the first layer */
    trait_set adds, drops; /* traits of their blocks, against those of the model's last */
};

struct family {
    const char *name;
    const char *model_types[FAMILY_MAX_TYPES]; /* config.json model_type, NULL-terminated */

    /* Tensor names. block_prefix takes the block's number; final_norm and embedding_norm are
     * modules, the others tensors. NULL: the model has no such part. */
    const char *embedding, *block_prefix, *final_norm, *head;
    const char *embedding_norm;
    /* Beginnings of the names of tensors that loaders take or pass over, and that are carried along
     * with the model; NULL: none. Those of a block, within it. */
    const char *const *beside, *const *block_beside;
    bool draft_layers; /* layers beyond the last predict further tokens: carried along, too */
    /* How those that predict further tokens are wired; NULL: it is not known, or loaders take them
     * plain only. */
    const struct draft_wiring *draft;
    int64_t
        draft_from; /* where they are blocks (drafts.h), the number of the first; 0: they are not */
    /* What tokens say to the blocks themselves (T_TOKEN), in tensors outside of them: a table
     * [tokens, layers x width], and a projection [layers x width, hidden] of the embedding with a
     * norm for each layer's part; the last two are modules. */
    const char *token_table, *token_projection, *token_norm;
    const char *positions;   /* learned: [offset + positions, hidden], added to the embedding */
    bool sinusoids;          /* the same computed (Vaswani et al., arXiv:1706.03762, section 3.5),
                              * all sines before all cosines; no tensor has them */
    int position_offset;     /* the row of the first position */
    const struct node *rows; /* the data flow of a block: models/graph.h */
    /* Blocks with this trait take turns with DIM_SHARES sets of the tensors of rows that are
     * `shared`, each of which lies in the first block that takes it; 0: there are none. */
    trait_set shared;

    /* How config.json is read: each ends with an empty row; `rules` may be NULL. */
    const struct setting *settings;
    const struct layer_rule *rules;
    const char *act_key; /* the key with the activation's name; NULL: it is always `act` */
    enum act act;        /* where the key is missing */
    enum norm norm;      /* of rows that name none, and of the two below ... */
    enum norm first_norm,
        last_norm;    /* ... of embedding_norm and final_norm, where they name none */
    trait_set traits; /* that every model has */

    /* What config.json may call the class of the model, the usual name first; NULL-terminated. */
    const char *const *architectures;
    const char *rotary; /* the rotary settings, as JSON, of a file without any; NULL: none */
    /* Keys of models/config_neutral.c that are true of the family whether they are there or not;
     * NULL: none. */
    const char *const *inherent_keys;
    /* Keys of the same that say nothing for the family. */
    const char *const *ignored_keys;

    const struct family_limit *limits; /* NULL: nothing is known */

    /* What GGUF files call the architecture (gguf_file.h), NULL: no such files. */
    const char *gguf;
};

/* The family of a model_type, or NULL. family_at iterates: NULL past the end. */
const struct family *family_find(const char *model_type);
const struct family *family_at(int index);

/* Does a setting or a rule of the family read the key of config.json? */
bool family_reads(const struct family *f, const char *key);

/* Is it one of those that say nothing? */
bool family_ignores(const struct family *f, const char *key);

/* Does one read members of the object of that key? */
bool family_reads_members(const struct family *f, const char *key);

/* Has a block of the family rows that rotate? */
bool family_rotates(const struct family *f);

/* The setting that says a size, number or trait, NULL: none does. */
const struct setting *family_setting(const struct family *f, int set, uint64_t what);

/* --- names ------------------------------------------------------------------------------------ */

/* "model.layers.3.mlp.up_proj.weight" in `buf`: of a block, what it calls `name`, and `suffix`. The
 * one place where names of a block's tensors are made. Where layers that predict further tokens are
 * blocks (draft_from), they are those behind the last. */
enum { FAMILY_NAME_MAX = 256 };
const char *family_block_name(const struct family *f, int64_t block, const char *name,
                              const char *suffix, char buf[FAMILY_NAME_MAX]);

/* The inverse: the block that a tensor's name lies in, and the rest of the name; false: in none. */
bool family_block_of(const struct family *f, const char *name, int64_t *block, const char **rest);

/* Is it one of those whose names have a prefix of their own? */
bool family_is_apart(const struct family *f, int64_t block);

/* The number in a name that begins with `prefix`, which has a %lld for it, and what is behind. */
bool family_numbered(const char *prefix, const char *name, int64_t *number, const char **rest);

/* "model.": the length of what the names of the embedding and of the blocks begin with. */
size_t family_trunk(const struct family *f);

/* A module that every block has, the first with a name, which tells one in a folder; where there is
 * none, one that blocks without further traits have, as the first block does. */
const char *family_first_module(const struct family *f);

/* The trait by which the module that a block calls by these `len` bytes has a bias; 0: it has none.
 */
trait_set family_bias_trait(const struct family *f, const char *module, size_t len);

#endif
