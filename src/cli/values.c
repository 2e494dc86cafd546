/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options: text to field, and back for the help texts. Every number is parsed whole and
 * checked against its row's range; nothing is clamped or guessed. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/console.h"
#include "cli/options.h"
#include "cli/suggest.h"

static void *field_of(const struct option *option, void *args) {
    return (char *)args + option->offset;
}

static const void *field_in(const struct option *option, const void *args) {
    return (const char *)args + option->offset;
}

static enum llmq_status bad_value(const struct option *option, const char *text,
                                  const char *expected, llmq_error *err) {
    return cli_fail(err, LLMQ_E_USAGE, "--%s: '%s' is not %s", option->name, text, expected);
}

/* Range checks compare as double: exact for every bound the tables use. */
static enum llmq_status check_range(const struct option *option, const char *text, double value,
                                    llmq_error *err) {
    if (value >= option->min && value <= option->max)
        return LLMQ_OK;
    return cli_fail(err, LLMQ_E_USAGE, "--%s: %s is out of range; expected %.15g to %.15g",
                    option->name, text, option->min, option->max);
}

static bool whole_int64(const char *text, int64_t *value) {
    const char *digits = text + (*text == '-');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    *value = strtoll(text, NULL, 10);
    return errno == 0;
}

/* The choice that is this word, or NULL. */
static const struct choice *choice_of(const struct option *option, const char *text) {
    for (const struct choice *c = option->choices; c && c->word; c++)
        if (strcmp(text, c->word) == 0)
            return c;
    return NULL;
}

static enum llmq_status store_int(const struct option *option, const char *text, int64_t *field,
                                  llmq_error *err) {
    const struct choice *choice = choice_of(option, text);
    int64_t value;
    if (choice) {
        *field = choice->value;
        return LLMQ_OK;
    }
    if (!whole_int64(text, &value))
        return bad_value(option, text, "a whole number", err);
    enum llmq_status status = check_range(option, text, (double)value, err);
    if (status == LLMQ_OK)
        *field = value;
    return status;
}

/* The word that a real number is the value of, or NULL. */
static const char *word_of(const struct option *option, double value) {
    for (const struct choice *c = option->choices; c && c->word; c++)
        if (fabs(value - c->value) <= 0)
            return c->word;
    return NULL;
}

static enum llmq_status store_real(const struct option *option, const char *text, double *field,
                                   llmq_error *err) {
    char *end = NULL;
    double value = strtod(text, &end);
    const struct choice *choice = choice_of(option, text);
    if (choice) {
        *field = choice->value;
        return LLMQ_OK;
    }
    /* strtod also reads hexadecimal, "inf" and "nan", which nobody means here. */
    if (!*text || *end || strspn(text, "0123456789.eE+-") != strlen(text) || !isfinite(value))
        return bad_value(option, text, "a number", err);
    enum llmq_status status = check_range(option, text, value, err);
    const char *word = word_of(option, value);
    if (status == LLMQ_OK && word)
        status = cli_fail(err, LLMQ_E_USAGE, "--%s: %s is no value; it would stand for '%s'",
                          option->name, text, word);
    if (status == LLMQ_OK)
        *field = value;
    return status;
}

/* What a unit multiplies by, 0 where there is no such: K, M, G, T and KiB, MiB, ... are powers of
 * 1024, KB, MB, ... of 1000. Case does not count. */
static uint64_t unit_bytes(const char *unit) {
    static const char letters[] = "KMGT";
    const char *letter = *unit ? strchr(letters, toupper((unsigned char)*unit)) : NULL;
    const bool decimal = letter && strcasecmp(unit + 1, "B") == 0;
    uint64_t bytes = 1;
    if (!*unit)
        return 1;
    if (!letter || (unit[1] && !decimal && strcasecmp(unit + 1, "iB") != 0))
        return 0;
    for (ptrdiff_t i = 0; i <= letter - letters; i++)
        bytes *= decimal ? 1000 : 1024;
    return bytes;
}

static enum llmq_status store_size(const struct option *option, const char *text, uint64_t *field,
                                   llmq_error *err) {
    const size_t digits = strspn(text, "0123456789");
    const uint64_t unit = unit_bytes(text + digits);
    errno = 0;
    uint64_t value = strtoull(text, NULL, 10);
    if (digits == 0 || !unit || errno != 0 || value > UINT64_MAX / unit)
        return bad_value(option, text,
                         "a size: a whole number of bytes, or with K, M, G, T (1024), KB, MB, ... "
                         "(1000)",
                         err);
    value *= unit;
    if ((double)value < option->min) {
        char least[CONSOLE_TEXT];
        return cli_fail(err, LLMQ_E_USAGE, "--%s: %s is too small; at least %s", option->name, text,
                        console_bytes((uint64_t)option->min, least));
    }
    *field = value;
    return LLMQ_OK;
}

static enum llmq_status store_choice(const struct option *option, const char *text, int *field,
                                     llmq_error *err) {
    const struct choice *choice = choice_of(option, text);
    struct suggestion near = {.typed = text};
    if (choice) {
        *field = choice->value;
        return LLMQ_OK;
    }
    for (const struct choice *c = option->choices; c->word; c++)
        suggestion_offer(&near, c->word);
    cli_fail(err, LLMQ_E_USAGE, "--%s: '%s' is none of %s", option->name, text, option->value);
    const char *known = suggest_choice(text, option);
    if (known || near.best)
        cli_hint(err, "did you mean --%s %s?", option->name, known ? known : near.best);
    return LLMQ_E_USAGE;
}

static enum llmq_status store_group(const struct option *option, const char *text,
                                    struct group_size *field, llmq_error *err) {
    static const char fit[] = "auto-fit", keep[] = ",keep";
    const size_t len = strlen(text), fit_len = sizeof fit - 1, keep_len = sizeof keep - 1;
    char copy[64];
    struct group_size group = {.columns = 128};
    group.keep = len > keep_len && strcmp(text + len - keep_len, keep) == 0;
    (void)snprintf(copy, sizeof copy, "%.*s", (int)(len - (group.keep ? keep_len : 0)), text);
    const char *number = len < sizeof copy ? copy : text;
    text = number;
    if (strncmp(text, fit, fit_len) == 0) {
        group.auto_fit = true;
        number = text[fit_len] == ':' ? text + fit_len + 1 : text[fit_len] ? "" : NULL;
    }
    if (number && !whole_int64(number, &group.columns)) {
        struct suggestion near = {.typed = text};
        suggestion_offer(&near, fit);
        bad_value(
            option, text,
            "a group size: a number of columns, -1, auto-fit or auto-fit:N, and ,keep behind it",
            err);
        if (near.best && strcmp(near.best, text) != 0)
            cli_hint(err, "did you mean --%s %s?", option->name, near.best);
        return LLMQ_E_USAGE;
    }
    if (group.columns != -1 || group.auto_fit) {
        enum llmq_status status = check_range(option, number, (double)group.columns, err);
        if (status != LLMQ_OK)
            return status;
    }
    *field = group;
    return LLMQ_OK;
}

/* A number from 0 to 1 at the beginning of `text`; NULL when there is none, else what follows. */
static const char *unit_number(const char *text, double *out) {
    char *end = NULL;
    if (!strchr("0123456789.", *text) || !*text)
        return NULL;
    *out = strtod(text, &end);
    return *out >= 0 && *out <= 1 ? end : NULL;
}

static enum llmq_status store_correct(const struct option *option, const char *text,
                                      struct correct_strength *field, llmq_error *err) {
    struct correct_strength s = {.mode = CORRECT_FIXED};
    if (strcmp(text, "auto") == 0 || strcmp(text, "off") == 0) {
        s.mode = text[0] == 'a' ? CORRECT_AUTO : CORRECT_OFF;
    } else {
        const char *rest = unit_number(text, &s.alpha);
        s.beta = s.alpha;
        if (rest && *rest == ',')
            rest = unit_number(rest + 1, &s.beta);
        if (!rest || *rest)
            return bad_value(option, text, "auto, off, or one or two numbers from 0 to 1", err);
    }
    *field = s;
    return LLMQ_OK;
}

/* The percentile stays where only the word is given. */
static enum llmq_status store_range(const struct option *option, const char *text,
                                    struct range_choice *field, llmq_error *err) {
    static const char word[] = "percentile:";
    const size_t len = sizeof word - 1;
    const bool numbered = strncmp(text, word, len) == 0;
    if (!numbered)
        return store_choice(option, text, &field->search, err);
    char *end = NULL;
    const double percentile = strtod(text + len, &end);
    if (strspn(text + len, "0123456789.") != strlen(text + len) || !text[len] || *end ||
        !(percentile > option->min && percentile <= option->max))
        return cli_fail(err, LLMQ_E_USAGE,
                        "--%s: '%s': expected a number above %g, %g at most, behind the colon",
                        option->name, text, option->min, option->max);
    field->percentile = percentile;
    return store_choice(option, "percentile", &field->search, err);
}

static enum llmq_status store_list(const struct option *option, const char *text,
                                   struct value_list *field, llmq_error *err) {
    if (field->count == VALUES_MOST)
        return cli_fail(err, LLMQ_E_USAGE, "--%s: given more than %d times", option->name,
                        VALUES_MOST);
    if (!*text)
        return cli_fail(err, LLMQ_E_USAGE, "--%s: the value is empty", option->name);
    field->values[field->count++] = (struct given_value){option->name, text};
    return LLMQ_OK;
}

static enum llmq_status store_counts(const struct option *option, const char *text,
                                     struct count_list *field, llmq_error *err) {
    struct count_list list = {0};
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        char number[24];
        int64_t value;
        snprintf(number, sizeof number, "%.*s", (int)strcspn(at, ","), at);
        if (!whole_int64(number, &value) || list.count == COUNTS_MOST)
            return bad_value(option, text, "a list of whole numbers, as 1,8,64", err);
        const enum llmq_status status = check_range(option, number, (double)value, err);
        if (status != LLMQ_OK)
            return status;
        list.values[list.count++] = (int)value;
    }
    *field = list;
    return LLMQ_OK;
}

/* A number from 0 on at the beginning of `text`; NULL when there is none, else what follows. */
static const char *plain_number(const char *text, double *out) {
    const size_t len = strspn(text, "0123456789.");
    char *end = NULL;
    *out = len > 0 ? strtod(text, &end) : 0;
    return end == text + len ? end : NULL;
}

static enum llmq_status store_link(const struct option *option, const char *text,
                                   struct link_rate *field, llmq_error *err) {
    static const char letters[] = "KMGT";
    struct link_rate link = *field;
    const char *rest = plain_number(text, &link.bits);
    const char *letter = rest && *rest ? strchr(letters, toupper((unsigned char)*rest)) : NULL;
    for (ptrdiff_t i = 0; letter && i <= letter - letters; i++)
        link.bits *= 1000;
    rest = letter ? rest + 1 : rest;
    if (rest && *rest == ':')
        rest = plain_number(rest + 1, &link.microseconds);
    if (!rest || *rest || !(link.bits > 0))
        return bad_value(option, text,
                         "a rate: bits a second, as 25G, and microseconds of a message, as 25G:30",
                         err);
    *field = link;
    return LLMQ_OK;
}

enum llmq_status option_store(const struct option *option, const char *text, void *args,
                              llmq_error *err) {
    void *field = field_of(option, args);
    switch (option->kind) {
    case OPTION_ON:
    case OPTION_OFF:
        *(bool *)field = option->kind == OPTION_ON;
        return LLMQ_OK;
    case OPTION_TEXT:
        if (!*text)
            return cli_fail(err, LLMQ_E_USAGE, "--%s: the value is empty", option->name);
        *(const char **)field = text;
        return LLMQ_OK;
    case OPTION_INT:
        return store_int(option, text, field, err);
    case OPTION_REAL:
        return store_real(option, text, field, err);
    case OPTION_SIZE:
        return store_size(option, text, field, err);
    case OPTION_CHOICE:
        return store_choice(option, text, field, err);
    case OPTION_GROUP:
        return store_group(option, text, field, err);
    case OPTION_CORRECT:
        return store_correct(option, text, field, err);
    case OPTION_RANGE:
        return store_range(option, text, field, err);
    case OPTION_LIST:
        return store_list(option, text, field, err);
    case OPTION_COUNTS:
        return store_counts(option, text, field, err);
    case OPTION_LINK:
        return store_link(option, text, field, err);
    }
    return cli_fail(err, LLMQ_E_USAGE, "--%s: unknown kind of option", option->name);
}

static void show_size(uint64_t bytes, char *buf, size_t size) {
    static const char *const suffixes[] = {"", "K", "M", "G"};
    size_t unit = 0;
    while (bytes && bytes % 1024 == 0 && unit < 3) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, size, "%" PRIu64 "%s", bytes, suffixes[unit]);
}

static void show_real(const struct option *option, double value, char *buf, size_t size) {
    const char *word = word_of(option, value);
    if (word)
        snprintf(buf, size, "%s", word);
    else
        snprintf(buf, size, "%g", value);
}

static void show_choice(const struct option *option, int value, char *buf, size_t size) {
    for (const struct choice *c = option->choices; c->word; c++)
        if (c->value == value)
            snprintf(buf, size, "%s", c->word);
}

static void show_group(const struct group_size *group, char *buf, size_t size) {
    snprintf(buf, size, "%s%" PRId64 "%s", group->auto_fit ? "auto-fit:" : "", group->columns,
             group->keep ? ",keep" : "");
}

static void show_correct(const struct correct_strength *s, char *buf, size_t size) {
    static const char *const words[] = {"", "off", "auto"};
    if (s->mode == CORRECT_FIXED)
        snprintf(buf, size, "%g,%g", s->alpha, s->beta);
    else
        snprintf(buf, size, "%s", words[s->mode]);
}

/* The first one: there is none by default. */
static void show_list(const struct value_list *list, char *buf, size_t size) {
    if (list->count > 0)
        snprintf(buf, size, "%s", list->values[0].text);
}

static void show_counts(const struct count_list *list, char *buf, size_t size) {
    for (size_t i = 0, len = 0; i < list->count && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%d", i > 0 ? "," : "", list->values[i]);
}

static void show_link(const struct link_rate *link, char *buf, size_t size) {
    if (link->bits > 0)
        snprintf(buf, size, "%gG:%g", link->bits / 1e9, link->microseconds);
}

void option_show(const struct option *option, const void *args, char *buf, size_t size) {
    const void *field = field_in(option, args);
    buf[0] = '\0';
    switch (option->kind) {
    case OPTION_ON:
    case OPTION_OFF:
        break;
    case OPTION_TEXT:
        if (*(const char *const *)field)
            snprintf(buf, size, "%s", *(const char *const *)field);
        break;
    case OPTION_INT:
        snprintf(buf, size, "%" PRId64, *(const int64_t *)field);
        break;
    case OPTION_REAL:
        show_real(option, *(const double *)field, buf, size);
        break;
    case OPTION_SIZE:
        show_size(*(const uint64_t *)field, buf, size);
        break;
    case OPTION_CHOICE:
        show_choice(option, *(const int *)field, buf, size);
        break;
    case OPTION_GROUP:
        show_group(field, buf, size);
        break;
    case OPTION_CORRECT:
        show_correct(field, buf, size);
        break;
    case OPTION_RANGE:
        show_choice(option, ((const struct range_choice *)field)->search, buf, size);
        break;
    case OPTION_LIST:
        show_list(field, buf, size);
        break;
    case OPTION_COUNTS:
        show_counts(field, buf, size);
        break;
    case OPTION_LINK:
        show_link(field, buf, size);
        break;
    }
}
