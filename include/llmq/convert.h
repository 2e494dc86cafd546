/* SPDX-License-Identifier: Apache-2.0 */
/* Converting a quantized checkpoint: to another layout without loss, or back to plain weights. */
#ifndef LLMQ_CONVERT_H
#define LLMQ_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/serving.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmq_convert_options {
    size_t size;          /* of this struct, see llmq/llmq.h */
    const char *model;    /* folder or name, see llmq_model_resolve */
    const char *family;   /* read it as a model of this family; NULL: as its model_type says */
    const char *format;   /* a layout ("gptq", "awq", ...), or "f16", "bf16", "f32": dequantize */
    const char *out;      /* folder to create */
    uint64_t shard_limit; /* bytes of tensor data per file */
    bool force;           /* replace an `out` that is a result of llmq, and nothing else */
    bool resume;          /* bring a conversion that was killed to its end, from any state */
} llmq_convert_options;

/* Shards of 5 GB, nothing replaced. */
void llmq_convert_options_init_sized(llmq_convert_options *options, size_t size);
static inline void llmq_convert_options_init(llmq_convert_options *options) {
    llmq_convert_options_init_sized(options, sizeof *options);
}

typedef struct llmq_convert_report {
    char *model; /* resolved folder */
    char *out;
    const char *from, *to; /* static names of layouts and dtypes */
    int64_t modules;       /* linears converted */
    int64_t plain;         /* linears that were not quantized and stay as they are */
    int64_t kept;          /* tensors copied bit for bit, those linears included */
    char **dropped; /* left out: stray buffers, biases that are zero and unknown to the family */
    size_t dropped_count;
    uint64_t bytes;   /* of the result's tensors */
    double max_error; /* largest |rounded - exact| of a dequantized or kept value, else 0 */
    double max_relative_error; /* the same relative to the exact weight */
    llmq_servings servings;    /* who loads the result, and how */
    bool found_finished;       /* an earlier conversion had done all of it; `out` and names only */
    double seconds;
    uint64_t peak_rss_bytes;
} llmq_convert_report;

/* Convert. Codes, scales and zero points are the same afterwards, or the conversion is refused
 * before anything is written: LLMQ_E_UNSUPPORTED or LLMQ_E_INPUT name the module, the hint what
 * would do. Every module is read back before the result gets its name; an error leaves nothing
 * behind. Release the report with llmq_convert_report_free (also after an error). */
LLMQ_NODISCARD enum llmq_status llmq_convert(const llmq_convert_options *options,
                                             const llmq_context *ctx, llmq_convert_report *report,
                                             llmq_error *err);
void llmq_convert_report_free(llmq_convert_report *report);

/* The report as one JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_convert_json(const llmq_convert_report *report);

#ifdef __cplusplus
}
#endif
#endif
