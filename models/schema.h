/* The language that model families are written in.
 *
 * A decoder block is a straight line of rows. A row is one operation on the values of a token: what
 * it makes (`out`), what it reads (`in`), the module that it takes from the checkpoint, and under
 * which traits it is there at all. Values are assigned once. Whatever else a reader of the block
 * needs (widths, the order in which linears are quantized, which Hessian each of them takes, what
 * its output is added to, where a scale can be folded) is derived from the rows: see graph.h. */
#ifndef LLMQ_MODELS_SCHEMA_H
#define LLMQ_MODELS_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

enum op {
    OP_END,    /* after the last row */
    OP_NORM,   /* out = norm(in0), each of `groups` pieces of a row by itself */
    OP_LINEAR, /* out = in0 W^T + b */
    OP_SPLIT,  /* out0, out1, ... = the parts of in0, which lie in `groups` runs of all of them */
    OP_JOIN,   /* the inverse: out = in0, in1, ... in `groups` runs; all but in0 once for a run */
    OP_ROPE,   /* out = in0 turned to its position, `groups` heads, from column `skip` of each */
    OP_CLIP,   /* out = in0 within a bound of either sign */
    OP_ATTENTION, /* out = causal attention of in0 (q), in1 (k), in2 (v) */
    OP_ACT,       /* out = act(in0) */
    OP_GLU,       /* out = act(in0) in1; in0 of width 1 counts for the whole row */
    OP_ADD,       /* out = in0 + in1 */
    OP_ROUTER,    /* out = weights of the experts, from in0 */
    OP_EXPERTS,   /* out = sum of what the experts chosen by in1 make of in0: `body`, E to E_OUT */
    OP_COUNT
};

/* What flows through a block. The name also says what part a module plays: names in GGUF files,
 * linears that loaders fuse and how they are split over GPUs go by the value that a linear makes,
 * never by the module's name. */
/* clang-format off */
#define SCHEMA_VALUES(EACH)                                                                        \
    EACH(NONE)                                                                                     \
    EACH(X) EACH(ATTN_IN) EACH(QKV) EACH(Q) EACH(K) EACH(V) EACH(Q_CLIP) EACH(K_CLIP) EACH(V_CLIP) \
    EACH(Q_NORM) EACH(K_NORM) EACH(Q_ROT) EACH(K_ROT) EACH(CONTEXT) EACH(ATTN_OUT) EACH(ATTN_POST) \
    EACH(Y)                                                                                        \
    EACH(Q_A) EACH(Q_A_NORM) EACH(KV_A) EACH(KV_C) EACH(KV_C_NORM) EACH(KV_B) EACH(K_NOPE)         \
    EACH(K_PE)                                                                                     \
    EACH(MLP_IN) EACH(GATE_UP) EACH(GATE) EACH(UP) EACH(MID) EACH(MLP_OUT) EACH(MLP_POST)          \
    EACH(ROUTE) EACH(E) EACH(E_OUT) EACH(ROUTED) EACH(Y_ROUTED)                                    \
    EACH(SHARED_GATE) EACH(SHARED_UP) EACH(SHARED_MID) EACH(SHARED_OUT) EACH(SHARED_SWITCH)        \
    EACH(SHARED) EACH(Z)
/* clang-format on */
#define SCHEMA_NAME(name) V_##name,
enum value { SCHEMA_VALUES(SCHEMA_NAME) V_COUNT };
#undef SCHEMA_NAME

/* Sizes of a model, in entries. */
enum dim {
    DIM_NONE,
    DIM_ONE,
    DIM_HIDDEN,
    DIM_HEADS,
    DIM_KV_HEADS,
    DIM_HEAD,       /* of one query, and of one key */
    DIM_ATTN,       /* HEADS HEAD */
    DIM_KV,         /* KV_HEADS HEAD */
    DIM_QKV,        /* ATTN + 2 KV */
    DIM_FFN,        /* inside the MLP */
    DIM_FFN2,       /* gate and up in one */
    DIM_EXPERTS,    /* how many */
    DIM_EXPERT_FFN, /* inside one of them */
    DIM_SHARED_FFN, /* inside those that every token passes */
    DIM_Q_LORA,     /* latent of the queries */
    DIM_KV_LORA,    /* latent of keys and values */
    DIM_PE,         /* part of a head that is rotated, beside ... */
    DIM_NOPE,       /* ... that which is not */
    DIM_KV_A,       /* KV_LORA + PE */
    DIM_KV_B,       /* MLA_NOPE + MLA_V */
    DIM_MLA_Q,      /* HEADS (NOPE + PE) */
    DIM_MLA_NOPE,   /* HEADS NOPE */
    DIM_MLA_V,      /* HEADS times the width of one value */
    DIM_COUNT
};

/* What is true of a model, or of one of its blocks: rows ask. Bits of a set. */
enum trait {
    T_ALWAYS = 1 << 0,
    T_ATTENTION_BIAS = 1 << 1,
    T_MLP_BIAS = 1 << 2,
    T_QK_NORM = 1 << 3,
    T_Q_LORA = 1 << 4,
    T_CLIP = 1 << 5,
    /* of a block: */
    T_WINDOW = 1 << 16, /* attention reaches back a window, not to the beginning */
    T_NO_ROPE = 1 << 17,
    T_SPARSE = 1 << 18, /* experts in place of the MLP */
};

enum { NODE_INPUTS = 3, NODE_OUTPUTS = 3 };

/* A row. Zero fields say nothing; models/rows.h has the words that rows are written with. */
struct node {
    enum op op;
    enum value out[NODE_OUTPUTS], in[NODE_INPUTS];
    enum dim width[NODE_OUTPUTS]; /* of the outputs of LINEAR, SPLIT and ROUTER; others follow */
    enum dim groups;              /* DIM_NONE: one */
    enum dim skip;
    const char *name; /* of the module within the block; in a body, within the expert */
    /* Traits: all of `when` and none of `unless`, or the row is left out. What it would have made
     * is then another name for what it reads, unless another row makes it. */
    unsigned when, unless;
    unsigned bias; /* trait by which a linear has a bias, 0: it never has */
    bool plain;    /* a linear that is never quantized */
    const struct node *body;
};

/* "ATTN_IN" of V_ATTN_IN; "linear" of OP_LINEAR. Static storage. */
const char *schema_value_name(enum value v);
const char *schema_op_name(enum op op);

#endif
