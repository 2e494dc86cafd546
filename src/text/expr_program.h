/* SPDX-License-Identifier: Apache-2.0 */
/* The program that regular expressions are compiled to (expr_compile.c) and that expr_match.c
 * runs. */
#ifndef LLMQ_TEXT_EXPR_PROGRAM_H
#define LLMQ_TEXT_EXPR_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/code_set.h"
#include "text/expr.h"
#include "text/expr_tree.h"

#define EXPR_WAYS 32  /* alternatives of one EXPR_OP_ALT */
#define EXPR_END  256 /* the "byte" at the end of the text */

enum expr_op {
    EXPR_OP_ACCEPT, /* the end of the expression, or of the body of LOOK and ATOMIC */
    EXPR_OP_STRING, /* bytes [a, a + b) of the pool */
    EXPR_OP_SET,    /* one character of table a */
    EXPR_OP_LOOP,   /* min to max characters of table a; mode */
    EXPR_OP_ALT,    /* the ways that dispatch a lists for a byte, in order */
    EXPR_OP_MARK,   /* keep the place in register a */
    EXPR_OP_CHECK,  /* go on with b, or with `next` when the place is that in register a */
    EXPR_OP_LOOK,   /* body a ahead, or behind: min to max characters back; negative */
    EXPR_OP_AHEAD,  /* a character of table a comes next; negative */
    EXPR_OP_BEHIND, /* the body of a LOOK behind must end where that began */
    EXPR_OP_ATOMIC, /* body a */
    EXPR_OP_ANCHOR, /* anchor a */
};

enum expr_mode { EXPR_GREEDY, EXPR_LAZY, EXPR_POSSESSIVE };

/* The bytes with which what follows can begin, EXPR_END for nothing. */
struct expr_first {
    uint64_t bits[5];
};

static inline bool expr_first_has(const struct expr_first *f, unsigned byte) {
    return f->bits[byte >> 6] >> (byte & 63) & 1;
}

struct expr_insn {
    enum expr_op op;
    uint32_t next;
    uint32_t a, b;
    uint32_t min, max;
    enum expr_mode mode;
    bool negative, behind;
    struct expr_first first;
};

struct expr {
    struct expr_insn *insns; /* [0] is no instruction */
    uint32_t count, cap;
    uint32_t entry;
    char *pool;
    size_t pool_len, pool_cap;
    struct code_table *tables;
    uint32_t table_count;
    uint32_t *ways; /* lists of instructions, each ended by 0 */
    uint32_t way_count, way_cap;
    uint32_t (*dispatch)[EXPR_END + 1]; /* places in `ways`, 0 for none */
    uint32_t dispatch_count, dispatch_cap;
    uint32_t registers;
    uint32_t word; /* table of word characters, for \b; table_count when there is none */
};

#endif
