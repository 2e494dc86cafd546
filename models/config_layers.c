/* SPDX-License-Identifier: Apache-2.0 */
/* Which layers have which traits: the family's rules, and what the file says beside them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "models/config_parts.h"

/* --- rules ------------------------------------------------------------------------------------ */

static bool is_among(const struct json *list, int64_t layer) {
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        int64_t number = 0;
        if (json_as_int64(v, &number) && number == layer)
            return true;
    }
    return false;
}

static bool is_number(const struct json *entry, double wanted) {
    double number = 0;
    bool flag = false;
    if (json_as_bool(entry, &flag))
        number = flag;
    else if (!json_as_double(entry, &number))
        return false;
    return !(number < wanted || number > wanted);
}

/* Is the text one of "a|b"? */
static bool is_among_words(const char *words, const char *text) {
    const size_t len = strlen(text);
    while (words) {
        if (strncmp(words, text, len) == 0 && (words[len] == '\0' || words[len] == '|'))
            return true;
        words = strchr(words, '|');
        words = words ? words + 1 : NULL;
    }
    return false;
}

static bool is_word(const struct json *entry, const char *words) {
    return json_string(entry) && is_among_words(words, json_string(entry));
}

/* A list [[words, times], ...]: how many layers its entry `run` is for, 0: it is none. */
static int64_t run_length(const struct json *run) {
    const struct json *words = json_first(run);
    int64_t times = 0;
    if (json_type(words) != JSON_ARRAY || !json_as_int64(json_next(words), &times) || times < 1)
        return 0;
    return (int64_t)json_count(words) * times;
}

static const struct json *run_entry(const struct json *list, int64_t layer) {
    const struct json *run = json_first(list);
    for (; run && layer >= run_length(run); run = json_next(run))
        layer -= run_length(run);
    const struct json *word = json_first(json_first(run));
    const int64_t words = (int64_t)json_count(json_first(run));
    for (int64_t i = 0; word && i < layer % words; i++)
        word = json_next(word);
    return word;
}

static const struct json *cycle_entry(const struct json *list, int64_t layer) {
    const int64_t count = (int64_t)json_count(list);
    const struct json *entry = json_first(list);
    for (int64_t i = 0; entry && i < layer % count; i++)
        entry = json_next(entry);
    return entry;
}

/* What a rule reads: the value of its key, and the number that it stands for. */
struct rule_input {
    const struct json *value;
    int64_t n, offset, layers;
};

static bool holds(const struct layer_rule *r, const struct rule_input *in, const struct json *entry,
                  int64_t layer) {
    switch (r->rule) {
    case RULE_WORD:
        return is_word(entry, r->word);
    case RULE_LETTER:
        return json_string(in->value)[layer] == r->word[0];
    case RULE_RUNS:
        return is_word(run_entry(in->value, layer), r->word);
    case RULE_NUMBER:
        return is_number(entry, r->absent);
    case RULE_CYCLE:
        return is_word(cycle_entry(in->value, layer), r->word);
    case RULE_PHASE:
        return in->n > 0 && layer % in->n == in->offset;
    case RULE_EVERY:
        if (r->from_last)
            return in->n > 0 && (in->layers - 1 - layer) % in->n == 0;
        return in->n > 0 && layer >= in->offset && (layer - in->offset + 1) % in->n == 0;
    case RULE_NOT_EVERY:
        return in->n > 0 && layer >= in->offset && (layer - in->offset + 1) % in->n != 0;
    case RULE_FROM:
        return layer >= in->n;
    case RULE_BEFORE:
        return layer < in->n;
    case RULE_BEHIND:
        return in->n >= 0 && layer > in->n;
    case RULE_LAST:
        return layer >= in->layers - in->n;
    case RULE_AMONG:
        return is_among(in->value, layer);
    case RULE_NOT_AMONG:
        return !is_among(in->value, layer);
    case RULE_ALL:
    case RULE_END:
    default:
        return true;
    }
}

static void set_trait(const struct layer_rule *r, bool holds_here, trait_set *traits) {
    if (holds_here && !r->clears)
        *traits |= r->trait;
    else if (holds_here || !r->clears)
        *traits &= ~r->trait;
}

/* Rules that read the numbers of layers. */
static bool reads_numbers(const struct layer_rule *r) {
    return r->rule == RULE_AMONG || r->rule == RULE_NOT_AMONG;
}

/* Rules that read those, or an entry of a list for each layer. */
static bool reads_list(const struct layer_rule *r) {
    return r->rule == RULE_CYCLE || r->rule == RULE_WORD || r->rule == RULE_LETTER ||
           r->rule == RULE_NUMBER || r->rule == RULE_RUNS || reads_numbers(r);
}

static int64_t entries_of(const struct layer_rule *r, const struct json *list) {
    int64_t count = 0;
    if (r->rule != RULE_RUNS)
        return (int64_t)json_count(list);
    for (const struct json *run = json_first(list); run; run = json_next(run))
        count += run_length(run);
    return count;
}

/* A text with a letter for every layer. */
static enum llmq_status check_letters(const struct config_key *key, int64_t layers,
                                      llmq_error *err) {
    const struct json *value = config_value(key->object, key->name);
    char text[CONFIG_TEXT_MAX];
    const char *letters = json_string(value);
    if (letters && strlen(letters) == (size_t)layers)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "config.json: '%s' is %s: expected a letter for each of %" PRId64 " layers",
                     key->name, config_text(value, text), layers);
}

static enum llmq_status check_list(const struct layer_rule *r, const struct config_key *key,
                                   int64_t layers, llmq_error *err) {
    const struct json *list = config_value(key->object, key->name);
    char text[CONFIG_TEXT_MAX];
    if (r->rule == RULE_LETTER)
        return check_letters(key, layers, err);
    if (json_type(list) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "config.json: '%s' is %s: expected a list", key->name,
                         config_text(list, text));
    if (r->rule == RULE_CYCLE || reads_numbers(r))
        return LLMQ_OK;
    if (entries_of(r, list) != layers)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: '%s' has %" PRId64 " entries for %" PRId64 " layers",
                         key->name, entries_of(r, list), layers);
    return LLMQ_OK;
}

/* Has the family a rule for this entry of the list or text that the rule reads? */
static bool is_known_entry(const struct family *f, const struct layer_rule *r,
                           const struct rule_input *in, const struct json *entry, int64_t layer) {
    for (const struct layer_rule *other = f->rules; other->rule; other++)
        if (other->rule == r->rule && strcmp(other->key, r->key) == 0 &&
            holds(other, in, entry, layer))
            return true;
    return false;
}

static enum llmq_status refuse_entry(const struct family *f, const struct layer_rule *r,
                                     const struct json *entry, int64_t layer, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    struct strbuf words = {0};
    for (const struct layer_rule *other = f->rules; other->rule; other++)
        if (other->rule == r->rule && strcmp(other->key, r->key) == 0)
            strbuf_printf(&words, "%s%s", words.len ? ", " : "", other->word);
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: '%s' has %s for layer %" PRId64 ": expected one of %s", r->key,
              config_text(entry, text), layer, strbuf_ok(&words) ? words.data : "those known");
    strbuf_free(&words);
    return LLMQ_E_UNSUPPORTED;
}

/* A list for all layers without entries says nothing. */
static bool is_empty_list(const struct layer_rule *r, const struct config_key *key) {
    const struct json *list = config_value(key->object, key->name);
    return !reads_numbers(r) && json_type(list) == JSON_ARRAY && json_count(list) == 0;
}

/* Every how many layers one is unlike the others: a number, or "LLLG", as many as that has letters;
 * which layers a rule is about, the letters do not say. */
static enum llmq_status read_period(const struct config_key *key, int64_t least, int64_t *n,
                                    llmq_error *err) {
    const char *letters = json_string(config_value(key->object, key->name));
    const size_t same = letters ? strspn(letters, (const char[]){letters[0], '\0'}) : 0;
    if (!letters)
        return config_int(key->object, key->name, 0, least, n, err);
    *n = (int64_t)strlen(letters);
    if (same > 0 && letters[same] != '\0' && letters[same + 1] == '\0')
        return LLMQ_OK;
    return error_set(err, LLMQ_E_UNSUPPORTED,
                     "config.json: '%s' is \"%.40s\": expected a number, or letters of which the "
                     "last is unlike the others, as LLLG",
                     key->name, letters);
}

/* Rules of which one must be for every layer: several with one key, or one that says so.
 * layer_types has words that any family knows: below. */
static bool names_kinds(const struct family *f, const struct layer_rule *r) {
    int count = 0;
    for (const struct layer_rule *other = f->rules; other->rule; other++)
        count += other->rule == r->rule && other->key && strcmp(other->key, r->key) == 0;
    return (r->only || count > 1) && (r->rule == RULE_LETTER || r->rule == RULE_CYCLE ||
                                      (r->rule == RULE_WORD && strcmp(r->key, "layer_types") != 0));
}

static enum llmq_status read_phase(const struct json *json, const struct layer_rule *r,
                                   struct rule_input *in, llmq_error *err) {
    enum llmq_status status = config_int(json, r->offset, (int64_t)r->phase, 0, &in->offset, err);
    if (status == LLMQ_OK && in->n > 0 && in->offset >= in->n)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: '%s' is %" PRId64 ": expected less than '%s', %" PRId64,
                         r->offset, in->offset, r->key, in->n);
    return status;
}

static enum llmq_status apply_rule(const struct json *json, const struct layer_rule *r,
                                   struct model_config *c, llmq_error *err) {
    struct config_key key;
    struct rule_input in = {
        .offset = r->begin, .layers = c->blocks, .n = isnan(r->absent) ? 0 : (int64_t)r->absent};
    enum llmq_status status = config_find(json, r->key, &key, err);
    if ((c->facts.traits & r->when) != r->when)
        return LLMQ_OK;
    if (status == LLMQ_OK && key.found && is_empty_list(r, &key))
        key.found = false;
    if (status == LLMQ_OK && key.found && reads_list(r))
        status = check_list(r, &key, c->blocks, err);
    else if (status == LLMQ_OK && key.found)
        status = read_period(&key, r->rule == RULE_BEHIND ? -1 : 0, &in.n, err);
    if (status == LLMQ_OK && r->offset && r->rule != RULE_PHASE)
        status = config_int(json, r->offset, 0, 0, &in.offset, err);
    const bool silent = !key.found && (reads_list(r) || isnan(r->absent));
    if (status != LLMQ_OK || silent)
        return status;
    if (r->rule == RULE_PHASE)
        status = read_phase(json, r, &in, err);
    if (status != LLMQ_OK)
        return status;
    in.value = key.found ? config_value(key.object, key.name) : NULL;
    const struct json *entry = reads_list(r) ? json_first(in.value) : NULL;
    for (int64_t i = 0; i < c->blocks; i++) {
        if (names_kinds(c->family, r) && !is_known_entry(c->family, r, &in, entry, i))
            return refuse_entry(c->family, r, r->rule == RULE_LETTER ? in.value : entry, i, err);
        set_trait(r, holds(r, &in, entry, i), &c->layers[i]);
        entry = entry ? json_next(entry) : NULL;
    }
    return LLMQ_OK;
}

/* --- layer_types ------------------------------------------------------------------------------ */

/* The words of layer_types that every family may use: the layers that they stand for have the
 * trait, and none of the others'. */
static const struct {
    const char *word;
    trait_set trait;
} layer_words[] = {
    {"full_attention", 0},
    {"sliding_attention", T_WINDOW},
    {"chunked_attention", T_CHUNKED},
};
enum { LAYER_WORDS = sizeof layer_words / sizeof layer_words[0] };

static bool has_word_rule(const struct family *f, const char *word) {
    for (const struct layer_rule *r = f->rules; r && r->rule; r++)
        if (r->rule == RULE_WORD && strcmp(r->key, "layer_types") == 0 &&
            (!word || is_among_words(r->word, word)))
            return true;
    return false;
}

static enum llmq_status refuse_word(const struct family *f, const struct json *type, int64_t layer,
                                    llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    struct strbuf words = {0};
    for (int i = 0; i < LAYER_WORDS; i++)
        strbuf_printf(&words, "%s%s", i ? ", " : "", layer_words[i].word);
    for (const struct layer_rule *r = f->rules; r && r->rule; r++)
        if (r->rule == RULE_WORD && strcmp(r->key, "layer_types") == 0 &&
            (!words.data || !strstr(words.data, r->word)))
            strbuf_printf(&words, ", %s", r->word);
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: layer_types[%" PRId64 "] is %s: expected one of %s", layer,
              config_text(type, text), strbuf_ok(&words) ? words.data : "the words known");
    strbuf_free(&words);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status check_window_word(const struct model_config *c, const char *word,
                                          int64_t layer, llmq_error *err) {
    const int64_t window = c->facts.dims[DIM_WINDOW];
    if (window == 0 && strcmp(word, "sliding_attention") == 0)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: layer_types[%" PRId64
                         "] is sliding_attention: expected a sliding_window that is in use, found "
                         "none",
                         layer);
    return LLMQ_OK;
}

/* A family without a rule that reads them: what it does has to be what they say. vLLM reads them
 * for any family, transformers does not. */
static enum llmq_status check_agreement(const struct model_config *c, const char *word,
                                        trait_set wanted, int64_t layer, llmq_error *err) {
    const int64_t window = c->facts.dims[DIM_WINDOW];
    const bool limits = window > 0 && window < c->max_positions;
    const trait_set found = c->layers[layer] & (T_WINDOW | T_CHUNKED);
    if (found == wanted || (!limits && !wanted))
        return LLMQ_OK;
    return error_set(err, LLMQ_E_UNSUPPORTED,
                     "config.json: layer_types[%" PRId64
                     "] is %s beside a sliding_window of %" PRId64 ": loaders differ in what %s "
                     "does there",
                     layer, word, window, c->family->name);
}

static enum llmq_status check_layer_type(const struct json *type, const struct model_config *c,
                                         int64_t layer, llmq_error *err) {
    const char *word = json_string(type);
    int i = 0;
    if (word && has_word_rule(c->family, word))
        return check_window_word(c, word, layer, err);
    while (i < LAYER_WORDS && !(word && strcmp(layer_words[i].word, word) == 0))
        i++;
    if (i == LAYER_WORDS)
        return refuse_word(c->family, type, layer, err);
    enum llmq_status status = check_window_word(c, word, layer, err);
    if (status != LLMQ_OK)
        return status;
    /* the other words of a family that reads some stand for layers without their traits */
    return has_word_rule(c->family, NULL) && layer_words[i].trait == 0
               ? LLMQ_OK
               : check_agreement(c, word, layer_words[i].trait, layer, err);
}

static enum llmq_status check_layer_types(const struct json *json, const struct model_config *c,
                                          llmq_error *err) {
    const struct json *types = config_value(json, "layer_types");
    int64_t layer = 0;
    enum llmq_status status = LLMQ_OK;
    if (types && (json_type(types) != JSON_ARRAY || json_count(types) != (size_t)c->blocks))
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: 'layer_types' has %zu entries for %" PRId64 " layers",
                         json_count(types), c->blocks);
    for (const struct json *type = json_first(types); type && status == LLMQ_OK;
         type = json_next(type))
        status = check_layer_type(type, c, layer++, err);
    return status;
}

/* --- sliding_window --------------------------------------------------------------------------- */

/* Families that have no window, or whose window knows no switch: transformers does not read the
 * key, other loaders do. */
static enum llmq_status check_window(const struct json *json, const struct model_config *c,
                                     llmq_error *err) {
    int64_t window = 0;
    bool use = true;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(config_int(json, "sliding_window", 0, 0, &window, err));
    LLMQ_TRY(config_bool(json, "use_sliding_window", true, &use, err));
    if (window == 0 || window >= c->max_positions || family_reads(c->family, "use_sliding_window"))
        return LLMQ_OK;
    const bool reads = family_reads(c->family, "sliding_window");
    if (reads && !use)
        return error_set(err, LLMQ_E_INPUT,
                         "config.json: use_sliding_window is false beside a sliding_window of "
                         "%" PRId64 ": %s has its window by the second, and loaders differ",
                         window, c->family->name);
    if (reads || !use)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: 'sliding_window' is %" PRId64 ", which %s models do not have: loaders "
              "differ in whether they honour it",
              window, c->family->name);
    error_hint(err, "set it to null, or model_type to one that has it (mistral)");
    return LLMQ_E_UNSUPPORTED;
cleanup:
    return status;
}

/* Rules that pick some of the layers say that these have a window; one for all of them says only
 * that there may be one, as does one for all from a layer on. */
static enum llmq_status check_windowed(const struct model_config *c, llmq_error *err) {
    const struct setting *setting = family_setting(c->family, SET_DIM, DIM_WINDOW);
    bool picked = false;
    for (const struct layer_rule *r = c->family->rules; r && r->rule; r++)
        picked = picked || (r->trait == T_WINDOW && r->rule != RULE_ALL && r->rule != RULE_FROM &&
                            (c->facts.traits & r->when) == r->when);
    for (int64_t i = 0; picked && c->facts.dims[DIM_WINDOW] == 0 && i < c->blocks; i++)
        if (c->layers[i] & T_WINDOW)
            return error_set(err, LLMQ_E_INPUT,
                             "config.json: '%s' is off, and layer %" PRId64
                             " of %s has a window: expected its size",
                             setting ? setting->key : "sliding_window", i, c->family->name);
    return LLMQ_OK;
}

/* --- all -------------------------------------------------------------------------------------- */

enum llmq_status config_layers(const struct json *json, struct model_config *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    c->layers = calloc((size_t)c->blocks, sizeof *c->layers);
    if (!c->layers)
        return error_memory(err, "the layers' traits");
    for (int64_t i = 0; i < c->blocks; i++)
        c->layers[i] = c->facts.traits;
    LLMQ_TRY(check_window(json, c, err));
    for (const struct layer_rule *r = c->family->rules; r && r->rule; r++)
        LLMQ_TRY(apply_rule(json, r, c, err));
    LLMQ_TRY(check_layer_types(json, c, err));
    LLMQ_TRY(check_windowed(c, err));
    for (int64_t i = 0; c->facts.dims[DIM_WINDOW] == 0 && i < c->blocks; i++)
        c->layers[i] &= ~T_WINDOW;
cleanup:
    return status;
}

/* --- numbers that layers have or have not ----------------------------------------------------- */

static enum llmq_status check_others(const struct layer_rule *r, const struct config_key *key,
                                     const struct model_config *c, llmq_error *err) {
    const double wanted = r->others == NUM_THETA ? c->rope.theta : c->facts.numbers[r->others];
    char text[CONFIG_TEXT_MAX];
    int64_t layer = 0;
    for (const struct json *v = json_first(config_value(key->object, key->name)); v;
         v = json_next(v), layer++)
        if (!is_number(v, r->absent) && !is_number(v, wanted))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "config.json: %s[%" PRId64 "] is %s: expected %g or %g", key->name,
                             layer, config_text(v, text), r->absent, wanted);
    return LLMQ_OK;
}

enum llmq_status config_check_others(const struct json *json, const struct model_config *c,
                                     llmq_error *err) {
    struct config_key key;
    enum llmq_status status = LLMQ_OK;
    for (const struct layer_rule *r = c->family->rules; r && r->rule; r++) {
        if (r->others == NUM_ONE)
            continue;
        LLMQ_TRY(config_find(json, r->key, &key, err));
        if (key.found)
            LLMQ_TRY(check_others(r, &key, c, err));
    }
cleanup:
    return status;
}
