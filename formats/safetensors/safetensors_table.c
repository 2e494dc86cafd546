/* SPDX-License-Identifier: Apache-2.0 */
/* The table of tensors behind a safetensors set or writer: growing arrays, one owner for all
 * strings, and a name index that is a sorted array of pointers. */
#include "formats/safetensors/safetensors_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

/* Room for one more element: the array, moved if need be, or NULL. */
static void *with_room(void *array, size_t count, size_t *cap, size_t size) {
    if (count < *cap)
        return array;
    size_t wanted = *cap ? *cap * 2 : 16, bytes = 0;
    if (!checked_mul_size(wanted, size, &bytes))
        return NULL;
    void *moved = realloc(array, bytes);
    if (moved)
        *cap = wanted;
    return moved;
}

/* Take ownership of a malloc'ed string; on failure it is freed. */
static enum llmq_status own(struct st_table *t, char *text, llmq_error *err) {
    char **strings = with_room(t->strings, t->string_count, &t->string_cap, sizeof *strings);
    if (!strings) {
        free(text);
        return error_memory(err, "tensor names");
    }
    t->strings = strings;
    t->strings[t->string_count++] = text;
    return LLMQ_OK;
}

enum llmq_status st_table_add(struct st_table *t, const struct st_tensor *tensor, char *name,
                              llmq_error *err) {
    enum llmq_status status = own(t, name, err);
    if (status != LLMQ_OK)
        return status;
    struct st_tensor *tensors = with_room(t->tensors, t->count, &t->cap, sizeof *tensors);
    if (!tensors)
        return error_memory(err, "the table of tensors");
    t->tensors = tensors;
    t->tensors[t->count] = *tensor;
    t->tensors[t->count++].name = name;
    return LLMQ_OK;
}

enum llmq_status st_table_rename(struct st_table *t, size_t index, char *name, llmq_error *err) {
    enum llmq_status status = own(t, name, err);
    if (status == LLMQ_OK)
        t->tensors[index].name = name;
    return status;
}

enum llmq_status st_table_add_metadata(struct st_table *t, char *key, char *value,
                                       llmq_error *err) {
    enum llmq_status status = own(t, key, err);
    if (status != LLMQ_OK) {
        free(value);
        return status;
    }
    status = own(t, value, err);
    if (status != LLMQ_OK)
        return status;
    struct st_metadata *pairs =
        with_room(t->metadata, t->metadata_count, &t->metadata_cap, sizeof *pairs);
    if (!pairs)
        return error_memory(err, "metadata");
    t->metadata = pairs;
    t->metadata[t->metadata_count++] = (struct st_metadata){key, value};
    return LLMQ_OK;
}

static int compare_names(const void *a, const void *b) {
    const struct st_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

enum llmq_status st_table_index(struct st_table *t, size_t first,
                                const struct st_tensor **duplicate, llmq_error *err) {
    size_t count = t->count - first;
    *duplicate = NULL;
    free(t->by_name);
    t->by_name = calloc(count ? count : 1, sizeof *t->by_name);
    if (!t->by_name)
        return error_memory(err, "the index of tensor names");
    for (size_t i = 0; i < count; i++)
        t->by_name[i] = &t->tensors[first + i];
    qsort(t->by_name, count, sizeof *t->by_name, compare_names);
    for (size_t i = 1; i < count && !*duplicate; i++)
        if (strcmp(t->by_name[i - 1]->name, t->by_name[i]->name) == 0)
            *duplicate = t->by_name[i];
    return LLMQ_OK;
}

static int compare_key(const void *key, const void *element) {
    const struct st_tensor *const *tensor = element;
    return strcmp(key, (*tensor)->name);
}

const struct st_tensor *st_table_find(const struct st_table *t, const char *name) {
    const struct st_tensor **found =
        t->count ? bsearch(name, t->by_name, t->count, sizeof *t->by_name, compare_key) : NULL;
    return found ? *found : NULL;
}

/* Within a head of d rows, row h d/2 + i (h 0 or 1) lies as row 2i + h. */
uint64_t st_locate(const struct st_tensor *t, uint64_t offset, size_t *nbytes) {
    if (t->heads == 0)
        return t->begin + offset;
    const uint64_t row_bytes = t->nbytes / t->shape[0], head_rows = t->shape[0] / t->heads;
    const uint64_t row = offset / row_bytes, at = offset % row_bytes;
    const uint64_t in_head = row % head_rows, half = head_rows / 2;
    const uint64_t stored = row - in_head + 2 * (in_head % half) + in_head / half;
    if (*nbytes > row_bytes - at)
        *nbytes = (size_t)(row_bytes - at);
    return t->begin + stored * row_bytes + at;
}

enum llmq_status st_check_heads(const struct st_tensor *t, llmq_error *err) {
    if (t->heads > 0 && t->shape[0] % (2 * t->heads) != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "expected %" PRIu64 " heads of an even width, found %" PRIu64 " rows",
                         t->heads, t->shape[0]);
    if (t->plus_one && t->dtype != DTYPE_F32)
        return error_set(err, LLMQ_E_INPUT, "expected F32, found %s", dtype_name(t->dtype));
    return LLMQ_OK;
}

void st_shift(void *data, size_t nbytes, float number) {
    unsigned char *bytes = data;
    float value;
    assert(nbytes % sizeof value == 0);
    for (size_t at = 0; at < nbytes; at += sizeof value) {
        memcpy(&value, bytes + at, sizeof value);
        value += number;
        memcpy(bytes + at, &value, sizeof value);
    }
}

void st_table_free(struct st_table *t) {
    for (size_t i = 0; i < t->string_count; i++)
        free(t->strings[i]);
    free(t->strings);
    free(t->metadata);
    free(t->tensors);
    free(t->by_name);
    *t = (struct st_table){0};
}
