/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a run goes: a clock that is read between one kind of work and the next.
 *
 * All time since the last reading is put down to the kind that the reading names, so that the kinds
 * add up to the run and none is counted twice. Readings come from one thread. */
#ifndef LLMQ_BASE_TALLY_H
#define LLMQ_BASE_TALLY_H

enum tally_kind {
    TALLY_PREPARE,     /* planning, reading text, allocating */
    TALLY_READ,        /* weights from the model's files */
    TALLY_LINEAR,      /* products with weights in the forward pass */
    TALLY_ATTENTION,   /* scores, softmax, product with the values */
    TALLY_SCAN,        /* recurrences */
    TALLY_ELEMENTWISE, /* norms, rotation, SiLU, additions */
    TALLY_SPILL,       /* activations in files */
    TALLY_MOMENTS,     /* H and the cross moments */
    TALLY_FACTOR,      /* Cholesky factors and inverses */
    TALLY_FOLD,        /* AWQ's search for scales */
    TALLY_CORRECT,     /* targets that make up for errors upstream */
    TALLY_SOLVE,       /* rounding: RTN, GPTQ, descent, errors */
    TALLY_TUNE,        /* slopes of scales, and their steps */
    TALLY_WRITE,       /* packing, writing, syncing, reading back */
    TALLY_KINDS
};

struct tally {
    double last; /* seconds of a monotonic clock */
    double seconds[TALLY_KINDS], flops[TALLY_KINDS];
};

/* Seconds of a monotonic clock. */
double tally_now(void);

/* Seconds that the calling thread has had the processor: what others run there does not count. */
double tally_thread_now(void);

void tally_start(struct tally *t);

/* Put the time since the last reading, and `flops` operations, down to `kind`. `t` may be NULL. */
void tally_read(struct tally *t, enum tally_kind kind, double flops);

const char *tally_name(enum tally_kind kind);

#endif
