/* SPDX-License-Identifier: Apache-2.0 */
/* See required.h. */
#include "graph/required.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/loaders/layout_load.h"
#include "models/drafts.h"
#include "models/ends.h"

struct required required_param(const struct blocks *b, int64_t block, int64_t expert,
                               const struct graph_param *p) {
    struct required r;
    blocks_param_name(b, block, expert, p, r.name);
    r.rank = graph_param_shape(p, r.shape);
    return r;
}

/* --- one of them ------------------------------------------------------------------------------ */

static void shape_text(const uint64_t *shape, int rank, char out[MISFIT_TEXT]) {
    size_t used = 0;
    out[used++] = '[';
    for (int d = 0; d < rank; d++)
        used +=
            (size_t)snprintf(out + used, MISFIT_TEXT - used, "%s%" PRIu64, d ? ", " : "", shape[d]);
    (void)snprintf(out + used, MISFIT_TEXT - used, "]");
}

struct tensor_fit tensor_fits(const struct st_set *tensors, const struct required *r) {
    struct tensor_fit fit = {.tensor = st_find(tensors, r->name)};
    const struct st_tensor *t = fit.tensor;
    if (!t) {
        fit.misfit = MISFIT_MISSING;
    } else if (!dtype_is_float(t->dtype)) {
        fit.misfit = MISFIT_DTYPE;
        (void)snprintf(fit.expected, sizeof fit.expected, "F64, F32, F16 or BF16");
        (void)snprintf(fit.found, sizeof fit.found, "%s", dtype_name(t->dtype));
    } else if (t->rank != r->rank ||
               memcmp(t->shape, r->shape, (size_t)r->rank * sizeof *t->shape) != 0) {
        fit.misfit = MISFIT_SHAPE;
        shape_text(r->shape, r->rank, fit.expected);
        shape_text(t->shape, t->rank, fit.found);
    }
    return fit;
}

/* --- all of them ------------------------------------------------------------------------------ */

struct visitor {
    const struct required_of *of;
    enum llmq_status (*visit)(void *context, const struct required *r, llmq_error *err);
    void *context;
};

/* Is the parameter's weight there in another form? */
static bool is_elsewhere(const struct required_of *of, struct linear_place at,
                         const struct graph_param *p) {
    char name[FAMILY_NAME_MAX];
    if (!p->quantized)
        return false;
    return layout_has_module(of->tensors, of->layout, blocks_node_name(of->blocks, at, "", name)) ||
           (p->experts && st_find(of->tensors, blocks_node_name(of->blocks, at, ".weight", name)));
}

/* A block's, or those of one of its experts. */
static enum llmq_status visit_params(const struct visitor *v, const struct graph *g, int64_t block,
                                     int64_t expert, llmq_error *err) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < count; i++) {
        const struct required r = required_param(v->of->blocks, block, expert, &params[i]);
        /* A stack that is there was seen with the first of its experts. */
        const bool again = params[i].experts && expert > 0 && st_find(v->of->tensors, r.name);
        if (!again && blocks_param_owned(v->of->blocks, block, &params[i]) &&
            !is_elsewhere(v->of, (struct linear_place){block, params[i].node, expert}, &params[i]))
            status = v->visit(v->context, &r, err);
    }
    return status;
}

static enum llmq_status visit_block(const struct visitor *v, int64_t block, llmq_error *err) {
    const struct graph *g = blocks_graph(v->of->blocks, block);
    enum llmq_status status = visit_params(v, g, block, -1, err);
    for (int64_t e = 0; g->body && status == LLMQ_OK && e < g->facts.dims[DIM_EXPERTS]; e++)
        status = visit_params(v, g->body, block, e, err);
    return status;
}

static struct required required_end(const struct end_param *end) {
    const struct graph_param p = {.rows = end->rows, .columns = end->columns};
    struct required r;
    r.rank = graph_param_shape(&p, r.shape);
    memcpy(r.name, end->name, sizeof r.name);
    return r;
}

static enum llmq_status visit_ends(const struct visitor *v, llmq_error *err) {
    const struct model_config *c = v->of->blocks->config;
    struct end_param ends[ENDS_PARAMS];
    const int count = ends_params(c, ends);
    char head[FAMILY_NAME_MAX];
    const bool packed =
        layout_has_module(v->of->tensors, v->of->layout, ends_head_module(c->family, head));
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < count; i++) {
        const struct required r = required_end(&ends[i]);
        if (!ends[i].head || !packed)
            status = v->visit(v->context, &r, err);
    }
    return status;
}

/* What makes the input of a layer that predicts further tokens. */
static enum llmq_status visit_wiring(const struct visitor *v, int64_t draft, llmq_error *err) {
    struct end_param params[ENDS_PARAMS];
    const int count = drafts_params(v->of->blocks->config, draft, params);
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < count; i++) {
        const struct required r = required_end(&params[i]);
        status = v->visit(v->context, &r, err);
    }
    return status;
}

enum llmq_status required_drafts(const struct required_of *of,
                                 enum llmq_status (*visit)(void *context, const struct required *r,
                                                           llmq_error *err),
                                 void *context, llmq_error *err) {
    const struct visitor v = {of, visit, context};
    const struct model_config *c = of->blocks->config;
    enum llmq_status status = LLMQ_OK;
    for (int64_t d = 0; status == LLMQ_OK && d < c->drafts; d++) {
        status = visit_wiring(&v, d, err);
        if (status == LLMQ_OK)
            status = visit_block(&v, c->blocks + d, err);
    }
    return status;
}

enum llmq_status required_each(const struct required_of *of,
                               enum llmq_status (*visit)(void *context, const struct required *r,
                                                         llmq_error *err),
                               void *context, llmq_error *err) {
    const struct visitor v = {of, visit, context};
    enum llmq_status status = visit_ends(&v, err);
    for (int64_t b = 0; status == LLMQ_OK && b < of->blocks->config->blocks; b++)
        status = visit_block(&v, b, err);
    return status == LLMQ_OK ? required_drafts(of, visit, context, err) : status;
}
