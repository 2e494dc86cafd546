/* SPDX-License-Identifier: Apache-2.0 */
/* The matcher of regular expressions: see expr.h and expr_program.h.
 *
 * It runs the program by trying, in order of preference, and going back. What is left to try lies
 * on a stack of frames: remaining ways of an alternative, how far a loop can give back or go on,
 * and values of registers to restore. Bodies of lookarounds and atomic groups run by recursion, as
 * deep as the expression nests, and drop their frames when they succeed. Every frame taken back and
 * every run of characters scanned costs steps; a search that needs more than the limit is an error,
 * so that no expression can hang. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "text/expr_program.h"
#include "text/utf8.h"

#define STEPS_MAX      10000000u /* of one search, as the engine's limit on retries */
#define STEPS_PER_BYTE 64u       /* and more for a longer text */
#define FRAMES_MAX     ((size_t)1 << 22)

struct frame {
    uint32_t pc;
    uint32_t left; /* ALT: the list of ways; LOOP, lazy: how many more */
    size_t pos;
    size_t floor; /* LOOP, greedy: where giving back ends; MARK: the register's value */
};

struct expr_scratch {
    struct frame *frames;
    size_t count, cap;
    size_t *registers;
    size_t register_cap;
    bool saw_end; /* the search asked what comes after the text */
};

enum outcome { FAILED, MATCHED, STOPPED };

struct matcher {
    const struct expr *r;
    struct expr_scratch *s;
    const char *text;
    size_t len;
    size_t from;   /* where the search began */
    size_t target; /* where the body of a lookbehind must end */
    uint64_t steps, limit;
    enum llmq_status status;
    llmq_error *err;
};

enum llmq_status expr_scratch_create(struct expr_scratch **out, llmq_error *err) {
    *out = calloc(1, sizeof **out);
    return *out ? LLMQ_OK : error_memory(err, "pattern matching");
}

bool expr_saw_end(const struct expr_scratch *s) {
    return s->saw_end;
}

void expr_scratch_free(struct expr_scratch **s) {
    if (*s) {
        free((*s)->frames);
        free((*s)->registers);
        free(*s);
    }
    *s = NULL;
}

/* --- frames ----------------------------------------------------------------------------------- */

static enum outcome give_up(struct matcher *m, const char *why) {
    m->status =
        error_set(m->err, LLMQ_E_UNSUPPORTED,
                  "the tokenizer's regular expression gives up near byte %zu: %s", m->from, why);
    return STOPPED;
}

static enum outcome grow(struct matcher *m) {
    size_t cap = m->s->cap * 2 + 256;
    struct frame *frames = NULL;
    if (cap > FRAMES_MAX)
        return give_up(m, "it needs too much memory");
    frames = realloc(m->s->frames, cap * sizeof *frames);
    if (!frames) {
        m->status = error_memory(m->err, "pattern matching");
        return STOPPED;
    }
    m->s->frames = frames;
    m->s->cap = cap;
    return MATCHED;
}

/* STOPPED when there is no room, else MATCHED. */
static inline enum outcome push(struct matcher *m, struct frame f) {
    if (m->s->count == m->s->cap && grow(m) == STOPPED)
        return STOPPED;
    m->s->frames[m->s->count++] = f;
    return MATCHED;
}

/* --- pieces ----------------------------------------------------------------------------------- */

/* Length of the character of a table at `pos`, or 0. */
static inline size_t one_of(const struct matcher *m, uint32_t table, size_t pos) {
    uint32_t cp = 0;
    if (pos >= m->len) {
        m->s->saw_end = true;
        return 0;
    }
    size_t n = utf8_decode(m->text + pos, &cp);
    return code_table_has(&m->r->tables[table], cp) ? n : 0;
}

/* Go on by up to `max` characters of a table from *pos; how many there were. */
static inline uint32_t scan(struct matcher *m, uint32_t table, uint32_t max, size_t *pos) {
    const struct code_table *t = &m->r->tables[table];
    const char *text = m->text;
    size_t at = *pos, begin = *pos;
    uint32_t n = 0;
    while (n < max && at < m->len) {
        uint32_t cp = (unsigned char)text[at];
        size_t len = 1;
        if (cp >= 0x80)
            len = utf8_decode(text + at, &cp);
        if (!code_table_has(t, cp))
            break;
        at += len;
        n++;
    }
    m->s->saw_end = m->s->saw_end || (n < max && at >= m->len);
    m->steps += (at - begin) >> 5;
    *pos = at;
    return n;
}

static bool word_at(const struct matcher *m, size_t pos) {
    return one_of(m, m->r->word, pos) > 0;
}

static bool anchor_holds(const struct matcher *m, enum expr_anchor anchor, size_t pos) {
    bool end = pos == m->len;
    m->s->saw_end = m->s->saw_end || pos + 1 >= m->len;
    bool before = pos > 0 && anchor >= ANCHOR_WORD_EDGE &&
                  word_at(m, utf8_previous(m->text, pos)); /* a word character before */
    switch (anchor) {
    case ANCHOR_LINE_BEGIN:
        return pos == 0 || (!end && m->text[pos - 1] == '\n');
    case ANCHOR_LINE_END:
        return end || m->text[pos] == '\n';
    case ANCHOR_TEXT_BEGIN:
        return pos == 0;
    case ANCHOR_TEXT_END:
        return end;
    case ANCHOR_LAST_LINE_END:
        return end || (pos + 1 == m->len && m->text[pos] == '\n');
    case ANCHOR_SEARCH_BEGIN:
        return pos == m->from;
    case ANCHOR_WORD_EDGE:
        return before != word_at(m, pos);
    case ANCHOR_NO_WORD_EDGE:
        break;
    }
    return before == word_at(m, pos);
}

/* --- running ---------------------------------------------------------------------------------- */

static enum outcome run(struct matcher *m, uint32_t pc, size_t pos, size_t *end);

/* Does the body of a lookbehind match some text that ends at `pos`? */
static enum outcome look_behind(struct matcher *m, const struct expr_insn *insn, size_t pos) {
    size_t saved = m->target, begin = pos, end = 0;
    enum outcome found = FAILED;
    m->target = pos;
    for (uint32_t n = 0; found == FAILED; n++) {
        if (n >= insn->min)
            found = run(m, insn->a, begin, &end);
        if (begin == 0 || n == insn->max)
            break;
        begin = utf8_previous(m->text, begin);
        m->steps++;
    }
    m->target = saved;
    return found;
}

static enum outcome look(struct matcher *m, const struct expr_insn *insn, size_t pos) {
    size_t end = 0;
    enum outcome found = insn->behind ? look_behind(m, insn, pos) : run(m, insn->a, pos, &end);
    if (found == STOPPED)
        return STOPPED;
    return (found == MATCHED) != insn->negative ? MATCHED : FAILED;
}

/* Take what a loop takes at first, and leave a frame for the rest. */
static enum outcome enter_loop(struct matcher *m, uint32_t pc, size_t *pos) {
    const struct expr_insn *insn = &m->r->insns[pc];
    if (insn->min > 0 && scan(m, insn->a, insn->min, pos) < insn->min)
        return FAILED;
    size_t floor = *pos;
    uint32_t more = insn->max == EXPR_INFINITE ? EXPR_INFINITE : insn->max - insn->min;
    if (insn->mode == EXPR_LAZY)
        return more ? push(m, (struct frame){pc, more, *pos, 0}) : MATCHED;
    scan(m, insn->a, more, pos);
    if (insn->mode == EXPR_POSSESSIVE || *pos == floor)
        return MATCHED;
    return push(m, (struct frame){pc, 0, *pos, floor});
}

/* Another length for the loop of the topmost frame, which goes when there are no more: one longer
 * where it is lazy, else shorter until what follows can begin. */
static enum outcome retry_loop(struct matcher *m, struct frame *f, size_t *pos) {
    const struct expr_insn *insn = &m->r->insns[f->pc];
    const struct expr_first *first = &m->r->insns[insn->next].first;
    if (insn->mode == EXPR_LAZY) {
        size_t n = one_of(m, insn->a, f->pos);
        *pos = f->pos += n;
        f->left -= f->left != EXPR_INFINITE;
        m->s->count -= n == 0 || f->left == 0;
        return n ? MATCHED : FAILED;
    }
    while (f->pos > f->floor) {
        f->pos = utf8_previous(m->text, f->pos);
        m->steps++;
        if (!expr_first_has(first, (unsigned char)m->text[f->pos]))
            continue;
        *pos = f->pos;
        m->s->count -= f->pos == f->floor;
        return MATCHED;
    }
    m->s->count--;
    return FAILED;
}

/* Choose the first of a list of ways for the ALT `pc`, and leave a frame for the others. */
static inline enum outcome choose(struct matcher *m, uint32_t pc, uint32_t list, size_t pos,
                                  uint32_t *next) {
    const uint32_t *ways = m->r->ways + list;
    if (list == 0)
        return FAILED;
    *next = ways[0];
    return ways[1] ? push(m, (struct frame){pc, list + 1, pos, 0}) : MATCHED;
}

/* Go back to the latest choice above `base`: where and with what to go on. */
static enum outcome back(struct matcher *m, size_t base, uint32_t *pc, size_t *pos) {
    while (m->s->count > base) {
        struct frame *f = &m->s->frames[m->s->count - 1];
        const struct expr_insn *insn = &m->r->insns[f->pc];
        if (++m->steps > m->limit)
            return give_up(m, "too many steps");
        if (insn->op == EXPR_OP_MARK) {
            m->s->registers[insn->a] = f->floor;
            m->s->count--;
        } else if (insn->op == EXPR_OP_ALT) {
            struct frame top = *f;
            m->s->count--;
            *pos = top.pos;
            return choose(m, top.pc, top.left, top.pos, pc);
        } else if (retry_loop(m, f, pos) == MATCHED) {
            *pc = insn->next;
            return MATCHED;
        }
    }
    return FAILED;
}

/* One instruction at *pos; MATCHED: go on with *pc. */
static inline enum outcome step(struct matcher *m, uint32_t *pc, size_t *pos) {
    const struct expr *r = m->r;
    const struct expr_insn *insn = &r->insns[*pc];
    enum outcome outcome = MATCHED;
    size_t n = 0;
    uint32_t next = insn->next;
    switch (insn->op) {
    case EXPR_OP_STRING:
        m->s->saw_end = m->s->saw_end || m->len - *pos < insn->b;
        if (m->len - *pos < insn->b || memcmp(m->text + *pos, r->pool + insn->a, insn->b) != 0)
            return FAILED;
        *pos += insn->b;
        break;
    case EXPR_OP_SET:
        n = one_of(m, insn->a, *pos);
        outcome = n ? MATCHED : FAILED;
        *pos += n;
        break;
    case EXPR_OP_LOOP:
        outcome = enter_loop(m, *pc, pos);
        break;
    case EXPR_OP_ALT: {
        unsigned byte = *pos < m->len ? (unsigned char)m->text[*pos] : EXPR_END;
        m->s->saw_end = m->s->saw_end || byte == EXPR_END;
        outcome = choose(m, *pc, r->dispatch[insn->a][byte], *pos, &next);
        break;
    }
    case EXPR_OP_MARK:
        outcome = push(m, (struct frame){*pc, 0, *pos, m->s->registers[insn->a]});
        m->s->registers[insn->a] = *pos;
        break;
    case EXPR_OP_CHECK:
        next = m->s->registers[insn->a] == *pos ? next : insn->b;
        break;
    case EXPR_OP_LOOK:
        outcome = look(m, insn, *pos);
        break;
    case EXPR_OP_AHEAD:
        outcome = (one_of(m, insn->a, *pos) > 0) != insn->negative ? MATCHED : FAILED;
        break;
    case EXPR_OP_BEHIND:
        outcome = *pos == m->target ? MATCHED : FAILED;
        break;
    case EXPR_OP_ATOMIC:
        outcome = run(m, insn->a, *pos, pos);
        break;
    case EXPR_OP_ANCHOR:
        outcome = anchor_holds(m, (enum expr_anchor)insn->a, *pos) ? MATCHED : FAILED;
        break;
    case EXPR_OP_ACCEPT:
        break;
    }
    *pc = next;
    return outcome;
}

/* Run from `pc` to an ACCEPT; *end is the place there. */
static enum outcome run(struct matcher *m, uint32_t pc, size_t pos, size_t *end) {
    size_t base = m->s->count;
    while (m->r->insns[pc].op != EXPR_OP_ACCEPT) {
        enum outcome outcome = step(m, &pc, &pos);
        if (outcome == FAILED)
            outcome = back(m, base, &pc, &pos);
        if (outcome != MATCHED) {
            m->s->count = base;
            return outcome;
        }
    }
    m->s->count = base;
    *end = pos;
    return MATCHED;
}

/* --- searching -------------------------------------------------------------------------------- */

static enum llmq_status prepare(struct matcher *m) {
    size_t wanted = m->r->registers;
    m->s->count = 0;
    if (wanted <= m->s->register_cap)
        return LLMQ_OK;
    size_t *registers = realloc(m->s->registers, wanted * sizeof *registers);
    if (!registers)
        return error_memory(m->err, "pattern matching");
    memset(registers, 0, wanted * sizeof *registers);
    m->s->registers = registers;
    m->s->register_cap = wanted;
    return LLMQ_OK;
}

enum llmq_status expr_find(const struct expr *r, struct expr_scratch *s, const char *text,
                           size_t len, size_t from, struct expr_span *out, bool *found,
                           llmq_error *err) {
    struct matcher m = {.r = r, .s = s, .text = text, .len = len, .from = from, .err = err};
    const struct expr_first *first = &r->insns[r->entry].first;
    m.limit = STEPS_MAX + (uint64_t)STEPS_PER_BYTE * (len - from);
    *found = false;
    s->saw_end = false;
    enum llmq_status status = prepare(&m);
    for (size_t at = from; at <= len && status == LLMQ_OK;) {
        unsigned byte = at < len ? (unsigned char)text[at] : EXPR_END;
        s->saw_end = s->saw_end || at >= len;
        if (expr_first_has(first, byte)) {
            enum outcome outcome = run(&m, r->entry, at, &out->end);
            out->begin = at;
            *found = outcome == MATCHED;
            if (outcome != FAILED)
                return outcome == STOPPED ? m.status : LLMQ_OK;
        }
        uint32_t cp = 0;
        at += at < len ? utf8_decode(text + at, &cp) : 1;
    }
    return status;
}

/* An instruction that asks what comes before a place. */
static bool looks_back(const struct expr_insn *insn) {
    if (insn->op == EXPR_OP_LOOK || insn->op == EXPR_OP_BEHIND)
        return insn->behind || insn->op == EXPR_OP_BEHIND;
    return insn->op == EXPR_OP_ANCHOR && insn->a != ANCHOR_LINE_END && insn->a != ANCHOR_TEXT_END &&
           insn->a != ANCHOR_LAST_LINE_END;
}

bool expr_only_ahead(const struct expr *r) {
    for (uint32_t i = 1; i < r->count; i++)
        if (looks_back(&r->insns[i]))
            return false;
    return !expr_first_has(&r->insns[r->entry].first, EXPR_END); /* matches are not empty */
}
