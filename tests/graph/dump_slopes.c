/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients of a model's loss, for comparisons with other implementations
 * (tools/check_gradients.py).
 *
 *     dump_slopes MODEL OUT <tokens     one window of token ids, separated by blanks
 *
 * OUT gets records: a line, then numbers. "linear NAME rows n": int32 [rows], the tokens, and
 * float32 [rows, n], the gradient towards x W^T. "param NAME count" and "param final_norm count":
 * float64. "input count": float32, towards what goes into the first block. "loss count": float64.
 */
#include <stdio.h>
#include <stdlib.h>

#include "graph/backward.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

static _Noreturn void fail(const char *message) {
    fprintf(stderr, "dump_slopes: %s\n", message);
    exit(1);
}

struct dump {
    const struct model *m;
    FILE *out;
};

static void put(const struct dump *d, const void *data, size_t size, int64_t count) {
    if (fwrite(data, size, (size_t)count, d->out) != (size_t)count)
        fail("cannot write");
}

static enum llmq_status dump_linear(void *c, const struct linear_slope *s, llmq_error *err) {
    const struct dump *d = c;
    char name[MODEL_NAME_MAX];
    (void)err;
    fprintf(d->out, "linear %s %lld %lld\n",
            blocks_node_name(d->m->blocks, (struct linear_place){s->block, s->node, s->expert}, "",
                             name),
            (long long)s->rows, (long long)s->n);
    for (int64_t r = 0; r < s->rows; r++) {
        const int32_t token = (int32_t)s->begin + (s->row ? s->row[r] : (int32_t)r);
        put(d, &token, sizeof token, 1);
    }
    put(d, s->g, sizeof *s->g, s->rows * s->n);
    return LLMQ_OK;
}

static enum llmq_status dump_param(void *c, const struct param_slope *s, llmq_error *err) {
    const struct dump *d = c;
    const int64_t count = graph_param_entries(s->param);
    char name[MODEL_NAME_MAX];
    (void)err;
    fprintf(d->out, "param %s %lld\n",
            blocks_param_name(d->m->blocks, s->block, -1, s->param, name), (long long)count);
    put(d, s->sum, sizeof *s->sum, count);
    return LLMQ_OK;
}

static int64_t read_ids(int32_t *ids, int64_t most) {
    int64_t count = 0;
    for (int id = 0; count < most && scanf("%d", &id) == 1; count++)
        ids[count] = (int32_t)id;
    return count;
}

static void run(const struct dump *d, const int32_t *ids, int64_t count) {
    const struct loss loss = {.kind = LOSS_LABELS};
    const int64_t offsets[2] = {0, count}, hidden = d->m->config.hidden;
    struct dump taps = *d;
    llmq_error err = {0};
    struct backward_result out = {.loss = calloc((size_t)count, sizeof *out.loss),
                                  .final_norm = calloc((size_t)hidden, sizeof *out.final_norm),
                                  .embedding =
                                      calloc((size_t)(count * d->m->config.stream), sizeof(float))};
    const struct backward_job job = {.m = d->m,
                                     .ids = ids,
                                     .offsets = offsets,
                                     .count = 1,
                                     .loss = &loss,
                                     .taps = {&taps, dump_linear, dump_param}};
    if (!out.loss || !out.final_norm || !out.embedding)
        fail("out of memory");
    if (backward_run(&job, &out, &err) != LLMQ_OK)
        fail(err.message);
    fprintf(d->out, "param final_norm %lld\n", (long long)hidden);
    put(d, out.final_norm, sizeof *out.final_norm, hidden);
    fprintf(d->out, "input %lld\n", (long long)(count * d->m->config.stream));
    put(d, out.embedding, sizeof *out.embedding, count * d->m->config.stream);
    fprintf(d->out, "loss %lld\n", (long long)count);
    put(d, out.loss, sizeof *out.loss, count);
    free(out.loss), free(out.final_norm), free(out.embedding);
}

int main(int argc, char **argv) {
    enum { MOST = 4096 };
    static int32_t ids[MOST];
    struct model m = {0};
    llmq_error err = {0};
    if (argc != 3)
        fail("usage: dump_slopes MODEL OUT <tokens");
    linalg_init();
    if (kernels_init(&err) != LLMQ_OK || model_open(argv[1], &m, &err) != LLMQ_OK)
        fail(err.message);
    const struct dump d = {&m, fopen(argv[2], "wb")};
    if (!d.out)
        fail("cannot write");
    run(&d, ids, read_ids(ids, MOST));
    if (fclose(d.out) != 0)
        fail("cannot write");
    model_close(&m);
    return 0;
}
