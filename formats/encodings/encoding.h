/* SPDX-License-Identifier: Apache-2.0 */
/* Encodings: forms of weights that checkpoints ship in and that llmq reads as plain numbers, small
 * floats with scales. Unlike layouts (formats/layouts) they are never written, and nothing computes
 * with their codes: the tensors of an open checkpoint are shown decoded, as float32, and all that
 * follows takes them for a plain model's. One vtable per encoding; encoding_of_config is the only
 * list of them. */
#ifndef LLMQ_FORMATS_ENCODINGS_ENCODING_H
#define LLMQ_FORMATS_ENCODINGS_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "formats/safetensors/safetensors_coded.h"
#include "llmq/error.h"

struct encoding;

/* What a config says of the weights. */
struct encoding_settings {
    const struct encoding *encoding;    /* NULL: none that is an encoding's */
    uint64_t block_rows, block_columns; /* of elements that share a scale; 0: no such blocks */
    bool whole;                         /* scales may also be one for a tensor or for a row */
    bool activations; /* servers of the checkpoint round activations too, which llmq does not */
};

struct encoding {
    const char *name;        /* as inspect and messages call it */
    const char *description; /* of the codes, for messages */
    int bits;                /* of a code */

    /* Does a quantization_config describe it? */
    bool (*config_matches)(const struct json *quantization_config);

    /* LLMQ_E_INPUT or LLMQ_E_UNSUPPORTED name the key. */
    enum llmq_status (*config_read)(const struct json *quantization_config,
                                    struct encoding_settings *out, llmq_error *err);

    /* Is it the tensor of a module's codes, by type and name? */
    bool (*holds_codes)(const struct st_tensor *t);

    /* Find the parts that belong to a tensor of codes and hold them to each other: fills the view
     * but for `tensor`, the name into `name`, and marks what is not to be shown.
     * LLMQ_E_INPUT or LLMQ_E_UNSUPPORTED name tensors, what was expected and what is there. */
    enum llmq_status (*view)(const struct st_set *set, const struct st_tensor *codes,
                             const struct encoding_settings *settings, struct st_coded_view *out,
                             char *name, bool *hidden, llmq_error *err);

    /* Suffixes that follow a weight's name in those of its scales, NULL-terminated: beside a weight
     * that is stored plainly they contradict it. */
    const char *const *scale_suffixes;
};

/* What a quantization_config (NULL: there is none) says, and the keys it must not have. */
LLMQ_NODISCARD enum llmq_status encoding_of_config(const struct json *quantization_config,
                                                   struct encoding_settings *out, llmq_error *err);

/* Let the set show what is encoded as numbers. Reads no data. Errors as of `view`, with the file;
 * they leave a set that is only good for closing. Does nothing without an encoding. */
LLMQ_NODISCARD enum llmq_status encoding_settle(const struct encoding_settings *settings,
                                                struct st_set *set, llmq_error *err);

/* Let the set of a GGUF file show tensors of blocks of codes as numbers: `weights` are the names
 * that they get ("model.embed_tokens.weight", or NULL), count of them. Those that are not there, or
 * plain, stay so. */
LLMQ_NODISCARD enum llmq_status encoding_show_blocks(struct st_set *set, const char *const *weights,
                                                     int count, llmq_error *err);

/* How many tensors of a set are decoded. */
size_t encoding_count(const struct st_set *set);

/* --- for the encodings ------------------------------------------------------------------------ */

#define ENCODING_NAME_MAX 512

/* The tensor called `name` without its last `cut` characters and with `suffix`, or NULL. */
const struct st_tensor *encoding_part(const struct st_set *set, const char *name, size_t cut,
                                      const char *suffix);

/* Mark a tensor of the set as not to be shown; NULL: none. */
void encoding_hide(const struct st_set *set, const struct st_tensor *t, bool *hidden);

/* The hint of parts that do not go together. */
void encoding_hint(llmq_error *err);

/* "[2, 64]" of a tensor or of what was expected. */
#define ENCODING_SHAPE_MAX 128
const char *encoding_shape(const uint64_t *shape, int rank, char text[ENCODING_SHAPE_MAX]);

extern const struct encoding encoding_fp8;   /* E4M3 with scales for blocks, rows or tensors */
extern const struct encoding encoding_mxfp4; /* _blocks and _scales, as gpt-oss ships */
extern const struct encoding encoding_fp4;   /* E2M1 as compressed-tensors packs it */

#endif
