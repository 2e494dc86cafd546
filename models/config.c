/* config.json: see config.h. Keys and defaults follow transformers; a key that is null reads as
 * absent. */
#include "models/config.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

/* --- typed access ----------------------------------------------------------------------------- */

static const struct json *value_of(const struct json *object, const char *key) {
    const struct json *v = json_get(object, key);
    return json_type(v) == JSON_NULL ? NULL : v;
}

static enum llmq_status get_int(const struct json *json, const char *key, int64_t fallback,
                                int64_t min, int64_t *out, llmq_error *err) {
    const struct json *v = value_of(json, key);
    *out = fallback;
    if (v && (!json_as_int64(v, out) || *out < min || *out > INT32_MAX))
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: '%s' is not an integer in [%" PRId64 ", 2^31)", key, min);
    return LLMQ_OK;
}

static enum llmq_status get_double(const struct json *json, const char *key, double fallback,
                                   double *out, llmq_error *err) {
    const struct json *v = value_of(json, key);
    *out = fallback;
    if (v && (!json_as_double(v, out) || !isfinite(*out) || *out < 0))
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is not a non-negative number", key);
    return LLMQ_OK;
}

static enum llmq_status get_bool(const struct json *json, const char *key, bool fallback, bool *out,
                                 llmq_error *err) {
    const struct json *v = value_of(json, key);
    *out = fallback;
    if (v && !json_as_bool(v, out))
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is not true or false", key);
    return LLMQ_OK;
}

/* --- rope
 * ---------------------------------------------------------------------------------------------------
 */

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

/* YaRN's magnitude correction (Peng et al., arXiv:2309.00071, eq. 22): 0.1 m ln(s) + 1. */
static double yarn_mscale(double scale, double mscale) {
    return scale <= 1.0 ? 1.0 : 0.1 * mscale * log(scale) + 1.0;
}

static enum llmq_status parse_yarn(const struct json *scaling, struct rope_config *rope,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    double mscale = 0, mscale_all = 0;
    LLMQ_TRY(get_double(scaling, "beta_fast", 32.0, &rope->beta_fast, err));
    LLMQ_TRY(get_double(scaling, "beta_slow", 1.0, &rope->beta_slow, err));
    LLMQ_TRY(get_bool(scaling, "truncate", true, &rope->truncate, err));
    LLMQ_TRY(get_double(scaling, "mscale", 0.0, &mscale, err));
    LLMQ_TRY(get_double(scaling, "mscale_all_dim", 0.0, &mscale_all, err));
    double natural = mscale > 0 && mscale_all > 0
                         ? yarn_mscale(rope->factor, mscale) / yarn_mscale(rope->factor, mscale_all)
                         : yarn_mscale(rope->factor, 1.0);
    LLMQ_TRY(get_double(scaling, "attention_factor", natural, &rope->attention_factor, err));
cleanup:
    return status;
}

/* transformers 4: rope_theta at top level, rope_scaling {type | rope_type, ...}; transformers 5:
 * rope_parameters {rope_theta, rope_type, ...}. */
static enum llmq_status parse_rope(const struct json *json, const struct family *family,
                                   int64_t max_positions, struct rope_config *rope,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct json *scaling = value_of(json, "rope_parameters");
    if (!scaling)
        scaling = value_of(json, "rope_scaling");
    *rope = (struct rope_config){.attention_factor = 1.0};
    LLMQ_TRY(get_double(json, "rope_theta", family->defaults.rope_theta, &rope->theta, err));
    LLMQ_TRY(get_double(scaling, "rope_theta", rope->theta, &rope->theta, err));
    const char *type = json_string(value_of(scaling, "rope_type"));
    if (!type)
        type = json_string(value_of(scaling, "type"));
    LLMQ_TRY(rope_type_find(type ? type : "default", &rope->type, err));
    LLMQ_TRY(get_double(scaling, "factor", 1.0, &rope->factor, err));
    LLMQ_TRY(get_double(scaling, "low_freq_factor", 1.0, &rope->low_freq_factor, err));
    LLMQ_TRY(get_double(scaling, "high_freq_factor", 4.0, &rope->high_freq_factor, err));
    LLMQ_TRY(get_int(scaling, "original_max_position_embeddings", max_positions, 1,
                     &rope->original_max_positions, err));
    if (rope->type != ROPE_DEFAULT && rope->factor < 1.0) {
        status =
            error_set(err, LLMQ_E_INPUT, "config.json: rope factor %g is below 1", rope->factor);
        goto cleanup;
    }
    if (rope->type == ROPE_YARN)
        LLMQ_TRY(parse_yarn(scaling, rope, err));
cleanup:
    return status;
}

/* --- sliding window --------------------------------------------------------------------------- */

static enum llmq_status parse_window(const struct json *json, struct model_config *c,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct family *f = c->family;
    int64_t first_sliding = 0;
    bool use = f->window == WINDOW_VALUE;
    /* Here null means "no window", while an absent key means the family's default. */
    int64_t fallback = json_get(json, "sliding_window") ? 0 : f->defaults.sliding_window;
    LLMQ_TRY(get_int(json, "sliding_window", fallback, 1, &c->window, err));
    if (f->window == WINDOW_SWITCHED) {
        LLMQ_TRY(get_bool(json, "use_sliding_window", false, &use, err));
        LLMQ_TRY(get_int(json, "max_window_layers", f->defaults.max_window_layers, 0,
                         &first_sliding, err));
    }
    if (!use)
        c->window = 0;
    const struct json *types = value_of(json, "layer_types");
    const struct json *type = json_first(types);
    if (types && json_count(types) != (size_t)c->blocks) {
        status = error_set(err, LLMQ_E_INPUT,
                           "config.json: 'layer_types' has %zu entries for %" PRId64 " layers",
                           json_count(types), c->blocks);
        goto cleanup;
    }
    for (int64_t i = 0; i < c->blocks; i++) {
        const char *name = json_string(type);
        c->slides[i] =
            c->window > 0 && (name ? strcmp(name, "sliding_attention") == 0 : i >= first_sliding);
        type = type ? json_next(type) : NULL;
    }
cleanup:
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum llmq_status find_family(const struct json *json, const struct family **out,
                                    llmq_error *err) {
    const char *model_type = json_string(value_of(json, "model_type"));
    if (!model_type)
        return error_set(err, LLMQ_E_INPUT, "config.json: 'model_type' is missing");
    *out = family_find(model_type);
    if (*out)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED, "config.json: model_type '%s' is not supported", model_type);
    struct strbuf known = {0};
    for (int i = 0; family_at(i); i++)
        for (int t = 0; family_at(i)->model_types[t]; t++)
            strbuf_printf(&known, "%s%s", known.len ? ", " : "", family_at(i)->model_types[t]);
    error_hint(err, "supported: %s", known.data ? known.data : "none");
    strbuf_free(&known);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status parse_sizes(const struct json *json, struct model_config *c,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct family_defaults *d = &c->family->defaults;
    LLMQ_TRY(get_int(json, "vocab_size", d->vocab_size, 1, &c->vocab, err));
    LLMQ_TRY(get_int(json, "hidden_size", d->hidden_size, 1, &c->hidden, err));
    LLMQ_TRY(get_int(json, "intermediate_size", d->intermediate_size, 1, &c->intermediate, err));
    LLMQ_TRY(get_int(json, "num_hidden_layers", d->num_hidden_layers, 1, &c->blocks, err));
    LLMQ_TRY(get_int(json, "num_attention_heads", d->num_attention_heads, 1, &c->heads, err));
    LLMQ_TRY(get_int(json, "num_key_value_heads",
                     d->num_key_value_heads ? d->num_key_value_heads : c->heads, 1, &c->kv_heads,
                     err));
    LLMQ_TRY(get_int(json, "head_dim", d->head_dim ? d->head_dim : c->hidden / c->heads, 1,
                     &c->head_dim, err));
    LLMQ_TRY(get_int(json, "max_position_embeddings", d->max_position_embeddings, 1,
                     &c->max_positions, err));
    if (c->blocks > CONFIG_MAX_BLOCKS)
        status = error_set(err, LLMQ_E_UNSUPPORTED, "config.json: %" PRId64 " layers, at most %d",
                           c->blocks, CONFIG_MAX_BLOCKS);
    else if (c->heads % c->kv_heads != 0)
        status = error_set(err, LLMQ_E_INPUT,
                           "config.json: %" PRId64 " attention heads are not a multiple of %" PRId64
                           " key-value heads",
                           c->heads, c->kv_heads);
    else if (c->head_dim < 2 || c->head_dim % 2 != 0)
        status = error_set(err, LLMQ_E_INPUT, "config.json: head_dim %" PRId64 " is not even",
                           c->head_dim);
cleanup:
    return status;
}

enum llmq_status config_parse(const struct json *json, struct model_config *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct model_config){0};
    if (json_type(json) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "config.json: not a JSON object");
    LLMQ_TRY(find_family(json, &out->family, err));
    LLMQ_TRY(parse_sizes(json, out, err));
    const struct family_defaults *d = &out->family->defaults;
    LLMQ_TRY(get_double(json, "rms_norm_eps", d->rms_norm_eps, &out->norm_eps, err));
    LLMQ_TRY(get_bool(json, "tie_word_embeddings", d->tie_word_embeddings, &out->tied, err));
    LLMQ_TRY(get_bool(json, "attention_bias", false, &out->attention_bias, err));
    LLMQ_TRY(get_bool(json, "mlp_bias", false, &out->mlp_bias, err));
    LLMQ_TRY(parse_rope(json, out->family, out->max_positions, &out->rope, err));
    LLMQ_TRY(parse_window(json, out, err));
    const char *activation = json_string(value_of(json, "hidden_act"));
    if (activation && strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0)
        status = error_set(err, LLMQ_E_UNSUPPORTED,
                           "config.json: hidden_act '%s' is not supported for %s (silu is)",
                           activation, out->family->name);
cleanup:
    return status;
}

void config_linear_shape(const struct model_config *c, enum linear_role role, int64_t *n,
                         int64_t *k) {
    int64_t attention = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const int64_t shapes[LINEAR_COUNT][2] = {
        [LINEAR_Q] = {attention, c->hidden},
        [LINEAR_K] = {kv, c->hidden},
        [LINEAR_V] = {kv, c->hidden},
        [LINEAR_O] = {c->hidden, attention},
        [LINEAR_GATE] = {c->intermediate, c->hidden},
        [LINEAR_UP] = {c->intermediate, c->hidden},
        [LINEAR_DOWN] = {c->hidden, c->intermediate},
    };
    *n = shapes[role][0];
    *k = shapes[role][1];
}

bool config_linear_bias(const struct model_config *c, enum linear_role role) {
    switch (c->family->linears[role].bias) {
    case BIAS_ALWAYS:
        return true;
    case BIAS_IF_ATTENTION:
        return c->attention_bias;
    case BIAS_IF_MLP:
        return c->mlp_bias;
    case BIAS_NEVER:
    default:
        return false;
    }
}
