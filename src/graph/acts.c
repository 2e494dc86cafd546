/* SPDX-License-Identifier: Apache-2.0 */
/* Activation store: see acts.h. */
#define _DEFAULT_SOURCE /* madvise, MAP_ANONYMOUS */
#include "graph/acts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "llmq/ranks.h"

static enum llmq_status create_in_file(const char *dir, uint64_t bytes, struct acts *a,
                                       llmq_error *err) {
    char name[64];
    (void)snprintf(name, sizeof name, "activations-%d.tmp", llmq_ranks_own());
    char *path = path_join(dir, name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_create(path, bytes, &a->file, err);
    if (status == LLMQ_OK)
        unlink(path); /* the file lives as long as its descriptor, whatever happens to us */
    free(path);
    return status;
}

enum llmq_status acts_create(int64_t rows, int64_t width, const char *spill_dir, struct acts *out,
                             llmq_error *err) {
    *out = (struct acts){.rows = rows, .width = width, .max_width = width, .file = {.fd = -1}};
    size_t count = 0, bytes = 0;
    if (!checked_mul_size((size_t)rows, (size_t)width, &count) ||
        !checked_mul_size(count, sizeof(float), &bytes))
        return error_set(err, LLMQ_E_MEMORY, "%lld x %lld activations do not fit the address space",
                         (long long)rows, (long long)width);
    if (bytes == 0)
        return LLMQ_OK;
    if (spill_dir)
        return create_in_file(spill_dir, bytes, out, err);
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED)
        return error_set(err, LLMQ_E_MEMORY, "out of memory for %zu bytes of activations", bytes);
    (void)madvise(mem, bytes, MADV_HUGEPAGE);
    out->data = mem;
    out->mapped = bytes;
    return LLMQ_OK;
}

void acts_free(struct acts *a) {
    if (a->data)
        munmap(a->data, a->mapped);
    file_close(&a->file, NULL);
    *a = (struct acts){.file = {.fd = -1}};
}

void acts_set_width(struct acts *a, int64_t width) {
    assert(width <= a->max_width);
    a->width = width;
}

static uint64_t row_offset(const struct acts *a, int64_t begin) {
    return (uint64_t)begin * (uint64_t)a->width * sizeof(float);
}

enum llmq_status acts_load(const struct acts *a, int64_t begin, int64_t count, float *buf,
                           float **out, llmq_error *err) {
    *out = acts_target(a, begin, buf);
    if (a->data)
        return LLMQ_OK;
    return file_pread(&a->file, buf, (size_t)(count * a->width) * sizeof *buf, row_offset(a, begin),
                      err);
}

float *acts_target(const struct acts *a, int64_t begin, float *buf) {
    return a->data ? a->data + begin * a->width : buf;
}

enum llmq_status acts_store(const struct acts *a, int64_t begin, int64_t count, const float *rows,
                            llmq_error *err) {
    if (a->data)
        return LLMQ_OK;
    return file_pwrite(&a->file, rows, (size_t)(count * a->width) * sizeof *rows,
                       row_offset(a, begin), err);
}

enum llmq_status acts_read(const struct acts *a, int64_t begin, int64_t count, float *values,
                           llmq_error *err) {
    float *rows = NULL;
    const enum llmq_status status = acts_load(a, begin, count, values, &rows, err);
    if (status == LLMQ_OK && rows != values)
        memcpy(values, rows, (size_t)(count * a->width) * sizeof *values);
    return status;
}

enum llmq_status acts_write(const struct acts *a, int64_t begin, int64_t count, float *values,
                            llmq_error *err) {
    float *rows = acts_target(a, begin, values);
    if (rows != values)
        memcpy(rows, values, (size_t)(count * a->width) * sizeof *values);
    return acts_store(a, begin, count, rows, err);
}

enum llmq_status acts_copy(const struct acts *from, const struct acts *to, int64_t step, float *buf,
                           llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    assert(from->rows == to->rows && from->width == to->width);
    for (int64_t at = 0; status == LLMQ_OK && at < from->rows; at += step) {
        const int64_t rows = min_i64(step, from->rows - at);
        float *x = NULL, *target = acts_target(to, at, buf);
        status = acts_load(from, at, rows, buf, &x, err);
        if (status == LLMQ_OK && x != target)
            memcpy(target, x, (size_t)(rows * from->width) * sizeof *x);
        if (status == LLMQ_OK)
            status = acts_store(to, at, rows, target, err);
    }
    return status;
}

enum llmq_status acts_store_part(const struct acts *a, const struct acts_part *part,
                                 const float *values, llmq_error *err) {
    const size_t bytes = (size_t)part->columns * sizeof *values;
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < part->count && status == LLMQ_OK; i++) {
        const float *row = values + i * part->columns;
        const int64_t at = (part->begin + i) * a->width + part->first;
        if (a->data)
            memcpy(a->data + at, row, bytes);
        else
            status = file_pwrite(&a->file, row, bytes, (uint64_t)at * sizeof *row, err);
    }
    return status;
}

/* --- single rows ------------------------------------------------------------------------------ */

/* How many of the rows from entry `i` of the list lie one after the other. */
static int64_t run_length(const struct row_list *rows, int64_t i) {
    int64_t n = 1;
    while (i + n < rows->count && rows->row[i + n] == rows->row[i] + n)
        n++;
    return n;
}

static void gather_in_memory(const struct acts *a, const struct row_list *rows, float *out) {
    const int64_t width = a->width;
#pragma omp parallel for schedule(static) default(none) shared(a, rows, out, width)
    for (int64_t i = 0; i < rows->count; i++)
        memcpy(out + i * width, a->data + rows->row[i] * width, (size_t)width * sizeof *out);
}

enum llmq_status acts_gather(const struct acts *a, const struct row_list *rows, float *out,
                             llmq_error *err) {
    float *unused = NULL;
    enum llmq_status status = LLMQ_OK;
    if (a->data) {
        gather_in_memory(a, rows, out);
        return LLMQ_OK;
    }
    for (int64_t i = 0, n = 0; i < rows->count && status == LLMQ_OK; i += n) {
        n = run_length(rows, i);
        status = acts_load(a, rows->row[i], n, out + i * a->width, &unused, err);
    }
    return status;
}

/* to[row] += weight y, where the rows of `to` are numbered by the list or, with `dense`, as in y.
 */
static void add_rows(const struct row_list *rows, int64_t width, bool dense, const float *y,
                     float *to) {
#pragma omp parallel for schedule(static) default(none) shared(rows, width, dense, y, to)
    for (int64_t i = 0; i < rows->count; i++) {
        const float weight = rows->weight ? rows->weight[i] : 1;
        float *sum = to + (dense ? i : rows->row[i]) * width;
        for (int64_t c = 0; c < width; c++)
            sum[c] += weight * y[i * width + c];
    }
}

enum llmq_status acts_add(const struct acts *a, const struct row_list *rows, const float *y,
                          float *buf, llmq_error *err) {
    if (a->data) {
        add_rows(rows, a->width, false, y, a->data);
        return LLMQ_OK;
    }
    enum llmq_status status = acts_gather(a, rows, buf, err);
    if (status == LLMQ_OK)
        add_rows(rows, a->width, true, y, buf);
    for (int64_t i = 0, n = 0; i < rows->count && status == LLMQ_OK; i += n) {
        n = run_length(rows, i);
        status = acts_store(a, rows->row[i], n, buf + i * a->width, err);
    }
    return status;
}

enum llmq_status acts_clear(const struct acts *a, llmq_error *err) {
    static const float zeros[16384];
    const int64_t count = a->rows * a->width, most = sizeof zeros / sizeof zeros[0];
    enum llmq_status status = LLMQ_OK;
    if (a->data) {
        memset(a->data, 0, (size_t)count * sizeof *a->data);
        return LLMQ_OK;
    }
    for (int64_t i = 0; i < count && status == LLMQ_OK; i += most) {
        const size_t n = (size_t)(count - i < most ? count - i : most);
        status = file_pwrite(&a->file, zeros, n * sizeof *zeros, (uint64_t)i * sizeof *zeros, err);
    }
    return status;
}
