/* SPDX-License-Identifier: Apache-2.0 */
/* What the layouts have in common: checks of shapes and tensors, and the parts of a module that
 * several of them store alike. Not for use outside formats/layouts/. */
#ifndef LLMQ_FORMATS_LAYOUTS_PARTS_H
#define LLMQ_FORMATS_LAYOUTS_PARTS_H

#include "formats/layouts/layout.h"

/* --- before writing --------------------------------------------------------------------------- */

/* Does the group size divide in_features? LLMQ_E_UNSUPPORTED lists sizes that do. */
enum llmq_status parts_accept_group(const struct quant_shape *shape, llmq_error *err);

/* Is `size` positive and a multiple of `unit`? `what` names it in LLMQ_E_UNSUPPORTED. */
enum llmq_status parts_accept_size(const char *what, int64_t size, int64_t unit, llmq_error *err);

/* Groups in column order; zero points from zmin on, all in the middle when symmetric.
 * LLMQ_E_INPUT says which are not. */
enum llmq_status parts_check_order(const struct qlinear *q, llmq_error *err);
enum llmq_status parts_check_zeros(const struct qlinear *q, int zmin, llmq_error *err);

/* Are the codes those of these numbers, in column order? LLMQ_E_INPUT. And what a layout of floats
 * sets of a matrix that it has allocated. */
enum llmq_status parts_check_number(const struct qlinear *q, enum number_type number,
                                    llmq_error *err);
void parts_set_floats(struct qlinear *q, enum number_type number);

/* --- scales ----------------------------------------------------------------------------------- */

/* How they lie in a file: [G, N] or [N, G]. */
enum parts_order { PARTS_GROUPS_FIRST, PARTS_ROWS_FIRST };

/* To F16. LLMQ_E_INPUT: a scale that is not positive or that F16 does not hold exactly. */
enum llmq_status parts_encode_scales(const struct qlinear *q, enum parts_order order, void *out,
                                     llmq_error *err);

/* From any of their dtypes; the shape was checked before. LLMQ_E_INPUT: a scale that is negative or
 * not finite. */
enum llmq_status parts_decode_scales(const struct layout_data *d, enum parts_order order,
                                     struct qlinear *q, llmq_error *err);

/* --- reading other tensors -------------------------------------------------------------------- */

enum parts_kind {
    PARTS_WORDS,      /* I32 */
    PARTS_BYTES,      /* U8 */
    PARTS_SCALES,     /* F16, BF16 or F32 */
    PARTS_INDEX,      /* I32 or I64 */
    PARTS_ZEROS,      /* I32 or I8: words of codes, or one signed number each */
    PARTS_E4M3,       /* F8_E4M3 */
    PARTS_ANY_SCALES, /* what dtype_is_scale names */
};

/* Are the first `count` tensors there? LLMQ_E_INPUT names the one that is not. */
enum llmq_status parts_check_there(const struct layout_data *d, const char *const *suffixes,
                                   int count, llmq_error *err);

/* A tensor by itself: dtype, rank, dimensions from 1 to 2^31 - 1, and as many bytes as these make.
 * Errors are LLMQ_E_INPUT and name `suffix`. */
enum llmq_status parts_check_tensor(const struct layout_data *d, const char *suffix,
                                    enum parts_kind kind, int rank, llmq_error *err);

/* Element i of a tensor of kind PARTS_INDEX. */
int64_t parts_index_at(const struct layout_data *d, int64_t i);

/* The bit width at which `count` codes make `words` words, `wish` before the others; 0: none. */
int parts_bits_for(uint64_t words, uint64_t count, int wish);

/* Columns per group such that `k` columns make `groups` groups: the config's size where it divides
 * them, else an even split, which is all an override of a single module can mean, else the config's
 * size with a shorter last group. `suffix` names the scales in LLMQ_E_INPUT. */
enum llmq_status parts_infer_group(const struct layout_config *config, int64_t k, int64_t groups,
                                   const char *suffix, int64_t *group, llmq_error *err);

/* Sets q->sym by its zero points. */
void parts_set_sym(struct qlinear *q);

/* The group of each column, kept only where it says more than k / group; an absent tensor says
 * nothing. LLMQ_E_INPUT: a group out of range. */
enum llmq_status parts_decode_groups(const struct layout_data *d, const char *suffix,
                                     struct qlinear *q, llmq_error *err);

#endif
