/* See mixers.h. */
#include "graph/mixers.h"

#include "base/int64.h"
#include "graph/scan.h"

/* In the order of models/graph_params.c. */
enum { SCAN_A_LOG, SCAN_D, SCAN_DT_BIAS };

static struct scan scan_of(const struct graph *g, const struct graph_node *n) {
    const int64_t *dims = g->facts.dims;
    return (struct scan){.heads = dims[DIM_SSM_HEADS],
                         .groups = n->groups,
                         .width = n->width[0] / dims[DIM_SSM_HEADS],
                         .state = dims[DIM_SSM_STATE]};
}

int64_t mixers_scratch(const struct graph *g, int64_t max_length) {
    int64_t most = 0;
    for (int i = 0; i < g->count; i++) {
        if (g->node[i].row->op != OP_SCAN)
            continue;
        const struct scan scan = scan_of(g, &g->node[i]);
        most = max_i64(most, 2 * scan.heads * max_length + scan_scratch(&scan, max_length));
    }
    return most;
}

enum llmq_status run_scan(const struct step *s, llmq_error *err) {
    const struct graph *g = s->pass->block->graph;
    const double *numbers = g->facts.numbers;
    const struct batch *b = s->pass->batch;
    float *const *vector = s->params->vector;
    struct scan scan = scan_of(g, s->node);
    const struct scan_steps steps = {scan.heads, vector[SCAN_DT_BIAS], vector[SCAN_A_LOG],
                                     numbers[NUM_STEP_MIN], numbers[NUM_STEP_MAX]};
    const int64_t x = scan.heads * scan.width, bc = scan.groups * scan.state;
    (void)err;
    scan.skip = vector[SCAN_D];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *decay = s->pass->forward->mixer, *gain = decay + scan.heads * length;
        const struct scan_input in = {s->in[0] + begin * x, s->in[1] + begin * bc,
                                      s->in[2] + begin * bc, decay, gain};
        scan_steps(&steps, length, s->in[3] + begin * scan.heads, decay, gain);
        scan_sequence(&scan, length, &in, gain + scan.heads * length, s->out[0] + begin * x);
    }
    return LLMQ_OK;
}
