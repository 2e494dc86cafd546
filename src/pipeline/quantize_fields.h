/* SPDX-License-Identifier: Apache-2.0 */
/* The options of a run as a table, one row a field of llmq_quantize_options: what the identity of a
 * run, the resume of an interrupted one and the result's marker are made from. A field without a
 * row does not compile. */
#ifndef LLMQ_PIPELINE_QUANTIZE_FIELDS_H
#define LLMQ_PIPELINE_QUANTIZE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "llmq/quantize.h"

enum field_kind {
    FIELD_INT,
    FIELD_INT64,
    FIELD_UINT64,
    FIELD_BOOL,
    FIELD_REAL,
    FIELD_DAMP,   /* a real number, 0 for "auto" */
    FIELD_POWER,  /* a real number, LLMQ_BY_GRADIENTS for "auto" */
    FIELD_PASSES, /* an int, LLMQ_BY_TOKENS for "auto" */
    FIELD_TEXT,
    FIELD_TEXTS,   /* several, NULL-terminated */
    FIELD_WORD,    /* an enumeration, by its words */
    FIELD_CORRECT, /* llmq_correct */
    FIELD_RECIPE,  /* the rules of a llmq_recipe */
    FIELD_RANKS,   /* llmq_ranks_question: it is asked, and not written */
};

/* What a field can change. */
enum field_effect {
    EFFECT_RESULT,  /* the bytes of the result */
    EFFECT_WINDOWS, /* the same, through the calibration windows and in no other way */
    EFFECT_PLACE,   /* nothing: a name; what lies there counts */
    EFFECT_MANNER,  /* nothing: how the run goes about it */
};

struct quantize_field {
    const char *name; /* as the command line spells it */
    size_t offset, size;
    enum field_kind kind;
    enum field_effect effect;
    const char *const *words; /* of FIELD_WORD, by value, NULL-terminated */
};

/* The rows, in the order of the struct. */
const struct quantize_field *quantize_fields(size_t *count);

/* The options that change the result, as a run takes them: a fresh JSON object, NULL when memory is
 * short. `format` is the layout's name, `context` the window length that seqlen 0 stands for; those
 * with EFFECT_WINDOWS are in it when the run is calibrated. */
struct json *quantize_fields_json(const llmq_quantize_options *options, const char *format,
                                  int64_t context, bool calibrated);

#endif
