/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring a checkpoint, original or quantized: perplexity, per-token log-probabilities, and the
 * distance between two checkpoints. */
#ifndef LLMQ_EVALUATE_H
#define LLMQ_EVALUATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/matmul.h"
#include "llmq/special.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which tokens of a window count.
 * GPTQ      every token but the first (the convention of the GPTQ and AWQ papers)
 * LLAMACPP  the second half of each window, as llama.cpp's perplexity tool scores; like there, the
 *           begin-of-text token takes the place of the first token of every window, where the
 *           tokenizer puts one before a text. Windows given as ids are used as they are */
enum llmq_convention { LLMQ_CONVENTION_GPTQ, LLMQ_CONVENTION_LLAMACPP };

typedef struct llmq_eval_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    const char *model;
    const char *family;     /* read it as a model of this family; NULL: as its model_type says */
    const char *text;       /* text, .jsonl or .json windows; NULL: the text bundled with llmq */
    const char *text_field; /* the member of .jsonl lines that holds the text, or messages; NULL:
                               "text", or a conversation */
    int64_t ctx;            /* tokens per window; 0: the model's context, at most 2048, and the only
                               value with windows given as ids */
    int64_t max_tokens;     /* 0: all */
    enum llmq_special special; /* tokens around a text; MODEL with windows given as ids */
    enum llmq_convention convention;
    enum llmq_activations activations; /* INT8: to measure what rounding activations costs; the
                                          model must be quantized */
    enum llmq_compute compute; /* BF16: for a model that is not quantized, or with `dequantize` */
    bool dequantize;  /* expand packed weights to float32 instead of using the packed product:
                         slower, for checking the packed kernels; EXACT activations only */
    uint64_t max_mem; /* bytes; 0: 80 % of what is available. Activations go to a file, in $TMPDIR
                         or /var/tmp, when they must */
} llmq_eval_options;

void llmq_eval_options_init_sized(llmq_eval_options *options, size_t size);
static inline void llmq_eval_options_init(llmq_eval_options *options) {
    llmq_eval_options_init_sized(options, sizeof *options);
}

typedef struct llmq_eval_result {
    double ppl;        /* exp(nll) */
    double nll;        /* mean negative log-likelihood per scored token, nats */
    double nll_stderr; /* standard error of nll, windows as the sampling unit */
    int64_t tokens;    /* scored */
    int64_t windows;
    int64_t ctx; /* longest window */
    enum llmq_convention convention;
    enum llmq_activations activations;
    enum llmq_compute compute;
    double seconds;
    uint64_t peak_rss_bytes;
} llmq_eval_result;

/* Layer-major: every weight is read once, one block is in memory at a time. LLMQ_E_USAGE for INT8
 * activations with a model that is not quantized, or with `dequantize`; for BF16 with packed
 * weights. LLMQ_E_UNSUPPORTED for BF16 where the CPU lacks it. LLMQ_E_MEMORY: `max_mem` is too
 * little whatever lies in files; the hint names the least. */
LLMQ_NODISCARD enum llmq_status llmq_eval(const llmq_eval_options *options, const llmq_context *ctx,
                                          llmq_eval_result *result, llmq_error *err);

typedef struct llmq_score_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    const char *model;
    const char *family; /* as in llmq_eval_options */
    const char *logits; /* file to write the logits to as well, or NULL */
    uint64_t max_mem;   /* as in llmq_eval_options */
} llmq_score_options;

void llmq_score_options_init_sized(llmq_score_options *options, size_t size);
static inline void llmq_score_options_init(llmq_score_options *options) {
    llmq_score_options_init_sized(options, sizeof *options);
}

/* Log-probabilities of a list of tokens: logprobs[t] = log p(ids[t+1] | ids[..t]) for
 * t = 0 ... count-2, in the caller's array of count-1 doubles. F32 logits [count, vocab] are
 * written as a safetensors file with the tensor "logits": a new file, in place of a regular one, or
 * into a pipe or character device. LLMQ_E_IO for anything else there, LLMQ_E_USAGE for a place in
 * the model's folder; both before anything is computed. */
LLMQ_NODISCARD enum llmq_status llmq_score(const llmq_score_options *options, const int32_t *ids,
                                           size_t count, const llmq_context *ctx, double *logprobs,
                                           llmq_error *err);

typedef struct llmq_compare_options {
    size_t size;           /* of this struct, see llmq/llmq.h */
    const char *model;     /* usually quantized */
    const char *reference; /* usually the original; its tokenizer reads the text. Or a file that
                              save_reference wrote: it holds the windows, and `text` may only be
                              what they were cut from */
    const char *save_reference; /* a file to keep the reference's predictions in; NULL: none */
    const char *family;         /* of both, as in llmq_eval_options */
    const char *text;           /* as in llmq_eval_options */
    const char *text_field;
    int64_t ctx;        /* tokens per window; 0: the shorter context of the two, at most 2048 */
    int64_t max_tokens; /* 0: all */
    enum llmq_special special; /* as in llmq_eval_options */
    enum llmq_convention convention;
    enum llmq_activations activations; /* of the model, which must be quantized for INT8; the
                                          reference is always EXACT */
    enum llmq_compute compute; /* of the model, which must not be quantized for BF16; the reference
                                  is always F32 */
    uint64_t max_mem;          /* as in llmq_eval_options */
} llmq_compare_options;

void llmq_compare_options_init_sized(llmq_compare_options *options, size_t size);
static inline void llmq_compare_options_init(llmq_compare_options *options) {
    llmq_compare_options_init_sized(options, sizeof *options);
}

/* A token and how far apart the two predictions of it are. */
typedef struct llmq_divergent_token {
    int64_t window;   /* counted from 0 */
    int64_t position; /* of the predicted token in its window, counted from 0 */
    int32_t token;    /* its id */
    double kl;        /* nats */
} llmq_divergent_token;

#define LLMQ_COMPARE_WORST 5

/* A token that a model expects; `text` is UTF-8, NULL where there is no tokenizer. */
typedef struct llmq_likely_token {
    int32_t token;
    double p;
    char *text;
} llmq_likely_token;

#define LLMQ_COMPARE_TOP 5

/* What a divergent token looks like: the text around it, NULL where there is no tokenizer, and what
 * both models expected there, most likely first. */
typedef struct llmq_token_context {
    char *before, *text, *after;
    llmq_likely_token model[LLMQ_COMPARE_TOP], reference[LLMQ_COMPARE_TOP];
    size_t model_count, reference_count; /* of a kept reference only what is certain to be there */
} llmq_token_context;

/* Change of the probability of the token that follows, model - reference: mean, root mean square,
 * quantiles over tokens. */
typedef struct llmq_delta_p {
    double mean, rms, p01, p05, median, p95, p99;
} llmq_delta_p;

/* Tokens by their KL: bin 0 below 1e-6, bin i from 10^(-6 + (i - 1) / 2), the last from 10 on. */
#define LLMQ_COMPARE_BINS 16

/* A part of the positions in a window, and the mean KL there; first 0: it has none. */
#define LLMQ_COMPARE_STRETCHES 16
typedef struct llmq_kl_stretch {
    int64_t first, last;
    int64_t tokens; /* that count */
    double kl;
} llmq_kl_stretch;

/* What a block puts out, over all tokens: the residual stream behind it. */
typedef struct llmq_block_output {
    double least, most, mean, spread; /* of the finite values; spread: their standard deviation */
    int64_t nan, infinite;            /* values that are not */
} llmq_block_output;

/* How far a block's output has moved. */
typedef struct llmq_block_drift {
    llmq_block_output model, reference;
    double error; /* mean of |x - x_reference|^2 / |x_reference|^2 over some tokens, 16 at least
                     where there are so many, evenly spread over the text */
} llmq_block_drift;

/* A window's part of a comparison. */
typedef struct llmq_window_divergence {
    int64_t tokens;       /* that count */
    double kl, delta_nll; /* means over them, 0 of none */
} llmq_window_divergence;

/* Differences are model - reference. Standard errors take windows as the sampling unit. */
typedef struct llmq_compare_result {
    char *model, *reference;         /* folders; of a kept reference, the name of what it was */
    uint64_t bytes, reference_bytes; /* of all tensors */
    bool kept;                       /* the reference is a file: a sample of its predictions */
    double kl_mean;                  /* KL(reference || model) per scored token, nats */
    double kl_stderr;                /* standard error of kl_mean */
    double kl_beside_first;        /* of several models: kl_mean - that of the first of them, and */
    double kl_beside_first_stderr; /* its error, windows paired; NaN for one window */
    double kl_sampling_error; /* what the sample adds to that: standard error, 0 of a reference that
                                 ran */
    double kl_median, kl_p90, kl_p99, kl_p999, kl_max; /* quantiles over tokens */
    double kl_reverse_mean, kl_reverse_stderr; /* KL(model || reference); NaN of a kept reference */
    double top1_agreement;    /* fraction of tokens where both find the same token most likely */
    double delta_nll;         /* nll of the model - nll of the reference */
    double delta_nll_stderr;  /* of the paired difference: smaller than the errors of each nll */
    double delta_nll_p_value; /* how likely so large a difference is by chance: two-sided t test of
                                 the windows' differences; NaN for one window */
    llmq_delta_p delta_p;
    int64_t histogram[LLMQ_COMPARE_BINS];
    llmq_kl_stretch stretches[LLMQ_COMPARE_STRETCHES];
    double ppl, ppl_reference;
    int64_t tokens; /* scored */
    int64_t windows;
    llmq_window_divergence *by_window; /* [windows] */
    int64_t ctx;                       /* longest window */
    enum llmq_convention convention;
    enum llmq_activations activations;
    enum llmq_compute compute;
    llmq_divergent_token worst[LLMQ_COMPARE_WORST]; /* largest KL first */
    llmq_token_context contexts[LLMQ_COMPARE_WORST];
    size_t worst_count;
    llmq_block_drift *blocks; /* [block_count]; none where the models differ in their number of
                                 blocks or in width, and for a kept reference */
    int64_t block_count;
    double seconds;
    uint64_t peak_rss_bytes;
} llmq_compare_result;

/* How far a model's predictions are from a reference's on the same text. The models, packed or
 * plain, run one after the other, one block in memory at a time. LLMQ_E_USAGE when their
 * vocabularies differ, when the text needs a tokenizer that the reference does not have, for
 * INT8 activations with a model that is not quantized, or for BF16 with one that is;
 * LLMQ_E_UNSUPPORTED for BF16 where the CPU lacks it; LLMQ_E_NUMERIC for predictions that are not
 * finite, naming the block that put out the first such values. Release the result with
 * llmq_compare_result_free (also after an error). */
LLMQ_NODISCARD enum llmq_status llmq_compare(const llmq_compare_options *options,
                                             const llmq_context *ctx, llmq_compare_result *result,
                                             llmq_error *err);
void llmq_compare_result_free(llmq_compare_result *result);

/* The same for several models, in place of options->model: the reference runs once. With
 * save_reference there may be none of them. results [count]; release each. */
LLMQ_NODISCARD enum llmq_status llmq_compare_all(const llmq_compare_options *options,
                                                 const char *const *models, size_t count,
                                                 const llmq_context *ctx,
                                                 llmq_compare_result *results, llmq_error *err);

/* Results as JSON, to be released with llmq_free; NULL when memory is short. */
char *llmq_eval_json(const llmq_eval_result *result);
char *llmq_compare_json(const llmq_compare_result *result);
char *llmq_compare_all_json(const llmq_compare_result *results, size_t count); /* an array */
char *llmq_score_json(const int32_t *ids, size_t count, const double *logprobs);
char *llmq_ids_json(const int32_t *ids, size_t count);
/* {"schema": 1, "ids": [...], "text": "..."}; U+0000 in the text is written as U+FFFD. */
char *llmq_text_json(const int32_t *ids, size_t count, const char *text, size_t len);

#ifdef __cplusplus
}
#endif
#endif
