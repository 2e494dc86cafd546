/* SPDX-License-Identifier: Apache-2.0 */
/* A counting sort of choices by expert: see routing.h. */
#include "graph/routing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"

uint64_t routing_bytes(int64_t tokens, int64_t experts, int64_t top_k) {
    const uint64_t choices = (uint64_t)tokens * (uint64_t)top_k;
    return choices * 2 * (sizeof(int32_t) + sizeof(float)) +
           (uint64_t)(experts + 1) * sizeof(int64_t);
}

enum llmq_status routing_create(int64_t tokens, int64_t experts, int64_t top_k, struct routing *out,
                                llmq_error *err) {
    const size_t choices = (size_t)tokens * (size_t)top_k;
    *out = (struct routing){.tokens = tokens, .experts = experts, .top_k = top_k};
    if (tokens > INT32_MAX)
        return error_set(err, LLMQ_E_MEMORY, "more than %d tokens to route", INT32_MAX);
    out->offsets = calloc((size_t)experts + 1, sizeof *out->offsets);
    out->row = calloc(choices + 1, sizeof *out->row);
    out->weight = calloc(choices + 1, sizeof *out->weight);
    out->expert = calloc(choices + 1, sizeof *out->expert);
    out->unsorted = calloc(choices + 1, sizeof *out->unsorted);
    if (out->offsets && out->row && out->weight && out->expert && out->unsorted)
        return LLMQ_OK;
    routing_free(out);
    return error_memory(err, "the tokens' experts");
}

void routing_free(struct routing *r) {
    free(r->offsets);
    free(r->row);
    free(r->weight);
    free(r->expert);
    free(r->unsorted);
    *r = (struct routing){0};
}

void routing_note(struct routing *r, int64_t begin, int64_t rows, const float *weights) {
    for (int64_t t = 0; t < rows; t++) {
        const float *w = weights + t * r->experts;
        int32_t *expert = r->expert + (begin + t) * r->top_k;
        float *weight = r->unsorted + (begin + t) * r->top_k;
        int64_t k = 0;
        for (int64_t e = 0; e < r->experts && k < r->top_k; e++)
            if (w[e] < 0 || w[e] > 0 || isnan(w[e])) { /* which shows later */
                expert[k] = (int32_t)e;
                weight[k++] = w[e];
            }
        for (; k < r->top_k; k++)
            expert[k] = -1;
    }
}

void routing_sort(struct routing *r) {
    const int64_t choices = r->tokens * r->top_k;
    memset(r->offsets, 0, (size_t)(r->experts + 1) * sizeof *r->offsets);
    for (int64_t c = 0; c < choices; c++)
        if (r->expert[c] >= 0)
            r->offsets[r->expert[c] + 1]++;
    for (int64_t e = 0; e < r->experts; e++)
        r->offsets[e + 1] += r->offsets[e];
    /* Each list's beginning moves to its end while it is filled, and back. */
    for (int64_t c = 0; c < choices; c++) {
        if (r->expert[c] < 0)
            continue;
        const int64_t at = r->offsets[r->expert[c]]++;
        r->row[at] = (int32_t)(c / r->top_k);
        r->weight[at] = r->unsorted[c];
    }
    memmove(r->offsets + 1, r->offsets, (size_t)r->experts * sizeof *r->offsets);
    r->offsets[0] = 0;
}

bool routing_next(const struct routing *r, int64_t expert, int64_t max_rows,
                  struct row_list *rows) {
    const int64_t begin = rows->row ? rows->row - r->row + rows->count : r->offsets[expert];
    const int64_t count = min_i64(max_rows, r->offsets[expert + 1] - begin);
    if (count <= 0)
        return false;
    *rows = (struct row_list){r->row + begin, r->weight + begin, count};
    return true;
}
