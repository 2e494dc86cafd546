/* SPDX-License-Identifier: Apache-2.0 */
/* See safetensors_coded.h. */
#include "formats/safetensors/safetensors_coded.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/safetensors/safetensors_set.h"

uint64_t st_coded_scale_columns(const struct st_coded *c) {
    return (c->columns + c->block_columns - 1) / c->block_columns;
}

uint64_t st_coded_scale_rows(const struct st_coded *c) {
    return (c->rows + c->block_rows - 1) / c->block_rows;
}

enum llmq_status st_coded_refuse(const struct st_set *set, const struct st_tensor *part,
                                 uint64_t row, uint64_t column, const char *what, llmq_error *err) {
    (void)error_set(err, LLMQ_E_NUMERIC,
                    "%s: tensor '%.200s': row %" PRIu64 ", column %" PRIu64 ": %s",
                    st_shard_path(set, part->shard), part->name, row, column, what);
    error_hint(err, "the checkpoint is damaged: get it again, or repair it where it was made");
    return LLMQ_E_NUMERIC;
}

enum dtype st_copy_dtype(const struct st_tensor *t) {
    return !t->coded ? t->dtype : t->coded->wide ? DTYPE_F32 : DTYPE_BF16;
}

enum dtype st_stored_dtype(const struct st_tensor *t) {
    return t->coded ? t->coded->codes.dtype : t->dtype;
}

uint64_t st_stored_bytes(const struct st_tensor *t) {
    return t->coded ? t->coded->codes.nbytes + t->coded->scales.nbytes : t->nbytes;
}

/* --- making the view -------------------------------------------------------------------------- */

static enum llmq_status add_decoded(struct st_set *set, const struct st_coded_view *view,
                                    struct st_coded *coded, llmq_error *err) {
    struct st_tensor t = {.dtype = DTYPE_F32, .rank = view->rank, .shard = view->coded.codes.shard};
    char *name = strdup(view->name);
    *coded = view->coded;
    memcpy(t.shape, view->shape, sizeof t.shape);
    t.begin = coded->codes.begin;
    t.nbytes = coded->matrices * coded->rows * coded->columns * sizeof(float);
    t.coded = coded;
    return name ? st_table_add(&set->table, &t, name, err) : error_memory(err, "tensor names");
}

/* The table keeps a name for as long as it lives, so a tensor that stays is given a copy. */
static enum llmq_status add_plain(struct st_set *set, const struct st_tensor *t, llmq_error *err) {
    char *name = strdup(t->name);
    return name ? st_table_add(&set->table, t, name, err) : error_memory(err, "tensor names");
}

enum llmq_status st_show_decoded(struct st_set *set, const struct st_coded_view *views,
                                 size_t count, const bool *hidden, llmq_error *err) {
    struct st_table old = set->table;
    enum llmq_status status = LLMQ_OK;
    size_t next = 0;
    set->coded = calloc(count ? count : 1, sizeof *set->coded);
    if (!set->coded)
        return error_memory(err, "the parts of tensors");
    set->table.tensors = NULL;
    set->table.count = set->table.cap = 0;
    for (size_t i = 0; status == LLMQ_OK && i < old.count; i++) {
        if (next < count && views[next].tensor == i) {
            status = add_decoded(set, &views[next], &set->coded[next], err);
            next++;
        } else if (!hidden[i]) {
            status = add_plain(set, &old.tensors[i], err);
        }
    }
    free(old.tensors);
    return status == LLMQ_OK ? st_set_index(set, err) : status;
}
