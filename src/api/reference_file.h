/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a kept reference (eval/kept.h): a safetensors file, so that others can read it, with
 * the windows it was made on. */
#ifndef LLMQ_API_REFERENCE_FILE_H
#define LLMQ_API_REFERENCE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/output_file.h"
#include "eval/kept.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"
#include "text/tokenizer.h"

struct reference_file {
    struct kept_reference kept;
    struct corpus corpus;            /* windows and ids */
    char *model;                     /* what it was */
    uint64_t model_bytes;            /* of its tensors */
    uint64_t vocabulary;             /* reference_vocabulary of its tokenizer; 0: it had none */
    enum llmq_convention convention; /* by which the windows were prepared */
};

/* Does what is at `path`, if anything, begin as such a file does? Errors: of looking and reading.
 */
LLMQ_NODISCARD enum llmq_status reference_file_look(const char *path, bool *is, llmq_error *err);

/* Read and check it. LLMQ_E_INPUT for a file that is damaged, or of another version. Release with
 * reference_file_free, also after a failure. */
LLMQ_NODISCARD enum llmq_status reference_file_read(const char *path, struct reference_file *out,
                                                    llmq_error *err);
void reference_file_free(struct reference_file *f); /* accepts a zeroed struct */

LLMQ_NODISCARD enum llmq_status
reference_file_write(struct output_file *place, const struct reference_file *f, llmq_error *err);

/* A fingerprint of what the ids of a tokenizer stand for; never 0. */
uint64_t reference_vocabulary(const struct tokenizer *tok);

#endif
