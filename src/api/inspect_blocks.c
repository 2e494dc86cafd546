/* SPDX-License-Identifier: Apache-2.0 */
/* What a model's blocks are made of: see llmq_inspect_blocks in llmq/model.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "llmq/model.h"
#include "models/blocks.h"
#include "models/parts.h"

/* --- rows ------------------------------------------------------------------------------------- */

/* `g`: the block's; a row of its experts may fold into one of the block. */
static void describe_fold(const struct graph *g, const struct graph_node *n, llmq_block_row *out) {
    const enum value source = n->in[0];
    const struct graph_fold fold = graph_fold_of(g, out->expert, source);
    const bool within = out->expert && source != g->body->input;
    out->folds_not = fold.why;
    if (fold.producer >= 0)
        out->folds_into = (within ? g->body : g)->node[fold.producer].row->name;
}

static void describe_linear(const struct graph *own, const struct graph_node *n,
                            llmq_block_row *out) {
    out->columns = own->width[n->in[0]];
    out->bias = graph_node_biased(own, n);
    out->round = graph_node_quantized(n) ? n->round : -1;
    out->repairs = n->stream == V_NONE ? NULL : schema_value_name(n->stream);
    out->fused = part_fused(own, n);
    out->split = part_splits_columns(own, n) ? "columns" : "rows";
}

_Static_assert(NODE_INPUTS < LLMQ_BLOCK_VALUES && NODE_OUTPUTS < LLMQ_BLOCK_VALUES,
               "a row names all that an operation reads and makes");

static llmq_block_row describe_node(const struct graph *g, const struct graph_node *n,
                                    bool expert) {
    llmq_block_row row = {.op = schema_op_name(n->row->op),
                          .expert = expert,
                          .module = n->row->name,
                          .width = n->width[0],
                          .round = -1};
    for (int i = 0; i < NODE_INPUTS && n->in[i] != V_NONE; i++)
        row.reads[i] = schema_value_name(n->in[i]);
    for (int o = 0; o < NODE_OUTPUTS && n->out[o] != V_NONE; o++)
        row.makes[o] = schema_value_name(n->out[o]);
    if (n->row->op == OP_LINEAR) {
        describe_linear(expert ? g->body : g, n, &row);
        describe_fold(g, n, &row);
    }
    return row;
}

/* --- kinds ------------------------------------------------------------------------------------ */

static char *kept_before(const struct graph *g, int round) {
    struct strbuf b = {0};
    for (int s = 0; g->stored[round][s] != V_NONE; s++)
        strbuf_printf(&b, "%s%s", s ? ", " : "", schema_value_name(g->stored[round][s]));
    return strbuf_take(&b);
}

/* "0-3, 5": the blocks of a kind, runs of neighbours as ranges. */
static char *name_blocks(const struct blocks *blocks, int64_t count, int kind, int64_t *members) {
    struct strbuf b = {0};
    *members = 0;
    for (int64_t i = 0; i < count; i++) {
        if (blocks->kind_of[i] != kind)
            continue;
        int64_t end = i;
        while (end + 1 < count && blocks->kind_of[end + 1] == kind)
            end++;
        strbuf_printf(&b, "%s%lld", b.len ? ", " : "", (long long)i);
        if (end > i)
            strbuf_printf(&b, "-%lld", (long long)end);
        *members += end - i + 1;
        i = end;
    }
    return strbuf_take(&b);
}

static enum llmq_status describe_kind(const struct blocks *blocks, int64_t count, int kind,
                                      llmq_block_kind *out, llmq_error *err) {
    const struct graph *g = &blocks->kinds[kind];
    out->window = g->traits & T_WINDOW;
    out->blocks = name_blocks(blocks, count, kind, &out->count);
    const int inner = g->body ? g->body->count : 0;
    out->experts = g->body ? g->facts.dims[DIM_EXPERTS] : 0;
    out->chosen = g->body ? g->facts.dims[DIM_TOP_K] : 0;
    out->rows = calloc((size_t)(g->count + inner), sizeof *out->rows);
    out->kept = calloc((size_t)g->rounds, sizeof *out->kept);
    if (!out->blocks || !out->rows || !out->kept)
        return error_memory(err, "the blocks");
    for (; out->rounds < g->rounds; out->rounds++)
        if (!(out->kept[out->rounds] = kept_before(g, out->rounds)))
            return error_memory(err, "the blocks");
    for (int i = 0; i < g->count; i++)
        out->rows[out->row_count++] = describe_node(g, &g->node[i], false);
    for (int i = 0; i < inner; i++)
        out->rows[out->row_count++] = describe_node(g, &g->body->node[i], true);
    return LLMQ_OK;
}

static enum llmq_status describe_blocks(const struct model_config *c, llmq_blocks_report *out,
                                        llmq_error *err) {
    struct blocks *blocks = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(blocks_create(c, &blocks, err));
    out->family = c->family->name;
    out->kinds = calloc((size_t)blocks->kind_count, sizeof *out->kinds);
    if (!out->kinds)
        LLMQ_TRY(error_memory(err, "the blocks"));
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        out->kind_count++;
        LLMQ_TRY(describe_kind(blocks, c->blocks, kind, &out->kinds[kind], err));
    }
cleanup:
    blocks_free(&blocks);
    return status;
}

enum llmq_status llmq_inspect_blocks(const char *model, const char *family,
                                     llmq_blocks_report *report, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct model_config config = {0};
    struct json *json = NULL;
    char *dir = NULL, *path = NULL;
    *report = (llmq_blocks_report){0};
    LLMQ_TRY(llmq_model_resolve(model, &dir, err));
    path = path_join(dir, "config.json", err);
    if (!path) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    LLMQ_TRY(json_read(path, &json, err));
    status = config_parse_as(json, family, &config, err);
    if (status == LLMQ_OK)
        status = describe_blocks(&config, report, err);
    if (status != LLMQ_OK)
        error_prefix(err, status, "%s", dir);
cleanup:
    json_free(&json);
    config_free(&config);
    free(path);
    free(dir);
    if (status != LLMQ_OK)
        llmq_blocks_report_free(report);
    return status;
}

void llmq_blocks_report_free(llmq_blocks_report *report) {
    for (size_t i = 0; i < report->kind_count; i++) {
        llmq_block_kind *kind = &report->kinds[i];
        for (int round = 0; round < kind->rounds; round++)
            free(kind->kept[round]);
        free(kind->kept);
        free(kind->rows);
        free(kind->blocks);
    }
    free(report->kinds);
    *report = (llmq_blocks_report){0};
}

/* --- JSON ------------------------------------------------------------------------------------- */

static struct json *row_json(const llmq_block_row *r) {
    struct json *o = json_new_object(), *reads = json_new_array(), *makes = json_new_array();
    for (int i = 0; r->reads[i]; i++)
        json_add_string(reads, NULL, r->reads[i]);
    for (int i = 0; r->makes[i]; i++)
        json_add_string(makes, NULL, r->makes[i]);
    json_add_string(o, "op", r->op);
    json_add_bool(o, "expert", r->expert);
    json_add(o, "makes", makes);
    json_add(o, "reads", reads);
    json_add_string(o, "module", r->module);
    json_add_int64(o, "width", r->width);
    if (r->columns == 0)
        return o;
    json_add_int64(o, "columns", r->columns);
    json_add_bool(o, "bias", r->bias);
    json_add_int64(o, "round", r->round);
    json_add_string(o, "repairs", r->repairs);
    json_add_string(o, "folds_into", r->folds_into);
    json_add_string(o, "folds_not", r->folds_not);
    json_add_string(o, "fused", r->fused);
    json_add_string(o, "split", r->split);
    return o;
}

static struct json *kind_json(const llmq_block_kind *k) {
    struct json *o = json_new_object(), *kept = json_new_array(), *rows = json_new_array();
    for (int round = 0; round < k->rounds; round++)
        json_add_string(kept, NULL, k->kept[round]);
    for (size_t i = 0; i < k->row_count; i++)
        json_add(rows, NULL, row_json(&k->rows[i]));
    json_add_string(o, "blocks", k->blocks);
    json_add_int64(o, "count", k->count);
    json_add_bool(o, "window", k->window);
    json_add_int64(o, "experts", k->experts);
    json_add_int64(o, "chosen", k->chosen);
    json_add(o, "kept", kept);
    json_add(o, "rows", rows);
    return o;
}

char *llmq_blocks_json(const llmq_blocks_report *r) {
    struct json *o = json_new_object(), *kinds = json_new_array();
    for (size_t i = 0; i < r->kind_count; i++)
        json_add(kinds, NULL, kind_json(&r->kinds[i]));
    json_add_int64(o, "schema", 1);
    json_add_string(o, "family", r->family);
    json_add(o, "kinds", kinds);
    return json_print_and_free(o);
}
