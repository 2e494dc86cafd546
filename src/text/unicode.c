/* SPDX-License-Identifier: Apache-2.0 */
/* Unicode properties and mappings: see unicode.h. */
#include "text/unicode.h"

#include <string.h>

#include "text/unicode_data.h"

#define NAME_MAX_LEN 64

/* --- properties ------------------------------------------------------------------------------- */

/* The name as the tables spell it; false when it cannot be one. */
static bool plain_name(const char *name, size_t len, char out[NAME_MAX_LEN]) {
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == ' ' || c == '-' || c == '_')
            continue;
        if (used + 1 == NAME_MAX_LEN || (unsigned char)c <= ' ' || (unsigned char)c >= 0x7f)
            return false;
        out[used++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    out[used] = '\0';
    return used > 0;
}

static bool has_name(const struct unicode_set *set, const char *name, size_t len) {
    for (const char *at = set->names; *at;) {
        size_t n = strcspn(at, " ");
        if (n == len && memcmp(at, name, len) == 0)
            return true;
        at += n + (at[n] == ' ');
    }
    return false;
}

static uint32_t next_number(const uint8_t **at) {
    uint32_t value = 0;
    unsigned shift = 0;
    for (; **at & 0x80; shift += 7)
        value |= (uint32_t)(*(*at)++ & 0x7f) << shift;
    return value | (uint32_t) * (*at)++ << shift;
}

static void add_ranges(const struct unicode_set *set, struct code_set *out) {
    const uint8_t *at = unicode_pool + set->at;
    uint32_t next = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t first = next + next_number(&at);
        uint32_t last = first + next_number(&at);
        code_set_add(out, first, last);
        next = last + 1;
    }
}

bool unicode_property(const char *name, size_t len, struct code_set *out) {
    char plain[NAME_MAX_LEN];
    if (!plain_name(name, len, plain))
        return false;
    for (size_t i = 0; i < unicode_set_count; i++) {
        if (!has_name(&unicode_sets[i], plain, strlen(plain)))
            continue;
        add_ranges(&unicode_sets[i], out);
        return true;
    }
    return false;
}

bool unicode_is_space(uint32_t cp) {
    return cp == ' ' || (cp >= '\t' && cp <= '\r') || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

/* --- case ------------------------------------------------------------------------------------- */

static uint32_t map(const struct unicode_run *runs, size_t count, uint32_t cp) {
    size_t lo = 0, hi = count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (runs[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == count || cp < runs[lo].first || (cp - runs[lo].first) % runs[lo].stride != 0)
        return cp;
    return (uint32_t)((int32_t)cp + runs[lo].delta);
}

uint32_t unicode_to_lower(uint32_t cp) {
    return map(unicode_lower, unicode_lower_count, cp);
}

uint32_t unicode_to_fold(uint32_t cp) {
    return map(unicode_fold, unicode_fold_count, cp);
}

static bool same_expansion(const struct unicode_expansion *a, const struct unicode_expansion *b) {
    return memcmp(a->to, b->to, sizeof a->to) == 0;
}

/* Code points with one expansion are alike, too. */
static void close_expansions(struct code_set *s, struct code_set *more) {
    for (size_t i = 0; i < unicode_fold_multi_count; i++) {
        const struct unicode_expansion *a = &unicode_fold_multi[i];
        if (!code_set_has(s, a->from))
            continue;
        for (size_t j = 0; j < unicode_fold_multi_count; j++)
            if (same_expansion(a, &unicode_fold_multi[j]))
                code_set_add(more, unicode_fold_multi[j].from, unicode_fold_multi[j].from);
    }
}

/* Twice over the pairs: from each member to what it folds to, and back from there. */
void unicode_close_case(struct code_set *s) {
    struct code_set more = {0};
    for (int back = 0; back < 2; back++) {
        for (size_t i = 0; i < unicode_fold_count; i++) {
            const struct unicode_run *r = &unicode_fold[i];
            for (uint32_t cp = r->first; cp <= r->last; cp += r->stride) {
                uint32_t folded = (uint32_t)((int32_t)cp + r->delta);
                if (code_set_has(s, back ? folded : cp))
                    code_set_add(&more, back ? cp : folded, back ? cp : folded);
            }
        }
        if (!back)
            close_expansions(s, &more);
        code_set_add_set(s, &more);
    }
    code_set_sort(s);
    code_set_free(&more);
}

bool unicode_folds_from(const uint32_t *to, size_t len, struct code_set *out) {
    bool found = false;
    for (size_t i = 0; i < unicode_fold_multi_count; i++) {
        const struct unicode_expansion *e = &unicode_fold_multi[i];
        if (memcmp(e->to, to, len * sizeof *to) != 0 || (len < 3 && e->to[len] != 0))
            continue;
        code_set_add(out, e->from, e->from);
        found = true;
    }
    return found;
}

size_t unicode_fold_expansion(uint32_t cp, uint32_t to[3]) {
    for (size_t i = 0; i < unicode_fold_multi_count; i++) {
        if (unicode_fold_multi[i].from != cp)
            continue;
        memcpy(to, unicode_fold_multi[i].to, sizeof unicode_fold_multi[i].to);
        return to[2] ? 3 : 2;
    }
    return 0;
}

size_t unicode_expansion_count(void) {
    return unicode_fold_multi_count;
}

uint32_t unicode_expansion_from(size_t i) {
    return unicode_fold_multi[i].from;
}
