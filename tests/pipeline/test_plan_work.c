/* SPDX-License-Identifier: Apache-2.0 */
/* The work that a plan foresees for a model whose first blocks have an MLP and the others experts:
 * every block counts as what it is. The model is in the shared data. */
#include <math.h>
#include <stdlib.h>

#include "graph/model.h"
#include "pipeline/plan.h"
#include "support.h"

enum { TOKENS = 64 };

/* Products with the inputs, rounding; the moments of what is read, and their factors. */
static double work_of_linear(const llmq_quantize_options *o, const struct graph *g, int node,
                             double tokens) {
    const int64_t n = g->node[node].width[0], k = g->width[g->node[node].in[0]];
    const struct module_manner manner = plan_manner(o);
    return 2 * tokens * (double)n * (double)k + plan_rounding_flops(&manner, n, k) +
           plan_judging_flops(n, k, TOKENS / 16, false);
}

static double work_of(const llmq_quantize_options *o, const struct graph *g, double tokens) {
    double sum = 0;
    for (int i = 0; i < g->linear_count; i++)
        sum += work_of_linear(o, g, g->linear[i], tokens);
    for (int t = 0; t < g->task_count; t++) {
        const int64_t k = g->width[g->task[t].source];
        sum += tokens * (double)k * (double)k + plan_factor_flops(k, g->input != V_E);
    }
    return sum;
}

static llmq_quantize_options plain_options(void) {
    llmq_quantize_options o;
    llmq_quantize_options_init(&o, LLMQ_METHOD_GPTQ);
    o.group = 8;
    o.format = "compressed-tensors";
    o.correct.mode = LLMQ_CORRECT_OFF;
    o.descent = 1;
    o.rounds = 0;
    o.expert_tokens = TOKENS;
    return o;
}

static double planned(const struct model *m, const llmq_quantize_options *o) {
    const int64_t offsets[] = {0, TOKENS};
    const struct calib_tokens tokens = {NULL, offsets, 1, 0};
    llmq_error err = {0};
    struct plan p;
    ck_assert_ok(plan_create(m, o, &tokens, &p, &err), &err);
    const double flops = p.flops;
    plan_free(&p);
    return flops;
}

START_TEST(every_block_counts_as_what_it_is) {
    struct model m;
    llmq_error err = {0};
    const llmq_quantize_options o = plain_options();
    char *dir = shared_path("golden/deepseek-v3");
    if (!dir)
        return;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    const struct graph *dense = model_graph(&m, 0), *sparse = model_graph(&m, m.config.blocks - 1);
    ck_assert(!dense->body && sparse->body);
    double sum = 0;
    for (int64_t b = 0; b < m.config.blocks; b++) {
        const struct graph *g = model_graph(&m, b);
        sum += work_of(&o, g, TOKENS);
        if (g->body)
            sum += (double)g->facts.dims[DIM_EXPERTS] * work_of(&o, g->body, TOKENS);
    }
    ck_assert_double_eq_tol(planned(&m, &o) / sum, 1, 1e-9);
    model_close(&m);
    free(dir);
}
END_TEST

/* Of a plan, modules with 3 passes and 2 rounds; with 1 and none; with these and a sweep by the
 * predictions. */
struct settled {
    int64_t often, once, curved;
};

static struct settled settle(const struct model *m, const llmq_quantize_options *o, int64_t count) {
    const int64_t offsets[] = {0, count};
    const struct calib_tokens tokens = {NULL, offsets, 1, 0};
    struct settled out = {0};
    llmq_error err = {0};
    struct plan p;
    ck_assert_ok(plan_create(m, o, &tokens, &p, &err), &err);
    for (int64_t i = 0; i < p.module_count; i++) {
        const struct module_manner *manner = &p.modules[i].manner;
        const bool curved = manner->curvature == LLMQ_CURVATURE_ON;
        ck_assert(curved || manner->curvature == LLMQ_CURVATURE_OFF);
        out.often += manner->descent == 3 && manner->rounds == 2 && !curved;
        out.once += manner->descent == 1 && manner->rounds == 0 && !curved;
        out.curved += manner->descent == 1 && manner->rounds == 0 && curved;
    }
    ck_assert_int_eq(out.often + out.once + out.curved, p.module_count);
    ck_assert_int_eq(p.curved, out.curved > 0);
    ck_assert_int_eq(p.gradients.bytes.file > 0, out.curved > 0);
    plan_free(&p);
    return out;
}

/* Modules that see as many tokens as 32 for each input, of `count` that all but experts see. */
static int64_t count_rich(const struct model *m, double count) {
    int64_t rich = 0;
    for (int64_t b = 0; b < m->config.blocks; b++) {
        const struct graph *g = model_graph(m, b), *body = g->body;
        for (int i = 0; i < g->linear_count; i++)
            rich += count >= 32 * (double)g->width[g->node[g->linear[i]].in[0]];
        const double part =
            (double)g->facts.dims[DIM_TOP_K] / fmax(1, (double)g->facts.dims[DIM_CHOICES]);
        for (int i = 0; body && i < body->linear_count; i++)
            if (count * part >= 32 * (double)body->width[body->node[body->linear[i]].in[0]])
                rich += g->facts.dims[DIM_EXPERTS];
    }
    return rich;
}

START_TEST(passes_go_by_the_tokens_for_each_input) {
    struct model m;
    llmq_error err = {0};
    llmq_quantize_options o = plain_options();
    char *dir = shared_path("golden/deepseek-v3");
    if (!dir)
        return;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    llmq_quantize_options_quality(&o, LLMQ_QUALITY_BALANCED);
    o.expert_tokens = 1;
    const int64_t counts[] = {256, 32 * m.config.hidden - 1, 32 * m.config.hidden, 1 << 17};
    int64_t rich[4];
    for (int i = 0; i < 4; i++) {
        rich[i] = count_rich(&m, (double)counts[i]);
        o.curvature = LLMQ_CURVATURE_AUTO;
        const struct settled curved = settle(&m, &o, counts[i]);
        ck_assert_int_eq(curved.curved, rich[i]);
        ck_assert_int_eq(curved.often, 0);
        o.curvature = LLMQ_CURVATURE_OFF;
        ck_assert_int_eq(settle(&m, &o, counts[i]).often, rich[i]);
    }
    ck_assert(rich[1] < rich[2] && rich[2] < rich[3]);
    ck_assert_int_eq(settle(&m, &o, counts[3]).once, 0);
    o.curvature = LLMQ_CURVATURE_AUTO;
    o.curvature_tokens = 1; /* for 2 outputs at most, which no linear has so few of */
    ck_assert_int_eq(settle(&m, &o, counts[3]).often, rich[3]);
    o.curvature_tokens = 1024;
    o.awq = true;
    ck_assert_int_eq(settle(&m, &o, counts[3]).often, rich[3]);
    model_close(&m);
    free(dir);
}
END_TEST

START_TEST(damping_is_chosen_where_tokens_are_few) {
    llmq_quantize_options o = plain_options();
    o.damp = 0;
    struct plan p = {.gradients.weights = 0};
    ck_assert(plan_chooses_damping(&o, &p, 32 * 64 - 1, 64));
    ck_assert(!plan_chooses_damping(&o, &p, 32 * 64, 64));
    p.gradients.weights = 0.5; /* of each token its own */
    o.curvature_tokens = 0;
    ck_assert(plan_chooses_damping(&o, &p, 32 * 64, 64));
    o.curvature_tokens = 1024;
    ck_assert(!plan_chooses_damping(&o, &p, 32 * 64, 64));
    o.damp = 0.02;
    ck_assert(!plan_chooses_damping(&o, &p, 1, 64));
}
END_TEST

/* The second pass through a graph's linears, and the search for those whose scale has a place; of
 * what all experts read four are asked. */
static double work_of_look(const struct graph *g, const struct graph *block) {
    const double experts = (double)block->facts.dims[DIM_EXPERTS];
    double sum = 0;
    for (int i = 0; i < g->linear_count; i++) {
        const struct graph_node *node = &g->node[g->linear[i]];
        const enum value source = node->in[0];
        const struct graph_fold fold = graph_fold_of(block, g != block, source);
        const bool given = g != block && source == g->input;
        sum += 2.0 * TOKENS * (double)node->width[0] * (double)g->width[source];
        if (fold.producer >= 0)
            sum += plan_search_flops(node->width[0], g->width[source]) * (given ? 4 / experts : 1);
    }
    for (int t = 0; t < g->task_count; t++)
        if (g == block || g->task[t].source != g->input)
            sum += TOKENS * pow((double)g->width[g->task[t].source], 2);
    return sum;
}

START_TEST(a_search_counts_where_it_is_made) {
    struct model m;
    llmq_error err = {0};
    llmq_quantize_options o = plain_options();
    char *dir = shared_path("golden/deepseek-v3");
    if (!dir)
        return;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    const double without = planned(&m, &o);
    o.awq = true;
    double sum = without;
    for (int64_t b = 0; b < m.config.blocks; b++) {
        const struct graph *g = model_graph(&m, b);
        sum += work_of_look(g, g);
        if (g->body)
            sum += (double)g->facts.dims[DIM_EXPERTS] * work_of_look(g->body, g);
    }
    ck_assert_double_eq_tol(planned(&m, &o) / sum, 1, 1e-9);
    model_close(&m);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("plan work");
    TCase *t = tcase_create("plan work");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, every_block_counts_as_what_it_is);
    tcase_add_test(t, damping_is_chosen_where_tokens_are_few);
    tcase_add_test(t, passes_go_by_the_tokens_for_each_input);
    tcase_add_test(t, a_search_counts_where_it_is_made);
    suite_add_tcase(s, t);
    return run_suite(s);
}
