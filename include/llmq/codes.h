/* SPDX-License-Identifier: Apache-2.0 */
/* A quantized matrix as plain arrays: what quantizing makes, what files hold, and what the packed
 * product is made of. */
#ifndef LLMQ_CODES_H
#define LLMQ_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "llmq/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

/* w[r][c] = (codes[r][c] - zeros[r][g]) * scales[r][g], g the group of column c. The library
 * allocates the arrays; a zeroed struct is an empty one. */
typedef struct llmq_codes {
    int64_t rows;      /* output features */
    int64_t columns;   /* input features */
    int bits;          /* 2, 3, 4 or 8 */
    int64_t group;     /* columns per group, at most `columns` */
    int64_t groups;    /* of a row: columns / group, rounded up */
    bool sym;          /* every zero point is 2^(bits - 1) */
    uint8_t *codes;    /* [rows, columns], one code a byte */
    float *scales;     /* [rows, groups] */
    uint8_t *zeros;    /* [rows, groups] */
    int32_t *group_of; /* [columns] group of each column; NULL: column / group */
} llmq_codes;

/* Releases the arrays and empties the struct; accepts an empty one. */
void llmq_codes_free(llmq_codes *codes);

/* Rows [row_begin, row_end) as numbers: out [row_end - row_begin, columns], not overlapping.
 * LLMQ_E_USAGE for rows that there are not. */
LLMQ_NODISCARD enum llmq_status llmq_codes_decode(const llmq_codes *codes, int64_t row_begin,
                                                  int64_t row_end, float *out, llmq_error *err);

/* The same for products. Errors as of llmq_qmat_create. Release *out with llmq_qmat_free; the codes
 * may be released before. */
LLMQ_NODISCARD enum llmq_status llmq_codes_pack(const llmq_codes *codes, llmq_qmat **out,
                                                llmq_error *err);

#ifdef __cplusplus
}
#endif
#endif
