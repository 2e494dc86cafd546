/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary embedding settings: see config_parts.h.
 *
 * transformers 4 has rope_theta at the top and rope_scaling {type | rope_type, ...}; transformers 5
 * has rope_parameters {rope_theta, rope_type, ...}. Files may hold both, for old and new readers:
 * then they have to say the same. Which settings a type takes and needs: modeling_rope_utils.py of
 * transformers 4.57 (_validate_*_parameters); one that the type does not take is refused, because
 * somebody meant something by it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "models/config_parts.h"

struct rope_key {
    const char *name;
    unsigned needed, taken; /* sets of 1 << rope_type */
    trait_set when;         /* by models with these traits only */
};

#define LINEAR  (1u << ROPE_LINEAR)
#define DYNAMIC (1u << ROPE_DYNAMIC)
#define LLAMA3  (1u << ROPE_LLAMA3)
#define YARN    (1u << ROPE_YARN)
#define LONG    (1u << ROPE_LONGROPE)
#define PART    (1u << ROPE_PROPORTIONAL)
#define SCALED  (LINEAR | DYNAMIC | LLAMA3 | YARN)
#define ALL     (SCALED | LONG | PART | 1u << ROPE_DEFAULT)

/* clang-format off */
static const struct rope_key rope_keys[] = {
    {"rope_type",                         0,      ALL,                            0},
    {"type",                              0,      ALL,                            0},
    {"rope_theta",                        0,      ALL,                            0},
    {"factor",                            SCALED, SCALED | LONG,                  0},
    {"original_max_position_embeddings",  LLAMA3, DYNAMIC | LLAMA3 | YARN | LONG, 0},
    {"low_freq_factor",                   LLAMA3, LLAMA3,                         0},
    {"high_freq_factor",                  LLAMA3, LLAMA3,                         0},
    {"beta_fast",                         0,      YARN,                           0},
    {"beta_slow",                         0,      YARN,                           0},
    {"attention_factor",                  0,      YARN | LONG,                    0},
    {"mscale",                            0,      YARN,                           0},
    {"mscale_all_dim",                    0,      YARN,                           0},
    {"truncate",                          0,      YARN,                           0},
    {"partial_rotary_factor",             0,      PART,                           0},
    {"short_factor",                      LONG,   LONG,                           0},
    {"long_factor",                       LONG,   LONG,                           0},
    {"alpha",                             0,      DYNAMIC,                        T_NTK_ALPHA},
    /* files have them beside it, and no loader reads them */
    {"beta_fast",                         0,      DYNAMIC,                        T_NTK_ALPHA},
    {"beta_slow",                         0,      DYNAMIC,                        T_NTK_ALPHA},
    {"mscale",                            0,      DYNAMIC,                        T_NTK_ALPHA},
    {"mscale_all_dim",                    0,      DYNAMIC,                        T_NTK_ALPHA},
    {"llama_4_scaling_beta",              0,      ALL,                            T_HEATED},
    /* parts of a head that turn by time, height and width of a picture: in text, all by the position
     * (Wang et al., arXiv:2409.12191, section 2.1) */
    {"mrope_section",                     0,      ALL,                            0},
    {"mrope_interleaved",                 0,      ALL,                            0},
    {"finetuned",                         0,      ALL,                            0}, /* says something of the training */
};
/* clang-format on */
enum { ROPE_KEYS = sizeof rope_keys / sizeof rope_keys[0] };

static const char *const rope_names[] = {
    [ROPE_DEFAULT] = "default",
    [ROPE_LINEAR] = "linear",
    [ROPE_DYNAMIC] = "dynamic",
    [ROPE_LLAMA3] = "llama3",
    [ROPE_YARN] = "yarn",
    [ROPE_LONGROPE] = "longrope",
    [ROPE_PROPORTIONAL] = "proportional",
};

static enum llmq_status rope_type_find(const char *name, enum rope_type *out, llmq_error *err) {
    if (strcmp(name, "su") == 0) /* what Phi-3's first files call it */
        name = rope_names[ROPE_LONGROPE];
    for (int t = 0; t < (int)(sizeof rope_names / sizeof rope_names[0]); t++) {
        if (strcmp(rope_names[t], name) == 0) {
            *out = (enum rope_type)t;
            return LLMQ_OK;
        }
    }
    error_set(err, LLMQ_E_UNSUPPORTED, "config.json: rope type '%s' is not supported", name);
    error_hint(err, "llmq knows default, linear, dynamic, llama3, yarn, longrope and proportional");
    return LLMQ_E_UNSUPPORTED;
}

/* Older files call rotation by parts of a head a type of its own. */
static const char *usual_type(const char *type) {
    return type && strcmp(type, "mrope") == 0 ? rope_names[ROPE_DEFAULT] : type;
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
    const char *type = usual_type(json_string(values[0]));
    const char *older = usual_type(json_string(values[1]));
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

/* Where an object of settings stands, and what holds outside of it. */
struct rope_place {
    const struct json *object; /* may be NULL */
    const char *where;
    const struct facts *facts; /* of the layers that it is about */
    double theta;
    int64_t original; /* original_max_position_embeddings, which longrope looks for there */
};

static bool is_taken(const char *name, enum rope_type type, trait_set traits) {
    for (int i = 0; i < ROPE_KEYS; i++)
        if (strcmp(rope_keys[i].name, name) == 0 && (rope_keys[i].taken & 1u << type) &&
            (traits & rope_keys[i].when) == rope_keys[i].when)
            return true;
    return false;
}

/* A setting of another type that says nothing: a factor of 1. */
static bool says_nothing(const struct json *value) {
    double factor = 0;
    return strcmp(json_key(value), "factor") == 0 && json_as_double(value, &factor) &&
           !(factor < 1 || factor > 1);
}

static bool equal(double a, double b) {
    return !(a < b || a > b);
}

/* What is said elsewhere too, and the same: which part of a head is rotated, and where the rest of
 * it has a size of its own, which part of both; the longest sequence. */
static bool says_the_same(const struct json *value, const struct facts *facts) {
    const int64_t *d = facts->dims;
    double found = 0;
    if (!json_as_double(value, &found))
        return false;
    if (strcmp(json_key(value), "partial_rotary_factor") == 0)
        return equal(found, facts->numbers[NUM_ROTARY]) ||
               (d[DIM_PE] > 0 &&
                equal(found, (double)d[DIM_PE] / (double)(d[DIM_NOPE] + d[DIM_PE])));
    return strcmp(json_key(value), "max_position_embeddings") == 0 &&
           equal(found, (double)d[DIM_POSITIONS]);
}

static enum llmq_status check_keys(const struct rope_place *at, enum rope_type type,
                                   llmq_error *err) {
    const struct json *object = at->object;
    const char *where = at->where;
    char text[CONFIG_TEXT_MAX];
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        const bool taken = is_taken(json_key(v), type, at->facts->traits);
        if (json_type(v) != JSON_NULL && !taken && !says_nothing(v) && !says_the_same(v, at->facts))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "config.json: %s: '%.60s' is %s, which llmq does not honour with rope "
                             "type %s",
                             where, json_key(v), config_text(v, text), rope_names[type]);
    }
    for (int i = 0; i < ROPE_KEYS; i++)
        if ((rope_keys[i].needed & 1u << type) && !config_value(object, rope_keys[i].name))
            return error_set(err, LLMQ_E_INPUT,
                             "config.json: %s: rope type %s needs '%s', found none", where,
                             rope_names[type], rope_keys[i].name);
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
    if (mscale_all > 0)
        rope->score_factor = pow(yarn_mscale(rope->factor, mscale_all), 2);
    LLMQ_TRY(config_double(scaling, "attention_factor", natural, &rope->attention_factor, err));
cleanup:
    return status;
}

static enum llmq_status read_factors(const struct json *scaling, const char *key, int64_t pairs,
                                     double *out, llmq_error *err) {
    const struct json *list = config_value(scaling, key);
    if (json_type(list) != JSON_ARRAY || json_count(list) != (size_t)pairs)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: %s has %zu entries: expected one for each of %" PRId64
                         " rotated pairs",
                         key, json_count(list), pairs);
    for (const struct json *v = json_first(list); v; v = json_next(v), out++)
        if (!json_as_double(v, out) || !(*out > 0) || !isfinite(*out))
            return error_set(err, LLMQ_E_INPUT, "config.json: %s: expected numbers above 0", key);
    return LLMQ_OK;
}

/* LongRoPE (Ding et al., arXiv:2402.13753): a divisor for each frequency, and by how far the
 * context was stretched, a factor on cos and sin: sqrt(1 + ln s / ln L). */
static enum llmq_status parse_longrope(const struct json *scaling, const struct model_config *c,
                                       struct rope_config *rope, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const double original = (double)rope->original_max_positions;
    const double stretch =
        config_value(scaling, "factor") ? rope->factor : (double)c->max_positions / original;
    const double natural = stretch <= 1 ? 1 : sqrt(1 + log(stretch) / log(original));
    rope->pairs = c->facts.dims[DIM_ROT] / 2;
    if (rope->pairs > ROPE_MAX_PAIRS)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "config.json: longrope of %" PRId64 " pairs: at most %d", rope->pairs,
                         ROPE_MAX_PAIRS);
    LLMQ_TRY(read_factors(scaling, "short_factor", rope->pairs, rope->short_factor, err));
    LLMQ_TRY(read_factors(scaling, "long_factor", rope->pairs, rope->long_factor, err));
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

static enum llmq_status parse_type(const struct json *object, const struct model_config *c,
                                   struct rope_config *rope, llmq_error *err) {
    switch (rope->type) {
    case ROPE_YARN:
        return parse_yarn(object, rope, err);
    case ROPE_LLAMA3:
        return check_llama3(rope, err);
    case ROPE_LONGROPE:
        return parse_longrope(object, c, rope, err);
    case ROPE_DEFAULT:
    case ROPE_LINEAR:
    case ROPE_DYNAMIC:
    case ROPE_PROPORTIONAL:
    default:
        return LLMQ_OK;
    }
}

static enum llmq_status parse_object(const struct rope_place *at, const struct model_config *c,
                                     struct rope_config *rope, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct json *object = at->object;
    *rope = (struct rope_config){.attention_factor = 1.0, .score_factor = 1.0};
    if (object && json_type(object) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s': expected an object or null",
                         at->where);
    LLMQ_TRY(config_double(object, "rope_theta", at->theta, &rope->theta, err));
    LLMQ_TRY(read_type(object, at->where, &rope->type, err));
    LLMQ_TRY(check_keys(at, rope->type, err));
    LLMQ_TRY(config_double(object, "factor", 1.0, &rope->factor, err));
    LLMQ_TRY(config_double(object, "low_freq_factor", 1.0, &rope->low_freq_factor, err));
    LLMQ_TRY(config_double(object, "high_freq_factor", 4.0, &rope->high_freq_factor, err));
    LLMQ_TRY(config_double(object, "alpha", 0, &rope->alpha, err));
    if (rope->type == ROPE_PROPORTIONAL) /* else it is the model's */
        LLMQ_TRY(config_double(object, "partial_rotary_factor", 1, &rope->part, err));
    LLMQ_TRY(config_double(object, "llama_4_scaling_beta", 0, &rope->temperature, err));
    LLMQ_TRY(config_int(object, "original_max_position_embeddings",
                        rope->type == ROPE_LONGROPE ? at->original : c->max_positions, 1,
                        &rope->original_max_positions, err));
    if (!(rope->theta > 0))
        status = error_set(err, LLMQ_E_INPUT, "config.json: rope_theta is %g: expected more than 0",
                           rope->theta);
    else if (rope->type != ROPE_DEFAULT && rope->factor < 1.0)
        status =
            error_set(err, LLMQ_E_INPUT, "config.json: rope factor %g is below 1", rope->factor);
    else
        status = parse_type(object, c, rope, err);
cleanup:
    return status;
}

static bool same_rope(const struct rope_config *a, const struct rope_config *b) {
    const size_t factors = sizeof a->short_factor;
    return a->type == b->type && equal(a->theta, b->theta) && equal(a->factor, b->factor) &&
           equal(a->low_freq_factor, b->low_freq_factor) &&
           equal(a->high_freq_factor, b->high_freq_factor) && equal(a->beta_fast, b->beta_fast) &&
           equal(a->beta_slow, b->beta_slow) && equal(a->attention_factor, b->attention_factor) &&
           equal(a->score_factor, b->score_factor) && equal(a->alpha, b->alpha) &&
           equal(a->part, b->part) && equal(a->temperature, b->temperature) &&
           a->truncate == b->truncate && a->original_max_positions == b->original_max_positions &&
           a->pairs == b->pairs && memcmp(a->short_factor, b->short_factor, factors) == 0 &&
           memcmp(a->long_factor, b->long_factor, factors) == 0;
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

/* One set of settings, in which v4 and v5 spelling may stand beside each other. */
static enum llmq_status read_rope(const struct json *json, const struct rope_place *newer,
                                  const struct rope_place *older, const struct model_config *c,
                                  struct rope_config *rope, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct rope_config other;
    struct config_key top;
    const struct setting *theta = family_setting(c->family, SET_NUMBER, NUM_THETA);
    LLMQ_TRY(parse_object(newer->object ? newer : older, c, rope, err));
    LLMQ_TRY(config_find(json, theta ? theta->key : NULL, &top, err));
    if (top.found && !family_ignores(c->family, top.name) && !equal(newer->theta, rope->theta))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "config.json: %s is %g at the top and %g for the rotary embedding: "
                           "expected the same",
                           top.name, newer->theta, rope->theta));
    if (newer->object && older->object) {
        struct rope_place beside = *older;
        beside.theta = rope->theta;
        LLMQ_TRY(parse_object(&beside, c, &other, err));
        if (!same_rope(rope, &other))
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                               "config.json: rope_scaling and rope_parameters say different "
                               "things: loaders differ in which they read"));
    }
    LLMQ_TRY(check_top(json, rope, err));
    LLMQ_TRY(check_dynamic(rope, c->max_positions, err));
cleanup:
    return status;
}

/* Windowed layers by themselves: in version 5 an object for each kind of layer, in version 4 a base
 * alone, and no scaling. */
static enum llmq_status read_local(const struct json *json, const struct json *nested,
                                   struct model_config *c, llmq_error *err) {
    const struct setting *setting = family_setting(c->family, SET_NUMBER, NUM_LOCAL_THETA);
    const double theta = c->facts.numbers[NUM_LOCAL_THETA];
    const struct rope_place at = {config_value(nested, "sliding_attention"),
                                  "rope_parameters.sliding_attention", &c->windowed, theta,
                                  c->max_positions};
    enum llmq_status status = parse_object(&at, c, &c->local_rope, err);
    if (status != LLMQ_OK || !setting || !config_value(json, setting->key) ||
        equal(theta, c->local_rope.theta))
        return status;
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: %s is %g and the rope_theta of %s is %g: expected the same",
                     setting->key, theta, at.where, c->local_rope.theta);
}

/* NTK by a factor of its own: another base at any length (transformers, modeling_hunyuan_v1_moe.py;
 * vLLM, DynamicNTKAlphaRotaryEmbedding). */
static void apply_alpha(const struct facts *facts, struct rope_config *rope) {
    const double rotated = (double)facts->dims[DIM_ROT];
    if (!(rope->alpha > 0))
        return;
    rope->theta *= pow(rope->alpha, rotated / (rotated - 2));
    rope->type = ROPE_DEFAULT;
}

/* What of the settings is a number of the model. */
static void apply_magnitude(const struct rope_config *rope, struct facts *facts) {
    if (facts->traits & T_MSCALE)
        facts->numbers[NUM_ATTN_GAIN] = rope->score_factor;
    if (!(facts->traits & T_HEATED))
        return;
    facts->numbers[NUM_TEMPERATURE] = rope->temperature;
    facts->numbers[NUM_FLOOR] = (double)rope->original_max_positions;
    facts->numbers[NUM_FIRST] = 0;
}

/* The settings in which a file without any differs from plain rotation; NULL: it does not. */
static enum llmq_status read_default(const struct json *json, const struct family *f,
                                     struct json **out, llmq_error *err) {
    *out = NULL;
    if (!f->rotary || json_get(json, "rope_parameters") || json_get(json, "rope_scaling"))
        return LLMQ_OK;
    return json_parse(f->rotary, strlen(f->rotary), f->name, out, err);
}

enum llmq_status config_rope(const struct json *json, struct model_config *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *absent = NULL;
    const struct json *newer = config_value(json, "rope_parameters");
    const struct json *nested = c->facts.traits & T_LOCAL_ROPE ? newer : NULL;
    const double theta = c->facts.numbers[NUM_THETA];
    int64_t original = 0;
    const bool by_layer = config_value(nested, "full_attention") != NULL;
    LLMQ_TRY(read_default(json, c->family, &absent, err));
    LLMQ_TRY(
        config_int(json, "original_max_position_embeddings", c->max_positions, 1, &original, err));
    const struct rope_place v5 = {by_layer ? config_value(nested, "full_attention") : newer,
                                  "rope_parameters", &c->facts, theta, original};
    const struct rope_place v4 = {absent ? absent : config_value(json, "rope_scaling"),
                                  "rope_scaling", &c->facts, theta, original};
    LLMQ_TRY(read_rope(json, &v5, &v4, c, &c->rope, err));
    apply_alpha(&c->facts, &c->rope);
    c->local_rope = c->rope;
    apply_magnitude(&c->rope, &c->facts);
    apply_magnitude(&c->rope, &c->windowed);
    if (c->facts.traits & T_LOCAL_ROPE)
        LLMQ_TRY(read_local(json, by_layer ? nested : NULL, c, err));
cleanup:
    json_free(&absent);
    return status;
}
