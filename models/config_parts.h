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
LLMQ_NODISCARD enum llmq_status config_bool(const struct json *object, const char *key,
                                            bool fallback, bool *out, llmq_error *err);

/* --- config_rope.c ---------------------------------------------------------------------------- */

/* Read rope_theta, rope_scaling (transformers 4) and rope_parameters (5). LLMQ_E_UNSUPPORTED: a
 * type or a setting that the forward pass has none of; LLMQ_E_INPUT: a setting that the type needs
 * is missing, or two places say different things. */
LLMQ_NODISCARD enum llmq_status config_rope(const struct json *json, const struct family *family,
                                            int64_t max_positions, struct rope_config *rope,
                                            llmq_error *err);

/* --- config_neutral.c ------------------------------------------------------------------------- */

/* LLMQ_E_UNSUPPORTED when a key that changes the forward pass is set, and the forward pass has no
 * part for it; `c` is filled otherwise. Keys that are not known to do so are passed over. */
LLMQ_NODISCARD enum llmq_status config_check_keys(const struct json *json,
                                                  const struct model_config *c, llmq_error *err);

/* Does `architectures` name what model_type stands for? Loaders go by the one or by the other.
 * LLMQ_E_INPUT, LLMQ_E_UNSUPPORTED. */
LLMQ_NODISCARD enum llmq_status
config_check_architectures(const struct json *json, const struct family *family, llmq_error *err);

#endif
