/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that config.json is read in. Not for use outside models/config*.c. */
#ifndef LLMQ_MODELS_CONFIG_PARTS_H
#define LLMQ_MODELS_CONFIG_PARTS_H

#include "models/config.h"

/* --- config_values.c: typed members; one that is null reads as absent ------------------------- */

/* The member, or NULL when it is absent or null. */
const struct json *config_value(const struct json *object, const char *key);

/* The value as JSON text for messages, cut to fit. */
#define CONFIG_TEXT_MAX 64
const char *config_text(const struct json *value, char out[CONFIG_TEXT_MAX]);

/* The member, or `fallback`. LLMQ_E_INPUT names the key, what it is, and what was expected: an
 * integer in [min, 2^31), a non-negative number, true or false. */
LLMQ_NODISCARD enum llmq_status config_int(const struct json *object, const char *key,
                                           int64_t fallback, int64_t min, int64_t *out,
                                           llmq_error *err);
LLMQ_NODISCARD enum llmq_status config_double(const struct json *object, const char *key,
                                              double fallback, double *out, llmq_error *err);
/* The same where the number may be infinite; *out stays as it is where it is absent. */
LLMQ_NODISCARD enum llmq_status config_limit(const struct json *object, const char *key,
                                             double *out, llmq_error *err);
LLMQ_NODISCARD enum llmq_status config_bool(const struct json *object, const char *key,
                                            bool fallback, bool *out, llmq_error *err);

/* A member under one of several names, "a|b.c": a dot goes into an object, "*" into any of one
 * whose members are all the same, "d[0/2]" to an
 * entry of a list. */
struct config_key {
    const struct json *object; /* that has it */
    char name[64];
    bool found;  /* there and not null; then `object` and `name` lead to it */
    bool absent; /* none of the names is there, not even as null */
};

/* LLMQ_E_INPUT when two of the names are there and say different things. `keys` NULL: not found. */
LLMQ_NODISCARD enum llmq_status config_find(const struct json *json, const char *keys,
                                            struct config_key *out, llmq_error *err);

/* --- config_settings.c, config_derive.c ------------------------------------------------------- */

/* Fill `facts` by the family's settings. */
LLMQ_NODISCARD enum llmq_status config_settings(const struct json *json, struct model_config *c,
                                                llmq_error *err);

/* Sizes that are made of others. */
void config_derive(struct facts *facts);

/* Those that layers with a window and the others have to agree on: behind config_windowed. */
void config_stream(struct model_config *c);

/* The facts of layers with a window, once it is known which these are: settings with T_WINDOW among
 * their traits count for them only, and may have a list with an entry for each layer. */
LLMQ_NODISCARD enum llmq_status config_windowed(const struct json *json, struct model_config *c,
                                                llmq_error *err);

/* --- config_layers.c -------------------------------------------------------------------------- */

/* Fill `layers` by the family's rules, and hold sliding_window and layer_types against them. */
LLMQ_NODISCARD enum llmq_status config_layers(const struct json *json, struct model_config *c,
                                              llmq_error *err);

/* What the rules' `others` say: behind config_rope, whose base they may be about. */
LLMQ_NODISCARD enum llmq_status config_check_others(const struct json *json,
                                                    const struct model_config *c, llmq_error *err);

/* --- config_rope.c ---------------------------------------------------------------------------- */

/* Read rope_scaling (transformers 4) and rope_parameters (5). LLMQ_E_UNSUPPORTED: a type or a
 * setting that the forward pass has none of; LLMQ_E_INPUT: a setting that the type needs is
 * missing, or two places say different things. */
LLMQ_NODISCARD enum llmq_status config_rope(const struct json *json, struct model_config *c,
                                            llmq_error *err);

/* --- config_neutral.c ------------------------------------------------------------------------- */

/* LLMQ_E_UNSUPPORTED when a key that changes the forward pass is set, and the forward pass has no
 * part for it; `c` is filled otherwise. Keys that are not known to do so are passed over. */
LLMQ_NODISCARD enum llmq_status config_check_keys(const struct json *json,
                                                  const struct model_config *c, llmq_error *err);

/* --- config_architectures.c ------------------------------------------------------------------- */

/* Does `architectures` name what model_type stands for? Loaders go by the one or by the other.
 * LLMQ_E_INPUT, LLMQ_E_UNSUPPORTED. */
LLMQ_NODISCARD enum llmq_status
config_check_architectures(const struct json *json, const struct model_config *c, llmq_error *err);

/* --- config_wrapper.c ------------------------------------------------------------------------- */

/* The key of a wrapper's config whose object describes the model of text; NULL: it has none. */
const char *config_text_key(const struct json *json);

/* Find `wrapper`, and the part of config.json that the model is read from; `forced`: it is read as
 * a family that the user names. */
const struct json *config_unwrap(const struct json *json, bool forced, const struct wrapper **out);

/* tie_word_embeddings of the wrapper, where the text_config has none. */
LLMQ_NODISCARD enum llmq_status config_outer_tying(const struct json *json, const struct json *text,
                                                   struct model_config *c, llmq_error *err);

#endif
