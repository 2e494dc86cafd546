/* SPDX-License-Identifier: Apache-2.0 */
/* A file to calibrate or evaluate on, and what it holds: by its content, whatever its name says.
 * It is read as a stream, of which a stretch is at hand. */
#ifndef LLMQ_TEXT_CORPUS_FILE_H
#define LLMQ_TEXT_CORPUS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "text/bytes.h"
#include "text/reading.h"

enum corpus_kind {
    CORPUS_TEXT,    /* one UTF-8 text */
    CORPUS_LINES,   /* a JSON object with a "text" in every line that is not blank */
    CORPUS_WINDOWS, /* a JSON array of arrays of token ids, all of it at hand */
};

struct corpus_file {
    char *path; /* for messages */
    enum corpus_kind kind;
    const char *text; /* at hand: valid UTF-8 without NUL, without the file's byte order mark */
    size_t len;
    bool ended;                   /* nothing follows in the file */
    const struct reading *limits; /* what it may take */
    struct bytes *bytes;          /* what follows */
    char *data;                   /* [room], of which `filled` were read; a NUL comes after them */
    size_t room, filled;
    uint64_t passed; /* bytes of the file before `data` */
};

/* Open a file of at most 4 GiB, unpacked where gzip packed it. Its kind is told by its content; the
 * name decides only what is left open: a file named .jsonl, .jsonlines or .ndjson holds lines and
 * one named .json lines or windows (in capitals too), or it is refused. What is JSON as a whole is
 * never CORPUS_TEXT. LLMQ_E_INPUT, with the way out in the hint, for what is neither: a Git LFS
 * pointer, compressed and binary files, other encodings, NUL bytes, tables, an empty file; and
 * later, where such bytes follow. `limits` must outlive it. Release with corpus_file_free. */
LLMQ_NODISCARD enum llmq_status corpus_file_open(const char *path, const struct reading *limits,
                                                 struct corpus_file *out, llmq_error *err);
void corpus_file_free(struct corpus_file *file); /* accepts a zeroed struct */

/* Have at least `wanted` bytes at hand, or all that is left. What is at hand may move. */
LLMQ_NODISCARD enum llmq_status corpus_file_want(struct corpus_file *file, size_t wanted,
                                                 llmq_error *err);

/* Have the rest of the line from `at` on (<= len) at hand: *len bytes with its line break, if it
 * has one. */
LLMQ_NODISCARD enum llmq_status corpus_file_line(struct corpus_file *file, size_t at, size_t *len,
                                                 llmq_error *err);

/* Go on behind the first `count` bytes at hand. */
void corpus_file_skip(struct corpus_file *file, size_t count);

/* Begin again. */
LLMQ_NODISCARD enum llmq_status corpus_file_rewind(struct corpus_file *file, llmq_error *err);

/* Give the error a hint, with the file's path, quoted for a shell, in the place of its "%s", if it
 * has one. */
void corpus_file_hint(const struct corpus_file *file, const char *hint, llmq_error *err);

#endif
