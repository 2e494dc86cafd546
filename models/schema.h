/* SPDX-License-Identifier: Apache-2.0 */
/* The language that model families are written in.
 *
 * A decoder block is a straight line of rows. A row is one operation on the values of a token: what
 * it makes (`out`), what it reads (`in`), the module that it takes from the checkpoint, and under
 * which traits it is there at all. Values are assigned once. Whatever else a reader of the block
 * needs (widths, the order in which linears are quantized, which Hessian each of them takes, what
 * its output is added to, where a scale can be folded) is derived from the rows: see graph.h.
 *
 * Which key of config.json says which size, number or trait is written as rows as well: settings
 * for the model, rules for its layers. */
#ifndef LLMQ_MODELS_SCHEMA_H
#define LLMQ_MODELS_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

enum op {
    OP_END,    /* after the last row */
    OP_SAME,   /* out is another name for in0: no work */
    OP_NORM,   /* out = norm(in0), each of `groups` pieces of a row by itself */
    OP_LINEAR, /* out = number (in0 W^T) + b */
    OP_SPLIT, /* out0, out1, ... = the parts of in0, which lie in `groups` runs of all of them, each
               * times its number */
    OP_JOIN,  /* the inverse: out = in0, in1, ... in `groups` runs; all but in0 once for a run, or,
               * `dealt`, cut in as many pieces */
    OP_ROPE,  /* out = in0 turned to its position, `groups` heads, from column `skip` of each */
    OP_CLIP,  /* out = in0 within a bound of either sign */
    OP_ATTENTION, /* out = causal attention of in0 (q), in1 (k), in2 (v), of which a token sees all
                   * or those that in3 names; `lifts`: in3, a number for each head of keys, is added
                   * to the scores of a key; `name`: its sinks */
    OP_INDEX,     /* out = positions of the keys that a token sees: the best of in0 (queries, in
                   * `groups` heads) and in1 (one head of keys), heads weighed by in2 */
    OP_DIFFER, /* out = what in0 has beyond in1, each of `groups` pieces of a row normed by itself;
                * `name`: of the vectors that say how much of in1 is taken (graph/differ.h) */
    OP_ACT,    /* out = act(in0) */
    OP_GLU,    /* out = act(number in0) in1; a narrower in0 counts for as many entries each */
    OP_ADD,    /* out = stream_number in0 + number in1 */
    OP_SCALE, /* out = in0 times the one entry of the tensor `name`; `each`: times its entry for the
               * column */
    OP_SUM,   /* out = the sum of each of `groups` pieces of in0 */
    OP_TOKEN, /* out = what the tokens themselves say to the block, whatever came before it: of
               * tensors outside of the blocks (graph/token.h). It reads no value */
    OP_EMBEDDING, /* out = the embedding of the tokens, as the first block is given it. It reads no
                   * value */
    OP_CONV, /* out = act(causal convolution of in0 over a window's tokens, channel by channel) */
    OP_SCAN, /* out = Mamba-2's scan over a window's tokens of in0 (x), in1 (B), in2 (C) and in3
              * (time steps), heads of which share B and C by `groups`; `name`: of its vectors */
    OP_SELECTIVE, /* out = Mamba-1's scan of in0 (x), in1 (B), in2 (C) and in3 (time steps) */
    OP_LRU,       /* out = RG-LRU of in0; `name`: of the tensors of both */
    /* out = the gated delta rule over a window's tokens of in0 (q), in1 (k), in2 (v), in3 (betas
     * before their sigmoid) and in4 (time steps); `name`: of its vectors */
    OP_DELTA,
    /* out = lightning attention of in0 (q), in1 (k), in2 (v) over a window's tokens: without a
     * softmax, and every head forgets at a pace of its own, slower from block to block */
    OP_LIGHTNING,
    OP_ROUTER,  /* out = weights of the experts, from in0; 0: not chosen */
    OP_EXPERTS, /* out = sum of what the experts chosen by in1 make of in0: `body`, E to E_OUT */
    OP_COUNT
};

/* What flows through a block. The name also says what part a module plays: names in GGUF files,
 * linears that loaders fuse and how they are split over GPUs go by the value that a linear makes,
 * never by the module's name. */
/* clang-format off */
#define SCHEMA_VALUES(EACH)                                                                        \
    EACH(NONE)                                                                                     \
    EACH(X) EACH(ATTN_IN) EACH(QKV) EACH(QKV_CLIP) EACH(Q) EACH(K) EACH(V) EACH(Q_CLIP)            \
    EACH(K_CLIP) EACH(V_CLIP) EACH(Q_NORM) EACH(K_NORM) EACH(Q_ROT) EACH(K_ROT) EACH(Q_UNIT)       \
    EACH(K_UNIT) EACH(CONTEXT) EACH(ATTN_OUT) EACH(ATTN_POST) EACH(Y)                              \
    EACH(Q_A) EACH(Q_A_NORM) EACH(KV_A) EACH(KV_C) EACH(KV_C_NORM) EACH(KV_B) EACH(K_NOPE)         \
    EACH(K_PE)                                                                                     \
    EACH(MLP_IN) EACH(GATE_UP) EACH(GATE) EACH(UP) EACH(MID) EACH(MLP_OUT) EACH(MLP_POST)          \
    EACH(ROUTE) EACH(E) EACH(E_OUT) EACH(ROUTED) EACH(Y_ROUTED)                                    \
    EACH(SHARED_GATE) EACH(SHARED_UP) EACH(SHARED_MID) EACH(SHARED_OUT) EACH(SHARED_SWITCH)        \
    EACH(SHARED) EACH(Z)                                                                           \
    EACH(CONTEXT_NORM) EACH(ATTN_GATE) EACH(ATTN_GATED) EACH(MID_NORM) EACH(CONV_IN)               \
    EACH(CONV_OUT)                                                                                 \
    EACH(MIX_IN) EACH(MIX_Z) EACH(MIX_X) EACH(MIX_B) EACH(MIX_C) EACH(MIX_DT) EACH(SCAN)           \
    EACH(SCAN_GATED) EACH(SCAN_NORM) EACH(SCAN_OUT) EACH(MIX_OUT) EACH(MIX_XBC) EACH(X_IN)         \
    EACH(B_IN) EACH(C_IN) EACH(Y_MIX) EACH(STEP_IN) EACH(STEP_NORM) EACH(B_NORM)           \
    EACH(C_NORM)  \
    EACH(MIX_Q) EACH(MIX_K) EACH(MIX_V) EACH(BETA_FADE) EACH(BETA) EACH(FADE) EACH(Q_GATE)         \
    EACH(MIX_ACT)                                                                                  \
    EACH(INDEX_Q) EACH(INDEX_Q_ROT) EACH(INDEX_K) EACH(INDEX_K_NORM) EACH(INDEX_K_ROT)             \
    EACH(INDEX_GAIN) EACH(CHOICE) EACH(V_UNIT) EACH(MLP_SUM) EACH(Y_SUM) EACH(ROUTE_IN)            \
    EACH(EXPERTS_IN) EACH(ROUTED_POST) EACH(CHOICES) EACH(IDLE) EACH(IDLE_GAIN) EACH(IDLE_OUT)     \
    EACH(SHORTCUT) EACH(V_LEFT) EACH(V_RIGHT) EACH(V_PAIRS) EACH(V_TWICE) EACH(CONTEXT_LEFT)       \
    EACH(CONTEXT_RIGHT) EACH(EMBEDDED) EACH(ATTN_X) EACH(Q_LOW) EACH(K_LOW) EACH(V_LOW)            \
    EACH(UP_LOW) EACH(Q_MORE) EACH(K_MORE) EACH(V_MORE) EACH(UP_MORE) EACH(Q_SUM) EACH(K_SUM)      \
    EACH(V_SUM) EACH(UP_SUM) EACH(ADDED) EACH(MIX_SUM) EACH(LIFT) EACH(X_KEPT) EACH(Y_KEPT)        \
    EACH(STREAM) EACH(KEPT) EACH(KEPT_LOCAL) EACH(KEPT_GLOBAL) EACH(KEPT_OLD) EACH(KEPT_NEW)       \
    EACH(TOKEN) EACH(TOKEN_GATE) EACH(TOKEN_MID) EACH(TOKEN_OUT) EACH(TOKEN_POST) EACH(Y_TOKEN)    \
    EACH(STREAM_OUT)
/* clang-format on */
/* Where a block has two of something, such as attentions, what flows through the second of them has
 * names of its own: 2_Q beside Q. */
#define SCHEMA_NAME(name)   V_##name,
#define SCHEMA_SECOND(name) V_2_##name,
enum value { SCHEMA_VALUES(SCHEMA_NAME) SCHEMA_VALUES(SCHEMA_SECOND) V_COUNT };
#undef SCHEMA_NAME
#undef SCHEMA_SECOND

/* Sizes of a model, in entries. Those of the second part are made of the first (config_derive.c).
 */
enum dim {
    DIM_NONE,
    DIM_ONE,
    DIM_FOUR,
    DIM_VOCAB,
    DIM_HIDDEN,
    DIM_LAYERS,
    DIM_POSITIONS, /* the longest sequence that it was made for */
    DIM_HEADS,
    DIM_KV_HEADS,
    DIM_HEAD,       /* of one query, and of one key */
    DIM_ROT,        /* part of a head that is rotated */
    DIM_WINDOW,     /* tokens that a windowed layer sees; 0: there is no window */
    DIM_CHUNK,      /* tokens of a chunk that attention does not look beyond */
    DIM_CONV,       /* tokens that a convolution sees, the last its own */
    DIM_EXPAND,     /* a recurrent mixer is as wide as the model times this */
    DIM_SSM_INNER,  /* that width, where the file says it */
    DIM_SSM_HEADS,  /* of a state-space mixer, ... */
    DIM_SSM_HEAD,   /* ... the width of one, ... */
    DIM_SSM_RANK,   /* of the time steps of Mamba-1 */
    DIM_LRU,        /* of one head of an RG-LRU */
    DIM_SSM_STATE,  /* ... its state's other side, ... */
    DIM_SSM_GROUPS, /* ... and the groups of heads that share B and C */
    /* Of a gated delta rule: the heads of its keys, those of its values, which share them, and how
     * wide one is of either. */
    DIM_DELTA_KEY_HEADS,
    DIM_DELTA_VALUE_HEADS,
    DIM_DELTA_KEY,
    DIM_DELTA_VALUE,
    DIM_FFN,         /* inside the MLP */
    DIM_FFN_STEP,    /* FITTED_FFN is a multiple of this */
    DIM_EXPERTS,     /* how many */
    DIM_IDLE,        /* besides those, experts that make of a token what it was */
    DIM_TOP_K,       /* of all for a token */
    DIM_EXPERT_FFN,  /* inside one of them */
    DIM_N_SHARED,    /* experts that every token passes, kept as one MLP ... */
    DIM_SHARED_FFN,  /* ... with this inside */
    DIM_N_GROUPS,    /* of experts, and ... */
    DIM_TOP_GROUPS,  /* ... those of them that a token may choose from */
    DIM_Q_LORA,      /* latent of the queries */
    DIM_KV_LORA,     /* latent of keys and values */
    DIM_PE,          /* part of a head that is rotated, beside ... */
    DIM_NOPE,        /* ... that which is not */
    DIM_V_HEAD,      /* of one value */
    DIM_INDEX_HEADS, /* of an index of keys, ... */
    DIM_INDEX_HEAD,  /* ... the width of one, ... */
    DIM_INDEX_TOP,   /* ... and the keys that a token sees */
    DIM_LIFTED,      /* keys that a token sees where their scores are lifted, at most */
    DIM_ADAPTER,     /* of the latent of what a block adds to linears that it shares, and ... */
    DIM_SHARES,      /* ... sets of those that blocks take turns with (struct family, shared) */
    DIM_TOKEN,       /* of what a token itself says to a block, ... */
    DIM_TOKEN_VOCAB, /* ... and how many have something to say */
    /* made of others: */
    DIM_ATTN,        /* HEADS HEAD */
    DIM_KV,          /* KV_HEADS HEAD */
    DIM_ATTN2,       /* queries and gates in one */
    DIM_ATTN3,       /* queries, keys and values of as many heads in one */
    DIM_QKV,         /* ATTN + 2 KV */
    DIM_HEAD_PAIRS,  /* HEADS / 2, ... */
    DIM_KV_PAIRS,    /* ... KV_HEADS / 2 ... */
    DIM_KV_HALF,     /* ... and KV / 2; 0 where it is no whole number of heads */
    DIM_HIDDEN3,     /* 3 HIDDEN */
    DIM_FITTED_FFN,  /* FFN, or with T_FITTED_FFN what is made of it */
    DIM_FFN2,        /* gate and up in one */
    DIM_EXPERT_FFN2, /* the same of an expert */
    DIM_CHOICES,     /* EXPERTS + IDLE */
    DIM_VALUES,      /* KV_HEADS V_HEAD */
    DIM_MLA_NOPE,    /* HEADS NOPE */
    DIM_MLA_V,       /* HEADS V_HEAD */
    DIM_MLA_Q,       /* HEADS (NOPE + PE) */
    DIM_KV_A,        /* KV_LORA + PE */
    DIM_KV_B,        /* MLA_NOPE + MLA_V */
    DIM_INDEX_Q,     /* INDEX_HEADS INDEX_HEAD */
    DIM_DELTA_K,     /* DELTA_KEY_HEADS DELTA_KEY */
    DIM_DELTA_V,     /* DELTA_VALUE_HEADS DELTA_VALUE */
    DIM_DELTA_QKV,   /* 2 DELTA_K + DELTA_V */
    DIM_DELTA_IN,    /* DELTA_QKV + DELTA_V */
    DIM_DELTA_STEPS, /* two numbers for each of DELTA_VALUE_HEADS */
    DIM_SSM_X,       /* SSM_HEADS SSM_HEAD: what a state-space mixer has inside */
    DIM_SSM_X2,      /* twice that */
    DIM_SSM_DBC,     /* SSM_RANK + 2 SSM_STATE */
    DIM_SSM_BC,      /* SSM_GROUPS SSM_STATE */
    DIM_SSM_CONV,    /* SSM_X + 2 SSM_BC */
    DIM_SSM_IN,      /* SSM_X + SSM_CONV + SSM_HEADS */
    DIM_SHARED_FFN2, /* gate and up of SHARED_FFN in one */
    DIM_TOKEN_ALL,   /* LAYERS TOKEN */
    /* With T_KEPT: keys and values of the last layer with a window, of the last without one, of
     * both; and what goes from block to block, the hidden state with these behind it. */
    DIM_KEPT_LOCAL,
    DIM_KEPT_GLOBAL,
    DIM_KEPT,
    DIM_STREAM,
    DIM_COUNT
};

/* Numbers of a model. Where 0 stands for "none", it is said; the others are 1 then. */
enum number {
    NUM_ONE,
    NUM_EPS,         /* of norms, ... */
    NUM_POST_EPS,    /* ... and of those that say so */
    NUM_THETA,       /* base of the rotary frequencies */
    NUM_LOCAL_THETA, /* the same of windowed layers with T_LOCAL_ROPE */
    NUM_ROTARY,      /* part of a head that is rotated */
    NUM_ATTN_SCALE,  /* of the scores; 0: 1 / sqrt(width of a head) */
    NUM_ATTN_GAIN,   /* and times this */
    NUM_SOFT_CAP,    /* of the scores; 0: none */
    NUM_VALUES,      /* the values times this */
    NUM_ROUTE,       /* the logits of experts times this */
    NUM_FINAL_CAP,   /* of the logits; 0: none */
    NUM_CLIP,        /* of q, k and v; 0: none */
    NUM_EMBED,       /* the embedding times this */
    NUM_RESIDUAL,    /* what a branch adds to the stream, times this */
    NUM_LOGITS,      /* the logits times this */
    NUM_ROUTED,      /* the experts' weights times this */
    NUM_Q_LATENT,    /* queries that are made of a latent, and ... */
    NUM_KV_LATENT,   /* ... keys and values, times this */
    NUM_TEMPERATURE, /* of the queries of layers with T_HEATED, growing with ... */
    NUM_FLOOR,       /* ... the position over this (0: none), where ... */
    NUM_FIRST,       /* ... the first position has this number */
    NUM_FFN,         /* with T_FITTED_FFN: ... times this */
    NUM_GLU_LIMIT,   /* bound of gate and value of ACT_CLAMPED ... */
    NUM_GLU_SLOPE,   /* ... and the steepness of its gate */
    NUM_KEY,         /* the scores times this as well */
    NUM_ATTN_IN,     /* what attention's first linears make, ... */
    NUM_ATTN_OUT,    /* ... and what attention adds to the stream, times this */
    NUM_MIX_IN,      /* the same of the mixer beside it ... */
    NUM_MIX_OUT,
    NUM_MIX_Z, /* ... and of the parts of what its first linear makes */
    NUM_MIX_X,
    NUM_MIX_B,
    NUM_MIX_C,
    NUM_MIX_DT,
    NUM_GATE,     /* the MLP's gate, before its activation, ... */
    NUM_MLP,      /* ... and what the MLP adds, times this */
    NUM_MIX_EPS,  /* of norms inside a mixer */
    NUM_STEP_MIN, /* bounds of a scan's time steps; 0 and ... */
    NUM_STEP_MAX, /* ... infinity: there are none */
    /* What attention, linear attention and the MLP add to, and what they add, times these. */
    NUM_ATTN_STREAM,
    NUM_ATTN_BRANCH,
    NUM_LINEAR_STREAM,
    NUM_LINEAR_BRANCH,
    NUM_MLP_STREAM,
    NUM_MLP_BRANCH,
    /* Of what a token says to a block: the projection of its embedding, its row of the table, and
     * the sum of the two, times these. */
    NUM_TOKEN_PROJECTION,
    NUM_TOKEN_TABLE,
    NUM_TOKEN,
    NUM_COUNT
};

/* What is true of a model, or of one of its blocks: rows ask. */
typedef uint64_t trait_set; /* bits, of which a trait is one */
#define TRAIT(bit)       (UINT64_C(1) << (bit))
#define T_ALWAYS         TRAIT(0)
#define T_ATTENTION_BIAS TRAIT(1)
#define T_MLP_BIAS       TRAIT(2)
#define T_HEAD_BIAS      TRAIT(3)
#define T_QK_NORM        TRAIT(4)
#define T_PARALLEL       TRAIT(5) /* attention and MLP read the same stream */
#define T_Q_LORA         TRAIT(6)
#define T_CLIP           TRAIT(7)
#define T_NORM_TOPK      TRAIT(8)  /* the weights of the chosen experts add up to 1 */
#define T_TIED           TRAIT(9)  /* the output head is the embedding */
#define T_ALIBI          TRAIT(10) /* a bias by distance in place of positions, ... */
#define T_ALIBI_SCALED   TRAIT(11) /* ... added before the scores are scaled */
#define T_INTERLEAVED    TRAIT(12) /* rotary pairs are neighbours, not the halves of a head */
#define T_LOCAL_ROPE     TRAIT(13) /* windowed layers have rotary settings of their own */
#define T_SLIDING        TRAIT(14) /* the window is in use */
#define T_A              TRAIT(15) /* a family's own */
#define T_B              TRAIT(16)
#define T_C              TRAIT(17)
#define T_MSCALE         TRAIT(18) /* yarn's magnitude, mscale_all_dim, scales the scores */
#define T_CONV_BIAS      TRAIT(24)
#define T_MIXER_BIAS     TRAIT(25) /* of the linears of a recurrent mixer */
#define T_BETA_TWICE     TRAIT(31) /* betas of delta rules are within 0 and 2, not 1 */
#define T_FITTED_FFN     TRAIT(19) /* the MLP's width is two thirds of FFN, ... */
#define T_HEATED         TRAIT(20) /* queries grow with the position; a model's: by rotary settings */
#define T_BACKWARDS      TRAIT(22) /* heads rotate the other way round */
#define T_NTK_ALPHA      TRAIT(21) /* alpha of dynamic rotary settings raises their base */
#define T_TOKEN          TRAIT(26) /* tokens say something to every block themselves */
#define T_KEPT           TRAIT(27) /* keys and values go on to layers that have none of their own */
#define T_D              TRAIT(28) /* a family's own, as T_A */
/* of a block: */
#define T_WINDOW    TRAIT(32) /* attention reaches back a window, not to the beginning */
#define T_CHUNKED   TRAIT(33) /* attention stays within its chunk */
#define T_NO_ROPE   TRAIT(34)
#define T_SPARSE    TRAIT(35) /* experts in place of the MLP */
#define T_DENSE     TRAIT(37) /* an MLP, where others have experts or a mixer */
#define T_INDEXED   TRAIT(38) /* a token sees the keys that an index chooses */
#define T_KEYS_ONLY TRAIT(39) /* the values are the keys, before they are normed and turned */
#define T_RECURRENT TRAIT(36) /* the mixer of tokens is no softmax attention */
#define T_BORROWS   TRAIT(40) /* keys and values are those that an earlier layer kept */
#define T_WIDE      TRAIT(41) /* the MLP is twice as wide as in other layers */

/* out = (x - mean) / sqrt(variance + eps) * weight + bias, or parts of it. */
enum norm {
    NORM_OF_FAMILY,
    NORM_RMS,        /* no mean, no bias */
    NORM_RMS1,       /* the same, and 1 + weight */
    NORM_RMS_BARE,   /* the same, and no weight */
    NORM_LENGTH,     /* the same, of the sum of squares in place of their mean */
    NORM_LAYER,      /* all of it */
    NORM_LAYER1,     /* with 1 + weight */
    NORM_LAYER_W,    /* no bias */
    NORM_LAYER_BARE, /* neither weight nor bias */
};

enum act {
    ACT_OF_CONFIG,
    ACT_NONE, /* out = in */
    ACT_SILU,
    ACT_GELU,      /* by the error function */
    ACT_GELU_TANH, /* by its approximation */
    ACT_RELU,
    ACT_RELU2, /* relu(x)^2 */
    ACT_SIGMOID,
    ACT_SOFTPLUS, /* log(1 + e^x) */
    ACT_EXP,      /* e^x */
    ACT_XIELU,    /* of an ACT: by four numbers of the module that the row names */
    ACT_CLAMPED,  /* of a GLU: g sigmoid(NUM_GLU_SLOPE g) (u + 1), within NUM_GLU_LIMIT */
};

/* How a linear lies in the checkpoint. Experts may be stacked: one tensor `stack` for all of them,
 * [experts, rows, k] or [experts, k, rows], of whose rows the linear takes a part. */
enum storage {
    STORED_LINEAR, /* name.weight [n, k] */
    STORED_CONV1D, /* name.weight [k, n] */
    STORED_STACK,  /* [experts, rows, k] */
    STORED_STACK_T /* [experts, k, rows] */
};

/* The part of a stack's rows: gate and up may lie in one. */
enum stack_part { PART_WHOLE, PART_FIRST, PART_SECOND, PART_EVEN, PART_ODD };

/* How a router makes weights of its scores, and which experts it takes. */
enum score {
    SCORE_SOFTMAX, /* softmax over all; the largest are taken */
    SCORE_SIGMOID, /* of each by itself */
};

/* What a group of experts is chosen by. */
enum group_score { GROUP_BEST_TWO, GROUP_BEST }; /* the sum of its best two scores; the best */

enum { NODE_INPUTS = 5, NODE_OUTPUTS = 4, NODE_VECTORS = 5 };

/* A row. Zero fields say nothing; models/rows.h has the words that rows are written with. */
struct node {
    enum op op;
    enum value out[NODE_OUTPUTS], in[NODE_INPUTS];
    enum dim width[NODE_OUTPUTS]; /* of the outputs of LINEAR, SPLIT and ROUTER; others follow */
    enum dim groups;              /* DIM_NONE: one */
    enum dim skip;
    const char *name; /* of the module within the block; in a body, within the expert; of EXPERTS:
                       * what stands before that, with %d for the expert's number */
    /* Traits: all of `when` and none of `unless`, or the row is left out. What it would have made
     * is then another name for what it reads, unless another row makes it. */
    trait_set when, unless;
    trait_set bias; /* trait by which a linear or a convolution has a bias, 0: it never has */
    bool plain;     /* a linear that is never quantized */
    bool shared;    /* its tensors are of the set that blocks take turns with; %d in its name is the
                     * block's number among them */
    bool partly;    /* SPLIT: nobody need read all of the parts */
    bool dealt;     /* JOIN: a run has a piece of every part */
    bool halves;    /* ROPE: whatever pairs the model turns, here they are the halves of a head */
    enum storage storage;
    const char *stack, *stack_bias; /* tensors within the block; the bias is [experts, rows] */
    enum stack_part part;
    bool flat; /* the first two sides of the stack, or of a norm's weights, are one */
    enum norm norm;
    bool lifts;             /* ATTENTION: in3 is added to the scores */
    bool each;              /* a norm's weight is [groups, width]: every group has its own; SCALE */
    enum number eps_number; /* of a norm without `eps`; NUM_ONE: NUM_EPS */
    double eps; /* of a norm, 0: by `eps_number`; of a ROUTER: what its weights' sum has besides */
    enum act act;
    enum number stream_number;             /* ADD: the factor of in0; NUM_ONE */
    enum number number;                    /* the factor of LINEAR, ROUTER, GLU and ADD; NUM_ONE */
    enum number part_number[NODE_OUTPUTS]; /* of a SPLIT's parts */
    enum score score;
    enum group_score group_score;
    const char *weight;      /* what a norm calls its weight; NULL: ".weight" */
    const char *gains;       /* ROUTER: tensor [experts] that the weights are multiplied by */
    const char *choice_bias; /* ROUTER: tensor [experts] that is added where it chooses only, ... */
    bool choice_row;         /* ... or [1, experts] */
    bool scales_input;       /* EXPERTS: the weights scale what they read, not what they make */
    const struct node *body;
};

/* A key of config.json and what it says. */
struct setting {
    enum { SET_END, SET_DIM, SET_NUMBER, SET_TRAIT, SET_TRAIT_IF, SET_WORD } set;
    uint64_t what;    /* dim, number or trait. TRAIT: the key is true or false; TRAIT_IF: the
                       * trait holds where the key has a number other than 0; WORD: where it
                       * is `word` (0: that says nothing), and no other words are taken than
                       * those of the family's settings with the key */
    const char *key;  /* "a|b.c|d[0/2]": the first that is there and not null; [0/2] is the first
                       * entry of a list of two; NULL: none, `absent` */
    double absent;    /* value where the key is missing */
    enum dim same;    /* missing and no `absent`: as this size, ... */
    enum dim over;    /* ... divided by that, ... */
    int times;        /* ... times this (0: once) ... */
    enum dim by;      /* ... and times that, ... */
    int per;          /* ... divided by this and rounded up (0: not at all); a size that has such a
                       * fallback may also be "auto" */
    bool counts;      /* DIM: the key has a list or a text, whose length it is */
    bool infinite;    /* NUMBER: it may be Infinity */
    bool bf16;        /* NUMBER: it is rounded to bfloat16 */
    double power;     /* the value to this power; 0: as it is; a NUMBER that a key says also has
                       * `times`; ... */
    enum dim size;    /* ... a NUMBER: and times this size ... */
    double size_to;   /* ... to this power */
    double is;        /* TRAIT_IF: ... where it has this number, if it is not 0 */
    bool null_is_off; /* a key that is null says 0; else it reads as missing */
    bool may_be_none; /* DIM: 0 is a size, too, where a missing key is another */
    const char *word;
    trait_set when, unless; /* traits of settings before it; T_WINDOW: for layers with a window */
};

/* Which layers have a trait. Rules are applied in order. */
struct layer_rule {
    trait_set trait;
    enum {
        RULE_END,
        RULE_WORD,      /* those whose entry in the list `key` is `word`, or one of "a|b" */
        RULE_LETTER,    /* the same where `key` is a text with a letter for every layer */
        RULE_RUNS,      /* the same where `key` is [[words, times], ...]: words again and again */
        RULE_NUMBER,    /* those whose entry is the number `absent` */
        RULE_CYCLE,     /* as WORD, of a list that is taken again and again */
        RULE_PHASE,     /* those with i % key == offset, `phase` where that is missing */
        RULE_EVERY,     /* every key-th: (i + 1) % n == 0 */
        RULE_NOT_EVERY, /* the others */
        RULE_FROM,      /* from layer number `key` on */
        RULE_BEFORE,    /* those before it */
        RULE_BEHIND,    /* those behind it, none where it is negative */
        RULE_LAST,      /* the last `key` of all */
        RULE_AMONG,     /* those in the list `key` */
        RULE_NOT_AMONG, /* the others */
        RULE_ALL,
    } rule;
    const char *key, *word;
    enum number others; /* NUMBER: what the entries of the other layers have to be; NUM_ONE: any */
    double
        absent; /* EVERY, NOT_EVERY, FROM: where the key is missing; NAN: the rule says nothing */
    const char *offset; /* EVERY, NOT_EVERY: layers are counted from the number that this key says,
                         * and those before it are none of them, ... */
    int begin;          /* ... or from this one, ... */
    bool from_last;     /* EVERY: ... or from the last layer, which is the first of them */
    double phase;       /* PHASE: `offset` is the key of the remainder, this where it is missing */
    bool only;          /* WORD: no other word than those of the rules with this key is known */
    bool clears;        /* takes the trait away where it holds, and says nothing elsewhere */
    trait_set when;     /* traits of the model */
};

/* What rows are read with: a model's own. */
struct facts {
    int64_t dims[DIM_COUNT];
    double numbers[NUM_COUNT];
    trait_set traits; /* of the model */
    enum norm norm;   /* of rows that name none */
    enum act act;     /* of rows that name none */
};

/* Is the value one of those that flow through the second of two? And what it is called in the
 * first: V_Q of V_2_Q, and of V_Q. */
bool schema_is_second(enum value v);
enum value schema_first(enum value v);

/* "ATTN_IN" of V_ATTN_IN; "linear" of OP_LINEAR. Static storage. */
const char *schema_value_name(enum value v);
const char *schema_op_name(enum op op);

/* The name by which config files call an activation, and the other way round: ACT_OF_CONFIG when
 * the name is none of them. */
const char *schema_act_name(enum act act);
enum act schema_act_find(const char *name);

/* Which parts a norm has. */
bool norm_has_mean(enum norm norm);
bool norm_has_weight(enum norm norm);
bool norm_has_bias(enum norm norm);
bool norm_adds_one(enum norm norm);

#endif
