/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of regular expressions to programs: see expr_program.h.
 *
 * Nodes are compiled from the last to the first, each knowing the instruction that follows it. So
 * every instruction can be given the set of bytes with which a match from there on can begin: it
 * chooses among alternatives with one look-up, and tells where a loop need not give back what it
 * took. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "text/expr_lexer.h"
#include "text/expr_program.h"
#include "text/utf8.h"

#define INSNS_MAX (1u << 14)

struct compiler {
    struct expr *r;
    struct expr_tree *tree;
    struct expr_first *leads; /* [tables] bytes that begin a member */
    llmq_error *err;
    enum llmq_status status;
};

/* --- growing ---------------------------------------------------------------------------------- */

static bool out_of_memory(struct compiler *c) {
    c->status = error_memory(c->err, "a regular expression");
    return false;
}

/* Room for `more` elements after `count` of `size` bytes. */
static bool reserve(struct compiler *c, void **items, size_t count, size_t *cap, size_t more,
                    size_t size) {
    if (count + more <= *cap)
        return true;
    size_t wanted = *cap * 2 + more + 16, bytes = 0;
    void *grown = checked_mul_size(wanted, size, &bytes) ? realloc(*items, bytes) : NULL;
    if (!grown)
        return out_of_memory(c);
    *items = grown;
    *cap = wanted;
    return true;
}

/* A new instruction, or 0. */
static uint32_t emit(struct compiler *c, enum expr_op op, uint32_t next) {
    struct expr *r = c->r;
    size_t cap = r->cap;
    void *items = r->insns;
    if (r->count >= INSNS_MAX) {
        c->status =
            error_set(c->err, LLMQ_E_UNSUPPORTED,
                      "the regular expression is too large once its repetitions are spelled out");
        return 0;
    }
    bool ok = reserve(c, &items, r->count, &cap, 2, sizeof *r->insns);
    r->insns = items;
    r->cap = (uint32_t)cap;
    if (!ok)
        return 0;
    r->count += r->count == 0;
    r->insns[r->count] = (struct expr_insn){.op = op, .next = next};
    if (next)
        r->insns[r->count].first = r->insns[next].first;
    return r->count++;
}

static struct expr_insn *insn_at(struct compiler *c, uint32_t i) {
    return &c->r->insns[i];
}

/* --- what a match begins with ----------------------------------------------------------------- */

static void first_add(struct expr_first *f, unsigned byte) {
    f->bits[byte >> 6] |= (uint64_t)1 << (byte & 63);
}

static void first_union(struct expr_first *f, const struct expr_first *other) {
    for (int i = 0; i < 5; i++)
        f->bits[i] |= other->bits[i];
}

static bool first_disjoint(const struct expr_first *a, const struct expr_first *b) {
    for (int i = 0; i < 5; i++)
        if (a->bits[i] & b->bits[i])
            return false;
    return true;
}

static const struct expr_first first_any = {
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static unsigned lead_byte(uint32_t cp) {
    char bytes[4];
    utf8_encode(cp, bytes);
    return (unsigned char)bytes[0];
}

/* Lead bytes grow with the code points. */
static struct expr_first leads_of(const struct code_set *s) {
    struct expr_first f = {{0}};
    for (size_t i = 0; i < s->count; i++)
        for (unsigned b = lead_byte(s->ranges[i].first); b <= lead_byte(s->ranges[i].last); b++)
            first_add(&f, b);
    return f;
}

/* --- tables ----------------------------------------------------------------------------------- */

static bool same_set(const struct code_set *a, const struct code_set *b) {
    return a->count == b->count &&
           (a->count == 0 || memcmp(a->ranges, b->ranges, a->count * sizeof *a->ranges) == 0);
}

/* Tables for all the sets of the tree; nodes of equal sets share one. */
static enum llmq_status build_tables(struct compiler *c) {
    struct expr_tree *t = c->tree;
    enum llmq_status status = LLMQ_OK;
    uint32_t *shared = calloc(t->set_count + 1, sizeof *shared);
    c->r->tables = calloc(t->set_count + 1, sizeof *c->r->tables);
    c->leads = calloc(t->set_count + 1, sizeof *c->leads);
    if (!shared || !c->r->tables || !c->leads)
        status = error_memory(c->err, "a regular expression");
    for (uint32_t i = 0; i < t->set_count && status == LLMQ_OK; i++) {
        uint32_t same = 0;
        while (same < i && !same_set(&t->sets[same], &t->sets[i]))
            same++;
        if (same < i) {
            shared[i] = shared[same];
            continue;
        }
        shared[i] = c->r->table_count++;
        c->leads[shared[i]] = leads_of(&t->sets[i]);
        status = code_table_build(&t->sets[i], &c->r->tables[shared[i]], c->err);
    }
    for (uint32_t i = 1; i < t->count && status == LLMQ_OK; i++)
        if (t->nodes[i].kind == EXPR_SET)
            t->nodes[i].code = shared[t->nodes[i].code];
    free(shared);
    return status;
}

/* --- instructions ----------------------------------------------------------------------------- */

static uint32_t compile(struct compiler *c, uint32_t node, uint32_t next);

static uint32_t compile_set(struct compiler *c, uint32_t table, uint32_t next) {
    uint32_t i = emit(c, EXPR_OP_SET, next);
    if (i) {
        insn_at(c, i)->a = table;
        insn_at(c, i)->first = c->leads[table];
    }
    return i;
}

/* Does nothing that can come from here on fail? */
static bool certain(struct compiler *c, uint32_t i) {
    while (insn_at(c, i)->op == EXPR_OP_LOOP && insn_at(c, i)->min == 0)
        i = insn_at(c, i)->next;
    return insn_at(c, i)->op == EXPR_OP_ACCEPT;
}

static uint32_t compile_loop(struct compiler *c, const struct expr_node *repeat, uint32_t table,
                             uint32_t next) {
    uint32_t i = emit(c, EXPR_OP_LOOP, next);
    if (!i)
        return 0;
    struct expr_insn *insn = insn_at(c, i);
    insn->a = table;
    insn->min = repeat->min;
    insn->max = repeat->max;
    insn->mode = repeat->lazy ? EXPR_LAZY : EXPR_GREEDY;
    if (!repeat->lazy && (certain(c, next) || first_disjoint(&c->leads[table], &insn->first)))
        insn->mode = EXPR_POSSESSIVE;
    if (repeat->min > 0)
        insn->first = c->leads[table];
    else
        first_union(&insn->first, &c->leads[table]);
    return i;
}

/* The run of characters that ends with child `last` of a CAT as one string: `chars` holds them. */
static uint32_t compile_string(struct compiler *c, const uint32_t *chars, size_t count,
                               uint32_t next) {
    struct expr *r = c->r;
    void *pool = r->pool;
    bool ok = reserve(c, &pool, r->pool_len, &r->pool_cap, count * 4, 1);
    r->pool = pool;
    uint32_t i = ok ? emit(c, EXPR_OP_STRING, next) : 0;
    if (!i)
        return 0;
    size_t begin = r->pool_len;
    for (size_t k = 0; k < count; k++)
        r->pool_len += utf8_encode(chars[k], r->pool + r->pool_len);
    insn_at(c, i)->a = (uint32_t)begin;
    insn_at(c, i)->b = (uint32_t)(r->pool_len - begin);
    insn_at(c, i)->first = (struct expr_first){{0}};
    first_add(&insn_at(c, i)->first, (unsigned char)r->pool[begin]);
    return i;
}

/* Append the list of those of `ways` that can match at `byte`, ended by 0, unless it is equal to
 * the list at `same`; its place, 0 where it is empty. */
static bool append_list(struct compiler *c, const uint32_t *ways, uint32_t count, unsigned byte,
                        uint32_t same, uint32_t *place) {
    struct expr *r = c->r;
    void *items = r->ways;
    size_t cap = r->way_cap;
    bool ok = reserve(c, &items, r->way_count, &cap, count + 2, sizeof *r->ways);
    r->ways = items;
    r->way_cap = (uint32_t)cap;
    if (!ok)
        return false;
    if (r->way_count == 0)
        r->ways[r->way_count++] = 0;
    uint32_t begin = r->way_count, n = 0;
    for (uint32_t k = 0; k < count; k++)
        if (expr_first_has(&insn_at(c, ways[k])->first, byte))
            r->ways[begin + n++] = ways[k];
    r->ways[begin + n] = 0;
    bool equal = same && memcmp(r->ways + same, r->ways + begin, (n + 1) * sizeof *r->ways) == 0;
    *place = n == 0 ? 0 : equal ? same : begin;
    r->way_count += *place == begin ? n + 1 : 0;
    return true;
}

/* Make instruction `alt` choose between `ways`. */
static bool set_ways(struct compiler *c, uint32_t alt, const uint32_t *ways, uint32_t count) {
    struct expr *r = c->r;
    void *items = r->dispatch;
    size_t cap = r->dispatch_cap;
    bool ok = reserve(c, &items, r->dispatch_count, &cap, 1, sizeof *r->dispatch);
    r->dispatch = items;
    r->dispatch_cap = (uint32_t)cap;
    if (!ok)
        return false;
    struct expr_insn *insn = insn_at(c, alt);
    insn->a = r->dispatch_count++;
    insn->first = (struct expr_first){{0}};
    for (unsigned byte = 0, same = 0; byte <= EXPR_END; byte++) {
        uint32_t *place = &r->dispatch[insn->a][byte];
        if (!append_list(c, ways, count, byte, same, place))
            return false;
        same = *place ? *place : same;
        if (*place)
            first_add(&insn->first, byte);
    }
    return true;
}

/* `a` before `b`. */
static uint32_t compile_choice(struct compiler *c, uint32_t a, uint32_t b) {
    const uint32_t ways[] = {a, b};
    uint32_t alt = a && b ? emit(c, EXPR_OP_ALT, 0) : 0;
    return alt && set_ways(c, alt, ways, 2) ? alt : 0;
}

/* The alternatives from `child` on; what does not fit is the last way. */
static uint32_t compile_alternatives(struct compiler *c, uint32_t child, uint32_t next) {
    uint32_t ways[EXPR_WAYS], count = 0;
    for (; child && count < EXPR_WAYS - 1; child = c->tree->nodes[child].next) {
        ways[count] = compile(c, child, next);
        if (!ways[count++])
            return 0;
    }
    if (child) {
        ways[count] = compile_alternatives(c, child, next);
        if (!ways[count++])
            return 0;
    }
    uint32_t alt = emit(c, EXPR_OP_ALT, 0);
    return alt && set_ways(c, alt, ways, count) ? alt : 0;
}

/* x*: a choice between another round and the end. A round that matched nothing is the last. The
 * first bytes of a round's end are not known before the choice is, so they are any. */
static uint32_t compile_star(struct compiler *c, uint32_t child, bool lazy, bool at_least_once,
                             uint32_t next) {
    uint32_t check = emit(c, EXPR_OP_CHECK, next);
    if (!check)
        return 0;
    uint32_t reg = c->r->registers++;
    insn_at(c, check)->first = first_any;
    insn_at(c, check)->a = reg;
    uint32_t body = compile(c, child, check);
    uint32_t mark = body ? emit(c, EXPR_OP_MARK, body) : 0;
    if (!mark)
        return 0;
    insn_at(c, mark)->a = reg;
    uint32_t choice = lazy ? compile_choice(c, next, mark) : compile_choice(c, mark, next);
    insn_at(c, check)->b = choice;
    return choice && at_least_once ? mark : choice;
}

static uint32_t compile_repeat(struct compiler *c, const struct expr_node *n, uint32_t next) {
    const struct expr_node *child = &c->tree->nodes[n->first];
    uint32_t end = next, times = n->min;
    if (child->kind == EXPR_SET)
        return compile_loop(c, n, child->code, next);
    if (n->max == EXPR_INFINITE) {
        next = compile_star(c, n->first, n->lazy, n->min > 0, next);
        times -= n->min > 0;
    }
    for (uint32_t i = n->min; n->max != EXPR_INFINITE && i < n->max && next; i++) {
        uint32_t more = compile(c, n->first, next);
        next = n->lazy ? compile_choice(c, end, more) : compile_choice(c, more, end);
    }
    for (uint32_t i = 0; i < times && next; i++)
        next = compile(c, n->first, next);
    return next;
}

/* A sequence, from its last child to the first; characters in a row become one string. */
static uint32_t compile_cat(struct compiler *c, const struct expr_node *n, uint32_t next) {
    const struct expr_node *nodes = c->tree->nodes;
    size_t count = 0;
    for (uint32_t k = n->first; k; k = nodes[k].next)
        count++;
    uint32_t *children = malloc((count + 1) * 2 * sizeof *children);
    if (!children) {
        out_of_memory(c);
        return 0;
    }
    uint32_t *chars = children + count + 1;
    count = 0;
    for (uint32_t k = n->first; k; k = nodes[k].next)
        children[count++] = k;
    while (count > 0 && next) {
        size_t run = 0;
        while (run < count && nodes[children[count - 1 - run]].kind == EXPR_CHAR)
            run++;
        for (size_t k = 0; k < run; k++)
            chars[k] = nodes[children[count - run + k]].code;
        next = run ? compile_string(c, chars, run, next) : compile(c, children[count - 1], next);
        count -= run ? run : 1;
    }
    free(children);
    return next;
}

/* --- looking around --------------------------------------------------------------------------- */

static uint32_t accept(struct compiler *c) {
    uint32_t i = emit(c, EXPR_OP_ACCEPT, 0);
    if (i)
        insn_at(c, i)->first = first_any;
    return i;
}

static uint32_t compile_look(struct compiler *c, const struct expr_node *n, uint32_t next) {
    const struct expr_node *set = n->behind ? NULL : expr_tree_lone_set(c->tree, n->first);
    uint32_t i = emit(c, set ? EXPR_OP_AHEAD : EXPR_OP_LOOK, next);
    if (!i)
        return 0;
    insn_at(c, i)->negative = n->negative;
    if (set) {
        insn_at(c, i)->a = set->code;
        return i;
    }
    uint64_t min = 0, max = 0;
    expr_tree_widths(c->tree, n->first, &min, &max);
    if (n->behind && min != max && expr_tree_has_condition(c->tree, n->first)) {
        c->status = error_set(c->err, LLMQ_E_UNSUPPORTED,
                              "regular expression: a lookbehind of several lengths with an anchor, "
                              "a lookaround or an atomic group in it is not supported");
        return 0;
    }
    insn_at(c, i)->behind = n->behind;
    insn_at(c, i)->min = (uint32_t)min;
    insn_at(c, i)->max = (uint32_t)max;
    uint32_t end = accept(c);
    if (end && n->behind)
        end = emit(c, EXPR_OP_BEHIND, end);
    uint32_t body = end ? compile(c, n->first, end) : 0;
    insn_at(c, i)->a = body;
    return body ? i : 0;
}

static uint32_t compile_atomic(struct compiler *c, const struct expr_node *n, uint32_t next) {
    uint32_t i = emit(c, EXPR_OP_ATOMIC, next);
    uint32_t end = i ? accept(c) : 0;
    uint32_t body = end ? compile(c, n->first, end) : 0;
    if (!body)
        return 0;
    insn_at(c, i)->a = body;
    insn_at(c, i)->first = insn_at(c, body)->first; /* anything where the body can be empty */
    return i;
}

static uint32_t compile_anchor(struct compiler *c, enum expr_anchor anchor, uint32_t next) {
    uint32_t i = emit(c, EXPR_OP_ANCHOR, next);
    if (i)
        insn_at(c, i)->a = anchor;
    return i;
}

/* The entry of `node` followed by instruction `next`, or 0. */
static uint32_t compile(struct compiler *c, uint32_t node, uint32_t next) {
    const struct expr_node *n = &c->tree->nodes[node];
    switch (n->kind) {
    case EXPR_EMPTY:
        return next;
    case EXPR_CHAR:
        return compile_string(c, &n->code, 1, next);
    case EXPR_SET:
        return compile_set(c, n->code, next);
    case EXPR_CAT:
        return compile_cat(c, n, next);
    case EXPR_ALT:
        return compile_alternatives(c, n->first, next);
    case EXPR_REPEAT:
        return compile_repeat(c, n, next);
    case EXPR_ATOMIC:
        return compile_atomic(c, n, next);
    case EXPR_LOOK:
        return compile_look(c, n, next);
    case EXPR_ANCHOR:
        break;
    }
    return compile_anchor(c, n->anchor, next);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Characters that are repeated are sets of one, so that all simple loops are alike; and \b needs
 * the set of word characters. */
static enum llmq_status add_sets(struct compiler *c, uint32_t *word_node) {
    struct expr_tree *t = c->tree;
    bool edge = false;
    for (uint32_t i = 1; i < t->count; i++) {
        struct expr_node *n = &t->nodes[i];
        edge = edge || (n->kind == EXPR_ANCHOR &&
                        (n->anchor == ANCHOR_WORD_EDGE || n->anchor == ANCHOR_NO_WORD_EDGE));
        if (n->kind != EXPR_REPEAT || t->nodes[n->first].kind != EXPR_CHAR)
            continue;
        struct code_set set = {0};
        code_set_add(&set, t->nodes[n->first].code, t->nodes[n->first].code);
        uint32_t made = expr_node_set(t, &set, c->err);
        code_set_free(&set);
        if (!made)
            return t->status;
        t->nodes[i].first = t->nodes[i].last = made;
    }
    if (edge) {
        struct code_set set = {0};
        expr_word_characters(&set);
        *word_node = expr_node_set(t, &set, c->err);
        code_set_free(&set);
    }
    return t->status;
}

static enum llmq_status compile_tree(struct compiler *c, uint32_t root) {
    enum llmq_status status = LLMQ_OK;
    uint32_t word_node = 0;
    LLMQ_TRY(add_sets(c, &word_node));
    LLMQ_TRY(build_tables(c));
    if (word_node)
        c->r->word = c->tree->nodes[word_node].code;
    uint32_t end = accept(c);
    c->r->entry = end ? compile(c, root, end) : 0;
    status = c->status;
cleanup:
    free(c->leads);
    return status;
}

enum llmq_status expr_compile(const char *text, size_t len, struct expr **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct expr_tree tree = {0};
    uint32_t root = 0;
    struct expr *r = calloc(1, sizeof *r);
    if (!r)
        return error_memory(err, "a regular expression");
    struct compiler c = {.r = r, .tree = &tree, .err = err};
    LLMQ_TRY(expr_parse(text, len, &tree, &root, err));
    LLMQ_TRY(compile_tree(&c, root));
    *out = r;
    r = NULL;
cleanup:
    expr_tree_free(&tree);
    expr_free(&r);
    return status;
}

void expr_free(struct expr **r) {
    if (*r) {
        for (uint32_t i = 0; i < (*r)->table_count; i++)
            code_table_free(&(*r)->tables[i]);
        free((*r)->tables);
        free((*r)->insns);
        free((*r)->pool);
        free((*r)->ways);
        free((*r)->dispatch);
        free(*r);
    }
    *r = NULL;
}
