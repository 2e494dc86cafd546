/* SPDX-License-Identifier: Apache-2.0 */
/* What the gradient of a model's loss costs in forward passes of evaluation, which has one product
 * with the output head: best of some samples, and memory as planned. The demo model, or those
 * given. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/tally.h"
#include "eval/logprobs.h"
#include "graph/backward.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

enum { SAMPLES = 3, WINDOWS = 8, LENGTH = 256, TOKENS = WINDOWS * LENGTH };

static _Noreturn void fail(const char *message) {
    fprintf(stderr, "bench_backward: %s\n", message);
    exit(1);
}

struct text {
    int32_t ids[TOKENS];
    int64_t offsets[WINDOWS + 1];
    double loss[TOKENS];
};

static void make_text(int64_t vocab, struct text *t) {
    for (int64_t i = 0; i < TOKENS; i++)
        t->ids[i] = (int32_t)(1 + i * 7919 % (vocab - 1));
    for (int64_t i = 0; i <= WINDOWS; i++)
        t->offsets[i] = i * LENGTH;
}

static double time_forward(const struct model *m, struct text *t) {
    const struct corpus corpus = {.ids = t->ids,
                                  .offsets = t->offsets,
                                  .count = WINDOWS,
                                  .max_len = LENGTH,
                                  .tokens_used = TOKENS};
    const struct eval_job job = {
        .m = m, .corpus = &corpus, .numbers = {.mode = LOAD_PLAIN}, .name = ""};
    llmq_error err = {0};
    const double start = tally_now();
    if (eval_logprobs(&job, t->loss, NULL, &err) != LLMQ_OK)
        fail(err.message);
    return tally_now() - start;
}

static double time_backward(const struct model *m, struct text *t, struct tally *tally) {
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = 1};
    const struct backward_job job = {.m = m,
                                     .ids = t->ids,
                                     .offsets = t->offsets,
                                     .count = WINDOWS,
                                     .loss = &loss,
                                     .tally = tally};
    struct backward_result out = {.loss = t->loss};
    llmq_error err = {0};
    const double start = tally_now();
    *tally = (struct tally){0};
    tally_start(tally);
    if (backward_run(&job, &out, &err) != LLMQ_OK)
        fail(err.message);
    return tally_now() - start;
}

static void bench(const char *dir) {
    static struct text text;
    struct model m = {0};
    struct tally tally = {0};
    llmq_error err = {0};
    double forward = 1e9, backward = 1e9;
    if (model_open(dir, &m, &err) != LLMQ_OK)
        fail(err.message);
    make_text(m.config.vocab, &text);
    for (int i = 0; i < SAMPLES; i++) {
        const double f = time_forward(&m, &text), b = time_backward(&m, &text, &tally);
        forward = f < forward ? f : forward;
        backward = b < backward ? b : backward;
    }
    const struct backward_bytes bytes = backward_bytes(&m, text.offsets, WINDOWS, false);
    printf("%s\n  forward %.3f s, gradient %.3f s: %.1f forward passes; %.1f MB\n ", dir, forward,
           backward, backward / forward, (double)bytes.memory / 1e6);
    for (int k = 0; k < TALLY_KINDS; k++)
        if (tally.seconds[k] > 0)
            printf(" %s %.3f s", tally_name((enum tally_kind)k), tally.seconds[k]);
    printf("\n");
    model_close(&m);
}

int main(int argc, char **argv) {
    llmq_error err = {0};
    char demo[4096];
    const char *root = getenv("LLMQ_SOURCE_ROOT");
    linalg_init();
    if (kernels_init(&err) != LLMQ_OK)
        fail(err.message);
    (void)snprintf(demo, sizeof demo, "%s/models/demo", root ? root : ".");
    if (argc < 2)
        bench(demo);
    for (int i = 1; i < argc; i++)
        bench(argv[i]);
    return 0;
}
