/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over a block's nodes: see pass.h. */
#include "graph/pass.h"

#include "base/error.h"

float *pass_value(const struct pass *p, enum value v) {
    const struct schedule *s = p->schedule;
    if (s->home[v])
        return p->home[s->home[v]];
    return p->forward->values + s->column[v] * p->forward->max_rows;
}

struct step pass_step(const struct pass *p, int index) {
    struct step s = {.pass = p,
                     .node = &p->block->graph->node[index],
                     .params = &p->block->node[index],
                     .rows = batch_rows(p->batch)};
    for (int i = 0; i < NODE_INPUTS && s.node->in[i] != V_NONE; i++)
        s.in[i] = pass_value(p, s.node->in[i]);
    for (int o = 0; o < NODE_OUTPUTS && s.node->out[o] != V_NONE; o++)
        if (value_set_has(p->schedule->made, (int)s.node->out[o]))
            s.out[o] = pass_value(p, s.node->out[o]);
    return s;
}

enum llmq_status pass_run_node(const struct pass *p, int index, llmq_error *err) {
    const struct step s = pass_step(p, index);
    const struct op_code *op = &op_codes[s.node->row->op];
    if (!op->run)
        return error_set(err, LLMQ_E_UNSUPPORTED, "%s is not computed",
                         schema_op_name(s.node->row->op));
    enum llmq_status status = op->run(&s, err);
    if (status == LLMQ_OK)
        tally_read(p->forward->tally, op->kind, op->flops ? op->flops(&s) : 0);
    return status;
}

enum llmq_status pass_run(const struct pass *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < p->block->graph->count; i++)
        if (p->schedule->nodes >> i & 1)
            status = pass_run_node(p, i, err);
    return status;
}
