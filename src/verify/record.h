/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a result, llmq.json in its folder: what made it, from what, and every file of it
 * with its size and its SHA-256. Its last member is the sum of its own text before that member, so
 * that a change of it is noticed as one of any other file is. The pipeline writes it
 * (pipeline/marker.h), the rules of verify_record.c hold a folder to it. */
#ifndef LLMQ_VERIFY_RECORD_H
#define LLMQ_VERIFY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/sha256.h"
#include "llmq/context.h"
#include "llmq/error.h"

#define RECORD_NAME "llmq.json"

/* The members of an object as JSON text, arrays of objects with a line for each, and the seal. The
 * caller frees; NULL when memory is short or the object is not complete. */
char *record_print(const struct json *object);

/* Does the text end in a seal, and does the seal hold? Records of earlier versions have none. */
enum record_seal { RECORD_UNSEALED, RECORD_BROKEN, RECORD_SEALED };
enum record_seal record_check_seal(const char *text, size_t len);

/* Parse the text of a record and look at it: NULL when it is none, or memory is short. The caller
 * frees. */
struct json *record_parse(const char *text, size_t len);

/* The name of an entry of its "files", which earlier versions wrote as mere names; NULL: none. */
const char *record_file_name(const struct json *entry);

/* A file of a result. */
struct record_file {
    const char *name;         /* from the result's folder */
    enum llmq_status status;  /* LLMQ_E_NOT_FOUND; LLMQ_E_INPUT: it is no file */
    uint64_t bytes;           /* ... */
    char sha256[SHA256_TEXT]; /* ... of what is there */
};

/* Read the files below `dir`, several at a time, and fill in what they hold; links are followed.
 * Errors: LLMQ_E_INTERRUPTED, LLMQ_E_MEMORY, LLMQ_E_IO. */
LLMQ_NODISCARD enum llmq_status record_hash(const char *dir, struct record_file *files,
                                            size_t count, const llmq_context *ctx, llmq_error *err);

#endif
