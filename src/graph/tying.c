/* SPDX-License-Identifier: Apache-2.0 */
/* See tying.h. */
#include "graph/tying.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/loaders/layout_load.h"
#include "models/ends.h"
#include "tensor/dtype.h"

/* Elements compared at a time. */
#define CHUNK ((uint64_t)1 << 18)

static bool same_shape(const struct st_tensor *a, const struct st_tensor *b) {
    return a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

/* As values: -0 is 0, and NaN is in the same places when the bits are. */
static bool same_values(const float *a, const float *b, size_t count) {
    if (memcmp(a, b, count * sizeof *a) == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        if (!(a[i] <= b[i] && a[i] >= b[i]) && memcmp(&a[i], &b[i], sizeof *a) != 0)
            return false;
    return true;
}

enum llmq_status tying_equal(const struct st_set *set, const struct st_tensor *a,
                             const struct st_tensor *b, bool *equal, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *equal = same_shape(a, b) && dtype_is_float(a->dtype) && dtype_is_float(b->dtype);
    if (!*equal)
        return LLMQ_OK;
    const uint64_t count = a->nbytes / (dtype_bits(a->dtype) / 8);
    float *values = malloc(2 * CHUNK * sizeof *values);
    if (!values)
        status = error_memory(err, "a part of the embedding");
    for (uint64_t at = 0; status == LLMQ_OK && *equal && at < count; at += CHUNK) {
        const size_t part = (size_t)(count - at < CHUNK ? count - at : CHUNK);
        status = st_read_part_f32(set, a, at, part, values, err);
        if (status == LLMQ_OK)
            status = st_read_part_f32(set, b, at, part, values + CHUNK, err);
        if (status == LLMQ_OK)
            *equal = same_values(values, values + CHUNK, part);
    }
    free(values);
    return status;
}

/* The head becomes the embedding: one tensor of the set changes its name. */
static enum llmq_status rename_head(const struct family *f, struct st_set *set, llmq_error *err) {
    const size_t count = st_count(set);
    const char **names = calloc(count ? count : 1, sizeof *names);
    if (!names)
        return error_memory(err, "tensor names");
    for (size_t i = 0; i < count; i++) {
        names[i] = st_at(set, i)->name;
        if (strcmp(names[i], f->head) == 0)
            names[i] = f->embedding;
    }
    enum llmq_status status = st_rename(set, names, err);
    free(names);
    return status;
}

enum llmq_status tying_adopt(const struct family *f, bool tied, struct st_set *set, bool *adopted,
                             llmq_error *err) {
    *adopted = tied && st_find(set, f->head) && !st_find(set, f->embedding);
    return *adopted ? rename_head(f, set, err) : LLMQ_OK;
}

enum llmq_status tying_settle(const struct family *f, bool tied, const struct layout *layout,
                              struct st_set *set, enum tying *out, llmq_error *err) {
    char module[FAMILY_NAME_MAX];
    bool adopted = false, equal = true;
    enum llmq_status status = tying_adopt(f, tied, set, &adopted, err);
    const struct st_tensor *head = st_find(set, f->head);
    const struct st_tensor *embedding = st_find(set, f->embedding);
    ends_head_module(f, module);
    *out = adopted ? TYING_HEAD_ONLY : TYING_PLAIN;
    if (status != LLMQ_OK || !tied || adopted)
        return status;
    if (head && embedding)
        status = tying_equal(set, head, embedding, &equal, err);
    else
        equal = !layout_has_module(set, layout, module);
    *out = equal ? TYING_PLAIN : TYING_DIFFERS;
    return status;
}
