/* SPDX-License-Identifier: Apache-2.0 */
/* The packed form of a quantized matrix, shared by the code that builds it and the kernels.
 *
 * Panels. Sixteen output rows form a panel, and a row is a lane: a 64-byte line holds one 32-bit
 * word per row, a word holds consecutive columns of that row (eight 4-bit or four 8-bit codes,
 * lowest bits first). A vector register then works on sixteen rows at once, every activation is
 * broadcast, and no sum across lanes is ever needed. The layout is the same for every instruction
 * set. 2- and 3-bit codes are stored in 4 bits. The columns of a panel lie in records, one for each
 * segment (see below): a line of scales, one per row, then the codes. So a panel is one stream, and
 * where all zero points are one, the only one.
 *
 * Columns. They are sorted by group and each group is padded with columns whose activation is 0 to
 * a multiple of QMAT_STEP, so any group size and any map of columns to groups runs through one
 * loop. A group is cut into segments: a segment is summed without scales and then folded with the
 * group's scale. A block is a run of segments that is summed on its own before it is added to the
 * result. Both bounds keep chains of roundings short: with u = 2^-24 the error of an output is at
 * most (QMAT_CHAIN + blocks + segments a block + 2) u times the sum of |w x|.
 *
 * Decoding. With e = 23 - b, the bits of a code that sits at bit b of a word, OR-ed into the
 * float32 2^e, make 2^e + code exactly; subtracting 2^e + zero leaves code - zero, again exactly.
 * A word needs no shift for codes below bit 23: one shift a word serves the upper half.
 *
 * Activations of 8 bits. Each row of activations is quantized segment by segment to signed bytes
 * with one scale. Instructions multiply four unsigned codes with four signed bytes and add the
 * products to one 32-bit lane; codes stay unsigned and the sum starts at -zero * sum of the bytes,
 * which is one number for all rows of weights where they have one zero point, as symmetric ones do.
 * (Where instructions multiply signed bytes only, 128 is taken from codes of 8 bits and their
 * zeros.) Eight 4-bit codes of a word are two operands, word & 0x0f0f0f0f with the columns 0, 2, 4,
 * 6 and word >> 4 & 0x0f0f0f0f with 1, 3, 5, 7: in that order the bytes are stored, so that word 2i
 * of a row of activations has the even and word 2i + 1 the odd of columns 8i to 8i + 7. With codes
 * of 8 bits, word i has the columns 4i to 4i + 3. |I| <= 128 * 255 * 127 < 2^24 is exact in
 * float32.
 */
#ifndef LLMQ_KERNELS_QMAT_H
#define LLMQ_KERNELS_QMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "llmq/matmul.h"

enum {
    QMAT_LANES = 16,    /* output rows of a panel */
    QMAT_LINE = 64,     /* bytes of a cache line: a 32-bit word of each row */
    QMAT_STEP = 8,      /* a group's columns are padded to a multiple */
    QMAT_SEGMENT = 128, /* columns of a segment at most */
    QMAT_CHAIN = 64,    /* products summed in one chain at most */
    QMAT_BLOCK = 512,   /* columns of a block at most */
    QMAT_FEW = 8,       /* activation rows that qmat_dot takes at most */
};

struct qmat_segment {
    int32_t group;
    int32_t columns; /* multiple of QMAT_STEP, <= QMAT_SEGMENT */
    int64_t record;  /* bytes from the start of a panel to the segment's record */
};

struct qmat_block {
    int64_t column; /* its first, counted in padded columns */
    int32_t columns;
    int32_t segments;
    int64_t segment; /* its first */
};

/* Smallest magnitude of activations that survives their quantization to 8 bits: far below what
 * matters beside others, far above where 127 / a would overflow. */
#define QMAT_INT8_MIN 0x1p-96F

/* How the columns are cut, the same for every panel. */
struct qmat_shape {
    int width;       /* bits a code occupies: 4 or 8 */
    int64_t columns; /* padded */
    int64_t groups;
    int64_t block_count;
    int64_t segment_count;
    int zero; /* the zero point of all groups; -1: they differ */
    const struct qmat_segment *segments;
    const struct qmat_block *blocks;
};

struct qmat_panel {
    const uint8_t *records; /* of each segment: scales [16] of its group, codes [columns * width /
                               32][16] words; 64-byte aligned */
    const uint8_t *zeros;   /* [groups][16] */
};

/* Arguments of one register tile; `panel` is the first of tile_panels that lie one after another.
 */
struct qmat_tile {
    const struct qmat_panel *panel;
    const float *x; /* [columns of the block][rows] */
    const float *w; /* [columns of the block][tile_panels * 16], from qmat_decode */
    int rows;       /* <= tile_rows */
    int outputs;    /* columns of y that exist, <= tile_panels * 16 */
    bool first;     /* store to y instead of adding */
    float *y;
    int64_t ldy;
};

/* Weights that will be needed soon: lines to ask memory for. */
struct qmat_ahead {
    const uint8_t *lines;
    int64_t count;
    int64_t each; /* with every segment; a tile's own reads wait behind many at once */
};

/* Arguments of one tile with activations of 8 bits; `panel` is the first of `panels`. */
struct qmat_int8_tile {
    const struct qmat_panel *panel;
    int panels;            /* tile_panels, or int8_streams where there is one row */
    int64_t apart;         /* panels from one of the tile's to the next: 1 but for streams */
    const int8_t *codes;   /* [columns / 4][rows][4] */
    const float *scales;   /* [segments][rows] */
    const int32_t *starts; /* [segments][rows] sums of the codes; where all zero points are one,
                              times minus that (less what codes of 8 bits are lowered by) */
    int rows;              /* <= int8_rows */
    int outputs;           /* of y that exist, <= panels * 16; all where panels are apart */
    float *y;              /* stored, not added to; the place of the first panel's */
    int64_t ldy;
    struct qmat_ahead ahead;
};

struct llmq_qmat {
    int64_t n, k;
    int64_t panels; /* even: the last ones may be all padding, with scale 0 */
    struct qmat_shape shape;
    int32_t *source; /* [columns] column of x, -1 for padding; NULL: padded order is x's order */
    uint8_t *records;
    uint8_t *zeros;
    struct qmat_segment *segments;
    struct qmat_block *blocks;
    size_t bytes;
};

/* Bytes of the scales of a record, which its codes come after: a line, as is one word of each row.
 */
#define QMAT_SCALE_BYTES ((int64_t)(QMAT_LANES * sizeof(float)))

/* Bytes from one panel to the next: its records, and a line more where they are an even number of
 * lines. Streams that lie powers of two apart get into each other's way in memory. */
static inline int64_t qmat_panel_bytes(const struct qmat_shape *shape) {
    int64_t lines = shape->columns * shape->width / 32 + shape->segment_count;
    return (lines | 1) * QMAT_LINE;
}

/* A segment of a panel: the scales [16] of its group, and its codes. */
static inline const float *qmat_scales(const struct qmat_panel *panel,
                                       const struct qmat_segment *segment) {
    return (const float *)(const void *)(panel->records + segment->record);
}
static inline const uint8_t *qmat_codes(const struct qmat_panel *panel,
                                        const struct qmat_segment *segment) {
    return panel->records + segment->record + QMAT_SCALE_BYTES;
}

/* Panel `index` of q. */
static inline struct qmat_panel qmat_panel_at(const struct llmq_qmat *q, int64_t index) {
    return (struct qmat_panel){.records = q->records + index * qmat_panel_bytes(&q->shape),
                               .zeros = q->zeros + index * q->shape.groups * QMAT_LANES};
}

/* llmq_qmat_matmul with a given table instead of the chosen one; m > 0. */
LLMQ_NODISCARD enum llmq_status qmat_matmul_exact(const struct llmq_kernels *kernels,
                                                  const struct llmq_qmat *q, const float *x,
                                                  int64_t m, float *y, llmq_error *err);
LLMQ_NODISCARD enum llmq_status qmat_matmul_int8(const struct llmq_kernels *kernels,
                                                 const struct llmq_qmat *q, const float *x,
                                                 int64_t m, float *y, llmq_error *err);

/* --- what the two share ----------------------------------------------------------------------- */

/* count * each elements of `size` bytes, 64-byte aligned, to be freed; NULL on overflow or when
 * memory is short. */
void *qmat_alloc(int64_t count, int64_t each, size_t size);

/* Threads for a product with m rows of activations. */
int qmat_threads(const struct llmq_qmat *q, int64_t m);

/* The columns [begin, end) of the padded order from one row x [k]; q->source is not NULL. Returns
 * out. */
const float *qmat_gather(const struct llmq_qmat *q, const float *x, int64_t begin, int64_t end,
                         float *out);

#endif
