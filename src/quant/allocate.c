/* SPDX-License-Identifier: Apache-2.0 */
/* See allocate.h. */
#include "quant/allocate.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* A choice that no other one of its item beats in both size and cost. */
struct option {
    uint64_t size;
    double cost;
    int index;
};

/* A step up the lower convex hull of an item's options. */
struct rise {
    int64_t item;
    int order; /* within the item */
    uint64_t size;
    double gain; /* cost that it saves, above 0 */
};

/* A way to have chosen for the items so far. */
struct way {
    uint64_t size;
    double cost;
    int32_t before; /* the way that it goes on from, of the item before */
    int32_t option;
};

/* The ways that end with an item, by size, costs falling. */
struct stage {
    struct way *ways;
    int64_t count;
};

struct solver {
    int64_t count;
    uint64_t capacity;
    struct option **options; /* of each item, by size, costs falling */
    int *option_count;
    struct rise *rises; /* of all items, the most gain for its size first */
    int64_t rise_count;
    uint64_t *least; /* [count + 1] smallest size of the items from each on, ... */
    double *most;    /* ... and what that costs */
    struct stage *stages;
    double known; /* what some whole way costs */
    double slack; /* that sums are rounded by */
    uint64_t *sizes;
    double *gains; /* [rise_count + 1]: of the first rises of the items to come */
    int64_t filled;
};

/* --- options ---------------------------------------------------------------------------------- */

static int by_size(const void *left, const void *right) {
    const struct option *a = left, *b = right;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    if (a->cost != b->cost)
        return a->cost < b->cost ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static enum llmq_status list_options(struct solver *s, const struct allocate_item *item, int64_t at,
                                     llmq_error *err) {
    struct option *all = s->options[at] = calloc((size_t)item->count, sizeof *all);
    int kept = 0;
    if (!all)
        return error_memory(err, "the allocation");
    for (int i = 0; i < item->count; i++) {
        assert(isfinite(item->choices[i].cost));
        all[i] = (struct option){item->choices[i].size, item->choices[i].cost, i};
        s->slack += 1e-14 * fabs(item->choices[i].cost);
    }
    qsort(all, (size_t)item->count, sizeof *all, by_size);
    for (int i = 0; i < item->count; i++)
        if (kept == 0 || all[i].cost < all[kept - 1].cost)
            all[kept++] = all[i];
    s->option_count[at] = kept;
    return LLMQ_OK;
}

/* Gain for each byte from a to b. */
static double slope(const struct option *a, const struct option *b) {
    return (a->cost - b->cost) / (double)(b->size - a->size);
}

/* The rises of an item's hull: from each corner to the option with the steepest way there. */
static void add_rises(struct solver *s, int64_t item) {
    const struct option *o = s->options[item];
    for (int at = 0, order = 0; at + 1 < s->option_count[item]; order++) {
        int next = at + 1;
        for (int i = at + 2; i < s->option_count[item]; i++)
            if (slope(&o[at], &o[i]) >= slope(&o[at], &o[next]))
                next = i;
        s->rises[s->rise_count++] =
            (struct rise){item, order, o[next].size - o[at].size, o[at].cost - o[next].cost};
        at = next;
    }
}

static int by_slope(const void *left, const void *right) {
    const struct rise *a = left, *b = right;
    const double x = a->gain / (double)a->size, y = b->gain / (double)b->size;
    if (x != y)
        return x > y ? -1 : 1;
    if (a->item != b->item)
        return a->item < b->item ? -1 : 1;
    return a->order - b->order;
}

/* --- what the items to come can do at best ---------------------------------------------------- */

/* Add up the rises of the items from `first` on. */
static void look_ahead(struct solver *s, int64_t first) {
    s->filled = 0;
    s->sizes[0] = 0;
    s->gains[0] = 0;
    for (int64_t i = 0; i < s->rise_count; i++)
        if (s->rises[i].item >= first) {
            s->sizes[s->filled + 1] = s->sizes[s->filled] + s->rises[i].size;
            s->gains[s->filled + 1] = s->gains[s->filled] + s->rises[i].gain;
            s->filled++;
        }
}

/* The most that rises of up to `size` together gain, the last of them in part. */
static double most_gain(const struct solver *s, uint64_t size) {
    int64_t low = 0, high = s->filled; /* the first `low` fit */
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (s->sizes[middle] <= size)
            low = middle;
        else
            high = middle - 1;
    }
    if (low == s->filled)
        return s->gains[low];
    const double part =
        (double)(size - s->sizes[low]) / (double)(s->sizes[low + 1] - s->sizes[low]);
    return s->gains[low] + part * (s->gains[low + 1] - s->gains[low]);
}

/* What a way costs in the end, at least; `first` is the first item to come. */
static double bound(const struct solver *s, const struct way *w, int64_t first) {
    return w->cost + s->most[first] - most_gain(s, s->capacity - w->size - s->least[first]);
}

/* Go on from a way by the rises that still fit, each item's in their order. What that costs is
 * known from then on. */
static void complete(struct solver *s, const struct way *w, int64_t first, int *taken) {
    uint64_t room = s->capacity - w->size - s->least[first];
    double cost = w->cost + s->most[first];
    memset(taken, 0, (size_t)s->count * sizeof *taken);
    for (int64_t i = 0; i < s->rise_count; i++) {
        const struct rise *r = &s->rises[i];
        if (r->item < first || r->size > room || taken[r->item] != r->order)
            continue;
        taken[r->item]++;
        room -= r->size;
        cost -= r->gain;
    }
    s->known = fmin(s->known, cost);
}

/* --- item by item ----------------------------------------------------------------------------- */

static int by_way(const void *left, const void *right) {
    const struct way *a = left, *b = right;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    if (a->cost != b->cost)
        return a->cost < b->cost ? -1 : 1;
    if (a->before != b->before)
        return a->before < b->before ? -1 : 1;
    return (a->option > b->option) - (a->option < b->option);
}

/* Every way with every option of the item that may still be the best; *cheapest: the one that
 * promises most. */
static int64_t extend(const struct solver *s, const struct stage *from, int64_t item,
                      struct way *out, struct way *cheapest) {
    int64_t count = 0;
    double least = HUGE_VAL;
    for (int64_t i = 0; i < from->count; i++)
        for (int o = 0; o < s->option_count[item]; o++) {
            const struct option *option = &s->options[item][o];
            const struct way w = {from->ways[i].size + option->size,
                                  from->ways[i].cost + option->cost, (int32_t)i, o};
            if (w.size + s->least[item + 1] > s->capacity)
                break;
            const double promised = bound(s, &w, item + 1);
            if (promised > s->known + s->slack)
                continue;
            if (promised < least) {
                least = promised;
                *cheapest = w;
            }
            out[count++] = w;
        }
    return count;
}

/* Of those in order of size, the ones that cost less than all before. */
static int64_t thin(struct way *ways, int64_t count) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++)
        if (kept == 0 || ways[i].cost < ways[kept - 1].cost)
            ways[kept++] = ways[i];
    return kept;
}

static enum llmq_status add_item(struct solver *s, const struct stage *from, int64_t item,
                                 int *taken, llmq_error *err) {
    struct stage *out = &s->stages[item];
    struct way cheapest = {0};
    const size_t most = (size_t)from->count * (size_t)s->option_count[item];
    out->ways = most < INT32_MAX ? malloc(most * sizeof *out->ways) : NULL;
    if (!out->ways)
        return error_memory(err, "the allocation");
    look_ahead(s, item + 1);
    out->count = extend(s, from, item, out->ways, &cheapest);
    qsort(out->ways, (size_t)out->count, sizeof *out->ways, by_way);
    out->count = thin(out->ways, out->count);
    assert(out->count > 0);
    complete(s, &cheapest, item + 1, taken);
    struct way *fitting = realloc(out->ways, (size_t)out->count * sizeof *fitting);
    out->ways = fitting ? fitting : out->ways;
    return LLMQ_OK;
}

static enum llmq_status solve(struct solver *s, int *choice, llmq_error *err) {
    struct way none = {.before = -1};
    struct stage from = {&none, 1};
    s->known = HUGE_VAL;
    complete(s, &none, 0, choice);
    for (int64_t i = 0; i < s->count; i++) {
        const enum llmq_status status = add_item(s, &from, i, choice, err);
        if (status != LLMQ_OK)
            return status;
        from = s->stages[i];
    }
    int64_t at = from.count - 1; /* the largest, and so the cheapest */
    for (int64_t i = s->count - 1; i >= 0; i--) {
        const struct way *w = &s->stages[i].ways[at];
        choice[i] = s->options[i][w->option].index;
        at = w->before;
    }
    return LLMQ_OK;
}

/* --- the problem ------------------------------------------------------------------------------ */

static enum llmq_status prepare(struct solver *s, const struct allocate_item *items,
                                llmq_error *err) {
    const size_t count = (size_t)s->count;
    size_t all = 1;
    for (size_t i = 0; i < count; i++)
        all += (size_t)items[i].count;
    s->options = calloc(count + 1, sizeof *s->options);
    s->option_count = calloc(count + 1, sizeof *s->option_count);
    s->rises = calloc(all, sizeof *s->rises);
    s->least = calloc(count + 1, sizeof *s->least);
    s->most = calloc(count + 1, sizeof *s->most);
    s->stages = calloc(count + 1, sizeof *s->stages);
    s->sizes = calloc(all, sizeof *s->sizes);
    s->gains = calloc(all, sizeof *s->gains);
    if (!s->options || !s->option_count || !s->rises || !s->least || !s->most || !s->stages ||
        !s->sizes || !s->gains)
        return error_memory(err, "the allocation");
    for (int64_t i = 0; i < s->count; i++) {
        const enum llmq_status status = list_options(s, &items[i], i, err);
        if (status != LLMQ_OK)
            return status;
        add_rises(s, i);
    }
    for (int64_t i = s->count - 1; i >= 0; i--) {
        s->least[i] = s->least[i + 1] + s->options[i][0].size;
        s->most[i] = s->most[i + 1] + s->options[i][0].cost;
    }
    qsort(s->rises, (size_t)s->rise_count, sizeof *s->rises, by_slope);
    return LLMQ_OK;
}

static void destroy(struct solver *s) {
    for (int64_t i = 0; i < s->count; i++) {
        if (s->options)
            free(s->options[i]);
        if (s->stages)
            free(s->stages[i].ways);
    }
    free(s->options);
    free(s->option_count);
    free(s->rises);
    free(s->least);
    free(s->most);
    free(s->stages);
    free(s->sizes);
    free(s->gains);
}

uint64_t allocate_least(const struct allocate_item *items, int64_t count) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t least = items[i].choices[0].size;
        for (int c = 1; c < items[i].count; c++)
            least = items[i].choices[c].size < least ? items[i].choices[c].size : least;
        sum += least;
    }
    return sum;
}

enum llmq_status allocate(const struct allocate_item *items, int64_t count, uint64_t capacity,
                          int *choice, llmq_error *err) {
    struct solver s = {.count = count, .capacity = capacity};
    const uint64_t least = allocate_least(items, count);
    enum llmq_status status = LLMQ_OK;
    if (least > capacity)
        return error_set(err, LLMQ_E_USAGE,
                         "the smallest settings take %" PRIu64 " bytes, more than %" PRIu64, least,
                         capacity);
    LLMQ_TRY(prepare(&s, items, err));
    LLMQ_TRY(solve(&s, choice, err));
cleanup:
    destroy(&s);
    return status;
}
