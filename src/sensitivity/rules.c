/* SPDX-License-Identifier: Apache-2.0 */
/* From the settings of parts to the rules of a recipe: see study.h.
 *
 * A module's name has the number of its block in it: "model.layers.3.mlp.down_proj". Names that
 * differ in nothing else and have the same settings become one rule, and so do names whose blocks
 * are the same; further numbers, those of experts, are any where the part has several of them. */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "sensitivity/study.h"

/* A name as an expression, in parts; owned. */
struct pattern {
    const llmq_setting *setting;
    char *before; /* the block's number, "model\.layers\." */
    char *number; /* "3"; "": there is none, and `before` is the whole name */
    char *behind; /* "\.mlp\.down_proj" */
};

struct patterns {
    struct pattern *list;
    size_t count, cap;
};

/* --- names ------------------------------------------------------------------------------------ */

static void put_escaped(struct strbuf *out, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        strbuf_printf(out, "%s%c", strchr("\\.^$|()[]{}*+?", text[i]) ? "\\" : "", text[i]);
}

/* Length of the component of a name at `text`, and is it a number? */
static size_t component(const char *text, bool *number) {
    const size_t len = strcspn(text, ".");
    *number = len > 0 && strspn(text, "0123456789") >= len;
    return len;
}

/* What stands behind the block's number: numbers as they are, or any. */
static char *behind_number(const char *text, bool any) {
    struct strbuf out = {0};
    while (*text) {
        bool number = false;
        const size_t dot = *text == '.', len = component(text + dot, &number);
        put_escaped(&out, ".", dot);
        if (any && number)
            strbuf_puts(&out, "\\d+");
        else
            put_escaped(&out, text + dot, len);
        text += dot + len;
    }
    return strbuf_take(&out);
}

/* Where the first number of a name is; its end when there is none. */
static const char *find_number(const char *name, size_t *len) {
    bool number = false;
    for (const char *at = name; *at; at += *len + (at[*len] == '.')) {
        *len = component(at, &number);
        if (number)
            return at;
    }
    *len = 0;
    return name + strlen(name);
}

/* Is there another module of the part whose name differs from this one's in later numbers only? */
static bool has_sibling(const llmq_part_settings *part, size_t module) {
    size_t len = 0, other_len = 0;
    const char *name = part->modules[module], *number = find_number(name, &len);
    char *mine = behind_number(number + len, true);
    bool found = false;
    for (size_t i = 0; mine && !found && i < part->module_count; i++) {
        const char *other = part->modules[i], *at = find_number(other, &other_len);
        char *theirs = behind_number(at + other_len, true);
        found = theirs && strcmp(name, other) != 0 && strcmp(mine, theirs) == 0;
        free(theirs);
    }
    free(mine);
    return found;
}

/* --- one pattern for each module, none twice -------------------------------------------------- */

static void pattern_free(struct pattern *p) {
    free(p->before);
    free(p->number);
    free(p->behind);
}

static void patterns_free(struct patterns *all) {
    for (size_t i = 0; i < all->count; i++)
        pattern_free(&all->list[i]);
    free(all->list);
}

static bool add_module(struct patterns *all, const llmq_part_settings *part, size_t module,
                       const llmq_setting *setting) {
    size_t len = 0;
    const char *name = part->modules[module], *number = find_number(name, &len);
    struct strbuf before = {0};
    put_escaped(&before, name, (size_t)(number - name));
    struct pattern p = {setting, strbuf_take(&before), strndup(number, len),
                        behind_number(number + len, has_sibling(part, module))};
    bool there = false;
    if (all->count == all->cap) {
        const size_t cap = all->cap ? 2 * all->cap : 64;
        struct pattern *list = realloc(all->list, cap * sizeof *list);
        if (!list)
            goto failed;
        all->list = list;
        all->cap = cap;
    }
    if (!p.before || !p.number || !p.behind)
        goto failed;
    /* modules of one part that differ in numbers which are any follow each other, or nearly */
    for (size_t i = all->count; i > 0 && !there && all->list[i - 1].setting == setting; i--)
        there = strcmp(all->list[i - 1].number, p.number) == 0 &&
                strcmp(all->list[i - 1].behind, p.behind) == 0;
    if (there)
        pattern_free(&p);
    else
        all->list[all->count++] = p;
    return true;
failed:
    pattern_free(&p);
    return false;
}

/* --- rules ------------------------------------------------------------------------------------ */

static bool alike(const llmq_setting *a, const llmq_setting *b) {
    return a->bits == b->bits && a->group == b->group;
}

static int by_number(const void *left, const void *right) {
    const struct pattern *const *a = left, *const *b = right;
    const size_t x = strlen((*a)->number), y = strlen((*b)->number);
    return x != y ? (x < y ? -1 : 1) : strcmp((*a)->number, (*b)->number);
}

/* The numbers of the blocks that have the names of pattern `first` with its setting, "" when it is
 * not the first such: "(?:0|3)", "\d+" for all there are. NULL when memory is short. */
static char *numbers_of(const struct patterns *all, size_t first, const struct pattern **sorted) {
    const struct pattern *p = &all->list[first];
    struct strbuf out = {0};
    size_t count = 0, others = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct pattern *q = &all->list[i];
        if (strcmp(p->before, q->before) != 0 || strcmp(p->behind, q->behind) != 0)
            continue;
        if (!alike(p->setting, q->setting))
            others++;
        else if (count == 0 && i < first)
            return strdup("");
        else
            sorted[count++] = q;
    }
    qsort(sorted, count, sizeof *sorted, by_number);
    if (others == 0 && count > 1)
        return strdup("\\d+");
    for (size_t i = 0; i < count; i++)
        strbuf_printf(&out, "%s%s", i ? "|" : count > 1 ? "(?:" : "", sorted[i]->number);
    strbuf_puts(&out, count > 1 ? ")" : "");
    return strbuf_take(&out);
}

/* A rule on its way: the names behind the number of the same blocks. */
struct draft {
    const struct pattern *first;
    char *numbers;
    struct strbuf behind;
    int names;
};

static bool joins(const struct draft *d, const struct pattern *p, const char *numbers) {
    return alike(d->first->setting, p->setting) && strcmp(d->first->before, p->before) == 0 &&
           strcmp(d->numbers, numbers) == 0;
}

static void add_rule(struct json *rules, const struct draft *d, bool sym) {
    struct strbuf match = {0};
    struct json *rule = json_new_object();
    strbuf_printf(&match, "^%s%s%s%s%s$", d->first->before, d->numbers, d->names > 1 ? "(?:" : "",
                  d->behind.data ? d->behind.data : "", d->names > 1 ? ")" : "");
    char *text = strbuf_take(&match);
    json_add_string(rule, "match", text);
    json_add_int64(rule, "bits", d->first->setting->bits);
    json_add_int64(rule, "group", d->first->setting->group);
    json_add_bool(rule, "sym", sym);
    json_add(rules, NULL, text ? rule : NULL);
    if (!text)
        json_free(&rule);
    free(text);
}

static bool draft_rules(const struct patterns *all, struct draft *drafts, size_t *count) {
    const struct pattern **sorted = malloc((all->count + 1) * sizeof *sorted);
    bool ok = sorted != NULL;
    for (size_t i = 0; ok && i < all->count; i++) {
        char *numbers = numbers_of(all, i, sorted);
        size_t d = 0;
        ok = numbers != NULL;
        if (!numbers || (!*numbers && *all->list[i].number)) {
            free(numbers);
            continue;
        }
        while (d < *count && !joins(&drafts[d], &all->list[i], numbers))
            d++;
        if (d == *count)
            drafts[(*count)++] = (struct draft){.first = &all->list[i], .numbers = strdup(numbers)};
        ok = drafts[d].numbers != NULL;
        strbuf_printf(&drafts[d].behind, "%s%s", drafts[d].names++ ? "|" : "", all->list[i].behind);
        ok = ok && strbuf_ok(&drafts[d].behind);
        free(numbers);
    }
    free(sorted);
    return ok;
}

/* The rules that a run was given, copied. */
static void add_given(struct json *rules, const char *text) {
    struct json *given = NULL;
    if (!text || json_parse(text, strlen(text), "rules", &given, NULL) != LLMQ_OK)
        return;
    for (const struct json *r = json_first(json_get(given, "rules")); r; r = json_next(r))
        json_add(rules, NULL, json_copy(r));
    json_free(&given);
}

char *study_rules(const llmq_sensitivity *s, const int *chosen) {
    struct patterns all = {0};
    struct json *root = json_new_object(), *rules = json_new_array();
    size_t count = 0;
    bool ok = true;
    for (size_t p = 0; p < s->part_count; p++)
        for (size_t i = 0; ok && i < s->parts[p].module_count; i++)
            ok = add_module(&all, &s->parts[p], i, &s->parts[p].settings[chosen[p]]);
    struct draft *drafts = calloc(all.count + 1, sizeof *drafts);
    ok = ok && drafts && draft_rules(&all, drafts, &count);
    add_given(rules, s->rules);
    for (size_t i = 0; ok && i < count; i++)
        add_rule(rules, &drafts[i], s->sym);
    for (size_t i = 0; drafts && i < count; i++) {
        free(drafts[i].numbers);
        strbuf_free(&drafts[i].behind);
    }
    free(drafts);
    patterns_free(&all);
    json_add(root, "rules", rules);
    char *text = ok ? json_print(root, true) : NULL;
    json_free(&root);
    return text;
}
