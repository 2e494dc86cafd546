/* Rotary embedding settings: see config_parts.h.
 *
 * transformers 4 has rope_theta at the top and rope_scaling {type | rope_type, ...}; transformers 5
 * has rope_parameters {rope_theta, rope_type, ...}. Files may hold both, for old and new readers:
 * then they have to say the same. Which settings a type takes and needs: modeling_rope_utils.py of
 * transformers 4.57 (_validate_*_parameters); one that the type does not take is refused, because
 * somebody meant something by it. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "models/config_parts.h"

enum { NEEDED = 1, TAKEN = 2 };

struct setting {
    const char *key;
    unsigned needed, taken; /* sets of 1 << rope_type */
};

#define LINEAR  (1u << ROPE_LINEAR)
#define DYNAMIC (1u << ROPE_DYNAMIC)
#define LLAMA3  (1u << ROPE_LLAMA3)
#define YARN    (1u << ROPE_YARN)
#define SCALED  (LINEAR | DYNAMIC | LLAMA3 | YARN)
#define ALL     (SCALED | 1u << ROPE_DEFAULT)

/* clang-format off */
static const struct setting settings[] = {
    {"rope_type",                        0,      ALL},
    {"type",                             0,      ALL},
    {"rope_theta",                       0,      ALL},
    {"factor",                           SCALED, SCALED},
    {"original_max_position_embeddings", LLAMA3, DYNAMIC | LLAMA3 | YARN},
    {"low_freq_factor",                  LLAMA3, LLAMA3},
    {"high_freq_factor",                 LLAMA3, LLAMA3},
    {"beta_fast",                        0,      YARN},
    {"beta_slow",                        0,      YARN},
    {"attention_factor",                 0,      YARN},
    {"mscale",                           0,      YARN},
    {"mscale_all_dim",                   0,      YARN},
    {"truncate",                         0,      YARN},
    {"finetuned",                        0,      ALL}, /* says something of the training */
};
/* clang-format on */
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static const char *const rope_names[] = {
    [ROPE_DEFAULT] = "default", [ROPE_LINEAR] = "linear", [ROPE_DYNAMIC] = "dynamic",
    [ROPE_LLAMA3] = "llama3",   [ROPE_YARN] = "yarn",
};

static enum llmq_status rope_type_find(const char *name, enum rope_type *out, llmq_error *err) {
    for (int t = 0; t < (int)(sizeof rope_names / sizeof rope_names[0]); t++) {
        if (strcmp(rope_names[t], name) == 0) {
            *out = (enum rope_type)t;
            return LLMQ_OK;
        }
    }
    error_set(err, LLMQ_E_UNSUPPORTED, "config.json: rope type '%s' is not supported", name);
    error_hint(err, "llmq knows default, linear, dynamic, llama3 and yarn");
    return LLMQ_E_UNSUPPORTED;
}

/* --- what the object may hold ----------------------------------------------------------------- */

/* The type under its two names, which have to agree. */
static enum llmq_status read_type(const struct json *object, const char *where, enum rope_type *out,
                                  llmq_error *err) {
    const struct json *values[] = {config_value(object, "rope_type"), config_value(object, "type")};
    char text[CONFIG_TEXT_MAX];
    for (int i = 0; i < 2; i++)
        if (values[i] && !json_string(values[i]))
            return error_set(err, LLMQ_E_INPUT, "config.json: %s: '%s' is %s: expected a name",
                             where, i ? "type" : "rope_type", config_text(values[i], text));
    const char *type = json_string(values[0]), *older = json_string(values[1]);
    if (type && older && strcmp(type, older) != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: %s: rope_type is '%.40s' and type is '%.40s': expected one "
                         "of them, or the same",
                         where, type, older);
    if (!type && !older && config_value(object, "factor"))
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: %s: expected a rope_type beside factor, found none", where);
    type = type ? type : older;
    return rope_type_find(type ? type : "default", out, err);
}

static const struct setting *setting_find(const char *key) {
    for (int i = 0; i < SETTINGS; i++)
        if (strcmp(settings[i].key, key) == 0)
            return &settings[i];
    return NULL;
}

/* A setting of another type that says nothing: a factor of 1. */
static bool says_nothing(const struct json *value) {
    double factor = 0;
    return strcmp(json_key(value), "factor") == 0 && json_as_double(value, &factor) &&
           !(factor < 1 || factor > 1);
}

/* partial_rotary_factor rotates a part of each head. */
static bool is_whole(const struct json *value) {
    double part = 0;
    return strcmp(json_key(value), "partial_rotary_factor") == 0 && json_as_double(value, &part) &&
           !(part < 1 || part > 1);
}

static enum llmq_status check_settings(const struct json *object, const char *where,
                                       enum rope_type type, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        const struct setting *s = setting_find(json_key(v));
        const bool taken = s && (s->taken & 1u << type);
        if (json_type(v) != JSON_NULL && !taken && !says_nothing(v) && !is_whole(v))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "config.json: %s: '%.60s' is %s, which llmq does not honour with rope "
                             "type %s",
                             where, json_key(v), config_text(v, text), rope_names[type]);
    }
    for (int i = 0; i < SETTINGS; i++)
        if ((settings[i].needed & 1u << type) && !config_value(object, settings[i].key))
            return error_set(err, LLMQ_E_INPUT,
                             "config.json: %s: rope type %s needs '%s', found none", where,
                             rope_names[type], settings[i].key);
    return LLMQ_OK;
}

/* --- values ----------------------------------------------------------------------------------- */

/* YaRN's magnitude correction (Peng et al., arXiv:2309.00071, eq. 22): 0.1 m ln(s) + 1. */
static double yarn_mscale(double scale, double mscale) {
    return scale <= 1.0 ? 1.0 : 0.1 * mscale * log(scale) + 1.0;
}

static enum llmq_status parse_yarn(const struct json *scaling, struct rope_config *rope,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    double mscale = 0, mscale_all = 0;
    LLMQ_TRY(config_double(scaling, "beta_fast", 32.0, &rope->beta_fast, err));
    LLMQ_TRY(config_double(scaling, "beta_slow", 1.0, &rope->beta_slow, err));
    LLMQ_TRY(config_bool(scaling, "truncate", true, &rope->truncate, err));
    LLMQ_TRY(config_double(scaling, "mscale", 0.0, &mscale, err));
    LLMQ_TRY(config_double(scaling, "mscale_all_dim", 0.0, &mscale_all, err));
    double natural = mscale > 0 && mscale_all > 0
                         ? yarn_mscale(rope->factor, mscale) / yarn_mscale(rope->factor, mscale_all)
                         : yarn_mscale(rope->factor, 1.0);
    LLMQ_TRY(config_double(scaling, "attention_factor", natural, &rope->attention_factor, err));
cleanup:
    return status;
}

/* llama3 blends between two wavelengths; the bounds have to lie in order. */
static enum llmq_status check_llama3(const struct rope_config *rope, llmq_error *err) {
    if (rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: rope type llama3: expected 0 < low_freq_factor < "
                     "high_freq_factor, found %g and %g",
                     rope->low_freq_factor, rope->high_freq_factor);
}

/* One of the two objects; `object` may be NULL. `theta` is what rope_theta is outside of it. */
static enum llmq_status parse_object(const struct json *object, const char *where, double theta,
                                     int64_t max_positions, struct rope_config *rope,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *rope = (struct rope_config){.attention_factor = 1.0};
    if (object && json_type(object) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s': expected an object or null", where);
    LLMQ_TRY(config_double(object, "rope_theta", theta, &rope->theta, err));
    LLMQ_TRY(read_type(object, where, &rope->type, err));
    LLMQ_TRY(check_settings(object, where, rope->type, err));
    LLMQ_TRY(config_double(object, "factor", 1.0, &rope->factor, err));
    LLMQ_TRY(config_double(object, "low_freq_factor", 1.0, &rope->low_freq_factor, err));
    LLMQ_TRY(config_double(object, "high_freq_factor", 4.0, &rope->high_freq_factor, err));
    LLMQ_TRY(config_int(object, "original_max_position_embeddings", max_positions, 1,
                        &rope->original_max_positions, err));
    if (!(rope->theta > 0))
        status = error_set(err, LLMQ_E_INPUT, "config.json: rope_theta is %g: expected more than 0",
                           rope->theta);
    else if (rope->type != ROPE_DEFAULT && rope->factor < 1.0)
        status =
            error_set(err, LLMQ_E_INPUT, "config.json: rope factor %g is below 1", rope->factor);
    else if (rope->type == ROPE_YARN)
        status = parse_yarn(object, rope, err);
    else if (rope->type == ROPE_LLAMA3)
        status = check_llama3(rope, err);
cleanup:
    return status;
}

static bool equal(double a, double b) {
    return !(a < b || a > b);
}

static bool same_rope(const struct rope_config *a, const struct rope_config *b) {
    return a->type == b->type && equal(a->theta, b->theta) && equal(a->factor, b->factor) &&
           equal(a->low_freq_factor, b->low_freq_factor) &&
           equal(a->high_freq_factor, b->high_freq_factor) && equal(a->beta_fast, b->beta_fast) &&
           equal(a->beta_slow, b->beta_slow) && equal(a->attention_factor, b->attention_factor) &&
           a->truncate == b->truncate && a->original_max_positions == b->original_max_positions;
}

/* Phi-3 and its relatives have the original context at the top, and newer transformers reads it
 * there for any model. */
static enum llmq_status check_top(const struct json *json, const struct rope_config *rope,
                                  llmq_error *err) {
    static const char key[] = "original_max_position_embeddings";
    int64_t original = 0;
    enum llmq_status status =
        config_int(json, key, rope->original_max_positions, 1, &original, err);
    if (status != LLMQ_OK || rope->type == ROPE_DEFAULT || rope->type == ROPE_LINEAR ||
        original == rope->original_max_positions)
        return status;
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: '%s' is %" PRId64 " at the top and %" PRId64
                     " for the rotary embedding: expected the same",
                     key, original, rope->original_max_positions);
}

/* NTK by length sets in where the training ended, which transformers takes to be
 * max_position_embeddings whatever else the object says. */
static enum llmq_status check_dynamic(const struct rope_config *rope, int64_t max_positions,
                                      llmq_error *err) {
    if (rope->type != ROPE_DYNAMIC || rope->original_max_positions == max_positions)
        return LLMQ_OK;
    return error_set(
        err, LLMQ_E_UNSUPPORTED,
        "config.json: rope type dynamic: 'original_max_position_embeddings' is %" PRId64
        " and max_position_embeddings %" PRId64 ": loaders differ in which they use",
        rope->original_max_positions, max_positions);
}

enum llmq_status config_rope(const struct json *json, const struct family *family,
                             int64_t max_positions, struct rope_config *rope, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct json *newer = config_value(json, "rope_parameters");
    const struct json *older = config_value(json, "rope_scaling");
    struct rope_config other;
    double theta = 0;
    LLMQ_TRY(config_double(json, "rope_theta", family->defaults.rope_theta, &theta, err));
    LLMQ_TRY(parse_object(newer ? newer : older, newer ? "rope_parameters" : "rope_scaling", theta,
                          max_positions, rope, err));
    if (config_value(json, "rope_theta") && !equal(theta, rope->theta))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "config.json: rope_theta is %g at the top and %g for the rotary "
                           "embedding: expected the same",
                           theta, rope->theta));
    if (newer && older) {
        LLMQ_TRY(parse_object(older, "rope_scaling", rope->theta, max_positions, &other, err));
        if (!same_rope(rope, &other))
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                               "config.json: rope_scaling and rope_parameters say different "
                               "things: loaders differ in which they read"));
    }
    LLMQ_TRY(check_top(json, rope, err));
    LLMQ_TRY(check_dynamic(rope, max_positions, err));
cleanup:
    return status;
}
