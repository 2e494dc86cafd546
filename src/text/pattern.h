/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of tokenizer.json: a literal string or a regular expression, and the walk that cuts a
 * text into matches and the gaps between them. */
#ifndef LLMQ_TEXT_PATTERN_H
#define LLMQ_TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "llmq/error.h"
#include "text/code_set.h"
#include "text/expr.h"

/* Immutable after creation; safe to use from several threads, each with its own expr_scratch. */
struct pattern;

/* Parse {"String": text} or {"Regex": expression}. */
LLMQ_NODISCARD enum llmq_status pattern_parse(const struct json *value, struct pattern **out,
                                              llmq_error *err);

/* Compile a regular expression: see expr.h. */
LLMQ_NODISCARD enum llmq_status pattern_regex(const char *expression, size_t len,
                                              struct pattern **out, llmq_error *err);

/* Match a string as it is; the text is copied. */
LLMQ_NODISCARD enum llmq_status pattern_literal(const char *text, size_t len, struct pattern **out,
                                                llmq_error *err);

/* Match single characters of a set. */
LLMQ_NODISCARD enum llmq_status pattern_set(struct code_set *set, struct pattern **out,
                                            llmq_error *err);

/* Match runs of characters of one set and runs of those of another, which have none in common. */
LLMQ_NODISCARD enum llmq_status pattern_runs(struct code_set *one, struct code_set *other,
                                             struct pattern **out, llmq_error *err);

void pattern_free(struct pattern **p);

/* Is every character a match or not, by itself? Then a text is cut at any place as if it began
 * there, and more text behind it makes its last segment longer and changes nothing else. */
bool pattern_is_local(const struct pattern *p);

/* Is a text cut, from the begin of any of its segments on, as if it began there? */
bool pattern_restarts(const struct pattern *p);

/* A stretch of text, either matched by the pattern or between two matches. */
struct segment {
    size_t begin;
    size_t end;
    bool is_match;
    bool open; /* another text behind this one may change it */
};

/* The walk over one text. Segments come in order, touch, and cover the text. Matches may be empty;
 * an empty match right after another match is skipped, gaps are never empty. */
struct segment_walk {
    const struct pattern *pattern;
    struct expr_scratch *scratch;
    const char *text;
    size_t len;
    size_t covered;       /* end of the last segment returned */
    size_t search;        /* where the next search starts */
    struct segment match; /* found, waiting for the gap before it to be returned */
    bool has_match;
    bool matched_before; /* a match ended at `covered`, or the wait is for the next one */
    bool open;           /* a search asked for what comes after the text */
};

void segment_walk_init(struct segment_walk *w, const struct pattern *p, struct expr_scratch *m,
                       const char *text, size_t len);

/* Next segment; *more is false, and *out untouched, at the end. */
LLMQ_NODISCARD enum llmq_status segment_walk_next(struct segment_walk *w, struct segment *out,
                                                  bool *more, llmq_error *err);

#endif
