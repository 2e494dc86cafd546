/* SPDX-License-Identifier: Apache-2.0 */
/* Generating with the library: the tokens are those that a pass over the whole sequence finds most
 * likely, plain and packed; where it ends; what is refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "eval/logprobs.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "llmq/generate.h"
#include "llmq/quantize.h"
#include "support.h"

static llmq_error err;
static const char prompt[] = "My fellow citizens";
static const llmq_context context = {.size = sizeof context, .threads = 2};

static int32_t *read_prompt(const char *model, size_t *count) {
    int32_t *ids = NULL;
    ck_assert_ok(
        llmq_prompt_ids(model, prompt, strlen(prompt), LLMQ_SPECIAL_MODEL, &ids, count, &err),
        &err);
    return ids;
}

static llmq_generate_options options_of(const char *model, int64_t tokens) {
    llmq_generate_options o;
    llmq_generate_options_init(&o);
    o.model = model;
    o.max_tokens = tokens;
    return o;
}

static llmq_generate_result generate(const llmq_generate_options *o) {
    llmq_generate_result result;
    size_t count = 0;
    int32_t *ids = read_prompt(o->model, &count);
    ck_assert_ok(llmq_generate(o, ids, count, &context, &result, &err), &err);
    free(ids);
    return result;
}

/* Each generated token is the most likely one of a pass over all of them. */
static void check_argmax(const char *dir, enum load_mode mode, const int32_t *ids, size_t count,
                         const llmq_generate_result *r) {
    /* an activation that rounds the other way moves a logit by more than sums in another order do
     */
    const double slack = mode == LOAD_PACKED_INT8 ? 0.05 : 1e-4;
    const int64_t total = (int64_t)(count + r->count);
    int64_t offsets[2] = {0, total};
    struct model m;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    int32_t *all = calloc((size_t)total, sizeof *all);
    double *logprobs = calloc((size_t)total, sizeof *logprobs);
    float *rows = calloc((size_t)(total * m.config.vocab), sizeof *rows);
    memcpy(all, ids, count * sizeof *all);
    memcpy(all + count, r->ids, r->count * sizeof *all);
    const struct corpus corpus = {
        .ids = all, .offsets = offsets, .count = 1, .max_len = total, .tokens_used = total};
    const struct acts logits = {
        .rows = total, .width = m.config.vocab, .max_width = m.config.vocab, .data = rows};
    const struct eval_job job = {.m = &m, .corpus = &corpus, .numbers = {.mode = mode}};
    ck_assert_ok(eval_logprobs(&job, logprobs, &logits, &err), &err);
    for (size_t i = 0; i < r->count; i++) {
        const float *row = rows + (int64_t)(count + i - 1) * m.config.vocab;
        for (int64_t v = 0; v < m.config.vocab; v++)
            ck_assert_msg(row[v] <= row[r->ids[i]] || (double)(row[v] - row[r->ids[i]]) < slack,
                          "token %zu is %d, and %d is more likely", i, (int)r->ids[i], (int)v);
    }
    free(all);
    free(logprobs);
    free(rows);
    model_close(&m);
}

static void check_model(const char *dir, enum load_mode mode, llmq_generate_options o) {
    size_t count = 0;
    int32_t *ids = read_prompt(dir, &count);
    llmq_generate_result r;
    ck_assert_ok(llmq_generate(&o, ids, count, &context, &r, &err), &err);
    ck_assert_uint_eq(r.count, (size_t)o.max_tokens);
    ck_assert_int_eq(r.end, LLMQ_END_LENGTH);
    ck_assert_uint_eq(r.text_len, strlen(r.text));
    check_argmax(dir, mode, ids, count, &r);
    llmq_generate_result_free(&r);
    free(ids);
}

START_TEST(tokens_are_the_most_likely_ones) {
    char *demo = source_path("models/demo"), *stories = shared_path("models/stories15M");
    check_model(demo, LOAD_PLAIN, options_of(demo, 24));
    if (stories)
        check_model(stories, LOAD_PLAIN, options_of(stories, 24));
    free(demo);
    free(stories);
}
END_TEST

START_TEST(packed_weights_too) {
    char *demo = source_path("models/demo");
    const char *out = scratch_path("packed");
    llmq_quantize_options q;
    llmq_quantize_report report = {0};
    llmq_quantize_options_init(&q, LLMQ_METHOD_RTN);
    q.model = demo;
    q.out = out;
    ck_assert_ok(llmq_quantize(&q, &context, &report, &err), &err);
    llmq_quantize_report_free(&report);
    llmq_generate_options o = options_of(out, 16);
    check_model(out, LOAD_PACKED, o);
    o.activations = LLMQ_ACTIVATIONS_INT8;
    check_model(out, LOAD_PACKED_INT8, o);
    o.against = demo;
    o.activations = LLMQ_ACTIVATIONS_EXACT;
    llmq_against_result pair;
    size_t count = 0;
    int32_t *ids = read_prompt(demo, &count);
    ck_assert_ok(llmq_generate_against(&o, ids, count, &context, &pair, &err), &err);
    const int64_t same = pair.parts ? pair.index : 16;
    ck_assert(memcmp(pair.model.ids, pair.reference.ids, (size_t)same * sizeof *ids) == 0);
    if (pair.parts) {
        ck_assert_int_eq(pair.model.ids[same], pair.model_best[0].id);
        ck_assert_int_eq(pair.reference.ids[same], pair.reference_best[0].id);
        ck_assert(pair.model_best[0].probability >= pair.model_best[1].probability);
    }
    llmq_against_result_free(&pair);
    free(ids);
    free(demo);
}
END_TEST

/* --- streams and ends ------------------------------------------------------------------------- */

struct seen {
    char text[512];
    size_t len;
    int64_t tokens, most;
};

static void see_text(void *user, const char *text, size_t len) {
    struct seen *s = user;
    ck_assert_uint_lt(s->len + len, sizeof s->text);
    memcpy(s->text + s->len, text, len);
    s->len += len;
}

static bool see_token(void *user, const llmq_generated *token) {
    struct seen *s = user;
    ck_assert_int_eq(token->index, s->tokens);
    ck_assert_int_eq(token->chosen.id, token->best[0].id);
    return ++s->tokens < s->most;
}

START_TEST(the_text_comes_as_it_grows) {
    char *demo = source_path("models/demo");
    struct seen seen = {.most = 6};
    llmq_generate_options o = options_of(demo, 12);
    o.user = &seen;
    o.text = see_text;
    llmq_generate_result all = generate(&o);
    ck_assert_uint_eq(seen.len, all.text_len);
    ck_assert(memcmp(seen.text, all.text, all.text_len) == 0);
    o.token = see_token;
    llmq_generate_result some = generate(&o);
    ck_assert_int_eq(some.end, LLMQ_END_CALLER);
    ck_assert_uint_eq(some.count, 6);
    ck_assert(memcmp(some.ids, all.ids, 6 * sizeof *all.ids) == 0);
    llmq_generate_result_free(&all);
    llmq_generate_result_free(&some);
    free(demo);
}
END_TEST

START_TEST(it_ends_where_it_is_told_to) {
    char *demo = source_path("models/demo");
    llmq_generate_options o = options_of(demo, 40);
    llmq_generate_result all = generate(&o);
    char stop[8] = {0};
    memcpy(stop, all.text + 10, 4);
    const char *const stops[] = {stop};
    o.stop = stops;
    o.stop_count = 1;
    llmq_generate_result cut = generate(&o);
    ck_assert_int_eq(cut.end, LLMQ_END_TEXT);
    ck_assert_uint_eq(cut.text_len, (size_t)(strstr(all.text, stop) - all.text));
    ck_assert_uint_lt(cut.count, all.count);
    llmq_generate_result_free(&all);
    llmq_generate_result_free(&cut);
    free(demo);
}
END_TEST

START_TEST(draws_do_not_depend_on_threads) {
    char *demo = source_path("models/demo");
    const llmq_context contexts[2] = {{.size = sizeof *contexts, .threads = 1},
                                      {.size = sizeof *contexts, .threads = 2}};
    llmq_generate_result r[2];
    llmq_generate_options o = options_of(demo, 16);
    o.temperature = 1;
    o.seed = 5;
    size_t count = 0;
    int32_t *ids = read_prompt(demo, &count);
    for (int i = 0; i < 2; i++)
        ck_assert_ok(llmq_generate(&o, ids, count, &contexts[i], &r[i], &err), &err);
    ck_assert_str_eq(r[0].text, r[1].text);
    llmq_generate_result_free(&r[0]);
    llmq_generate_result_free(&r[1]);
    free(ids);
    free(demo);
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

static void refuse(const llmq_generate_options *o, const int32_t *ids, size_t count,
                   enum llmq_status status, const char *part) {
    llmq_generate_result r;
    ck_assert_fails(llmq_generate(o, ids, count, &context, &r, &err), status, part, &err);
    llmq_generate_result_free(&r);
}

START_TEST(what_is_refused) {
    char *demo = source_path("models/demo");
    static int32_t ids[4096];
    int32_t foreign = 1 << 30;
    llmq_generate_options o = options_of(demo, 4);
    refuse(&o, ids, 0, LLMQ_E_USAGE, "the prompt is empty");
    refuse(&o, &foreign, 1, LLMQ_E_USAGE, "token id 1073741824 at position 0");
    refuse(&o, ids, 4096, LLMQ_E_USAGE, "the prompt has 4096 tokens");
    o.max_mem = 1 << 20;
    refuse(&o, ids, 4, LLMQ_E_MEMORY, "all weights are in memory");
    o.max_mem = 0;
    o.activations = LLMQ_ACTIVATIONS_INT8;
    refuse(&o, ids, 4, LLMQ_E_USAGE, "is not quantized");
    o.activations = LLMQ_ACTIVATIONS_EXACT;
    o.top_k = 5;
    refuse(&o, ids, 4, LLMQ_E_USAGE, "without a temperature");
    o = options_of(demo, 0);
    refuse(&o, ids, 4, LLMQ_E_USAGE, "0 tokens to generate");
    free(demo);
}
END_TEST

int main(void) {
    Suite *s = suite_create("generate");
    TCase *t = tcase_create("generate");
    if (kernels_init(&err) != LLMQ_OK)
        return EXIT_FAILURE;
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, tokens_are_the_most_likely_ones);
    tcase_add_test(t, packed_weights_too);
    tcase_add_test(t, the_text_comes_as_it_grows);
    tcase_add_test(t, it_ends_where_it_is_told_to);
    tcase_add_test(t, draws_do_not_depend_on_threads);
    tcase_add_test(t, what_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
