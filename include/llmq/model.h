/* SPDX-License-Identifier: Apache-2.0 */
/* Model folders: finding them, looking into them, tokenizing with them. */
#ifndef LLMQ_MODEL_H
#define LLMQ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/special.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Folder of a model: `spec` when it is a folder; the folder of the file that it is, where
 * config.json lies beside; else a name looked up in $LLMQ_MODELS, ./models, then the Hugging Face
 * cache
 * ($HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $TRANSFORMERS_CACHE,
 * $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub): org/name is
 * models--org--name/snapshots/<refs/main>, or the only snapshot where refs/main is missing;
 * org/name@revision that of a branch, a tag or a commit. *path is to be released with llmq_free.
 * LLMQ_E_NOT_FOUND: the hint lists where llmq looked. */
LLMQ_NODISCARD enum llmq_status llmq_model_resolve(const char *spec, char **path, llmq_error *err);

/* Call `each` with the names that are found so now: folders with a config.json in $LLMQ_MODELS and
 * ./models, name or org/name, then what the caches hold. Places that cannot be read are left out; a
 * name that is in two is told twice, and lasts until `each` returns. LLMQ_E_MEMORY: not all. */
typedef void llmq_name_fn(void *user, const char *name);
LLMQ_NODISCARD enum llmq_status llmq_model_names(llmq_name_fn *each, void *user, llmq_error *err);

/* --- inspect ---------------------------------------------------------------------------------- */

typedef struct llmq_inspect_tensor {
    char *name;
    const char *dtype; /* static: "F16", "I32", ... */
    int rank;
    uint64_t shape[8]; /* the first eight dimensions */
    uint64_t bytes;
} llmq_inspect_tensor;

typedef struct llmq_inspect_report {
    char *path;
    char *model_type;   /* of config.json */
    const char *family; /* llmq's table for it, or NULL when llmq has none */
    const char *layout; /* "none" for a plain checkpoint, else "gptq", ...; "fp8" and "mxfp4" are
                           read only: tensors are listed decoded, codes and scales as one */
    int64_t blocks;
    int64_t parameters; /* logical weights: a packed matrix counts its codes */
    int64_t quantized_parameters;
    int64_t quantized_modules;
    int64_t deviating_modules; /* of them, with other settings than these by the config */
    int bits;                  /* 0 for a plain checkpoint */
    int64_t group; /* -1: one group per row; 0 for a plain checkpoint, and where the file tells */
    bool sym;
    uint64_t bytes;                   /* of all tensors */
    double bits_per_weight;           /* 8 * bytes / parameters */
    double bits_per_quantized_weight; /* codes, scales, zeros and maps per packed weight */
    int shards;
    llmq_inspect_tensor *tensors;
    size_t tensor_count;
} llmq_inspect_report;

/* Read the headers of the checkpoint `model` (resolved as above); no tensor data is read. `family`:
 * read it as a model of that one; NULL: as its model_type says. Release the report with
 * llmq_inspect_report_free. */
LLMQ_NODISCARD enum llmq_status llmq_inspect(const char *model, const char *family,
                                             llmq_inspect_report *report, llmq_error *err);
void llmq_inspect_report_free(llmq_inspect_report *report);

/* --- the blocks of a model ---------------------------------------------------------------------
 */

/* Names of values that an operation makes or reads, and NULL behind them. */
#define LLMQ_BLOCK_VALUES 8

/* One operation of a block. Strings are static. */
typedef struct llmq_block_row {
    const char *op;                                                  /* "linear" */
    const char *makes[LLMQ_BLOCK_VALUES], *reads[LLMQ_BLOCK_VALUES]; /* "Q"; NULL after the last */
    const char *module;  /* within the block; of an expert's row, within the expert; NULL: it takes
                            nothing from the checkpoint */
    bool expert;         /* what each of the experts computes; these rows come last */
    int64_t width;       /* of what it makes */
    int64_t columns;     /* of a linear's weight, 0 for other operations */
    bool bias;           /* of a linear */
    int round;           /* in which a linear is quantized, from 0; -1: it is not */
    const char *repairs; /* what a linear's output is added to, NULL: nothing or more than that */
    const char
        *folds_into;       /* module that a scale of a linear's columns can be divided out of, or */
    const char *folds_not; /* why there is none */
    const char *fused;     /* layer that serving stacks merge the linear into, NULL: none */
    const char *split;     /* what tensor parallelism divides: "rows", "columns"; NULL: nothing */
} llmq_block_row;

/* Blocks that are alike. */
typedef struct llmq_block_kind {
    char *blocks; /* their numbers: "0-3, 5" */
    int64_t count;
    bool window;             /* attention is limited to a sliding window */
    int64_t experts, chosen; /* of the block, and for a token; 0: there are none */
    int rounds;
    char **kept; /* [rounds]: values of every token kept before a round, "X, CONTEXT" */
    llmq_block_row *rows;
    size_t row_count;
} llmq_block_kind;

typedef struct llmq_blocks_report {
    const char *family;
    llmq_block_kind *kinds;
    size_t kind_count;
} llmq_blocks_report;

/* What a model's blocks are made of and what follows from it: config.json is read, tensors are not.
 * `family` as in llmq_inspect. Release the report with llmq_blocks_report_free. */
LLMQ_NODISCARD enum llmq_status llmq_inspect_blocks(const char *model, const char *family,
                                                    llmq_blocks_report *report, llmq_error *err);
void llmq_blocks_report_free(llmq_blocks_report *report);

/* --- tokenize --------------------------------------------------------------------------------- */

/* Token ids of UTF-8 text with the model's tokenizer, exactly as it gives them: a text that begins
 * with the begin-of-text token has it twice. *ids is to be released with llmq_free. */
LLMQ_NODISCARD enum llmq_status llmq_tokenize(const char *model, const char *text, size_t len,
                                              enum llmq_special special, int32_t **ids,
                                              size_t *count, llmq_error *err);

/* Text of token ids as the tokenizer decodes them, in *text, *len bytes and a NUL behind them, to
 * be released with llmq_free: with special tokens as they are written or, with `skip_special`,
 * without them. LLMQ_E_USAGE: an id that is no token, named with its place. */
LLMQ_NODISCARD enum llmq_status llmq_detokenize(const char *model, const int32_t *ids, size_t count,
                                                bool skip_special, char **text, size_t *len,
                                                llmq_error *err);

/* --- JSON ------------------------------------------------------------------------------------- */

/* The report as one JSON object, without the tensor list unless `with_tensors`, to be released with
 * llmq_free; NULL when memory is short. */
char *llmq_inspect_json(const llmq_inspect_report *report, bool with_tensors);
char *llmq_blocks_json(const llmq_blocks_report *report);

#ifdef __cplusplus
}
#endif
#endif
