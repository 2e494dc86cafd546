/* SPDX-License-Identifier: Apache-2.0 */
/* Quantizing a checkpoint: plan, run, report. */
#ifndef LLMQ_QUANTIZE_H
#define LLMQ_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/recipe.h"
#include "llmq/serving.h"
#include "llmq/special.h"

#ifdef __cplusplus
extern "C" {
#endif

enum llmq_method { LLMQ_METHOD_RTN, LLMQ_METHOD_GPTQ, LLMQ_METHOD_AWQ };

/* What a GPTQ run is willing to spend: see llmq_quantize_options_quality. */
enum llmq_quality { LLMQ_QUALITY_FAST, LLMQ_QUALITY_BALANCED, LLMQ_QUALITY_BEST, LLMQ_QUALITY_MAX };

/* Of `descent` and `rounds`: 3 passes and 2 rounds for a linear that sees at least 32 tokens of the
 * calibration for each of its inputs, where they add a tenth to the time at most; 1 pass and no
 * round for others, and where codes are chosen by `curvature` behind that. */
enum { LLMQ_BY_TOKENS = -1 };

/* Of `token_weights`: 0.5 where `curvature` asks for gradients, else 0. */
enum { LLMQ_BY_GRADIENTS = -1 };

/* Are codes, scales and zero points chosen by what errors do to the model's predictions? AUTO: of
 * linears that see at least 32 tokens of the calibration for each of their inputs and have at most
 * 2 outputs for each token of the gradients, unless activations are scaled by AWQ. */
enum llmq_curvature { LLMQ_CURVATURE_OFF, LLMQ_CURVATURE_ON, LLMQ_CURVATURE_AUTO };

enum llmq_act_order { LLMQ_ACT_ORDER_NONE, LLMQ_ACT_ORDER_STATIC, LLMQ_ACT_ORDER_GROUP_AWARE };

/* DUAL_EXACT scales are representable in float16 and bfloat16 alike, so that a server that runs the
 * model in bfloat16 sees the weights that were optimised; F16 scales are only rounded to float16.
 */
enum llmq_scales { LLMQ_SCALES_DUAL_EXACT, LLMQ_SCALES_F16 };

/* How a group's range is chosen: its extremes; by least squared error, plain or with each input
 * weighted by its second moment; percentiles; or the extremes, clipped beyond a number of root mean
 * squares, one for each module, that keeps the distribution of its weights best (least KL
 * divergence). */
enum llmq_range_search {
    LLMQ_RANGE_MINMAX,
    LLMQ_RANGE_PLAIN,
    LLMQ_RANGE_WEIGHTED,
    LLMQ_RANGE_PERCENTILE,
    LLMQ_RANGE_ENTROPY,
};

/* Correction of each linear's target for the errors already made upstream. AUTO chooses alpha (for
 * the error of its input) and beta (for that of the residual stream it adds to) for each module on
 * calibration windows held back from the fit; FIXED takes them as given. */
enum llmq_correct_mode { LLMQ_CORRECT_OFF, LLMQ_CORRECT_AUTO, LLMQ_CORRECT_FIXED };

typedef struct llmq_correct {
    enum llmq_correct_mode mode;
    double alpha, beta; /* FIXED: from 0 to 1 */
} llmq_correct;

/* Which windows of a text are calibrated on: any, every choice being as likely, or one out of each
 * of as many equal stretches as windows are asked for. */
enum llmq_select { LLMQ_SELECT_RANDOM, LLMQ_SELECT_STRATIFIED };

/* What becomes of linears that the source holds packed already, as integers. */
enum llmq_source_quantized {
    LLMQ_SOURCE_REFUSE,     /* such a source is refused */
    LLMQ_SOURCE_KEEP,       /* they stay as they are, byte for byte */
    LLMQ_SOURCE_REQUANTIZE, /* they are decoded, and quantized anew */
};

/* What becomes of layers that predict tokens beyond the next one (MTP, NextN). */
enum llmq_mtp {
    LLMQ_MTP_KEEP,     /* they are carried along as they are */
    LLMQ_MTP_QUANTIZE, /* they are quantized as blocks behind the last; refused where that is not
                          known to work */
};

/* What is moved once all modules are quantized, so that the whole model predicts what the original
 * does; codes and zero points stay. */
enum llmq_tune {
    LLMQ_TUNE_OFF,
    LLMQ_TUNE_AUTO,   /* SCALES where the format allows it, nothing elsewhere */
    LLMQ_TUNE_SCALES, /* the groups' scales */
    LLMQ_TUNE_NORMS,  /* and the weights of norms */
};

/* What a run over several ranks takes. */
typedef struct llmq_ranks_plan {
    int ranks;
    uint64_t ram_bytes, spill_bytes;  /* of each: memory, and activations in a file */
    uint64_t messages, bytes;         /* that rank 0 sends to others */
    uint64_t all_messages, all_bytes; /* that all of them send */
    double flops;                     /* of the rank that has most to do at each step */
    double compute_seconds, file_seconds, exchange_seconds;
    double seconds;    /* all three: nothing is taken to overlap */
    double efficiency; /* time of one rank over `ranks` times this */
} llmq_ranks_plan;

/* What would a run take if several ranks shared it (llmq/ranks.h)? By a model: docs/RANKS.md. */
typedef struct llmq_ranks_question {
    const int *counts; /* [count] numbers of ranks, from 1 */
    size_t count;
    double bits;    /* that a rank's link carries in a second, each way: 25e9 */
    double latency; /* seconds that a message takes besides: 30e-6 */
    double gflops;  /* operations that a rank does in products, 1e9 a second; 0: as this machine */
    llmq_ranks_plan *plans; /* [count] the answers: a dry run that succeeds fills them in */
} llmq_ranks_question;

typedef struct llmq_quantize_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    enum llmq_method method;
    const char *model;  /* folder or name, see llmq_model_resolve */
    const char *family; /* read it as a model of this family; NULL: as its model_type says */
    enum llmq_source_quantized source_quantized;
    enum llmq_mtp mtp;
    const char *out;    /* folder to create; NULL: <name>-<method>-w<bits>g<group> here */
    const char *format; /* "gptq", "gptq_v2", "awq", "compressed-tensors", "gguf", "onnx". NULL: for
                           4 bits in groups of one size "awq" when asymmetric or by AWQ, else
                           "gptq" */
    int bits;           /* 2, 3, 4, 8 */
    int64_t group;      /* columns per group, -1: one group per row */
    bool group_auto_fit; /* per module: the largest divisor of in_features not above `group` */
    bool group_keep;     /* modules that the group or the format does not fit stay as they are */
    bool sym;
    const llmq_recipe *recipe; /* rules for modules, NULL: none. It has to outlive the run */
    bool awq; /* scale activations by AWQ first; implied by LLMQ_METHOD_AWQ, for GPTQ a choice */
    bool equalize; /* where activations are scaled: try the scale of cross-layer equalization, too
                    */
    enum llmq_scales scales;
    const char *calib; /* text, .jsonl or .json windows. NULL: GPTQ and AWQ take the text bundled
                          with llmq, RTN weighs its reported errors with no inputs */
    const char *const
        *calib_more;         /* further files to mix with it, NULL-terminated; NULL: none. Each
                                may have a weight behind a colon, `calib` too: FILE:0.5 */
    const char *calib_field; /* the member of .jsonl lines that holds the text, or messages; NULL:
                                "text", or a conversation */
    int64_t samples;         /* calibration windows; 0: 128, and with `curvature` ON of all tokens
                                as many as hold 131,072, if these are more */
    int64_t seqlen;          /* tokens per window; 0: the model's context, at most 2048 */
    enum llmq_act_order act_order;
    enum llmq_range_search search;
    double percentile; /* of PERCENTILE, above 50 and at most 100: a group's range is from the
                          100 - P to the P percentile of its weights, symmetric to P of their
                          magnitudes */
    llmq_correct correct;
    int descent; /* passes of coordinate descent over the codes that GPTQ chose; LLMQ_BY_TOKENS */
    int rounds;  /* of GPTQ and descent again, on the scales found; LLMQ_BY_TOKENS */
    enum llmq_curvature curvature; /* GPTQ: by the predictions. Takes a pass back through the
                                      original model first, ... */
    int64_t curvature_tokens; /* ... of so many tokens of the calibration, or a few more; 0: all */
    int restarts;         /* GPTQ: times that all rows start anew behind that, keeping what helps */
    double token_weights; /* GPTQ: tokens count by the power of how far errors at them move the
                             predictions, 0 to 1; 0: all alike; LLMQ_BY_GRADIENTS. Takes that pass;
                             with `curvature_tokens` each counts as those at its place of a window
                             do on average */
    double damp;          /* added to diag H, as a part of its mean; 0: chosen for each input by the
                             error on windows held back, the least where it sees 32 tokens for each
                             of its numbers and none counts by gradients of its own */
    enum llmq_tune tune;
    int64_t tune_windows;  /* to learn from, of the calibration's texts; 0: as many as hold 131,072
                              tokens */
    double tune_rate;      /* how far the logarithm of a scale goes in a step, about */
    int64_t expert_tokens; /* that an expert is calibrated on, at least: one that fewer reached sees
                              tokens of its layer beside them */
    enum llmq_special special; /* tokens around a text; MODEL with windows given as ids */
    enum llmq_select select;   /* STRATIFIED is refused with windows given as ids */
    uint64_t seed;             /* chooses the windows */
    bool seed_given;           /* refuse windows given as ids, which `seed` does not choose from */
    enum llmq_compute compute; /* of the forward passes of calibration; solving is float32 always */
    uint64_t
        max_mem; /* bytes; 0: 80 % of what is available. Activations go to a file when they must */
    uint64_t shard_limit; /* bytes of tensor data per file */
    bool resume;          /* go on where an earlier run with the same options and inputs stopped */
    bool force;           /* replace an <out> that is a result of llmq, or, unless `resume` is set,
                             an interrupted run's <out>.partial; nothing else */
    bool dry_run;         /* plan only, nothing is written */
    const llmq_ranks_question *ranks; /* with dry_run: plan this, too. NULL: nothing is asked */
} llmq_quantize_options;

/* Defaults of the command line: 4 bits, group 128, symmetric (AWQ: asymmetric), 128 windows or
 * more, damping chosen, shards of 5 GB; GPTQ of balanced quality, AWQ with weighted search, RTN
 * without search; correction in GPTQ only. */
void llmq_quantize_options_init_sized(llmq_quantize_options *options, size_t size,
                                      enum llmq_method method);
static inline void llmq_quantize_options_init(llmq_quantize_options *options,
                                              enum llmq_method method) {
    llmq_quantize_options_init_sized(options, sizeof *options, method);
}

/* Set the ingredients of a GPTQ run:
 *                act_order  search    correct  descent  rounds  curvature  restarts  token_weights
 *     FAST       none       minmax    off      0        0       off        0         0
 *     BALANCED   static     weighted  auto     auto     auto    auto       0         auto
 *     BEST       static     weighted  auto     3        2       on         2         0.5
 *     MAX        static     weighted  auto     3        2       on         8         0.5
 * descent and rounds of BALANCED are LLMQ_BY_TOKENS, its token_weights LLMQ_BY_GRADIENTS, which are
 * of 1,024 tokens, the others' of all; with MAX scales are tuned where the format allows it
 * (LLMQ_TUNE_AUTO). FAST is the published method. */
void llmq_quantize_options_quality(llmq_quantize_options *options, enum llmq_quality quality);

/* What became of one module. */
typedef struct llmq_module_report {
    char *name;
    const char *method; /* static: "gptq", "rtn"; "awq", "awq+gptq" when its inputs were scaled;
                           "kept": packed in the source, and copied; "plain": not quantized */
    int64_t n, k;
    int bits;         /* 16 or 32 where it is not quantized, ... */
    int64_t group;    /* ... and 0 */
    int64_t tokens;   /* that it was calibrated on; 0: none */
    int64_t borrowed; /* of them, tokens of the layer that were not routed to the expert */
    double error; /* |dW X^T|^2 / |W X^T|^2, X calibration tokens held back: no code was fitted to
                     them; X = identity when there is no calibration */
    double rtn_error; /* the same for round-to-nearest on the same grid */
    double damp;
    double alpha, beta; /* strengths of the correction, 0: none */
    double fold_error;  /* AWQ: what scaling changed of the block's output before anything was
                           rounded, relative to what the block adds to its input */
    int64_t outliers; /* input channels whose mean square is more than 100 times the geometric mean
                         of all; 0 without calibration */
    double outlier_share; /* of the sum of all mean squares that is theirs */
    bool fell_back;       /* GPTQ was asked for, and rounding to nearest was better */
    char *events;         /* "; "-separated, "" when nothing happened */
} llmq_module_report;

/* Time that one kind of work took. */
typedef struct llmq_work {
    const char *name; /* static: "linears", "moments", ... */
    double seconds;
    double flops; /* float32 operations in it, 0 where counting them says nothing */
} llmq_work;

#define LLMQ_WORK_MAX 16

/* A tensor that is no module and is rounded to nearest all the same: an end of a GGUF file. */
typedef struct llmq_rounded {
    char *name;
    const char *type; /* static: "Q8_0", "Q4_0" */
} llmq_rounded;

/* Tensors of one part beside the model of text, carried along as they are. */
typedef struct llmq_part {
    char *name; /* "vision_tower", "mtp", "layers.46": a layer that predicts further tokens */
    int64_t tensors;
    uint64_t bytes;
} llmq_part;

/* What tuning scales has come to. */
typedef struct llmq_tuning {
    int64_t windows, held; /* learnt from, and held back; 0: nothing was tuned, or not yet */
    int64_t fresh;         /* of both, no calibration windows */
    double before, after;  /* mean divergence from the original on those held back, nats a token */
    int64_t steps;         /* 0: it did not fall, and scales are as they were */
} llmq_tuning;

typedef struct llmq_quantize_report {
    char *model; /* resolved folder */
    char *out;   /* folder written, or that would be */
    char *format;
    llmq_module_report *modules; /* after a dry run without errors and events */
    size_t module_count;
    char **kept; /* names of tensors copied through in their own precision */
    size_t kept_count;
    llmq_part *carried; /* parts of the model whose tensors are among these, in file order */
    size_t carried_count;
    llmq_rounded *rounded; /* not among these */
    size_t rounded_count;
    char **folded; /* names of norms and biases that AWQ scaled, in their own precision */
    size_t folded_count;
    char **dropped; /* stray integer or boolean buffers left out: loaders misread them */
    size_t dropped_count;
    enum llmq_compute compute;
    llmq_tuning tuning;
    double plan_tune_passes; /* through the model over the windows to tune on; 0: there are none */
    int64_t blocks;
    int64_t windows; /* calibrated on */
    int64_t tokens_used;
    int64_t held_windows, held_tokens; /* beside them, that errors are measured on; 0: windows were
                                          given as ids, or the text has no more: a sixteenth of the
                                          tokens is held back */
    int64_t tokens_dropped;            /* of the text, in no window */
    int64_t texts;                     /* read to calibrate; 0 for windows given as ids */
    int64_t chats;                     /* of them, written by the model's chat template */
    int64_t texts_empty;               /* of them without content: left out */
    int64_t texts_begun;               /* with a begin-of-text token of their own: none was added */
    uint64_t plan_ram_bytes;           /* what the plan expects the peak to be */
    uint64_t plan_disk_bytes;          /* size of the result */
    double plan_flops;                 /* forward, Hessians and solve */
    double sgemm_gflops;               /* rate of products, measured before the run */
    double plan_seconds;               /* plan_flops at that rate */
    double plan_passes;                /* plan_flops in forward passes of the blocks on the
                                          calibration tokens; 0 without calibration */
    uint64_t spill_bytes;              /* activations kept in a file, 0: all in memory */
    uint64_t gradient_bytes;           /* gradients in files beside the unfinished result */
    double seconds;                    /* wall time, 0 for a dry run */
    uint64_t peak_rss_bytes;           /* of this process, as the kernel counts it */
    int64_t blocks_resumed;            /* taken over from an interrupted run */
    llmq_servings servings;            /* who loads the result, and how */
    bool found_finished;           /* an earlier run had done all of it: no modules are listed */
    llmq_work work[LLMQ_WORK_MAX]; /* what the time went to; it adds up to `seconds` */
    size_t work_count;             /* 0 for a dry run */
} llmq_quantize_report;

/* Quantize. Nothing appears at `out` unless everything succeeded; an interrupted or failed run
 * leaves <out>.partial, which --resume continues. Release the report with
 * llmq_quantize_report_free (also after an error: it is valid and may be partly filled). */
LLMQ_NODISCARD enum llmq_status llmq_quantize(const llmq_quantize_options *options,
                                              const llmq_context *ctx, llmq_quantize_report *report,
                                              llmq_error *err);
void llmq_quantize_report_free(llmq_quantize_report *report);

/* A window of calibration as text: special tokens are written out, and U+FFFD stands for what is no
 * whole character. */
typedef struct llmq_window {
    int64_t tokens;
    char *text;
} llmq_window;

typedef struct llmq_windows {
    llmq_window *windows;
    int64_t count; /* that are here */
    int64_t total; /* that a run calibrates on */
} llmq_windows;

/* The first `count` windows that a run with these options would calibrate on; nothing is written.
 * Free with llmq_windows_free. LLMQ_E_USAGE for options that read no text. */
LLMQ_NODISCARD enum llmq_status llmq_calibration_windows(const llmq_quantize_options *options,
                                                         int64_t count, const llmq_context *ctx,
                                                         llmq_windows *out, llmq_error *err);
void llmq_windows_free(llmq_windows *windows);

/* They as one JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_windows_json(const llmq_windows *windows);

/* The report as one JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_quantize_json(const llmq_quantize_report *report);

/* The same with what was asked about several ranks, as a member "ranks"; NULL: nothing was. */
char *llmq_quantize_ranks_json(const llmq_quantize_report *report,
                               const llmq_ranks_question *ranks);

#ifdef __cplusplus
}
#endif
#endif
