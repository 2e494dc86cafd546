/* SPDX-License-Identifier: Apache-2.0 */
/* Letters of regular expressions whose case does not count: see expr_lexer.h. */
#include "text/expr_lexer.h"
#include "text/unicode.h"

static uint32_t folded_letter(struct expr_parser *p, uint32_t cp) {
    struct code_set set = {0};
    code_set_add(&set, cp, cp);
    unicode_close_case(&set);
    return expr_new_set(p, &set);
}

/* `letters` one by one, appended to the CAT `parent`. */
static bool append_letters(struct expr_parser *p, uint32_t parent, const uint32_t *letters,
                           size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t letter = folded_letter(p, letters[i]);
        if (!letter)
            return false;
        expr_node_append(p->tree, parent, letter);
    }
    return true;
}

/* Append a choice to the CAT `parent`: one of `set`, which is emptied, or the letters. */
static bool append_choice(struct expr_parser *p, uint32_t parent, struct code_set *set,
                          const uint32_t *letters, size_t count) {
    uint32_t one = expr_new_set(p, set);
    uint32_t ways = one ? expr_wrap(p, EXPR_ALT, one) : 0;
    uint32_t way = ways ? expr_new(p, EXPR_CAT) : 0;
    if (!way || !append_letters(p, way, letters, count))
        return false;
    expr_node_append(p->tree, ways, way);
    expr_node_append(p->tree, parent, ways);
    return true;
}

/* Append what `letters[0 .. count)` match to the CAT `parent`, and report how many of them that
 * was: three or two that are the expansion of one other, or one that has an expansion itself, or
 * just one. As in the engine, there are no expansions in a lookbehind. */
static size_t append_folded(struct expr_parser *p, uint32_t parent, const uint32_t *letters,
                            size_t count) {
    struct code_set set = {0};
    uint32_t folded[3];
    for (size_t n = 0; n < 3 && n < count; n++)
        folded[n] = unicode_to_fold(letters[n]);
    for (size_t n = count < 3 ? count : 3; n >= 2 && !p->behind; n--)
        if (unicode_folds_from(folded, n, &set))
            return append_choice(p, parent, &set, folded, n) ? n : 0;
    size_t n = p->behind ? 0 : unicode_fold_expansion(letters[0], folded);
    if (n == 0)
        return append_letters(p, parent, letters, 1) ? 1 : 0;
    code_set_add(&set, letters[0], letters[0]);
    unicode_close_case(&set);
    return append_choice(p, parent, &set, folded, n) ? 1 : 0;
}

/* Resolve a run of marked letters, node `first` and those after it, into a CAT; *rest is the node
 * after the run. */
static uint32_t resolve_run(struct expr_parser *p, uint32_t first, uint32_t *rest) {
    uint32_t cat = expr_new(p, EXPR_CAT);
    for (uint32_t node = first; cat && node && expr_node_at(p, node)->fold;) {
        uint32_t letters[3], count = 0;
        for (uint32_t k = node; k && count < 3 && expr_node_at(p, k)->fold;
             k = expr_node_at(p, k)->next)
            letters[count++] = expr_node_at(p, k)->code;
        size_t used = append_folded(p, cat, letters, count);
        if (used == 0)
            return 0;
        for (; used > 0; used--)
            node = expr_node_at(p, node)->next;
        *rest = node;
    }
    return cat;
}

uint32_t expr_resolve_letter(struct expr_parser *p, uint32_t node) {
    uint32_t rest = 0;
    return resolve_run(p, node, &rest);
}

uint32_t expr_resolve_case(struct expr_parser *p, uint32_t branch) {
    bool any = false;
    for (uint32_t c = expr_node_at(p, branch)->first; c; c = expr_node_at(p, c)->next)
        any = any || expr_node_at(p, c)->fold;
    uint32_t copy = any ? expr_new(p, EXPR_CAT) : branch;
    for (uint32_t c = expr_node_at(p, branch)->first; any && copy && c;) {
        uint32_t next = expr_node_at(p, c)->next;
        uint32_t resolved = expr_node_at(p, c)->fold ? resolve_run(p, c, &next) : c;
        if (!resolved)
            return 0;
        expr_node_at(p, resolved)->next = 0;
        expr_node_append(p->tree, copy, resolved);
        c = next;
    }
    return copy;
}

uint32_t expr_add_expansions(struct expr_parser *p, struct code_set *set, uint32_t node) {
    uint32_t ways = 0;
    for (size_t i = 0; i < unicode_expansion_count() && node; i++) {
        uint32_t letters[3];
        if (!code_set_has(set, unicode_expansion_from(i)))
            continue;
        size_t n = unicode_fold_expansion(unicode_expansion_from(i), letters);
        uint32_t way = expr_new(p, EXPR_CAT);
        if (!way || !(ways = ways ? ways : expr_wrap(p, EXPR_ALT, node)))
            return 0;
        for (size_t k = 0; k < n; k++) {
            uint32_t letter = folded_letter(p, letters[k]);
            if (!letter)
                return 0;
            expr_node_append(p->tree, way, letter);
        }
        expr_node_append(p->tree, ways, way);
    }
    return ways ? ways : node;
}
