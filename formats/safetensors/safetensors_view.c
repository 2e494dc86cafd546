/* SPDX-License-Identifier: Apache-2.0 */
/* A set of tensors seen under other names, and cut in others: see st_view_as. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/safetensors/safetensors_set.h"

/* Piece `part` of `parts` of the first dimension, which has one row for each. */
static enum llmq_status take_part(struct st_tensor *t, uint64_t part, uint64_t parts,
                                  llmq_error *err) {
    if (t->rank < 2 || t->shape[0] != parts || part >= parts)
        return error_set(err, LLMQ_E_INPUT,
                         "expected a first dimension of %llu, one for each expert, found %llu of "
                         "%d dimensions",
                         (unsigned long long)parts, (unsigned long long)t->shape[0], t->rank);
    t->nbytes /= parts;
    t->begin += part * t->nbytes;
    t->rank--;
    memmove(t->shape, t->shape + 1, (size_t)t->rank * sizeof *t->shape);
    return LLMQ_OK;
}

static enum llmq_status add_view(const struct st_table *from, const struct st_view *view,
                                 struct st_table *to, llmq_error *err) {
    struct st_tensor t = from->tensors[view->tensor];
    enum llmq_status status = LLMQ_OK;
    t.heads = view->heads;
    t.plus_one = view->plus_one;
    if (view->parts > 0)
        status = take_part(&t, view->part, view->parts, err);
    if (status == LLMQ_OK)
        status = st_check_heads(&t, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "tensor '%.200s'", t.name);
    char *name = strdup(view->name);
    return name ? st_table_add(to, &t, name, err) : error_memory(err, "tensor names");
}

enum llmq_status st_view_as(struct st_set *set, const struct st_view *views, size_t count,
                            llmq_error *err) {
    struct st_table old = set->table;
    enum llmq_status status = LLMQ_OK;
    set->table.tensors = NULL;
    set->table.count = set->table.cap = 0;
    for (size_t i = 0; status == LLMQ_OK && i < count; i++)
        status = add_view(&old, &views[i], &set->table, err);
    free(old.tensors);
    return status == LLMQ_OK ? st_set_index(set, err) : status;
}
