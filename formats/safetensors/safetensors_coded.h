/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors that are stored in parts, codes and scales, and read as the numbers these stand for. A
 * set shows such a tensor as one of F32 under the name that its plain counterpart has: whoever
 * reads tensors reads it without knowing. How codes and scales make numbers is a coding's matter
 * (formats/encodings). */
#ifndef LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_CODED_H
#define LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_CODED_H

#include "formats/safetensors/safetensors.h"

struct st_coded;

/* Decode elements [begin, begin + count) in the order in which they are shown. LLMQ_E_NUMERIC names
 * tensor, row and column where a code, a scale or their product is not finite. Thread-safe. */
typedef enum llmq_status (*st_decode)(const struct st_set *set, const struct st_coded *c,
                                      uint64_t begin, size_t count, float *out, llmq_error *err);

/* A tensor [matrices, rows, columns] in its parts. */
struct st_coded {
    st_decode decode;
    struct st_tensor codes, scales; /* as they are stored */
    struct st_tensor global;        /* that all scales are divided by; nbytes 0: there is none */
    uint64_t matrices, rows, columns;
    uint64_t block_rows, block_columns; /* of elements that share a scale; the last ones of a
                                           matrix may be smaller */
    bool wide;          /* its numbers take float32 to be kept exactly, and are; else bfloat16 */
    uint64_t workspace; /* bytes that decoding takes at a time, besides what it is decoded to */
};

/* A tensor to be shown in place of the one that holds its codes. */
struct st_coded_view {
    const char *name; /* copied */
    size_t tensor;    /* st_at's index of the codes */
    int rank;
    uint64_t shape[ST_MAX_RANK];
    struct st_coded coded;
};

/* Let the set show these, in the order of `tensor`, and neither their parts nor what `hidden`
 * [st_count] marks. Pointers to names stay valid until the set is closed.
 * LLMQ_E_ST_DUPLICATE_TENSOR leaves a set that is only good for closing. */
LLMQ_NODISCARD enum llmq_status st_show_decoded(struct st_set *set,
                                                const struct st_coded_view *views, size_t count,
                                                const bool *hidden, llmq_error *err);

/* Columns of a matrix of scales, and the scale of an element among those of its matrix. */
uint64_t st_coded_scale_columns(const struct st_coded *c);
uint64_t st_coded_scale_rows(const struct st_coded *c);

/* The error of an element that is no number: "FILE: tensor 'NAME': row R, column C: WHAT", of the
 * part that is at fault. */
enum llmq_status st_coded_refuse(const struct st_set *set, const struct st_tensor *part,
                                 uint64_t row, uint64_t column, const char *what, llmq_error *err);

#endif
