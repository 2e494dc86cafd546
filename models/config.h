/* SPDX-License-Identifier: Apache-2.0 */
/* config.json to what the forward pass and the planner need. */
#ifndef LLMQ_MODELS_CONFIG_H
#define LLMQ_MODELS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "models/family.h"
#include "models/wrapper.h"

enum { CONFIG_MAX_LAYERS = 1024 };

enum rope_type {
    ROPE_DEFAULT,
    ROPE_LINEAR,
    ROPE_DYNAMIC,
    ROPE_LLAMA3,
    ROPE_YARN,
    ROPE_LONGROPE,
    ROPE_PROPORTIONAL
};

enum { ROPE_MAX_PAIRS = 256 };

/* Rotary embedding parameters under the names of transformers' rope_scaling / rope_parameters. */
struct rope_config {
    enum rope_type type;
    double theta;
    double factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn, longrope: multiplies cos and sin */
    double score_factor;                      /* yarn: multiplies the scores with T_MSCALE */
    double alpha;                             /* dynamic, with T_NTK_ALPHA; 0: none */
    double temperature;                       /* NUM_TEMPERATURE with T_HEATED */
    bool truncate;                            /* yarn: correction range rounded to integers */
    double part;                              /* proportional: of the frequencies, which turn */
    int64_t original_max_positions;
    int64_t pairs; /* longrope: of a head, with a factor each, ... */
    double short_factor[ROPE_MAX_PAIRS], long_factor[ROPE_MAX_PAIRS]; /* ... by the length */
};

struct model_config {
    const struct family *family;   /* of the list, or `placed` */
    struct family *placed;         /* the same under the names of a wrapper's checkpoint; owned */
    const struct wrapper *wrapper; /* that the model is inside of; NULL: of none */
    struct facts facts;            /* of the model, and of its blocks ... */
    struct facts windowed; /* ... but for those with T_WINDOW: what settings of these say as well */
    int64_t vocab, hidden, blocks, max_positions; /* those of the facts */
    int64_t stream;    /* width of what goes from block to block: `hidden`, or with kept keys and
                        * values behind that */
    int64_t drafts;    /* layers behind them that predict further tokens and are blocks, too: only
                        * where these are to be quantized, or are packed (drafts.h) */
    trait_set *layers; /* [blocks + drafts] traits of each, with the model's; owned */
    struct rope_config rope, local_rope; /* the other one of windowed layers with T_LOCAL_ROPE */
    bool tied;                           /* output head = embedding */
    bool forced;   /* read as `family` although model_type says otherwise, or nothing */
    bool own_code; /* auto_map: the checkpoint brings Python of its own, which llmq does not run */
};

/* Read a parsed config.json (transformers 4 and 5 spellings). LLMQ_E_UNSUPPORTED names a
 * model_type, activation, layer or rope type llmq does not know, or a key that changes the forward
 * pass and that it does not honour (config_neutral.c); LLMQ_E_INPUT a key with an impossible value,
 * or two that contradict each other. Release with config_free, also after a failure. */
LLMQ_NODISCARD enum llmq_status config_parse(const struct json *json, struct model_config *out,
                                             llmq_error *err);

/* The same as a model of the family of that name, whatever model_type and architectures say; NULL:
 * as they say. LLMQ_E_USAGE when no family has the name. */
LLMQ_NODISCARD enum llmq_status config_parse_as(const struct json *json, const char *family,
                                                struct model_config *out, llmq_error *err);
/* The family of that name; else LLMQ_E_USAGE with a hint that lists them. */
LLMQ_NODISCARD enum llmq_status config_family_named(const char *name, const struct family **out,
                                                    llmq_error *err);
/* What the rows of a block of these traits are read with. */
const struct facts *config_facts(const struct model_config *c, trait_set traits);
void config_free(struct model_config *c); /* accepts a zeroed struct */

/* The part of a config.json that describes the model of text, the text_config of a wrapper or the
 * whole, and the family that it says, NULL: none that llmq knows. */
const struct json *config_text_part(const struct json *json);
const struct family *config_family_said(const struct json *json);

/* Let the family have the names that the checkpoint of its wrapper has: `prefix` stands for
 * "model.", and `head`, NULL: it has none, is the output head's tensor. */
LLMQ_NODISCARD enum llmq_status config_take_names(struct model_config *c, const char *prefix,
                                                  const char *head, llmq_error *err);

#endif
