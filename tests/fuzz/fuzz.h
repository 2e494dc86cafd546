/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz targets: each takes any bytes for one kind of input and must neither crash, hang, leak nor
 * break a promise of what it calls. One source, two programs: with libFuzzer (tools/fuzz.sh), and
 * the replay of a corpus, which is an ordinary suite. */
#ifndef LLMQ_TESTS_FUZZ_H
#define LLMQ_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "llmq/error.h"

/* By the names of their corpora, tests/fuzz/corpus/<name>/. */
void fuzz_config(const uint8_t *data, size_t len);       /* config.json */
void fuzz_corpus(const uint8_t *data, size_t len);       /* a name's ending, a line end, the file */
void fuzz_folder(const uint8_t *data, size_t len);       /* a whole checkpoint, as fuzz_unfold */
void fuzz_gguf(const uint8_t *data, size_t len);         /* model.gguf */
void fuzz_index(const uint8_t *data, size_t len);        /* model.safetensors.index.json */
void fuzz_journal(const uint8_t *data, size_t len);      /* what follows a journal's first line */
void fuzz_quantization(const uint8_t *data, size_t len); /* quantization_config */
void fuzz_recipe(const uint8_t *data, size_t len);       /* rules: JSON, and lines of text */
void fuzz_record(const uint8_t *data, size_t len);       /* llmq.json */
void fuzz_reference(const uint8_t *data, size_t len); /* a kept reference, also without a header */
void fuzz_template(const uint8_t *data, size_t len);  /* a chat template, a record behind --- */
void fuzz_tokenizer(const uint8_t *data, size_t len); /* tokenizer.json */

/* A promise that is kept, or the end. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A failure is none of the system, has a message, and the error says the same as the status. */
void fuzz_check(enum llmq_status status, const llmq_error *err);

/* --- files ------------------------------------------------------------------------------------ */

/* A folder of this process's own, in memory where the system has such a place. */
const char *fuzz_dir(void);

/* Put a file there, with such content; returns its path, valid until the next call. */
const char *fuzz_put(const char *name, const void *data, size_t len);

/* Take away every file there. */
void fuzz_clear(void);

/* Files one after the other: "name length\n", then so many bytes (all that is left where there are
 * fewer). Names are single parts of a path. */
void fuzz_unfold(const uint8_t *data, size_t len);

#endif
