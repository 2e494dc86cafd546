/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: see config.h. Keys and defaults follow transformers; a key that is null reads as
 * absent, but where a setting says what it stands for. */
#include "models/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "models/config_parts.h"
#include "models/unknown.h"

/* --- the family ------------------------------------------------------------------------------- */

/* "arcee, bloom, ..." */
static void put_families(struct strbuf *out) {
    for (int i = 0; family_at(i); i++)
        strbuf_printf(out, "%s%s", i ? ", " : "", family_at(i)->name);
}

static void hint_families(llmq_error *err, const char *before) {
    struct strbuf known = {0};
    put_families(&known);
    error_hint(err, "%s%s", before, strbuf_ok(&known) ? known.data : "none");
    strbuf_free(&known);
}

enum llmq_status config_family_named(const char *name, const struct family **out, llmq_error *err) {
    *out = NULL;
    for (int i = 0; family_at(i); i++)
        if (strcmp(family_at(i)->name, name) == 0)
            *out = family_at(i);
    if (*out)
        return LLMQ_OK;
    error_set(err, LLMQ_E_USAGE, "--family %.60s: llmq has no family of that name", name);
    hint_families(err, "it has ");
    return LLMQ_E_USAGE;
}

/* LLMQ_E_UNSUPPORTED; `at` says where it stands. */
static enum llmq_status refuse_type(const char *model_type, const char *at, llmq_error *err) {
    const char *why = unknown_why(model_type);
    if (!why) {
        error_set(err, LLMQ_E_UNSUPPORTED, "config.json: %smodel_type '%s' is not supported", at,
                  model_type);
        hint_families(err, "if its tensors are those of a known family, --family NAME reads it as "
                           "that: ");
        return LLMQ_E_UNSUPPORTED;
    }
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: %smodel_type '%s' is not supported: it has %s, which llmq has no part "
              "for",
              at, model_type, why);
    error_hint(err, "docs/FAMILIES.md lists the models that llmq knows");
    return LLMQ_E_UNSUPPORTED;
}

/* `json` is the whole, `text` what is read of it. */
static enum llmq_status find_family(const struct json *json, const struct json *text,
                                    const char *forced, struct model_config *c, llmq_error *err) {
    char at[32] = "";
    const char *model_type = json_string(config_value(text, "model_type"));
    const struct family *usual = config_family_said(json);
    c->family = usual;
    if (text != json)
        (void)snprintf(at, sizeof at, "%s: ", config_text_key(json));
    if (forced) {
        const enum llmq_status status = config_family_named(forced, &c->family, err);
        c->forced = c->family != usual;
        return status;
    }
    if (usual)
        return LLMQ_OK;
    if (model_type)
        return refuse_type(model_type, at, err);
    error_set(err, LLMQ_E_INPUT, "config.json: %s'model_type' is missing", at);
    hint_families(err,
                  "if its tensors are those of a known family, --family NAME reads it as that: ");
    return LLMQ_E_INPUT;
}

/* --- sizes ------------------------------------------------------------------------------------ */

static enum llmq_status check_rotation(const struct model_config *c, const struct facts *facts,
                                       llmq_error *err) {
    const int64_t rotated = facts->dims[DIM_ROT], head = facts->dims[DIM_HEAD];
    if (!family_rotates(c->family))
        return LLMQ_OK;
    const double part = facts->numbers[NUM_ROTARY];
    if (part != 1 && rotated != (int64_t)((double)head * part))
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: %" PRId64 " entries of a head of %" PRId64
                         " are rotated, and a part of %g: expected the same",
                         rotated, head, part);
    if (head > 0 && rotated > head)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: %" PRId64 " entries of a head of %" PRId64 " are rotated",
                         rotated, head);
    if (rotated >= 2 && rotated % 2 == 0)
        return LLMQ_OK;
    if (rotated == head)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: head_dim %" PRId64 ": expected an even number, at least 2",
                         head);
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: %" PRId64 " of the %" PRId64
                     " entries of a head are rotated: expected an even number, at least 2",
                     rotated, head);
}

/* Heads that share the hidden size, which no key contradicts. */
static enum llmq_status check_shares(const struct json *json, const struct model_config *c,
                                     llmq_error *err) {
    const int64_t *d = c->facts.dims;
    const struct setting *head = family_setting(c->family, SET_DIM, DIM_HEAD);
    const bool shared = !head || (head->absent == 0 && !config_value(json, head->key));
    if (!shared || d[DIM_HEAD] == 0 || d[DIM_HIDDEN] % d[DIM_HEADS] == 0)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: hidden_size %" PRId64 " is not a multiple of %" PRId64
                     " attention heads%s",
                     d[DIM_HIDDEN], d[DIM_HEADS], head ? ", and head_dim is absent" : "");
}

static enum llmq_status check_heads(const struct facts *facts, llmq_error *err) {
    const int64_t *d = facts->dims;
    if (d[DIM_HEADS] == 0 || (d[DIM_KV_HEADS] >= 1 && d[DIM_HEADS] % d[DIM_KV_HEADS] == 0))
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: %" PRId64 " attention heads are not a multiple of %" PRId64
                     " key-value heads",
                     d[DIM_HEADS], d[DIM_KV_HEADS]);
}

/* What the sizes must fulfil for any family; widths are held against each other in graph_make. */
static enum llmq_status check_sizes(const struct json *json, const struct model_config *c,
                                    llmq_error *err) {
    const int64_t *d = c->facts.dims;
    enum llmq_status status = LLMQ_OK;
    if (d[DIM_LAYERS] > CONFIG_MAX_LAYERS)
        return error_set(err, LLMQ_E_UNSUPPORTED, "config.json: %" PRId64 " layers, at most %d",
                         d[DIM_LAYERS], CONFIG_MAX_LAYERS);
    LLMQ_TRY(check_heads(&c->facts, err));
    LLMQ_TRY(check_rotation(c, &c->facts, err));
    LLMQ_TRY(check_shares(json, c, err));
cleanup:
    return status;
}

/* The key that says a size, for messages; without one its meaning. */
static const char *key_of(const struct model_config *c, enum dim dim, const char *meaning) {
    const struct setting *s = family_setting(c->family, SET_DIM, dim);
    return s ? s->key : meaning;
}

/* LLMQ_E_INPUT: `most` is what the size can be at most. */
static enum llmq_status refuse_count(const struct model_config *c, enum dim dim, int64_t most,
                                     const char *of, llmq_error *err) {
    const char *key = key_of(c, dim, "a count");
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: %.*s %" PRId64 ": expected 1 to %" PRId64 ", of %" PRId64 " %s",
                     (int)strcspn(key, "|"), key, c->facts.dims[dim], most, most, of);
}

/* What the choice of experts must fulfil. A model without groups has 0 or 1 of them. */
static enum llmq_status check_experts(const struct model_config *c, llmq_error *err) {
    const int64_t *d = c->facts.dims;
    const int64_t experts = d[DIM_CHOICES], groups = d[DIM_N_GROUPS], top = d[DIM_TOP_GROUPS];
    if (experts == 0)
        return LLMQ_OK;
    if (d[DIM_TOP_K] > experts) /* none at all: graph_make */
        return refuse_count(c, DIM_TOP_K, experts, "experts", err);
    if (groups <= 1)
        return LLMQ_OK;
    if (experts % groups != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: %s %" PRId64 ": expected a divisor of the %" PRId64
                         " experts",
                         key_of(c, DIM_N_GROUPS, "groups"), groups, experts);
    if (top < 1 || top > groups)
        return refuse_count(c, DIM_TOP_GROUPS, groups, "groups of experts", err);
    if (d[DIM_TOP_K] > top * (experts / groups))
        return refuse_count(c, DIM_TOP_K, top * (experts / groups),
                            "experts in the groups that a token chooses from", err);
    return LLMQ_OK;
}

static void copy_facts(struct model_config *c) {
    c->vocab = c->facts.dims[DIM_VOCAB];
    c->hidden = c->facts.dims[DIM_HIDDEN];
    c->blocks = c->facts.dims[DIM_LAYERS];
    c->max_positions = c->facts.dims[DIM_POSITIONS];
    c->tied = c->facts.traits & T_TIED;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum llmq_status read_act(const struct json *json, struct model_config *c, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    const char *key = c->family->act_key;
    const struct json *value = key ? config_value(json, key) : NULL;
    if (!value)
        return LLMQ_OK;
    const char *name = json_string(value);
    c->facts.act = name ? schema_act_find(name) : ACT_OF_CONFIG;
    if (c->facts.act != ACT_OF_CONFIG && c->facts.act != ACT_SIGMOID)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED, "config.json: %s '%.60s' is not supported for %s", key,
              name ? name : config_text(value, text), c->family->name);
    error_hint(err, "llmq knows silu, gelu, gelu_pytorch_tanh, gelu_new, relu and relu2");
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status config_parse(const struct json *json, struct model_config *out, llmq_error *err) {
    return config_parse_as(json, NULL, out, err);
}

enum llmq_status config_parse_as(const struct json *json, const char *family,
                                 struct model_config *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct model_config){0};
    if (json_type(json) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "config.json: not a JSON object");
    const struct json *text = config_unwrap(json, family, &out->wrapper);
    LLMQ_TRY(find_family(json, text, family, out, err));
    LLMQ_TRY(config_settings(text, out, err));
    LLMQ_TRY(config_outer_tying(json, text, out, err));
    LLMQ_TRY(check_sizes(text, out, err));
    LLMQ_TRY(check_experts(out, err));
    copy_facts(out);
    LLMQ_TRY(config_layers(text, out, err));
    LLMQ_TRY(config_windowed(text, out, err));
    config_stream(out);
    LLMQ_TRY(check_heads(&out->windowed, err));
    LLMQ_TRY(check_rotation(out, &out->windowed, err));
    LLMQ_TRY(config_rope(text, out, err));
    LLMQ_TRY(config_check_others(text, out, err));
    LLMQ_TRY(read_act(text, out, err));
    if (!family)
        LLMQ_TRY(config_check_architectures(json, out, err));
    LLMQ_TRY(config_check_keys(text, out, err));
    out->own_code = config_value(json, "auto_map") != NULL;
cleanup:
    if (status != LLMQ_OK)
        config_free(out);
    return status;
}

const struct facts *config_facts(const struct model_config *c, trait_set traits) {
    return traits & T_WINDOW ? &c->windowed : &c->facts;
}

void config_free(struct model_config *c) {
    free(c->layers);
    free(c->placed);
    *c = (struct model_config){0};
}
