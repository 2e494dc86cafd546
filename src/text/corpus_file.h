/* A file to calibrate or evaluate on, and what it holds: by its content, whatever its name says. */
#ifndef LLMQ_TEXT_CORPUS_FILE_H
#define LLMQ_TEXT_CORPUS_FILE_H

#include <stddef.h>

#include "llmq/error.h"

enum corpus_kind {
    CORPUS_TEXT,    /* one UTF-8 text */
    CORPUS_LINES,   /* a JSON object with a "text" in every line that is not blank */
    CORPUS_WINDOWS, /* a JSON array of arrays of token ids */
};

struct corpus_file {
    char *path; /* for messages */
    enum corpus_kind kind;
    const char *text; /* NUL-terminated, without a byte order mark; valid UTF-8 without NUL */
    size_t len;
    char *data; /* what was read */
};

/* Read a file of at most 4 GiB, unpacked where gzip packed it. Its kind is told by its content; the
 * name decides only what is left open: a file named .jsonl, .jsonlines or .ndjson holds lines and
 * one named .json lines or windows (in capitals too), or it is refused. What is JSON as a whole is
 * never CORPUS_TEXT. LLMQ_E_INPUT, with the way out in the hint, for what is neither: a Git LFS
 * pointer, compressed and binary files, other encodings, NUL bytes, tables, an empty file. Release
 * with corpus_file_free. */
LLMQ_NODISCARD enum llmq_status corpus_file_read(const char *path, struct corpus_file *out,
                                                 llmq_error *err);
void corpus_file_free(struct corpus_file *file); /* accepts a zeroed struct */

/* Give the error a hint, with the file's path, quoted for a shell, in the place of its "%s", if it
 * has one. */
void corpus_file_hint(const struct corpus_file *file, const char *hint, llmq_error *err);

#endif
