/* SPDX-License-Identifier: Apache-2.0 */
/* Every family's rows, for every combination of traits that its settings and rules can produce:
 * they make a block. A value is made before it is read, and once; all that is made is read; parts
 * add up; the last row makes what goes on to the next block (graph_make holds them to that). No row
 * is there for nothing, and no two tensors have one name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "models/config.h"
#include "models/graph.h"
#include "support.h"

/* --- the model's traits: whatever config.json can say ----------------------------------------- */

enum { MAX_KEYS = 12 };

/* Keys that set a trait: the first name of each, without the objects that it may lie in. */
struct keys {
    int count;
    char name[MAX_KEYS][64], object[MAX_KEYS][64];
    const char *on[MAX_KEYS], *off[MAX_KEYS]; /* JSON */
    char word[MAX_KEYS][64];
};

static bool knows(const struct keys *k, const char *name) {
    for (int i = 0; i < k->count; i++)
        if (strcmp(k->name[i], name) == 0)
            return true;
    return false;
}

static void add_key(const struct setting *s, struct keys *k) {
    char key[64], *name = key;
    snprintf(key, sizeof key, "%.*s", (int)strcspn(s->key, "|"), s->key);
    char *dot = strrchr(key, '.');
    if (dot) {
        *dot = '\0';
        name = dot + 1;
    }
    if (knows(k, name))
        return;
    ck_assert_int_lt(k->count, MAX_KEYS);
    snprintf(k->name[k->count], sizeof k->name[0], "%s", name);
    snprintf(k->object[k->count], sizeof k->object[0], "%s", dot ? key : "");
    snprintf(k->word[k->count], sizeof k->word[0], "\"%s\"", s->word ? s->word : "");
    k->on[k->count] = s->set == SET_TRAIT_IF ? "2" : s->word ? k->word[k->count] : "true";
    k->off[k->count++] = s->set == SET_TRAIT ? "false" : "null";
}

static void keys_of(const struct family *f, struct keys *k) {
    *k = (struct keys){0};
    for (const struct setting *s = f->settings; s->set; s++)
        if ((s->set == SET_TRAIT || s->set == SET_TRAIT_IF || (s->set == SET_WORD && s->what)) &&
            s->key)
            add_key(s, k);
}

/* `chosen`: the keys that are on, as bits. */
static char *config_text(const struct family *f, const struct keys *k, unsigned chosen) {
    struct strbuf b = {0};
    /* the one count that a class of transformers has no default for */
    strbuf_printf(&b, "{\"model_type\":\"%s\",\"num_experts_per_tok\":2", f->model_types[0]);
    for (int i = 0; i < k->count; i++) {
        const bool on = chosen >> i & 1;
        const char *value = on ? k->on[i] : k->off[i];
        if (k->object[i][0])
            strbuf_printf(&b, ",\"%s\":{\"%s\":%s}", k->object[i], k->name[i], value);
        else
            strbuf_printf(&b, ",\"%s\":%s", k->name[i], value);
    }
    strbuf_puts(&b, "}");
    return b.data;
}

static enum llmq_status parse(const char *text, struct model_config *c, llmq_error *err) {
    struct json *json = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, err), err);
    enum llmq_status status = config_parse(json, c, err);
    json_free(&json);
    return status;
}

/* --- what the rows make ----------------------------------------------------------------------- */

enum { MAX_ROWS = 4096 };

/* Rows that were there in some combination of some family: a table may serve several. */
struct used {
    const struct node *row[MAX_ROWS];
    int count;
};
static struct used used;

static bool is_used(const struct node *row) {
    for (int i = 0; i < used.count; i++)
        if (used.row[i] == row)
            return true;
    return false;
}

static void note_rows(const struct graph *g) {
    for (int i = 0; i < g->count; i++)
        if (!is_used(g->node[i].row)) {
            ck_assert_int_lt(used.count, MAX_ROWS);
            used.row[used.count++] = g->node[i].row;
        }
}

/* Do two rows take different parts of the experts in one tensor? */
static bool other_parts(const struct graph *g, const struct graph_param *a,
                        const struct graph_param *b) {
    const struct node *p = g->node[a->node].row, *q = g->node[b->node].row;
    return a->experts && b->experts && p->part != PART_WHOLE && q->part != PART_WHOLE &&
           p->part != q->part;
}

static void assert_names_differ(const struct graph *g, const char *family) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < i; k++)
            ck_assert_msg(other_parts(g, &params[i], &params[k]) ||
                              strcmp(params[i].name, params[k].name) != 0 ||
                              strcmp(params[i].suffix, params[k].suffix) != 0,
                          "%s: two rows take %s%s", family, params[i].name, params[i].suffix);
}

/* The block of these traits, and what is in its experts. */
static void check_graph(const struct model_config *c, const struct node *rows, trait_set traits,
                        enum value input) {
    struct graph *g = malloc(sizeof *g);
    llmq_error err = {0};
    ck_assert_ptr_nonnull(g);
    ck_assert_msg(graph_make(rows, traits, config_facts(c, traits), input, g, &err) == LLMQ_OK,
                  "%s, traits %#" PRIx64 ": %s", c->family->name, traits, err.message);
    ck_assert_int_eq(g->width[g->output], g->width[input]);
    assert_names_differ(g, c->family->name);
    note_rows(g);
    for (int i = 0; i < g->count; i++)
        if (g->node[i].row->op == OP_EXPERTS)
            check_graph(c, g->node[i].row->body, traits, V_E);
    free(g);
}

/* Every set of the traits that the family's rules give to layers. */
static void check_layers(const struct model_config *c) {
    trait_set of_layers = 0;
    for (const struct layer_rule *r = c->family->rules; r && r->rule; r++)
        if ((c->facts.traits & r->when) == r->when)
            of_layers |= r->trait;
    for (trait_set set = of_layers;; set = (set - 1) & of_layers) {
        check_graph(c, c->family->rows, (c->facts.traits & ~of_layers) | set, V_X);
        if (set == 0)
            break;
    }
}

START_TEST(rows_make_a_block_whatever_the_traits) {
    const struct family *f = family_at(_i);
    struct keys keys;
    keys_of(f, &keys);
    for (unsigned chosen = 0; chosen < 1u << keys.count; chosen++) {
        struct model_config c = {0};
        llmq_error err = {0};
        char *text = config_text(f, &keys, chosen);
        const enum llmq_status status = parse(text, &c, &err);
        if (status == LLMQ_OK)
            check_layers(&c);
        else /* traits that exclude each other */
            ck_assert_msg(status == LLMQ_E_INPUT || status == LLMQ_E_UNSUPPORTED, "%s: %s", text,
                          err.message);
        config_free(&c);
        free(text);
    }
}
END_TEST

/* After the test of all families. */
static void check_rows_used(const char *family, const struct node *rows) {
    for (const struct node *row = rows; row->op != OP_END; row++) {
        ck_assert_msg(row->op == OP_SAME || is_used(row), "%s: row %d is never there", family,
                      (int)(row - rows));
        if (row->op == OP_EXPERTS)
            check_rows_used(family, row->body);
    }
}

START_TEST(no_row_is_there_for_nothing) {
    for (int i = 0; family_at(i); i++)
        check_rows_used(family_at(i)->name, family_at(i)->rows);
}
END_TEST

/* Nothing but the model_type: every key has what the family's config class gives it. */
START_TEST(every_key_may_be_missing) {
    const struct family *f = family_at(_i);
    for (int t = 0; f->model_types[t]; t++) {
        struct model_config c = {0};
        llmq_error err = {0};
        char text[128];
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", f->model_types[t]);
        ck_assert_ok(parse(text, &c, &err), &err);
        config_free(&c);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("family_rows");
    TCase *t = tcase_create("family_rows");
    int families = 0;
    while (family_at(families))
        families++;
    tcase_add_loop_test(t, rows_make_a_block_whatever_the_traits, 0, families);
    tcase_add_test(t, no_row_is_there_for_nothing);
    tcase_add_loop_test(t, every_key_may_be_missing, 0, families);
    suite_add_tcase(s, t);
    return run_suite(s);
}
