/* The forward pass against the reference implementation: logits, hidden states and mean loss of
 * tiny models, with config.json in both spellings. Two cases are in the tree, the others in the
 * shared data. Gates of the reference's own noise: logits 3e-4, hidden 2e-4, mean loss 2e-5. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "eval/logprobs.h"
#include "graph/pass.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

#define LOGIT_GATE  3e-4
#define HIDDEN_GATE 2e-4
#define LOSS_GATE   2e-5

static const struct eval_numbers plain = {.mode = LOAD_PLAIN};

static const char *const shared_cases[] = {
    "llama-base",           "llama-bf16",        "llama-f16",       "llama-sharded",
    "llama-rope-linear",    "llama-rope-llama3", "llama-rope-yarn", "llama-rope-dynamic-short",
    "llama-minimal-config", "mistral-swa",       "qwen2",           "qwen3",
};

struct golden {
    struct model model;
    struct st_set *expected;
    struct json *facts;
    struct corpus corpus;
};

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
        ck_assert_ok(file_copy(from, to, &err), &err);
        free(from);
        free(to);
    }
    dir_list_free(&list);
    return folder;
}

static void golden_open(const char *dir, const char *config, struct golden *g) {
    llmq_error err = {0};
    char *folder = assemble(dir, config), *facts = path_join(dir, "expected.json", NULL);
    char *tensors = path_join(dir, "expected.safetensors", NULL);
    ck_assert_ok(model_open(folder, &g->model, &err), &err);
    ck_assert_ok(st_open_file(tensors, &g->expected, &err), &err);
    ck_assert_ok(json_read(facts, &g->facts, &err), &err);
    const struct json *ids = json_get(g->facts, "input_ids");
    int64_t count = (int64_t)json_count(ids), i = 0;
    g->corpus = (struct corpus){.count = 1, .max_len = count, .tokens_used = count};
    g->corpus.ids = calloc((size_t)count, sizeof *g->corpus.ids);
    g->corpus.offsets = calloc(2, sizeof *g->corpus.offsets);
    g->corpus.offsets[1] = count;
    for (const struct json *id = json_first(ids); id; id = json_next(id)) {
        int64_t value = 0;
        ck_assert(json_as_int64(id, &value));
        g->corpus.ids[i++] = (int32_t)value;
    }
    free(folder);
    free(facts);
    free(tensors);
}

static void golden_close(struct golden *g) {
    model_close(&g->model);
    st_close(&g->expected);
    json_free(&g->facts);
    corpus_free(&g->corpus);
}

/* Largest |x - expected tensor|, NaN where one of them is. */
static double deviation(const struct golden *g, const char *name, const float *x) {
    llmq_error err = {0};
    const struct st_tensor *t = st_find(g->expected, name);
    ck_assert_msg(t != NULL, "%s", name);
    size_t count = (size_t)(t->shape[0] * t->shape[1]);
    float *expected = malloc(count * sizeof *expected);
    ck_assert_ok(st_read_f32(g->expected, t, expected, &err), &err);
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double off = fabs((double)x[i] - (double)expected[i]);
        worst = off > worst || isnan(off) ? off : worst;
    }
    free(expected);
    return worst;
}

static void check_logits(const struct golden *g) {
    llmq_error err = {0};
    int64_t T = g->corpus.tokens_used;
    double *logprobs = calloc((size_t)T, sizeof *logprobs), loss = 0, got = 0;
    float *logits = calloc((size_t)(T * g->model.config.vocab), sizeof *logits);
    ck_assert_ok(eval_logprobs(&g->model, &g->corpus, plain, NULL, logprobs, logits, &err), &err);
    ck_assert_double_le(deviation(g, "logits", logits), LOGIT_GATE);
    for (int64_t t = 0; t + 1 < T; t++)
        got -= logprobs[t] / (double)(T - 1);
    ck_assert(json_as_double(json_get(g->facts, "mean_loss"), &loss));
    ck_assert_double_le(fabs(got - loss), LOSS_GATE);
    free(logprobs);
    free(logits);
}

static void check_hidden(const struct golden *g) {
    llmq_error err = {0};
    const struct model_config *c = &g->model.config;
    int64_t T = g->corpus.tokens_used;
    struct forward f;
    struct arena *weights = NULL;
    struct schedule schedule;
    schedule_block(model_graph(&g->model, 0), &schedule);
    const struct forward_size size = {T, T, schedule.width, LLMQ_COMPUTE_F32};
    float *x = calloc((size_t)(T * c->hidden), sizeof *x);
    ck_assert_ok(forward_create(c, g->model.blocks, &size, &f, &err), &err);
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    ck_assert_ok(model_embed(&g->model, g->corpus.ids, T, x, &err), &err);
    ck_assert_double_le(deviation(g, "hidden.embed", x), HIDDEN_GATE);
    for (int64_t i = 0; i < c->blocks; i++) {
        struct block block;
        struct batch batch = {g->corpus.offsets, 1};
        struct pass pass = {&f, &schedule, &block, &batch, {NULL, x}};
        char name[32];
        ck_assert_ok(block_load(&g->model, i, LOAD_PLAIN, weights, &block, &err), &err);
        ck_assert_ok(pass_run(&pass, &err), &err);
        snprintf(name, sizeof name, "hidden.%d", (int)i);
        ck_assert_double_le(deviation(g, name, x), HIDDEN_GATE);
        block_release(&block);
        arena_reset(weights);
    }
    forward_free(&f);
    arena_free(&weights);
    free(x);
}

static void check_case(const char *dir) {
    static const char *const configs[] = {"config.json", "config.v5.json"};
    for (int i = 0; i < 2; i++) {
        struct golden g = {0};
        golden_open(dir, configs[i], &g);
        check_logits(&g);
        check_hidden(&g);
        golden_close(&g);
    }
}

START_TEST(cases_in_the_tree_agree_with_the_reference) {
    static const char *const cases[] = {"tests/golden/llama-base", "tests/golden/qwen3"};
    for (int i = 0; i < 2; i++) {
        char *dir = source_path(cases[i]);
        check_case(dir);
        free(dir);
    }
}
END_TEST

START_TEST(shared_cases_agree_with_the_reference) {
    for (size_t i = 0; i < sizeof shared_cases / sizeof shared_cases[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "golden/%s", shared_cases[i]);
        char *dir = shared_path(path);
        if (dir)
            check_case(dir);
        free(dir);
    }
}
END_TEST

/* A wrong window shows by orders of magnitude more than the gate: the switch is really used. */
START_TEST(sliding_window_matters) {
    char *dir = shared_path("golden/mistral-swa");
    if (!dir)
        return;
    llmq_error err = {0};
    struct golden g = {0};
    golden_open(dir, "config.json", &g);
    size_t count = (size_t)(g.corpus.tokens_used * g.model.config.vocab);
    double *logprobs = calloc((size_t)g.corpus.tokens_used, sizeof *logprobs);
    float *logits = calloc(count, sizeof *logits);
    g.model.config.window++;
    ck_assert_ok(eval_logprobs(&g.model, &g.corpus, plain, NULL, logprobs, logits, &err), &err);
    ck_assert_double_ge(deviation(&g, "logits", logits), 1.0);
    free(logprobs);
    free(logits);
    golden_close(&g);
    free(dir);
}
END_TEST

/* Dynamic NTK scaling has no golden case beyond the trained length: check the formula itself. */
START_TEST(dynamic_rope_stretches_the_base) {
    llmq_error err = {0};
    struct model_config c = {.head_dim = 16, .max_positions = 64};
    c.rope = (struct rope_config){
        .type = ROPE_DYNAMIC, .theta = 10000, .factor = 3, .attention_factor = 1};
    struct rope_table table = {0};
    ck_assert_ok(rope_table_prepare(&c, 64, &table, &err), &err);
    ck_assert_double_eq_tol((double)table.cos[8 + 1], cos(pow(10000, -2.0 / 16)), 1e-6);
    ck_assert_ok(rope_table_prepare(&c, 128, &table, &err), &err);
    double base = 10000.0 * pow(3.0 * 128 / 64 - 2.0, 16.0 / 14.0);
    ck_assert_double_eq_tol((double)table.cos[8 + 1], cos(pow(base, -2.0 / 16)), 1e-6);
    ck_assert_ok(rope_table_prepare(&c, 64, &table, &err), &err);
    ck_assert_double_eq_tol((double)table.cos[8 + 1], cos(pow(10000, -2.0 / 16)), 1e-6);
    rope_table_free(&table);
}
END_TEST

/* Same bytes for any number of threads. */
START_TEST(logits_do_not_depend_on_threads) {
    llmq_error err = {0};
    struct golden g = {0};
    char *dir = source_path("tests/golden/qwen3");
    golden_open(dir, "config.json", &g);
    size_t count = (size_t)(g.corpus.tokens_used * g.model.config.vocab);
    double *logprobs = calloc((size_t)g.corpus.tokens_used, sizeof *logprobs);
    float *one = calloc(count, sizeof *one), *many = calloc(count, sizeof *many);
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    ck_assert_ok(eval_logprobs(&g.model, &g.corpus, plain, NULL, logprobs, one, &err), &err);
    omp_set_num_threads(3);
    ck_assert_ok(eval_logprobs(&g.model, &g.corpus, plain, NULL, logprobs, many, &err), &err);
    omp_set_num_threads(before);
    ck_assert_int_eq(memcmp(one, many, count * sizeof *one), 0);
    free(logprobs);
    free(one);
    free(many);
    golden_close(&g);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("golden");
    TCase *t = tcase_create("golden");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, cases_in_the_tree_agree_with_the_reference);
    tcase_add_test(t, shared_cases_agree_with_the_reference);
    tcase_add_test(t, sliding_window_matters);
    tcase_add_test(t, dynamic_rope_stretches_the_base);
    tcase_add_test(t, logits_do_not_depend_on_threads);
    suite_add_tcase(s, t);
    return run_suite(s);
}
