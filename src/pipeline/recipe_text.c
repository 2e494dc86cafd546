/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values of a rule, one table for both ways of writing them: see recipe.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "pipeline/recipe.h"

/* A word and what it stands for. */
struct word {
    const char *word;
    int value;
};

static const struct word widths[] = {{"2", 2}, {"3", 3}, {"4", 4}, {"8", 8}, {NULL, 0}};
static const struct word methods[] = {
    {"rtn", LLMQ_METHOD_RTN}, {"gptq", LLMQ_METHOD_GPTQ}, {NULL, 0}};
static const struct word qualities[] = {{"fast", LLMQ_QUALITY_FAST},
                                        {"balanced", LLMQ_QUALITY_BALANCED},
                                        {"best", LLMQ_QUALITY_BEST},
                                        {"max", LLMQ_QUALITY_MAX},
                                        {NULL, 0}};
/* Percentiles have a value of their own, too: see read_search. */
static const struct word searches[] = {
    {"minmax", LLMQ_RANGE_MINMAX},         {"plain", LLMQ_RANGE_PLAIN},
    {"weighted", LLMQ_RANGE_WEIGHTED},     {"entropy", LLMQ_RANGE_ENTROPY},
    {"percentile", LLMQ_RANGE_PERCENTILE}, {NULL, 0}};

/* A key, the setting that it is, and its values: words, none (a word by itself), a group, or a
 * search of ranges. */
static const struct key {
    const char *name;
    enum recipe_key sets;
    const struct word *words;
    const char *expected; /* NULL: no value */
} keys[] = {
    {"bits", RECIPE_BITS, widths, "2, 3, 4 or 8"},
    {"group", RECIPE_GROUP, NULL, "a number of columns, -1, auto-fit or auto-fit:N"},
    {"sym", RECIPE_SYM, NULL, NULL},
    {"asym", RECIPE_SYM, NULL, NULL},
    {"method", RECIPE_METHOD, methods, "rtn or gptq"},
    {"quality", RECIPE_QUALITY, qualities, "fast, balanced, best or max"},
    {"search", RECIPE_SEARCH, NULL,
     "minmax, plain, weighted, entropy, percentile or percentile:P with P above 50 and at most "
     "100"},
    {"keep", RECIPE_KEEP, NULL, NULL},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

/* --- reading ---------------------------------------------------------------------------------- */

static bool read_group(const char *text, int64_t *group, bool *fit) {
    static const char word[] = "auto-fit";
    const size_t len = sizeof word - 1;
    *group = 128;
    *fit = strncmp(text, word, len) == 0;
    if (*fit && !text[len])
        return true;
    text += !*fit ? 0 : text[len] == ':' ? len + 1 : strlen(text);
    if (!*fit && strcmp(text, "-1") == 0) {
        *group = -1;
        return true;
    }
    errno = 0;
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    *group = strtoll(text, NULL, 10);
    return errno == 0 && *group > 0 && *group <= 1 << 24;
}

static const struct word *find_word(const struct word *words, const char *text) {
    for (; words->word; words++)
        if (strcmp(words->word, text) == 0)
            return words;
    return NULL;
}

/* A word, behind percentile which one. */
static bool read_search(const char *text, struct recipe_rule *rule) {
    static const char with[] = "percentile:";
    const size_t len = sizeof with - 1;
    const bool own = strncmp(text, with, len) == 0;
    const struct word *word = find_word(searches, own ? "percentile" : text);
    char *end = NULL;
    if (!word)
        return false;
    rule->search = (enum llmq_range_search)word->value;
    rule->percentile = own ? strtod(text + len, &end) : 0;
    return !own ||
           (end > text + len && *end == '\0' && rule->percentile > 50 && rule->percentile <= 100);
}

static enum llmq_status refuse_value(const struct key *key, const char *value, llmq_error *err) {
    error_set(err, LLMQ_E_USAGE, "%s: expected %s, found %s%.40s%s", key->name,
              key->expected ? key->expected : "no value", value ? "'" : "none", value ? value : "",
              value ? "'" : "");
    if (key->sets == RECIPE_BITS)
        error_hint(err, "keep leaves a module in 16 bits");
    if (key->sets == RECIPE_METHOD && value && strcmp(value, "awq") == 0)
        error_hint(err, "AWQ scales what several modules read: llmq awq, and llmq gptq --awq, do "
                        "so wherever modules are quantized");
    return LLMQ_E_USAGE;
}

static enum llmq_status refuse_key(const char *name, llmq_error *err) {
    struct strbuf known = {0};
    for (int i = 0; i < KEYS; i++)
        strbuf_printf(&known, "%s%s%s", i ? ", " : "", keys[i].name, keys[i].expected ? "=" : "");
    error_set(err, LLMQ_E_USAGE, "no key is called '%.40s'", name);
    error_hint(err, "the keys are %s", known.data ? known.data : "");
    strbuf_free(&known);
    return LLMQ_E_USAGE;
}

static void store(struct recipe_rule *rule, const struct key *key, const struct word *word) {
    switch (key->sets) {
    case RECIPE_BITS:
        rule->bits = word->value;
        break;
    case RECIPE_METHOD:
        rule->method = (enum llmq_method)word->value;
        break;
    case RECIPE_QUALITY:
        rule->quality = (enum llmq_quality)word->value;
        break;
    case RECIPE_SYM:
        rule->sym = key->name[0] == 's';
        break;
    case RECIPE_GROUP:
    case RECIPE_SEARCH:
    case RECIPE_KEEP:
        break;
    }
}

enum llmq_status recipe_set(struct recipe_rule *rule, const char *name, const char *value,
                            llmq_error *err) {
    const struct key *key = keys;
    while (key < keys + KEYS && strcmp(key->name, name) != 0)
        key++;
    if (key == keys + KEYS)
        return refuse_key(name, err);
    const struct word *word = key->words && value ? find_word(key->words, value) : NULL;
    if ((value != NULL) != (key->expected != NULL) || (key->words && !word) ||
        (key->sets == RECIPE_GROUP && !read_group(value, &rule->group, &rule->group_fit)) ||
        (key->sets == RECIPE_SEARCH && !read_search(value, rule)))
        return refuse_value(key, value, err);
    if (rule->given & key->sets)
        return error_set(err, LLMQ_E_USAGE, "%s is given twice",
                         key->sets == RECIPE_SYM ? "sym or asym" : key->name);
    if (rule->given && (rule->given | key->sets) & RECIPE_KEEP)
        return error_set(err, LLMQ_E_USAGE,
                         "keep leaves modules as they are: expected it by itself, found other "
                         "settings beside it");
    rule->given |= key->sets;
    store(rule, key, word);
    return LLMQ_OK;
}

/* --- writing ---------------------------------------------------------------------------------- */

static const char *word_of(const struct word *words, int value) {
    while (words->word && words->value != value)
        words++;
    return words->word ? words->word : "";
}

static void put_value(const struct recipe_rule *rule, const struct key *key,
                      char buf[RECIPE_VALUE]) {
    buf[0] = '\0';
    if (key->sets == RECIPE_GROUP)
        (void)snprintf(buf, RECIPE_VALUE, "%s%" PRId64, rule->group_fit ? "auto-fit:" : "",
                       rule->group);
    else if (key->sets == RECIPE_SEARCH && rule->percentile > 0)
        (void)snprintf(buf, RECIPE_VALUE, "percentile:%.10g", rule->percentile);
    else if (key->sets == RECIPE_SEARCH)
        (void)snprintf(buf, RECIPE_VALUE, "%s", word_of(searches, (int)rule->search));
    else if (key->words)
        (void)snprintf(buf, RECIPE_VALUE, "%s",
                       word_of(key->words, key->sets == RECIPE_BITS     ? rule->bits
                                           : key->sets == RECIPE_METHOD ? (int)rule->method
                                                                        : (int)rule->quality));
}

const char *recipe_get(const struct recipe_rule *rule, int index, char buf[RECIPE_VALUE]) {
    for (const struct key *key = keys; key < keys + KEYS; key++) {
        const bool other = key->sets == RECIPE_SYM && rule->sym != (key->name[0] == 's');
        if (!(rule->given & key->sets) || other || index-- > 0)
            continue;
        put_value(rule, key, buf);
        return key->name;
    }
    return NULL;
}
