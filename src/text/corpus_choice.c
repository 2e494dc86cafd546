/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing windows: see corpus_choice.h.
 *
 * A stream is cut into windows from its begin. Those to be held back may have another length, and
 * then lie on a grid of their own: of the windows that the others are chosen from, the ones that
 * they touch are left out. */
#include "text/corpus_choice.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/int64.h"
#include "text/corpus.h"
#include "text/corpus_windows.h"

/* What is held back is drawn by a sequence of its own. */
#define HELD_STREAM UINT64_C(0x68656c64)

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, n): values from the incomplete last round of n are drawn again. */
static uint64_t random_below(uint64_t *state, uint64_t n) {
    uint64_t reject = (0 - n) % n; /* 2^64 mod n */
    uint64_t x = next_random(state);
    while (x < reject)
        x = next_random(state);
    return x % n;
}

/* The choice of `wanted` of `available` windows, in order. */
struct choice {
    bool sample, stratified;
    int64_t wanted, available;
    int64_t taken, next; /* so far, and the first that may still be */
    uint64_t random;
};

/* Each window is taken with probability (still wanted) / (still to come), which gives every subset
 * of that size the same chance (Knuth, TAOCP 2, 3.4.2, Algorithm S). */
static int64_t choose_random(struct choice *c) {
    while (random_below(&c->random, (uint64_t)(c->available - c->next)) >=
           (uint64_t)(c->wanted - c->taken))
        c->next++;
    return c->next;
}

/* One out of the next of `wanted` stretches, as long as each other but for one window. */
static int64_t choose_stratified(struct choice *c) {
    const int64_t whole = c->available / c->wanted, rest = c->available % c->wanted;
    const int64_t begin = c->taken * whole + c->taken * rest / c->wanted;
    const int64_t end = (c->taken + 1) * whole + (c->taken + 1) * rest / c->wanted;
    return begin + (int64_t)random_below(&c->random, (uint64_t)(end - begin));
}

static int64_t choose(struct choice *c) {
    const int64_t window = !c->sample      ? c->next
                           : c->stratified ? choose_stratified(c)
                                           : choose_random(c);
    c->taken++;
    c->next = window + 1;
    return window;
}

/* Windows cut from a stream, walked one after the other beside those that are held back. */
struct cut {
    int64_t length, end;
    const struct id_window *held;
    int64_t held_count;
    int64_t at, passed; /* windows, those held back that lie before */
};

/* The next window that touches none that is held back; false at the end. */
static bool next_free(struct cut *c, int64_t count, struct id_window *out) {
    while (c->at < count) {
        const int64_t begin = c->at++ * c->length;
        *out = (struct id_window){begin, min_i64(begin + c->length, c->end), false};
        while (c->passed < c->held_count && c->held[c->passed].end <= out->begin)
            c->passed++;
        if (c->passed == c->held_count || c->held[c->passed].begin >= out->end)
            return true;
    }
    return false;
}

static int64_t count_free(struct cut c, int64_t count) {
    struct id_window window;
    int64_t free_windows = 0;
    while (next_free(&c, count, &window))
        free_windows++;
    return free_windows;
}

/* Draw the windows that are held back, in order; returns how many. */
static int64_t draw_held(const struct corpus_options *o, int64_t limit, struct id_window *held) {
    struct choice choice = {.sample = true,
                            .wanted = o->held,
                            .available = o->held > 0 ? limit / o->held_length : 0,
                            .random = o->seed ^ HELD_STREAM};
    if (choice.available < choice.wanted)
        return 0;
    while (choice.taken < choice.wanted) {
        const int64_t begin = choose(&choice) * o->held_length;
        held[choice.taken - 1] = (struct id_window){begin, begin + o->held_length, true};
    }
    return choice.wanted;
}

/* Choose of the free windows, and put them in order with those held back, which lie at the end of
 * out->window. */
static void merge(struct choice *choice, struct cut cut, int64_t windows, struct id_windows *out) {
    int64_t free_windows = 0, held = 0;
    struct id_window window;
    while (choice->taken < choice->wanted) {
        const int64_t wanted = choose(choice);
        do
            (void)next_free(&cut, windows, &window);
        while (free_windows++ < wanted);
        for (; held < cut.held_count && cut.held[held].begin < window.begin; held++)
            out->window[out->count++] = cut.held[held];
        out->window[out->count++] = window;
    }
    while (held < cut.held_count)
        out->window[out->count++] = cut.held[held++];
}

enum llmq_status corpus_choose(const struct corpus_options *o, int64_t tokens,
                               struct id_windows *out, llmq_error *err) {
    const int64_t limit = o->max_tokens > 0 ? min_i64(tokens, o->max_tokens) : tokens;
    const int64_t tail = limit % o->window;
    const int64_t windows = limit / o->window + (o->keep_tail && tail >= WINDOW_MIN);
    const int64_t wanted = o->max_windows > 0 ? min_i64(o->max_windows, windows) : windows;
    struct id_window *held = calloc((size_t)o->held + 1, sizeof *held);
    *out = (struct id_windows){.end = limit};
    out->window = calloc((size_t)(wanted + o->held) + 1, sizeof *out->window);
    if (!out->window || !held) {
        free(held);
        return error_memory(err, "the windows of a corpus");
    }
    struct cut cut = {.length = o->window, .end = limit, .held = held};
    cut.held_count = draw_held(o, limit, held);
    int64_t available = count_free(cut, windows);
    if (available < wanted) { /* too short for both */
        cut.held_count = 0;
        available = windows;
    }
    struct choice choice = {.sample = o->sample,
                            .stratified = o->stratified,
                            .wanted = wanted,
                            .available = available,
                            .random = o->seed};
    merge(&choice, cut, windows, out);
    free(held);
    return LLMQ_OK;
}

int64_t id_windows_total(const struct id_windows *w) {
    int64_t total = 0;
    for (int64_t i = 0; i < w->count; i++)
        total += w->window[i].end - w->window[i].begin;
    return total;
}
