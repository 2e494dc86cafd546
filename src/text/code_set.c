/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of code points: see code_set.h. */
#include "text/code_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

#define BLOCK_BYTES 32u
#define BLOCKS      ((CODE_POINT_MAX + 1) / 256)

/* --- ranges ----------------------------------------------------------------------------------- */

void code_set_add(struct code_set *s, uint32_t first, uint32_t last) {
    if (s->count == s->cap) {
        size_t cap = s->cap * 2 + 16, bytes = 0;
        struct code_range *ranges = NULL;
        if (checked_mul_size(cap, sizeof *ranges, &bytes))
            ranges = realloc(s->ranges, bytes);
        if (!ranges) {
            s->failed = true;
            return;
        }
        s->ranges = ranges;
        s->cap = cap;
    }
    if (s->count > 0 && first <= s->ranges[s->count - 1].last + 1)
        s->unsorted = true;
    s->ranges[s->count++] = (struct code_range){first, last};
}

void code_set_add_set(struct code_set *s, const struct code_set *other) {
    s->failed = s->failed || other->failed;
    for (size_t i = 0; i < other->count; i++)
        code_set_add(s, other->ranges[i].first, other->ranges[i].last);
}

static int compare(const void *left, const void *right) {
    const struct code_range *a = left, *b = right;
    return (a->first > b->first) - (a->first < b->first);
}

void code_set_sort(struct code_set *s) {
    if (!s->unsorted)
        return;
    qsort(s->ranges, s->count, sizeof *s->ranges, compare);
    size_t kept = 0;
    for (size_t i = 1; i < s->count; i++) {
        struct code_range *last = &s->ranges[kept];
        if (s->ranges[i].first > last->last + 1)
            s->ranges[++kept] = s->ranges[i];
        else if (s->ranges[i].last > last->last)
            last->last = s->ranges[i].last;
    }
    s->count = kept + 1;
    s->unsorted = false;
}

void code_set_invert(struct code_set *s) {
    struct code_set out = {.failed = s->failed};
    uint32_t next = 0;
    code_set_sort(s);
    for (size_t i = 0; i < s->count; i++) {
        if (s->ranges[i].first > next)
            code_set_add(&out, next, s->ranges[i].first - 1);
        next = s->ranges[i].last + 1;
    }
    if (next <= CODE_POINT_MAX)
        code_set_add(&out, next, CODE_POINT_MAX);
    code_set_free(s);
    *s = out;
}

void code_set_intersect(struct code_set *s, struct code_set *other) {
    struct code_set out = {.failed = s->failed || other->failed};
    code_set_sort(s);
    code_set_sort(other);
    for (size_t i = 0, j = 0; i < s->count && j < other->count;) {
        const struct code_range *a = &s->ranges[i], *b = &other->ranges[j];
        uint32_t first = a->first > b->first ? a->first : b->first;
        uint32_t last = a->last < b->last ? a->last : b->last;
        if (first <= last)
            code_set_add(&out, first, last);
        if (a->last < b->last)
            i++;
        else
            j++;
    }
    code_set_free(s);
    *s = out;
}

bool code_set_has(struct code_set *s, uint32_t cp) {
    code_set_sort(s);
    size_t lo = 0, hi = s->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->ranges[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->count && s->ranges[lo].first <= cp;
}

void code_set_free(struct code_set *s) {
    free(s->ranges);
    *s = (struct code_set){0};
}

/* --- tables ----------------------------------------------------------------------------------- */

/* Set the bits of block `number` and report whether it has any. */
static bool fill_block(const struct code_set *s, size_t *at, uint32_t number,
                       unsigned char block[BLOCK_BYTES]) {
    uint32_t begin = number * 256, end = begin + 255;
    memset(block, 0, BLOCK_BYTES);
    while (*at < s->count && s->ranges[*at].last < begin)
        (*at)++;
    bool any = false;
    for (size_t i = *at; i < s->count && s->ranges[i].first <= end; i++) {
        uint32_t first = s->ranges[i].first > begin ? s->ranges[i].first : begin;
        uint32_t last = s->ranges[i].last < end ? s->ranges[i].last : end;
        for (uint32_t cp = first; cp <= last; cp++)
            block[cp >> 3 & 31] |= (unsigned char)(1u << (cp & 7));
        any = true;
    }
    return any;
}

/* Number of the block equal to `block`, searched backwards since neighbours are often alike;
 * appended where there is none. */
static uint16_t keep_block(struct code_table *t, size_t *count, const unsigned char *block) {
    size_t i = *count;
    while (i > 0 && memcmp(t->blocks + (i - 1) * BLOCK_BYTES, block, BLOCK_BYTES) != 0)
        i--;
    if (i > 0)
        return (uint16_t)(i - 1);
    memcpy(t->blocks + *count * BLOCK_BYTES, block, BLOCK_BYTES);
    return (uint16_t)(*count)++;
}

enum llmq_status code_table_build(struct code_set *s, struct code_table *out, llmq_error *err) {
    unsigned char block[BLOCK_BYTES];
    size_t count = 1, at = 0; /* block 0 is empty */
    code_set_sort(s);
    *out = (struct code_table){0};
    if (!s->failed) {
        out->index = calloc(BLOCKS, sizeof *out->index);
        out->blocks = calloc(BLOCKS + 1, BLOCK_BYTES);
    }
    if (!out->index || !out->blocks) {
        code_table_free(out);
        return error_memory(err, "a class of characters");
    }
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (fill_block(s, &at, i, block))
            out->index[i] = keep_block(out, &count, block);
    for (uint32_t cp = 0; cp < 0x80; cp++)
        if (code_set_has(s, cp))
            out->ascii[cp >> 6] |= (uint64_t)1 << (cp & 63);
    unsigned char *fitting = realloc(out->blocks, count * BLOCK_BYTES);
    out->blocks = fitting ? fitting : out->blocks;
    return LLMQ_OK;
}

void code_table_free(struct code_table *t) {
    free(t->index);
    free(t->blocks);
    *t = (struct code_table){0};
}
