/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules, run with names in place of numbers: every node finds what it reads where the schedule
 * says, and what is wanted is there at the end, whatever shares the room. */
#include <stdlib.h>
#include <string.h>

#include "graph/schedule.h"
#include "models/rows.h"
#include "models/shapes.h"
#include "support.h"

enum { COLUMNS = 1024 };

/* Which value each entry of a row holds, in the scratch and in the homes. */
struct room {
    int scratch[COLUMNS];
    int home[HOMES + 1][COLUMNS];
};

static int *entries(struct room *r, const struct schedule *s, enum value v) {
    return s->home[v] ? r->home[s->home[v]] : r->scratch + s->column[v];
}

static void assert_holds(struct room *r, const struct schedule *s, const struct graph *g,
                         enum value v) {
    const int *e = entries(r, s, v);
    for (int64_t i = 0; i < g->width[v]; i++)
        ck_assert_msg(e[i] == (int)v, "%s is not there: %s is", schema_value_name(v),
                      schema_value_name((enum value)e[i]));
}

/* Operations that read an entry before they write it and never later. */
static bool may_run_in_place(enum op op) {
    return op == OP_NORM || op == OP_ROPE || op == OP_CLIP || op == OP_ACT || op == OP_GLU ||
           op == OP_ADD;
}

/* What a node wrote lies beside what it read, or entry upon entry of it. */
static void assert_apart(struct room *r, const struct schedule *s, const struct graph *g,
                         const struct graph_node *n) {
    for (int k = 0; k < NODE_INPUTS && n->in[k] != V_NONE; k++) {
        const bool same_place = entries(r, s, n->in[k]) == entries(r, s, n->out[0]);
        if (!may_run_in_place(n->row->op) || !same_place || g->width[n->in[k]] != n->width[0])
            assert_holds(r, s, g, n->in[k]);
    }
}

static void run_node(struct room *r, const struct schedule *s, const struct graph *g,
                     const struct graph_node *n) {
    for (int k = 0; k < NODE_INPUTS && n->in[k] != V_NONE; k++)
        assert_holds(r, s, g, n->in[k]);
    for (int o = 0; o < NODE_OUTPUTS; o++) {
        if (!value_set_has(s->made, (int)n->out[o]))
            continue;
        if (s->home[n->out[o]] == 0)
            ck_assert_int_le(s->column[n->out[o]] + n->width[o], s->width);
        for (int64_t i = 0; i < n->width[o]; i++)
            entries(r, s, n->out[o])[i] = (int)n->out[o];
    }
    for (int o = 0; o < NODE_OUTPUTS; o++)
        if (value_set_has(s->made, (int)n->out[o]))
            assert_holds(r, s, g, n->out[o]);
    assert_apart(r, s, g, n);
}

static void run_schedule(struct room *r, const struct schedule *s, const struct graph *g) {
    memset(r->scratch, 0, sizeof r->scratch);
    for (int i = 0; i < g->count; i++)
        if (s->nodes >> i & 1)
            run_node(r, s, g, &g->node[i]);
    for (int v = 0; v < V_COUNT; v++)
        if (value_set_has(s->wanted, v))
            assert_holds(r, s, g, (enum value)v);
}

static void fill(struct room *r, int home, const struct graph *g, enum value v) {
    for (int64_t i = 0; i < g->width[v]; i++)
        r->home[home][i] = (int)v;
}

/* --- passes ----------------------------------------------------------------------------------- */

static void read_shape(const struct node *rows, trait_set traits, struct graph *g) {
    struct facts facts = shape_facts;
    llmq_error err = {0};
    if (rows == shape_latent)
        facts.dims[DIM_KV_HEADS] = facts.dims[DIM_HEADS];
    ck_assert_ok(
        graph_make(rows, T_ALWAYS | traits, &facts, rows == shape_expert ? V_E : V_X, g, &err),
        &err);
}

static const struct {
    const struct node *rows;
    trait_set traits;
} shapes[] = {
    {shape_plain, 0},      {shape_parallel, 0},  {shape_two_norms, 0},     {shape_fused, 0},
    {shape_post_norm, 0},  {shape_latent, 0},    {shape_latent, T_Q_LORA}, {shape_expert, 0},
    {shape_experts, 0},    {shape_convolved, 0}, {shape_scanned, 0},       {shape_delta, 0},
    {shape_delta, T_CLIP}, {shape_fading, 0},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

START_TEST(a_block_in_place) {
    struct room *r = calloc(1, sizeof *r);
    struct graph g;
    struct schedule s;
    read_shape(shapes[_i].rows, shapes[_i].traits, &g);
    schedule_block(&g, &s);
    fill(r, 1, &g, g.input);
    run_schedule(r, &s, &g);
    ck_assert_int_eq(s.home[g.output], 1);
    free(r);
}
END_TEST

/* Task by task, as calibration goes; and from every round straight to the end. */
START_TEST(a_block_in_rounds) {
    struct room *r = calloc(1, sizeof *r), *shortcut = calloc(1, sizeof *r);
    llmq_error err = {0};
    struct graph g;
    struct homes homes;
    struct schedule s;
    read_shape(shapes[_i].rows, shapes[_i].traits, &g);
    ck_assert_ok(homes_of_rounds(&g, &homes, &err), &err);
    ck_assert_int_eq(homes.of[g.output], 1);
    struct value_set kept = value_set_of(g.input);
    fill(r, 1, &g, g.input);
    for (int t = 0; t < g.task_count; t++) {
        const struct graph_task *task = &g.task[t];
        const struct value_set next = schedule_kept(&g, task->round);
        schedule_make(&g, kept, value_set_with(next, task->source), &homes, &s);
        run_schedule(r, &s, &g);
        kept = next;
        *shortcut = *r;
        schedule_make(&g, kept, value_set_of(g.output), &homes, &s);
        run_schedule(shortcut, &s, &g);
    }
    for (int h = 1; h <= homes.count; h++)
        ck_assert_int_gt(homes.width[h], 0);
    free(r);
    free(shortcut);
}
END_TEST

START_TEST(only_what_is_needed_runs) {
    struct graph g;
    struct homes homes;
    struct schedule s;
    llmq_error err = {0};
    read_shape(shape_parallel, 0, &g);
    ck_assert_ok(homes_of_rounds(&g, &homes, &err), &err);
    /* dense and its sum, not the attention before it, and fc2 not yet. */
    schedule_make(&g, schedule_kept(&g, 1), schedule_kept(&g, 2), &homes, &s);
    const uint64_t expected = UINT64_C(1) << g.producer[V_ATTN_OUT] | UINT64_C(1)
                                                                          << g.producer[V_Y];
    ck_assert_uint_eq(s.nodes, expected);
    ck_assert_int_eq(homes.of[V_Y], homes.of[V_X]);
    ck_assert_int_ne(homes.of[V_MID], homes.of[V_CONTEXT]);
}
END_TEST

/* One of three parts: the others get no room, and what is given is not written again. */
START_TEST(of_several_outputs_only_those_needed_are_made) {
    struct room *r = calloc(1, sizeof *r);
    struct homes homes = {.count = 3};
    struct graph g;
    struct schedule s;
    read_shape(shape_fused, 0, &g);
    homes.of[V_QKV] = 1;
    homes.of[V_V] = 2;
    homes.of[V_K] = 3;
    fill(r, 1, &g, V_QKV);
    fill(r, 2, &g, V_V);
    schedule_make(&g, value_set_with(value_set_of(V_QKV), V_V),
                  value_set_with(value_set_of(V_K), V_V), &homes, &s);
    ck_assert(value_set_has(s.made, V_K));
    ck_assert(value_set_empty(value_set_minus(s.made, value_set_of(V_K))));
    ck_assert_int_eq(s.width, 0);
    run_schedule(r, &s, &g);
    free(r);
}
END_TEST

/* Experts are added up while the stream that they read is still needed, though no later row reads
 * it. */
START_TEST(the_sum_of_experts_has_a_home_of_its_own) {
    static const struct node rows[] = {
        {NORM(ATTN_IN, X, "ln")},
        {LINEAR(UP, ATTN_IN, HIDDEN, "up")},
        {ADD(Y, X, UP)},
        {ROUTER(ROUTE, ATTN_IN, "gate")},
        {EXPERTS(ROUTED, ATTN_IN, ROUTE, "experts.%d.", shape_expert)},
        {ADD(Z, Y, ROUTED)},
        {END},
    };
    struct graph g;
    struct homes homes;
    llmq_error err = {0};
    read_shape(rows, 0, &g);
    ck_assert_ok(homes_of_rounds(&g, &homes, &err), &err);
    ck_assert_int_ne(homes.of[V_ROUTED], 0);
    ck_assert_int_ne(homes.of[V_ROUTED], homes.of[V_X]);
}
END_TEST

/* A gate of width 1 stays beside what it gates. */
START_TEST(a_single_gate_is_not_written_over) {
    struct homes homes = {.count = 2};
    struct graph g;
    struct schedule s;
    read_shape(shape_experts, 0, &g);
    homes.of[V_MLP_IN] = 1;
    homes.of[V_Y_ROUTED] = 2;
    schedule_make(&g, value_set_with(value_set_of(V_MLP_IN), V_Y_ROUTED), value_set_of(V_Z), &homes,
                  &s);
    ck_assert_int_eq(s.column[V_SHARED], s.column[V_SHARED_OUT]);
    ck_assert_int_ne(s.column[V_SHARED], s.column[V_SHARED_SWITCH]);
}
END_TEST

START_TEST(lives_that_do_not_overlap_share_room) {
    struct graph g;
    struct schedule s;
    read_shape(shape_post_norm, 0, &g);
    schedule_block(&g, &s);
    /* At most the norm's output, q, k and v are alive at once; the context takes the norm's place.
     */
    ck_assert_int_eq(s.width, 24 + 24 + 12 + 12);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schedule");
    TCase *t = tcase_create("schedule");
    tcase_add_loop_test(t, a_block_in_place, 0, SHAPES);
    tcase_add_loop_test(t, a_block_in_rounds, 0, SHAPES);
    tcase_add_test(t, only_what_is_needed_runs);
    tcase_add_test(t, of_several_outputs_only_those_needed_are_made);
    tcase_add_test(t, the_sum_of_experts_has_a_home_of_its_own);
    tcase_add_test(t, a_single_gate_is_not_written_over);
    tcase_add_test(t, lives_that_do_not_overlap_share_room);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
