/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of config.json that change the forward pass: see config_parts.h. Which they are, and what
 * each has to be: config_neutral_keys.c. Null is neutral everywhere. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "models/config_neutral.h"
#include "models/config_parts.h"

/* --- values ----------------------------------------------------------------------------------- */

static bool is_number(const struct json *v, double wanted) {
    double found = 0;
    return json_as_double(v, &found) && fabs(found - wanted) <= 1e-6 * fabs(wanted);
}

static bool is_flag(const struct json *v, bool wanted) {
    bool found = false;
    return json_as_bool(v, &found) ? found == wanted : is_number(v, wanted ? 1 : 0);
}

static bool is_ones(const struct json *v) {
    if (json_type(v) != JSON_ARRAY)
        return is_number(v, 1);
    for (const struct json *c = json_first(v); c; c = json_next(c))
        if (!is_flag(c, true))
            return false;
    return true;
}

/* False, zero, empty, or a list or object of such. */
static bool is_off(const struct json *v) {
    if (json_type(v) == JSON_NULL || (json_string(v) && *json_string(v) == '\0') ||
        is_flag(v, false))
        return true;
    if (json_type(v) != JSON_ARRAY && json_type(v) != JSON_OBJECT)
        return false;
    for (const struct json *c = json_first(v); c; c = json_next(c))
        if (!(json_type(c) == JSON_NULL || is_flag(c, false)))
            return false;
    return true;
}

static bool is_one_of(const struct json *v, const char *const *texts) {
    for (int i = 0; json_string(v) && texts[i]; i++)
        if (strcmp(json_string(v), texts[i]) == 0)
            return true;
    return false;
}

/* --- what the model has ----------------------------------------------------------------------- */

static const char *const rms_names[] = {"rmsnorm", "rms_norm", "RMSNorm", "rms",
                                        "hf_rms",  "RMS_norm", NULL};
static const char *const layer_names[] = {"layernorm", "layer_norm", "LayerNorm",
                                          "low_precision_layernorm", NULL};
static const char *const rotary_names[] = {"rope", "rotary", "ROPE", "rotary_embedding", NULL};
static const char *const neighbour_names[] = {"rope_gptj",        "rope", "rotary", "ROPE",
                                              "rotary_embedding", NULL};
static const char *const alibi_names[] = {"alibi", "ALiBi", NULL};
static const char *const learned_names[] = {"learned", "absolute", "learned_absolute", NULL};

static const char *const *norm_names(const struct model_config *c) {
    return norm_has_mean(c->facts.norm) ? layer_names : rms_names;
}

static const char *const *position_names(const struct model_config *c) {
    if (c->facts.traits & T_ALIBI)
        return alibi_names;
    if (c->family->positions)
        return learned_names;
    return c->facts.traits & T_INTERLEAVED ? neighbour_names : rotary_names;
}

static bool is_flag_kind(enum neutral kind) {
    return kind >= ON && kind <= TIED_HEAD;
}

static bool has_gate(const struct node *rows) {
    for (const struct node *row = rows; row->op != OP_END; row++)
        if (row->op == OP_GLU || (row->body && has_gate(row->body)))
            return true;
    return false;
}

/* Of the kinds that are true or false. */
static bool model_flag(enum neutral kind, const struct model_config *c) {
    const trait_set traits = c->facts.traits;
    const enum norm norm = c->facts.norm;
    const bool flags[NEUTRAL_COUNT] = {
        [ON] = true,
        [ROTARY] = family_rotates(c->family) && !(traits & T_ALIBI),
        [NEIGHBOURS] = traits & T_INTERLEAVED,
        [HALVES] = !(traits & T_INTERLEAVED),
        [ALIBI] = traits & T_ALIBI,
        [LEARNED] = c->family->positions != NULL,
        [PARALLEL] = traits & T_PARALLEL,
        [GATE] = has_gate(c->family->rows),
        [RMS] = !norm_has_mean(norm),
        [MEAN] = norm_has_mean(norm),
        [PLUS_ONE] = norm_adds_one(norm),
        [WEIGHT] = norm_has_weight(norm),
        [NORM_BIAS] = norm_has_bias(norm),
        [TIED_HEAD] = traits & T_TIED,
    };
    return flags[kind];
}

/* Of the kinds that are numbers. */
static double model_number(enum neutral kind, const struct model_config *c) {
    const struct facts *f = &c->facts;
    const double head = (double)f->dims[DIM_HEAD], own = f->numbers[NUM_ATTN_SCALE];
    const double scale = own > 0 ? own : 1 / sqrt(head);
    const double numbers[NEUTRAL_COUNT] = {
        [ONE] = 1,
        [WINDOW] = (double)f->dims[DIM_WINDOW],
        [BASE] = f->numbers[NUM_THETA],
        [ROTARY_PART] = f->numbers[NUM_ROTARY],
        [ROTARY_SIZE] = (double)f->dims[DIM_ROT],
        [HEAD_SIZE] = head,
        [HIDDEN] = (double)c->hidden,
        [ATTENTION_SCALE] = scale,
        [QUERY_SCALAR] = 1 / (scale * scale),
        [DEPTH_SCALE] = sqrt((double)c->blocks),
        [ALIBI_MAX] = 8,
    };
    return numbers[kind];
}

/* --- keys ------------------------------------------------------------------------------------- */

/* The neutral value in words for messages; NULL where it is a number. */
static const char *neutral_words(enum neutral kind, const struct model_config *c) {
    const char *const words[NEUTRAL_COUNT] = {
        [OFF] = "false, 0 or null",
        [ONE_AT_MOST] = "0, 1 or null",
        [ACTIVATION] = schema_act_name(c->facts.act),
        [NORM] = norm_names(c)[0],
        [POSITIONS] = position_names(c)[0],
    };
    if (is_flag_kind(kind))
        return model_flag(kind, c) ? "true" : "false";
    return words[kind];
}

static bool is_neutral(const struct json *v, enum neutral kind, const struct model_config *c) {
    if (is_flag_kind(kind))
        return is_flag(v, model_flag(kind, c));
    if (kind == OFF)
        return is_off(v);
    if (kind == ONE)
        return is_ones(v);
    if (kind == ONE_AT_MOST)
        return is_off(v) || is_number(v, 1);
    if (kind == ACTIVATION)
        return json_string(v) && schema_act_find(json_string(v)) == c->facts.act;
    if (kind == NORM || kind == POSITIONS)
        return is_one_of(v, kind == NORM ? norm_names(c) : position_names(c));
    if (kind == BASE && !family_rotates(c->family)) /* of nothing */
        return true;
    return is_number(v, model_number(kind, c)) || (kind == WINDOW && is_off(v));
}

static enum llmq_status refuse(const char *path, const struct json *v, enum neutral neutral,
                               const struct model_config *c, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    const char *words = neutral_words(neutral, c);
    char value[32];
    (void)snprintf(value, sizeof value, "%g", model_number(neutral, c));
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: '%.80s' is %s, which changes what the model computes and which llmq "
              "does not honour for %s: expected %s",
              path, config_text(v, text), c->family->name, words ? words : value);
    error_hint(err,
               "llmq has no part for it and would give wrong numbers; if the model was trained "
               "without it, correct the key in config.json");
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status refuse_epsilon(const struct json *v, const struct setting *setting,
                                       const struct model_config *c, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    if (!setting)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: '%s' is %s: loaders take %g for every %s model", json_key(v),
                         config_text(v, text), c->facts.numbers[NUM_EPS], c->family->name);
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: '%s' is %s and %s, which loaders read, is absent: expected %s",
                     json_key(v), config_text(v, text), setting->key, setting->key);
}

/* Names that other families give to the epsilon of norms, which the family's loaders do not read.
 */
static enum llmq_status check_epsilon(const struct json *json, const struct model_config *c,
                                      llmq_error *err) {
    static const char *const names[] = {"layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon",
                                        "norm_eps",       "norm_epsilon",       "rms_norm_epsilon",
                                        "rms_eps",        "rms_norm_eps",       NULL};
    const struct setting *setting = family_setting(c->family, SET_NUMBER, NUM_EPS);
    struct config_key key;
    enum llmq_status status = config_find(json, setting ? setting->key : NULL, &key, err);
    if (status != LLMQ_OK || key.found)
        return status;
    for (int i = 0; names[i]; i++) {
        const struct json *v = config_value(json, names[i]);
        if (v && !family_reads(c->family, names[i]) && !is_number(v, c->facts.numbers[NUM_EPS]))
            return refuse_epsilon(v, setting, c, err);
    }
    return LLMQ_OK;
}

enum { PATH_MAX_LEN = 128 };

/* The members of an object that stands at "attn_config.", and of those in it that the family reads
 * members of. The rotary settings have a reader of their own. */
static enum llmq_status check_members(const struct json *object, const char *at,
                                      const struct model_config *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *v = json_first(object); v && status == LLMQ_OK; v = json_next(v)) {
        enum neutral neutral = OFF;
        char path[PATH_MAX_LEN], inside[PATH_MAX_LEN + 1];
        (void)snprintf(path, sizeof path, "%s%s", at, json_key(v));
        (void)snprintf(inside, sizeof inside, "%s.", path);
        if (json_type(v) == JSON_OBJECT && family_reads_members(c->family, path) &&
            strcmp(path, "rope_parameters") != 0)
            status = check_members(v, inside, c, err);
        else if (json_type(v) != JSON_NULL &&
                 neutral_find(path, json_key(v), c->family, &neutral) && !is_neutral(v, neutral, c))
            status = refuse(path, v, neutral, c, err);
    }
    return status;
}

enum llmq_status config_check_keys(const struct json *json, const struct model_config *c,
                                   llmq_error *err) {
    enum llmq_status status = check_members(json, "", c, err);
    return status == LLMQ_OK ? check_epsilon(json, c, err) : status;
}
