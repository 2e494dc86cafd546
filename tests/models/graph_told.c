/* SPDX-License-Identifier: Apache-2.0 */
/* See graph_told.h. */
#include "models/graph_told.h"

#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "models/shapes.h"
#include "support.h"

const struct graph_node *find_node(const struct graph *g, const char *name) {
    for (int i = 0; i < g->count; i++)
        if (g->node[i].row->name && strcmp(g->node[i].row->name, name) == 0)
            return &g->node[i];
    ck_abort_msg("no row takes %s", name);
}

static void tell_linear(const struct graph *g, const struct graph_node *n, struct strbuf *b) {
    const struct graph_fold fold = graph_fold_find(g, n->in[0]);
    strbuf_printf(b, " %s<%s", n->row->name, schema_value_name(n->in[0]));
    if (n->stream != V_NONE)
        strbuf_printf(b, "+%s", schema_value_name(n->stream));
    if (fold.producer >= 0)
        strbuf_printf(b, "/%s", g->node[fold.producer].row->name);
}

void assert_graph(const struct graph *g, const char *expected) {
    struct strbuf b = {0};
    for (int round = 0; round < g->rounds; round++) {
        strbuf_printf(&b, "%d [", round);
        for (int s = 0; g->stored[round][s] != V_NONE; s++)
            strbuf_printf(&b, "%s%s", s ? " " : "", schema_value_name(g->stored[round][s]));
        strbuf_puts(&b, "]:");
        for (int i = 0; i < g->count; i++)
            if (g->node[i].round == round && graph_node_quantized(&g->node[i]))
                tell_linear(g, &g->node[i], &b);
        strbuf_puts(&b, "\n");
    }
    ck_assert_str_eq(b.data, expected);
    strbuf_free(&b);
}

void assert_rounds(const struct node *rows, trait_set traits, const char *expected) {
    struct graph *g = malloc(sizeof *g);
    llmq_error err = {0};
    ck_assert_ptr_nonnull(g);
    ck_assert_ok(graph_make(rows, T_ALWAYS | traits, &shape_facts, V_X, g, &err), &err);
    assert_graph(g, expected);
    free(g);
}

void assert_folds(const struct node *rows, const struct facts *facts, enum value input,
                  const char *want) {
    struct strbuf why = {0};
    struct graph g;
    llmq_error err = {0};
    ck_assert_ok(graph_make(rows, T_ALWAYS | T_CLIP, facts, input, &g, &err), &err);
    for (int t = 0; t < g.task_count; t++) {
        const struct graph_fold fold = graph_fold_find(&g, g.task[t].source);
        strbuf_printf(&why, "%s: %s\n", schema_value_name(g.task[t].source),
                      fold.producer < 0 ? fold.why : g.node[fold.producer].row->name);
    }
    ck_assert_str_eq(why.data, want);
    strbuf_free(&why);
}
