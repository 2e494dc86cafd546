/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of a run: see tally.h. */
#include "base/tally.h"

#include <stddef.h>
#include <time.h>

static const char *const names[TALLY_KINDS] = {
    [TALLY_PREPARE] = "prepare",
    [TALLY_READ] = "read weights",
    [TALLY_LINEAR] = "linears",
    [TALLY_ATTENTION] = "attention",
    [TALLY_SCAN] = "recurrences",
    [TALLY_ELEMENTWISE] = "elementwise",
    [TALLY_SPILL] = "activation files",
    [TALLY_MOMENTS] = "moments",
    [TALLY_FACTOR] = "factors",
    [TALLY_FOLD] = "AWQ search",
    [TALLY_CORRECT] = "correction",
    [TALLY_SOLVE] = "rounding",
    [TALLY_TUNE] = "tuning",
    [TALLY_WRITE] = "write and verify",
};

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double tally_now(void) {
    return seconds_of(CLOCK_MONOTONIC);
}

double tally_thread_now(void) {
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

void tally_start(struct tally *t) {
    *t = (struct tally){.last = tally_now()};
}

void tally_read(struct tally *t, enum tally_kind kind, double flops) {
    if (!t)
        return;
    double time = tally_now();
    t->seconds[kind] += time - t->last;
    t->flops[kind] += flops;
    t->last = time;
}

const char *tally_name(enum tally_kind kind) {
    return names[kind];
}
