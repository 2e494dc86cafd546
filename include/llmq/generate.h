/* SPDX-License-Identifier: Apache-2.0 */
/* Text that a model writes: prompts, and what follows them token by token. */
#ifndef LLMQ_GENERATE_H
#define LLMQ_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/matmul.h"
#include "llmq/special.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- prompts ---------------------------------------------------------------------------------- */

/* Ids of a text that is to be continued: the special tokens that the model puts before a text, not
 * a second time where it begins with them, and none behind it. *ids is to be released with
 * llmq_free. LLMQ_E_INPUT: the text is not UTF-8. */
LLMQ_NODISCARD enum llmq_status llmq_prompt_ids(const char *model, const char *text, size_t len,
                                                enum llmq_special special, int32_t **ids,
                                                size_t *count, llmq_error *err);

/* What someone said in a conversation. */
typedef struct llmq_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} llmq_message;

/* The same of a conversation, written by the model's own chat template with the beginning of an
 * answer behind it (add_generation_prompt). LLMQ_E_INPUT: the model has no template, or it refuses
 * the conversation. */
LLMQ_NODISCARD enum llmq_status llmq_chat_ids(const char *model, const llmq_message *messages,
                                              size_t message_count, int32_t **ids, size_t *count,
                                              llmq_error *err);

/* --- generating ------------------------------------------------------------------------------- */

/* A token, and the probability that the model gives it, whatever it is drawn by. */
typedef struct llmq_candidate {
    int32_t id;
    double probability;
} llmq_candidate;

/* What was chosen, and the two most likely tokens there (a second one only where the vocabulary has
 * it). */
typedef struct llmq_generated {
    int64_t index; /* of those generated, from 0 */
    llmq_candidate chosen;
    llmq_candidate best[2];
} llmq_generated;

typedef struct llmq_generate_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    const char *model;
    const char *family;  /* read it as a model of this family; NULL: as its model_type says */
    const char *against; /* the other model of llmq_generate_against */
    int64_t max_tokens;
    /* 0: always the most likely token. Else one is drawn: of the top_k most likely (0: of all), by
     * probabilities at this temperature, of the fewest that have top_p of them together (1: of
     * all). The same seed draws the same tokens, for any number of threads. */
    double temperature;
    int64_t top_k;
    double top_p;
    uint64_t seed;
    const char *const *stop; /* [stop_count] texts that end it and are not part of it */
    size_t stop_count;
    bool past_end; /* go on where the model says that the text ends (eos_token_id of config.json and
                      generation_config.json) */
    enum llmq_activations activations; /* INT8: with packed weights, as in llmq_eval_options */
    uint64_t max_mem;                  /* bytes; 0: 80 % of what is available */
    /* Called from the thread that called the library. `token` for every token, false ends it there;
     * `text` for what can be told of the text so far, whole characters. NULL: nobody asks. */
    void *user;
    bool (*token)(void *user, const llmq_generated *token);
    void (*text)(void *user, const char *text, size_t len);
} llmq_generate_options;

/* 256 tokens, the most likely ones. */
void llmq_generate_options_init_sized(llmq_generate_options *options, size_t size);
static inline void llmq_generate_options_init(llmq_generate_options *options) {
    llmq_generate_options_init_sized(options, sizeof *options);
}

/* Why it ended. */
enum llmq_generate_end {
    LLMQ_END_LENGTH,  /* max_tokens */
    LLMQ_END_CONTEXT, /* the model's positions */
    LLMQ_END_TOKEN,   /* the model says so */
    LLMQ_END_TEXT,    /* one of `stop` */
    LLMQ_END_CALLER   /* `token` returned false */
};

typedef struct llmq_generate_result {
    int32_t *ids; /* without the token that ended it, with those that a text of `stop` lies in */
    size_t count;
    char *text; /* [text_len] and a NUL; empty without a tokenizer.json */
    size_t text_len;
    enum llmq_generate_end end;
    int32_t end_token; /* the one that ended it, or -1 */
    int64_t prompt_tokens;
    int64_t repeated_tokens; /* computed once more, where the model's rotary frequencies change with
                                the length */
    double load_seconds, prompt_seconds, generate_seconds;
    uint64_t peak_rss_bytes;
} llmq_generate_result;

/* Continue a prompt of token ids. All of the model's weights are in memory, packed ones as they
 * are, and nothing that a token was computed for is computed again for those after it. LLMQ_E_USAGE
 * for a prompt that is empty, has ids that the vocabulary lacks or leaves no room within the
 * model's positions, for `stop` without a tokenizer, and as llmq_eval for INT8; LLMQ_E_MEMORY,
 * before anything is loaded. Release the result with llmq_generate_result_free (also after an
 * error). */
LLMQ_NODISCARD enum llmq_status llmq_generate(const llmq_generate_options *options,
                                              const int32_t *ids, size_t count,
                                              const llmq_context *ctx, llmq_generate_result *result,
                                              llmq_error *err);
void llmq_generate_result_free(llmq_generate_result *result);

/* --- two models ------------------------------------------------------------------------------- */

/* What two models make of one prompt, and where they part. */
typedef struct llmq_against_result {
    llmq_generate_result model, reference;
    bool parts;    /* else they generate the same tokens */
    int64_t index; /* of the first token that differs, and what each finds most likely there */
    llmq_candidate model_best[2], reference_best[2];
} llmq_against_result;

/* Continue a prompt with the model and then with options->against, which takes activations as
 * exact, always by the most likely token. Errors as of llmq_generate; LLMQ_E_USAGE with a
 * temperature. Release with llmq_against_result_free (also after
 * an error). `token` and `text` are not called. */
LLMQ_NODISCARD enum llmq_status llmq_generate_against(const llmq_generate_options *options,
                                                      const int32_t *ids, size_t count,
                                                      const llmq_context *ctx,
                                                      llmq_against_result *result, llmq_error *err);
void llmq_against_result_free(llmq_against_result *result);

/* The result as a JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_against_json(const llmq_against_result *result);

/* The result as a JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_generate_json(const llmq_generate_result *result);

/* "length", "context", "token", "text", "caller"; static. */
const char *llmq_generate_end_name(enum llmq_generate_end end);

#ifdef __cplusplus
}
#endif
#endif
