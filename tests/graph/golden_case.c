/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a case and measuring how far llmq is off: see golden_case.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "golden_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "eval/logprobs.h"
#include "graph/pass.h"
#include "support.h"

const char *const golden_configs[2] = {"config.json", "config.v5.json"};

static const struct eval_numbers plain = {.mode = LOAD_PLAIN};

/* --- opening ---------------------------------------------------------------------------------- */

static void link_file(const char *from, const char *to) {
    char *target = realpath(from, NULL);
    ck_assert_ptr_nonnull(target);
    ck_assert_int_eq(symlink(target, to), 0);
    free(target);
}

/* A folder with the case's weights and one of its two configs. */
static char *assemble(const char *dir, const char *config) {
    struct dir_list list;
    llmq_error err = {0};
    ck_assert_ok(dir_list_read(dir, &list, &err), &err);
    char *folder = path_join(scratch_path(""), config, NULL);
    ck_assert_ok(dir_remove(folder, &err), &err); /* the case before */
    ck_assert_ok(dir_make(folder, false, &err), &err);
    for (size_t i = 0; i < list.count; i++) {
        const char *name = list.names[i];
        bool is_config = strcmp(name, config) == 0;
        if (!is_config && (strncmp(name, "model", 5) != 0))
            continue;
        char *from = path_join(dir, name, NULL);
        char *to = path_join(folder, is_config ? "config.json" : name, NULL);
        link_file(from, to);
        free(from);
        free(to);
    }
    dir_list_free(&list);
    return folder;
}

static struct json *read_facts(const char *dir) {
    llmq_error err = {0};
    struct json *facts = NULL;
    char *path = path_join(dir, "expected.json", NULL);
    ck_assert_ok(json_read(path, &facts, &err), &err);
    free(path);
    return facts;
}

static struct st_set *open_expected(const char *dir) {
    llmq_error err = {0};
    struct st_set *expected = NULL;
    char *path = path_join(dir, "expected.safetensors", NULL);
    ck_assert_ok(st_open_file(path, &expected, &err), &err);
    free(path);
    return expected;
}

/* The case's tokens as the one window of a corpus. */
static struct corpus one_window(const struct json *ids) {
    const int64_t count = (int64_t)json_count(ids);
    struct corpus corpus = {.count = 1, .max_len = count, .tokens_used = count};
    corpus.ids = calloc((size_t)count, sizeof *corpus.ids);
    corpus.offsets = calloc(2, sizeof *corpus.offsets);
    corpus.offsets[1] = count;
    int64_t i = 0;
    for (const struct json *id = json_first(ids); id; id = json_next(id)) {
        int64_t value = 0;
        ck_assert(json_as_int64(id, &value));
        corpus.ids[i++] = (int32_t)value;
    }
    return corpus;
}

enum llmq_status golden_open(const char *dir, const char *config, struct golden *g,
                             llmq_error *err) {
    *g = (struct golden){.facts = read_facts(dir), .expected = open_expected(dir)};
    g->corpus = one_window(json_get(g->facts, "input_ids"));
    char *folder = assemble(dir, config);
    const enum llmq_status status = model_open(folder, &g->model, err);
    free(folder);
    return status;
}

void golden_close(struct golden *g) {
    model_close(&g->model);
    st_close(&g->expected);
    json_free(&g->facts);
    corpus_free(&g->corpus);
}

/* --- measuring -------------------------------------------------------------------------------- */

static double larger(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

double golden_deviation(const struct golden *g, const char *tensor, const float *x) {
    llmq_error err = {0};
    const struct st_tensor *t = st_find(g->expected, tensor);
    ck_assert_msg(t != NULL, "%s", tensor);
    size_t count = (size_t)(t->shape[0] * t->shape[1]);
    float *expected = malloc(count * sizeof *expected);
    ck_assert_ok(st_read_f32(g->expected, t, expected, &err), &err);
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = larger(worst, fabs((double)x[i] - (double)expected[i]));
    free(expected);
    return worst;
}

struct golden_scores golden_score(const struct golden *g) {
    llmq_error err = {0};
    const int64_t T = g->corpus.tokens_used, vocab = g->model.config.vocab;
    struct golden_scores s = {calloc((size_t)(T * vocab), sizeof *s.logits),
                              calloc((size_t)T, sizeof *s.logprobs)};
    const struct acts logits = {.rows = T, .width = vocab, .max_width = vocab, .data = s.logits};
    const struct eval_job job = {.m = &g->model, .corpus = &g->corpus, .numbers = plain};
    ck_assert_ok(eval_logprobs(&job, s.logprobs, &logits, &err), &err);
    return s;
}

static void measure_scores(const struct golden *g, struct golden_figures *out) {
    struct golden_scores s = golden_score(g);
    double loss = 0;
    out->logits = golden_deviation(g, "logits", s.logits);
    ck_assert(json_as_double(json_get(g->facts, "mean_loss"), &loss));
    out->loss = fabs(eval_mean_nll(&g->corpus, s.logprobs, EVAL_GPTQ).nll - loss);
    free(s.logits);
    free(s.logprobs);
}

static struct eval_job job_of(const struct golden *g) {
    return (struct eval_job){.m = &g->model,
                             .corpus = &g->corpus,
                             .numbers = plain,
                             .name = "",
                             .total = g->model.config.blocks};
}

/* Behind the hidden state may lie what the model keeps. */
static double deviation_of_stream(const struct golden *g, const char *name, const float *x) {
    const int64_t rows = g->corpus.tokens_used, hidden = g->model.config.hidden;
    const int64_t stream = g->model.config.stream;
    float *states = malloc((size_t)(rows * hidden) * sizeof *states);
    ck_assert_ptr_nonnull(states);
    for (int64_t r = 0; r < rows; r++)
        memcpy(states + r * hidden, x + r * stream, (size_t)hidden * sizeof *x);
    const double off = golden_deviation(g, name, states);
    free(states);
    return off;
}

/* The embedding and the output of every block. */
static double deviation_of_blocks(const struct golden *g) {
    const struct eval_job job = job_of(g);
    llmq_error err = {0};
    struct walk *w = NULL;
    ck_assert_ok(walk_create(&job, &w, &err), &err);
    double worst = deviation_of_stream(g, "hidden.embed", walk_residual(w));
    for (int64_t i = 0; i < g->model.config.blocks; i++) {
        char name[32];
        ck_assert_ok(walk_block(w, i, &err), &err);
        snprintf(name, sizeof name, "hidden.%d", (int)i);
        worst = larger(worst, deviation_of_stream(g, name, walk_residual(w)));
    }
    walk_free(&w);
    return worst;
}

/* The factor of the logits may be one of what the head reads, or of what it makes. */
static double deviation_of_head_input(const struct golden *g) {
    const double factor = g->model.config.facts.numbers[NUM_LOGITS];
    llmq_error err = {0};
    struct acts hidden = {0};
    const struct eval_job job = job_of(g);
    ck_assert_ok(eval_hidden(&job, &hidden, &err), &err);
    double off = golden_deviation(g, "hidden.head_in", hidden.data);
    for (int64_t i = 0; i < hidden.rows * hidden.width; i++)
        hidden.data[i] *= (float)factor;
    off = fmin(off, golden_deviation(g, "hidden.head_in", hidden.data));
    acts_free(&hidden);
    return off;
}

struct golden_figures golden_measure(const struct golden *g) {
    struct golden_figures out = {0};
    measure_scores(g, &out);
    out.hidden = larger(deviation_of_blocks(g), deviation_of_head_input(g));
    return out;
}
