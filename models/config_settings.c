/* SPDX-License-Identifier: Apache-2.0 */
/* The family's settings: which key of config.json says what. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/strbuf.h"
#include "models/config_parts.h"

/* What the setting says where its key is missing. */
static double fallback_of(const struct setting *s, const struct config_key *key,
                          const struct facts *facts) {
    const bool is_null = !key->found && !key->absent;
    if (is_null && s->null_is_off)
        return 0;
    if (s->same == DIM_NONE || (s->absent != 0 && !is_null))
        return s->absent;
    const int64_t over = s->over == DIM_NONE ? 1 : facts->dims[s->over];
    const int64_t by = s->by == DIM_NONE ? 1 : facts->dims[s->by];
    const int64_t size = over < 1 ? 0 : facts->dims[s->same] * by / over;
    return (double)ceil_div(size * (s->times ? s->times : 1), s->per ? s->per : 1);
}

static enum llmq_status read_length(const struct setting *s, const struct config_key *key,
                                    struct facts *facts, llmq_error *err) {
    const struct json *value = config_value(key->object, key->name);
    const char *letters = json_string(value);
    char text[CONFIG_TEXT_MAX];
    const size_t length = letters ? strlen(letters) : json_count(value);
    if (json_type(value) == JSON_OBJECT || length < 1)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: '%s' is %s: expected a list or a text, not empty", key->name,
                         config_text(value, text));
    facts->dims[s->what] = (int64_t)length;
    return LLMQ_OK;
}

/* A size that follows from others where the file does not say it. */
static bool is_automatic(const struct setting *s, const struct config_key *key) {
    const char *word = json_string(config_value(key->object, key->name));
    return s->same != DIM_NONE && word && strcmp(word, "auto") == 0;
}

static enum llmq_status read_dim(const struct setting *s, const struct config_key *key,
                                 struct facts *facts, llmq_error *err) {
    const double fallback = fallback_of(s, key, facts);
    const int64_t min = (s->absent != 0 || s->same != DIM_NONE) && !s->may_be_none ? 1 : 0;
    if (key->found && s->counts)
        return read_length(s, key, facts, err);
    if (key->found && !is_automatic(s, key))
        return config_int(key->object, key->name, 0, min, &facts->dims[s->what], err);
    facts->dims[s->what] = (int64_t)fallback;
    return LLMQ_OK;
}

static double rounded_to_bf16(double x) {
    int exponent = 0;
    const double part = frexp(x, &exponent); /* 8 bits, ties to even */
    return ldexp(nearbyint(ldexp(part, 8)), exponent - 8);
}

static enum llmq_status read_number(const struct setting *s, const struct config_key *key,
                                    struct facts *facts, llmq_error *err) {
    double value = fallback_of(s, key, facts);
    enum llmq_status status = LLMQ_OK;
    if (key->found && s->infinite)
        status = config_limit(key->object, key->name, &value, err);
    else if (key->found)
        status = config_double(key->object, key->name, 0, &value, err);
    if (s->power != 0 && !(value > 0))
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is %g: expected more than 0",
                         key->name, value);
    value = s->power != 0 ? pow(value, s->power) : value;
    value *= key->found && s->times ? s->times : 1;
    facts->numbers[s->what] = s->bf16 ? rounded_to_bf16(value) : value;
    if (s->size != DIM_NONE)
        facts->numbers[s->what] *= pow((double)facts->dims[s->size], s->size_to);
    return status;
}

static enum llmq_status read_trait(const struct setting *s, const struct config_key *key,
                                   struct facts *facts, llmq_error *err) {
    bool holds = fallback_of(s, key, facts) != 0;
    double number = 0;
    enum llmq_status status = LLMQ_OK;
    if (key->found && s->set == SET_TRAIT)
        status = config_bool(key->object, key->name, false, &holds, err);
    else if (key->found && !json_as_bool(config_value(key->object, key->name), &holds)) {
        status = config_double(key->object, key->name, 0, &number, err);
        holds = s->is > 0 ? !(number < s->is || number > s->is) : number > 0;
    }
    facts->traits = holds ? facts->traits | s->what : facts->traits & ~s->what;
    return status;
}

static bool is_word_setting(const struct setting *s, const char *key) {
    return s->set == SET_WORD && strcmp(s->key, key) == 0;
}

/* A word that none of the family's settings knows. */
static enum llmq_status refuse_word(const struct family *f, const char *key, const char *found,
                                    llmq_error *err) {
    struct strbuf known = {0};
    for (const struct setting *s = f->settings; s->set; s++)
        if (is_word_setting(s, key))
            strbuf_printf(&known, "%s%s", known.len ? " or " : "", s->word);
    enum llmq_status status =
        error_set(err, LLMQ_E_UNSUPPORTED, "config.json: '%s' is %s: expected %s", key, found,
                  known.data ? known.data : "another word");
    strbuf_free(&known);
    return status;
}

static enum llmq_status read_word(const struct setting *s, const struct config_key *key,
                                  const struct family *f, struct facts *facts, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    if (!key->found)
        return LLMQ_OK;
    const struct json *value = config_value(key->object, key->name);
    const char *word = json_string(value);
    const struct setting *known = f->settings;
    while (known->set &&
           !(word && is_word_setting(known, s->key) && strcmp(known->word, word) == 0))
        known++;
    if (!known->set)
        return refuse_word(f, s->key, config_text(value, text), err);
    if (known == s)
        facts->traits |= s->what;
    return LLMQ_OK;
}

static enum llmq_status read_setting(const struct json *json, const struct setting *s,
                                     const struct family *f, struct facts *facts, llmq_error *err) {
    struct config_key key;
    if ((facts->traits & s->when) != s->when || (facts->traits & s->unless))
        return LLMQ_OK;
    enum llmq_status status = config_find(json, s->key, &key, err);
    if (status != LLMQ_OK)
        return status;
    switch (s->set) {
    case SET_DIM:
        return read_dim(s, &key, facts, err);
    case SET_NUMBER:
        return read_number(s, &key, facts, err);
    case SET_WORD:
        return read_word(s, &key, f, facts, err);
    case SET_TRAIT:
    case SET_TRAIT_IF:
    case SET_END:
    default:
        return read_trait(s, &key, facts, err);
    }
}

/* Where no setting says it: 1, or none. */
static void begin(const struct family *f, struct facts *facts) {
    static const enum number none[] = {NUM_ATTN_SCALE,  NUM_SOFT_CAP, NUM_FINAL_CAP, NUM_CLIP,
                                       NUM_TEMPERATURE, NUM_FLOOR,    NUM_STEP_MIN};
    *facts = (struct facts){.traits = f->traits | T_ALWAYS, .norm = f->norm, .act = f->act};
    facts->dims[DIM_ONE] = 1;
    facts->dims[DIM_FOUR] = 4;
    for (int i = 0; i < NUM_COUNT; i++)
        facts->numbers[i] = 1;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        facts->numbers[none[i]] = 0;
    facts->numbers[NUM_STEP_MAX] = (double)INFINITY;
}

enum llmq_status config_settings(const struct json *json, struct model_config *c, llmq_error *err) {
    begin(c->family, &c->facts);
    for (const struct setting *s = c->family->settings; s->set; s++) {
        enum llmq_status status = read_setting(json, s, c->family, &c->facts, err);
        if (status != LLMQ_OK)
            return status;
    }
    config_derive(&c->facts);
    return LLMQ_OK;
}

/* --- layers with a window --------------------------------------------------------------------- */

/* A list with a size for each layer: one for all with a window, and for the others what the model
 * has. */
static enum llmq_status read_each(const struct config_key *key, const struct setting *s,
                                  struct model_config *c, llmq_error *err) {
    const struct json *list = config_value(key->object, key->name);
    int64_t sizes[2] = {c->facts.dims[s->what], 0}, layer = 0;
    if (json_count(list) != (size_t)c->blocks)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: '%s' has %zu entries for %" PRId64 " layers", key->name,
                         json_count(list), c->blocks);
    for (const struct json *v = json_first(list); v; v = json_next(v), layer++) {
        int64_t *size = &sizes[(c->layers[layer] & T_WINDOW) != 0], found = 0;
        if (!json_as_int64(v, &found) || found < 1 || (*size > 0 && found != *size))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "config.json: '%s': layer %" PRId64 " has %" PRId64
                             ": expected %" PRId64 " as in the others of its kind",
                             key->name, layer, found, *size);
        *size = found;
    }
    c->windowed.dims[s->what] = sizes[1] > 0 ? sizes[1] : sizes[0];
    return LLMQ_OK;
}

static enum llmq_status read_windowed(const struct json *json, const struct setting *s,
                                      struct model_config *c, llmq_error *err) {
    struct config_key key;
    enum llmq_status status = config_find(json, s->key, &key, err);
    const bool own = s->set == SET_DIM && (s->when & T_WINDOW);
    if (status != LLMQ_OK)
        return status;
    if (own && key.found && json_type(config_value(key.object, key.name)) == JSON_ARRAY)
        return read_each(&key, s, c, err);
    return read_setting(json, s, c->family, &c->windowed, err);
}

enum llmq_status config_windowed(const struct json *json, struct model_config *c, llmq_error *err) {
    begin(c->family, &c->windowed);
    c->windowed.traits |= T_WINDOW;
    for (const struct setting *s = c->family->settings; s->set; s++) {
        enum llmq_status status = read_windowed(json, s, c, err);
        if (status != LLMQ_OK)
            return status;
    }
    c->windowed.traits &= ~T_WINDOW;
    config_derive(&c->windowed);
    return LLMQ_OK;
}
