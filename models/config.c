/* config.json: see config.h. Keys and defaults follow transformers; a key that is null reads as
 * absent. */
#include "models/config.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "models/config_parts.h"

/* --- sliding window --------------------------------------------------------------------------- */

/* How far the window reaches, 0: there is none, and from which layer on. */
static enum llmq_status read_window(const struct json *json, struct model_config *c,
                                    int64_t *first_sliding, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct family *f = c->family;
    bool use = f->window != WINDOW_SWITCHED;
    *first_sliding = 0;
    /* Here null means "no window", while an absent key means the family's default. */
    int64_t fallback = json_get(json, "sliding_window") ? 0 : f->defaults.sliding_window;
    LLMQ_TRY(
        config_int(json, "sliding_window", fallback, f->window == WINDOW_VALUE, &c->window, err));
    LLMQ_TRY(config_bool(json, "use_sliding_window", use, &use, err));
    if (f->window == WINDOW_SWITCHED)
        LLMQ_TRY(config_int(json, "max_window_layers", f->defaults.max_window_layers, 0,
                            first_sliding, err));
    if (!use && f->window == WINDOW_VALUE && c->window > 0 && c->window < c->max_positions)
        status = error_set(err, LLMQ_E_INPUT,
                           "config.json: use_sliding_window is false beside a sliding_window of "
                           "%" PRId64 ": %s has its window by the second, and loaders differ",
                           c->window, f->name);
    if (!use)
        c->window = 0;
cleanup:
    return status;
}

/* Llama has no window: transformers does not read the key, other loaders do. */
static enum llmq_status refuse_window(const struct model_config *c, llmq_error *err) {
    if (c->family->window != WINDOW_NEVER || c->window == 0 || c->window >= c->max_positions)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: 'sliding_window' is %" PRId64 ", which %s models do not have: loaders "
              "differ in whether they honour it",
              c->window, c->family->name);
    error_hint(err, "set it to null, or model_type to one that has it (mistral)");
    return LLMQ_E_UNSUPPORTED;
}

/* The types of the layers, where the file lists them. Mistral's are read by vLLM and not by
 * transformers, so that they have to say what the window says. */
static enum llmq_status read_layer_type(const struct json *type, struct model_config *c,
                                        int64_t layer, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    const char *name = json_string(type);
    const bool slides = name && strcmp(name, "sliding_attention") == 0;
    if (!slides && (!name || strcmp(name, "full_attention") != 0))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "config.json: layer_types[%" PRId64 "] is %s: expected full_attention or "
                         "sliding_attention",
                         layer, config_text(type, text));
    const bool limits = c->window > 0 && c->window < c->max_positions;
    if (slides && c->window == 0)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: layer_types[%" PRId64
                         "] is sliding_attention: expected a sliding_window that is in use, found "
                         "none",
                         layer);
    if (!slides && limits && c->family->window == WINDOW_VALUE)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "config.json: layer_types[%" PRId64
                         "] is full_attention beside a sliding_window of %" PRId64
                         ": loaders differ in what %s does there",
                         layer, c->window, c->family->name);
    c->slides[layer] = slides;
    return LLMQ_OK;
}

static enum llmq_status parse_window(const struct json *json, struct model_config *c,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int64_t first_sliding = 0, layer = 0;
    const struct json *types = config_value(json, "layer_types");
    LLMQ_TRY(read_window(json, c, &first_sliding, err));
    LLMQ_TRY(refuse_window(c, err));
    if (c->family->window == WINDOW_NEVER)
        c->window = 0;
    if (types && (json_type(types) != JSON_ARRAY || json_count(types) != (size_t)c->blocks))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "config.json: 'layer_types' has %zu entries for %" PRId64 " layers",
                           json_count(types), c->blocks));
    for (int64_t i = 0; i < c->blocks; i++)
        c->slides[i] = c->window > 0 && i >= first_sliding;
    for (const struct json *type = json_first(types); type; type = json_next(type))
        LLMQ_TRY(read_layer_type(type, c, layer++, err));
cleanup:
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum llmq_status find_family(const struct json *json, const struct family **out,
                                    llmq_error *err) {
    const char *model_type = json_string(config_value(json, "model_type"));
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
    LLMQ_TRY(config_int(json, "vocab_size", d->vocab_size, 1, &c->vocab, err));
    LLMQ_TRY(config_int(json, "hidden_size", d->hidden_size, 1, &c->hidden, err));
    LLMQ_TRY(config_int(json, "intermediate_size", d->intermediate_size, 1, &c->intermediate, err));
    LLMQ_TRY(config_int(json, "num_hidden_layers", d->num_hidden_layers, 1, &c->blocks, err));
    LLMQ_TRY(config_int(json, "num_attention_heads", d->num_attention_heads, 1, &c->heads, err));
    LLMQ_TRY(config_int(json, "num_key_value_heads",
                        d->num_key_value_heads ? d->num_key_value_heads : c->heads, 1, &c->kv_heads,
                        err));
    LLMQ_TRY(config_int(json, "head_dim", d->head_dim ? d->head_dim : c->hidden / c->heads, 1,
                        &c->head_dim, err));
    LLMQ_TRY(config_int(json, "max_position_embeddings", d->max_position_embeddings, 1,
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
    else if (!config_value(json, "head_dim") && d->head_dim == 0 && c->hidden % c->heads != 0)
        status = error_set(err, LLMQ_E_INPUT,
                           "config.json: hidden_size %" PRId64 " is not a multiple of %" PRId64
                           " attention heads, and head_dim is absent",
                           c->hidden, c->heads);
cleanup:
    return status;
}

enum llmq_status config_parse(const struct json *json, struct model_config *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char text[CONFIG_TEXT_MAX];
    *out = (struct model_config){0};
    if (json_type(json) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "config.json: not a JSON object");
    LLMQ_TRY(find_family(json, &out->family, err));
    LLMQ_TRY(parse_sizes(json, out, err));
    const struct family_defaults *d = &out->family->defaults;
    LLMQ_TRY(config_double(json, "rms_norm_eps", d->rms_norm_eps, &out->norm_eps, err));
    LLMQ_TRY(config_bool(json, "tie_word_embeddings", d->tie_word_embeddings, &out->tied, err));
    LLMQ_TRY(config_bool(json, "attention_bias", false, &out->attention_bias, err));
    LLMQ_TRY(config_bool(json, "mlp_bias", false, &out->mlp_bias, err));
    LLMQ_TRY(config_rope(json, out->family, out->max_positions, &out->rope, err));
    LLMQ_TRY(parse_window(json, out, err));
    const char *activation = json_string(config_value(json, "hidden_act"));
    if (config_value(json, "hidden_act") &&
        (!activation || (strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0)))
        LLMQ_TRY(
            error_set(err, LLMQ_E_UNSUPPORTED,
                      "config.json: hidden_act '%.60s' is not supported for %s (silu is)",
                      activation ? activation : config_text(config_value(json, "hidden_act"), text),
                      out->family->name));
    LLMQ_TRY(config_check_architectures(json, out->family, err));
    LLMQ_TRY(config_check_keys(json, out, err));
    out->own_code = config_value(json, "auto_map") != NULL;
cleanup:
    return status;
}
