/* Quantizing a checkpoint: plan, run, report. */
#ifndef LLMQ_QUANTIZE_H
#define LLMQ_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum llmq_method { LLMQ_METHOD_RTN, LLMQ_METHOD_GPTQ, LLMQ_METHOD_AWQ };

enum llmq_act_order { LLMQ_ACT_ORDER_NONE, LLMQ_ACT_ORDER_STATIC, LLMQ_ACT_ORDER_GROUP_AWARE };

/* DUAL_EXACT scales are representable in float16 and bfloat16 alike, so that a server that runs the
 * model in bfloat16 sees the weights that were optimised; F16 scales are only rounded to float16.
 */
enum llmq_scales { LLMQ_SCALES_DUAL_EXACT, LLMQ_SCALES_F16 };

typedef struct llmq_quantize_options {
    enum llmq_method method;
    const char *model;   /* folder or name, see llmq_model_resolve */
    const char *out;     /* folder to create; NULL: <name>-<method>-w<bits>g<group> here */
    const char *format;  /* "gptq", "gptq_v2", "awq", "compressed-tensors". NULL: for 4 bits
                            in groups of one size "awq" when asymmetric or by AWQ, else "gptq" */
    int bits;            /* 2, 3, 4, 8 */
    int64_t group;       /* columns per group, -1: one group per row */
    bool group_auto_fit; /* per module: the largest divisor of in_features not above `group` */
    bool sym;
    bool awq; /* scale activations by AWQ first; implied by LLMQ_METHOD_AWQ, for GPTQ a choice */
    enum llmq_scales scales;
    const char *calib; /* text, .jsonl or .json windows. NULL: GPTQ and AWQ take the text bundled
                          with llmq, RTN weighs its reported errors with no inputs */
    int64_t samples;   /* calibration windows */
    int64_t seqlen;    /* tokens per window; 0: the model's context, at most 2048 */
    enum llmq_act_order act_order;
    double damp;   /* lambda / mean(diag H) */
    uint64_t seed; /* chooses the windows */
    uint64_t
        max_mem; /* bytes; 0: 80 % of what is available. Activations go to a file when they must */
    uint64_t shard_limit; /* bytes of tensor data per file */
    bool resume;          /* continue <out>.partial */
    bool force;           /* replace an existing <out> or <out>.partial */
    bool dry_run;         /* plan only, nothing is written */
} llmq_quantize_options;

/* Defaults of the command line: 4 bits, group 128, symmetric (AWQ: asymmetric), 128 windows, damp
 * 0.01, no act-order, shards of 5 GB. */
void llmq_quantize_options_init(llmq_quantize_options *options, enum llmq_method method);

/* What became of one module. */
typedef struct llmq_module_report {
    char *name;
    const char *method; /* static: "gptq", "rtn"; "awq", "awq+gptq" when its inputs were scaled */
    int64_t n, k;
    int bits;
    int64_t group;
    double error;     /* tr(dW H dW^T) / tr(W H W^T); H = identity when there is no calibration */
    double rtn_error; /* the same for round-to-nearest on the same grid */
    double damp;
    double fold_error; /* AWQ: what scaling changed of the block's output before anything was
                          rounded, relative to what the block adds to its input */
    char *events;      /* "; "-separated, "" when nothing happened */
} llmq_module_report;

typedef struct llmq_quantize_report {
    char *model; /* resolved folder */
    char *out;   /* folder written, or that would be */
    char *format;
    llmq_module_report *modules; /* after a dry run without errors and events */
    size_t module_count;
    char **kept; /* names of tensors copied through in their own precision */
    size_t kept_count;
    char **folded; /* names of norms and biases that AWQ scaled, in their own precision */
    size_t folded_count;
    char **dropped; /* stray integer or boolean buffers left out: loaders misread them */
    size_t dropped_count;
    int64_t blocks;
    int64_t windows;
    int64_t tokens_used;
    int64_t tokens_dropped;
    uint64_t plan_ram_bytes;  /* what the plan expects the peak to be */
    uint64_t plan_disk_bytes; /* size of the result */
    double plan_flops;        /* forward, Hessians and solve */
    double plan_seconds;      /* plan_flops at the rate of a short product measured now */
    uint64_t spill_bytes;     /* activations kept in a file, 0: all in memory */
    double seconds;           /* wall time, 0 for a dry run */
    uint64_t peak_rss_bytes;  /* of this process, as the kernel counts it */
    int64_t blocks_resumed;   /* taken over from an interrupted run */
} llmq_quantize_report;

/* Quantize. Nothing appears at `out` unless everything succeeded; an interrupted or failed run
 * leaves <out>.partial, which --resume continues. Release the report with
 * llmq_quantize_report_free (also after an error: it is valid and may be partly filled). */
LLMQ_NODISCARD enum llmq_status llmq_quantize(const llmq_quantize_options *options,
                                              const llmq_context *ctx, llmq_quantize_report *report,
                                              llmq_error *err);
void llmq_quantize_report_free(llmq_quantize_report *report);

/* The report as one JSON object. The caller frees it; NULL when memory is short. */
char *llmq_quantize_json(const llmq_quantize_report *report);

#ifdef __cplusplus
}
#endif
#endif
