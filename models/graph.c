/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a block's rows: see graph.h. */
#include "models/graph.h"

#include <string.h>

#include "base/error.h"

bool graph_node_quantized(const struct graph_node *n) {
    return n->row->op == OP_EXPERTS || (n->row->op == OP_LINEAR && !n->row->plain);
}

bool graph_node_biased(const struct graph *g, const struct graph_node *n) {
    return n->row->bias && (g->traits & n->row->bias) == n->row->bias;
}

/* --- which rows ------------------------------------------------------------------------------- */

static bool applies(const struct node *row, trait_set traits) {
    return (traits & row->when) == row->when && !(traits & row->unless);
}

static int input_count(const struct node *row) {
    int count = 0;
    while (count < NODE_INPUTS && row->in[count] != V_NONE)
        count++;
    return count;
}

/* Can a row that is left out pass on what it reads? One value in, one of the same width out. */
static bool passes_on(const struct node *row) {
    return row->op == OP_NORM || row->op == OP_ROPE || row->op == OP_CLIP;
}

/* What the row says itself, or else the model. */
static void resolve(const struct facts *facts, struct graph_node *n) {
    const struct node *row = n->row;
    n->groups = row->groups == DIM_NONE ? 1 : facts->dims[row->groups];
    n->skip = facts->dims[row->skip];
    n->norm = row->norm == NORM_OF_FAMILY ? facts->norm : row->norm;
    n->act = row->act == ACT_OF_CONFIG ? facts->act : row->act;
    n->eps = row->eps > 0 ? row->eps : facts->numbers[row->eps_number ? row->eps_number : NUM_EPS];
    n->factor = facts->numbers[row->number];
    n->stream_factor = facts->numbers[row->stream_number];
    for (int o = 0; o < NODE_OUTPUTS; o++)
        n->part_factor[o] = facts->numbers[row->part_number[o]];
}

static enum llmq_status take_row(const struct node *row, const enum value alias[V_COUNT],
                                 struct graph *g, llmq_error *err) {
    if (g->count == GRAPH_NODES)
        return error_set(err, LLMQ_E_UNSUPPORTED, "a block of more than %d rows", GRAPH_NODES);
    struct graph_node *n = &g->node[g->count++];
    *n = (struct graph_node){.row = row, .gain = 1};
    resolve(&g->facts, n);
    for (int i = 0; i < NODE_INPUTS; i++)
        n->in[i] = alias[row->in[i]];
    memcpy(n->out, row->out, sizeof n->out);
    return LLMQ_OK;
}

static enum llmq_status take_rows(const struct node *rows, struct graph *g, llmq_error *err) {
    enum value alias[V_COUNT];
    bool made[V_COUNT] = {false};
    for (int v = 0; v < V_COUNT; v++)
        alias[v] = (enum value)v;
    for (const struct node *r = rows; r->op != OP_END; r++)
        for (int o = 0; applies(r, g->traits) && o < NODE_OUTPUTS; o++)
            made[r->out[o]] = true;
    for (const struct node *r = rows; r->op != OP_END; r++) {
        if (r->op == OP_SAME) {
            if (applies(r, g->traits))
                alias[r->out[0]] = alias[r->in[0]];
        } else if (applies(r, g->traits)) {
            enum llmq_status status = take_row(r, alias, g, err);
            if (status != LLMQ_OK)
                return status;
        } else if (passes_on(r) && !made[r->out[0]]) {
            alias[r->out[0]] = alias[r->in[0]];
        }
    }
    return LLMQ_OK;
}

/* --- widths ----------------------------------------------------------------------------------- */

static int64_t joined_width(const struct graph *g, const struct graph_node *n) {
    int64_t sum = g->width[n->in[0]];
    for (int i = 1; i < input_count(n->row); i++)
        sum += g->width[n->in[i]] * (n->row->dealt ? 1 : n->groups);
    return sum;
}

static int64_t output_width(const struct graph *g, const struct graph_node *n, int o) {
    const struct node *row = n->row;
    switch (row->op) {
    case OP_LINEAR:
    case OP_SPLIT:
    case OP_ROUTER:
    case OP_TOKEN:
    case OP_EMBEDDING:
        return g->facts.dims[row->width[o]];
    case OP_JOIN:
        return joined_width(g, n);
    case OP_DELTA:
    case OP_LIGHTNING:
        return g->width[n->in[2]];
    case OP_ATTENTION: /* values may be narrower than queries and keys */
        return g->width[n->in[2]] / g->facts.dims[DIM_KV_HEADS] * g->facts.dims[DIM_HEADS];
    case OP_INDEX:
        return g->facts.dims[DIM_INDEX_TOP];
    case OP_SUM:
        return n->groups;
    case OP_GLU:
        return g->width[n->in[1]];
    case OP_NORM:
    case OP_ROPE:
    case OP_CLIP:
    case OP_DIFFER:
    case OP_ACT:
    case OP_ADD:
    case OP_SCALE:
    case OP_CONV:
    case OP_SCAN:
    case OP_SELECTIVE:
    case OP_LRU:
    case OP_EXPERTS:
    case OP_SAME:
    case OP_END:
    case OP_COUNT:
    default:
        return g->width[n->in[0]];
    }
}

/* What the choice of experts must fulfil, or NULL. */
static const char *impossible_choice(const struct facts *facts, int64_t experts) {
    const int64_t top_k = facts->dims[DIM_TOP_K];
    const int64_t groups = facts->dims[DIM_N_GROUPS], top = facts->dims[DIM_TOP_GROUPS];
    if (experts > GRAPH_EXPERTS)
        return "it has more than 1024 experts";
    if (top_k < 1 || top_k > experts)
        return "a token takes none of its experts, or more than there are";
    if (groups <= 1)
        return NULL;
    if (experts % groups)
        return "its groups do not divide its experts";
    return top < 1 || top > groups || top * (experts / groups) < top_k
               ? "a token's groups have fewer experts than it takes"
               : NULL;
}

/* What the sides of a scan must fulfil, or NULL. */
static const char *impossible_scan(const struct graph *g, const struct graph_node *n) {
    const int64_t heads = g->facts.dims[DIM_SSM_HEADS], state = g->facts.dims[DIM_SSM_STATE];
    if (heads < 1 || g->width[n->in[0]] % heads)
        return "its heads do not divide what it reads";
    if (n->groups < 1 || heads % n->groups)
        return "its groups do not divide its heads";
    if (g->width[n->in[1]] != n->groups * state || g->width[n->in[2]] != n->groups * state)
        return "B or C has not a state for every group";
    return g->width[n->in[3]] != heads ? "it has not a time step for every head" : NULL;
}

static const char *impossible_selection(const struct graph *g, const struct graph_node *n) {
    const int64_t state = g->facts.dims[DIM_SSM_STATE];
    if (g->width[n->in[1]] != state || g->width[n->in[2]] != state)
        return "B or C is not as wide as its state";
    return g->width[n->in[3]] != g->width[n->in[0]] ? "it has not a time step for every channel"
                                                    : NULL;
}

/* What the sides of a delta rule must fulfil, or NULL. */
static const char *impossible_delta(const struct graph *g, const struct graph_node *n) {
    const int64_t *dims = g->facts.dims;
    const int64_t key_heads = dims[DIM_DELTA_KEY_HEADS], heads = dims[DIM_DELTA_VALUE_HEADS];
    if (key_heads < 1 || heads < 1 || heads % key_heads)
        return "its key heads do not divide its value heads";
    if (g->width[n->in[0]] != dims[DIM_DELTA_K] || g->width[n->in[1]] != dims[DIM_DELTA_K])
        return "it has not a query and a key for every key head";
    if (g->width[n->in[2]] != dims[DIM_DELTA_V])
        return "it has not a value for every value head";
    return g->width[n->in[3]] != heads || g->width[n->in[4]] != heads
               ? "it has not a beta and a time step for every value head"
               : NULL;
}

/* What the widths of a row's values must fulfil, or NULL. */
static const char *contradiction(const struct graph *g, const struct graph_node *n) {
    const int64_t in0 = g->width[n->in[0]], in1 = g->width[n->in[1]];
    int64_t sum = 0;
    switch (n->row->op) {
    case OP_SPLIT:
        for (int o = 0; o < NODE_OUTPUTS; o++) {
            sum += n->width[o];
            if (n->groups < 1 || n->width[o] % n->groups)
                return "its groups do not divide its parts";
        }
        return sum != in0 ? "its parts do not add up to what it splits" : NULL;
    case OP_JOIN:
        return n->groups < 1 || in0 % n->groups || (n->row->dealt && in1 % n->groups)
                   ? "its groups do not divide what it reads"
                   : NULL;
    case OP_DIFFER:
        return in0 != in1 || n->groups < 1 || in0 % n->groups
                   ? "its groups do not divide what it reads, or that differs in width"
                   : NULL;
    case OP_NORM:
    case OP_ROPE:
    case OP_SUM:
        return n->groups < 1 || in0 % n->groups ? "its groups do not divide what it reads" : NULL;
    case OP_ADD:
        return in0 != in1 ? "it adds values of different widths" : NULL;
    case OP_GLU:
        return in1 % in0 ? "gates of one width do not divide the value" : NULL;
    case OP_ATTENTION:
        if (n->row->lifts && g->width[n->in[3]] != g->facts.dims[DIM_KV_HEADS])
            return "it has not a lift for every head of keys";
        return in0 * g->facts.dims[DIM_KV_HEADS] != in1 * g->facts.dims[DIM_HEADS]
                   ? "heads of queries and keys differ in width"
                   : NULL;
    case OP_INDEX:
        return n->groups < 1 || in0 != n->groups * in1 || g->width[n->in[2]] != n->groups
                   ? "heads of its queries, keys and weights differ"
                   : NULL;
    case OP_EMBEDDING:
        return g->facts.dims[DIM_STREAM] != n->width[0] ? "blocks are given more than that" : NULL;
    case OP_CONV:
        return g->facts.dims[DIM_CONV] < 1 ? "it sees no tokens" : NULL;
    case OP_SCAN:
        return impossible_scan(g, n);
    case OP_DELTA:
        return impossible_delta(g, n);
    case OP_LIGHTNING:
        return in0 != in1 || in0 % g->facts.dims[DIM_HEADS] ||
                       g->width[n->in[2]] % g->facts.dims[DIM_HEADS]
                   ? "its heads do not divide what it reads"
                   : NULL;
    case OP_SELECTIVE:
        return impossible_selection(g, n);
    case OP_LRU:
        return in0 != g->facts.dims[DIM_HEADS] * g->facts.dims[DIM_LRU]
                   ? "its heads do not divide what it reads"
                   : NULL;
    case OP_ROUTER:
        return impossible_choice(&g->facts, n->width[0]);
    case OP_SAME:
    case OP_LINEAR:
    case OP_CLIP:
    case OP_ACT:
    case OP_SCALE:
    case OP_TOKEN:
    case OP_EXPERTS:
    case OP_END:
    case OP_COUNT:
    default:
        return NULL;
    }
}

static enum llmq_status refuse(const struct graph_node *n, const char *why, llmq_error *err) {
    return error_set(err, LLMQ_E_UNSUPPORTED, "the %s that makes %s: %s",
                     schema_op_name(n->row->op), schema_value_name(n->out[0]), why);
}

/* A value is made before it is read, and made once. */
static enum llmq_status connect_node(struct graph *g, int index, llmq_error *err) {
    struct graph_node *n = &g->node[index];
    if (n->row->shared && graph_node_quantized(n))
        return refuse(n, "several blocks have it: it stays plain", err);
    for (int i = 0; i < input_count(n->row); i++) {
        if (n->in[i] != g->input && g->producer[n->in[i]] < 0)
            return refuse(n, "it reads what was not made before", err);
        g->readers[n->in[i]]++;
    }
    for (int o = 0; o < NODE_OUTPUTS && n->out[o] != V_NONE; o++) {
        if (n->out[o] == g->input || g->producer[n->out[o]] >= 0)
            return refuse(n, "the value was made before", err);
        n->width[o] = output_width(g, n, o);
        if (n->width[o] < 1)
            return refuse(n, "it has no width", err);
        g->width[n->out[o]] = n->width[o];
        g->producer[n->out[o]] = index;
        g->output = n->out[o];
    }
    const char *why = contradiction(g, n);
    return why ? refuse(n, why, err) : LLMQ_OK;
}

static enum llmq_status connect(struct graph *g, llmq_error *err) {
    for (int i = 0; i < g->count; i++) {
        enum llmq_status status = connect_node(g, i, err);
        if (status != LLMQ_OK)
            return status;
    }
    for (int v = 0; v < V_COUNT; v++)
        if (g->producer[v] >= 0 && v != (int)g->output && g->readers[v] == 0 &&
            !g->node[g->producer[v]].row->partly)
            return refuse(&g->node[g->producer[v]], "nothing reads it", err);
    return LLMQ_OK;
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* The other term of the sum that alone reads a linear's output. */
static void find_stream(const struct graph *g, struct graph_node *linear) {
    const enum value branch = linear->out[0];
    for (int i = 0; g->readers[branch] == 1 && i < g->count; i++)
        if (g->node[i].row->op == OP_ADD && g->node[i].in[1] == branch) {
            linear->stream = g->node[i].in[0];
            linear->gain = g->node[i].factor * linear->factor / g->node[i].stream_factor;
        }
}

static int later(int a, int b) {
    return a > b ? a : b;
}

static enum llmq_status order(struct graph *g, llmq_error *err) {
    for (int i = 0; i < g->count; i++) {
        struct graph_node *n = &g->node[i];
        const bool quantized = graph_node_quantized(n);
        for (int k = 0; k < input_count(n->row); k++)
            n->round = later(n->round, g->ready[n->in[k]]);
        if (n->row->op == OP_LINEAR)
            find_stream(g, n);
        if (quantized && n->stream != V_NONE)
            n->round = later(n->round, g->ready[n->stream]);
        if (quantized)
            g->rounds = later(g->rounds, n->round + 1);
        for (int o = 0; o < NODE_OUTPUTS && n->out[o] != V_NONE; o++)
            g->ready[n->out[o]] = n->round + quantized;
    }
    if (g->rounds > GRAPH_ROUNDS)
        return error_set(err, LLMQ_E_UNSUPPORTED, "a block of more than %d rounds", GRAPH_ROUNDS);
    return LLMQ_OK;
}

/* --- tasks ------------------------------------------------------------------------------------ */

/* Experts see the tokens that are routed to them, each its own: they are a task by themselves. */
static bool shares_task(const struct graph *g, const struct graph_task *t,
                        const struct graph_node *n) {
    return n->row->op != OP_EXPERTS && t->round == n->round && t->source == n->in[0] &&
           t->stream == n->stream && !(g->experts >= 0 && t->nodes >> g->experts & 1);
}

static struct graph_task *task_of(struct graph *g, const struct graph_node *n) {
    int i = 0;
    while (i < g->task_count && !shares_task(g, &g->task[i], n))
        i++;
    if (i == GRAPH_TASKS)
        return NULL;
    if (i == g->task_count) {
        g->task[i] = (struct graph_task){n->round, n->in[0], n->stream, n->gain, 0};
        g->task_count++;
    }
    return &g->task[i];
}

/* The tasks of a round: of linears, or of experts. */
static enum llmq_status add_tasks(struct graph *g, int round, bool experts, llmq_error *err) {
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        if (n->round != round || !graph_node_quantized(n) || (n->row->op == OP_EXPERTS) != experts)
            continue;
        struct graph_task *t = task_of(g, n);
        if (!t)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "linears that read more than %d different things", GRAPH_TASKS);
        t->nodes |= UINT64_C(1) << i;
    }
    return LLMQ_OK;
}

static enum llmq_status find_tasks(struct graph *g, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int round = 0; status == LLMQ_OK && round < g->rounds; round++) {
        status = add_tasks(g, round, false, err);
        if (status == LLMQ_OK) /* the experts of a round come last */
            status = add_tasks(g, round, true, err);
    }
    return status;
}

/* In the order in which they are quantized. */
static void list_linears(struct graph *g) {
    memset(g->ordinal, -1, sizeof g->ordinal);
    for (int t = 0; t < g->task_count; t++)
        for (int i = 0; i < g->count; i++) {
            if (!(g->task[t].nodes >> i & 1))
                continue;
            if (g->node[i].row->op == OP_EXPERTS) {
                g->experts_at = g->linear_count;
                continue;
            }
            g->ordinal[i] = (int8_t)g->linear_count;
            g->linear[g->linear_count++] = (int8_t)i;
        }
}

static enum llmq_status find_experts(struct graph *g, llmq_error *err) {
    g->experts = -1;
    for (int i = 0; i < g->count; i++) {
        if (g->node[i].row->op != OP_EXPERTS)
            continue;
        if (g->experts >= 0)
            return error_set(err, LLMQ_E_UNSUPPORTED, "a block with experts in two places");
        g->experts = i;
    }
    return LLMQ_OK;
}

/* --- stores ----------------------------------------------------------------------------------- */

/* Rows that are rather run again than their outputs kept. */
static bool is_cheap(const struct node *row) {
    return row->op == OP_NORM || row->op == OP_SPLIT || row->op == OP_ROUTER ||
           (row->op == OP_LINEAR && row->plain);
}

/* What the experts make is added up over all tokens before anything else runs: before the next
 * round it is kept as it is, not as the sum with the stream. */
static bool sums_experts(const struct graph *g, const struct graph_node *n, int round) {
    return g->experts >= 0 && n->row->op == OP_ADD && n->in[1] == g->node[g->experts].out[0] &&
           g->node[g->experts].round + 1 == round;
}

/* Values that are there before `round` and are read by what runs after it. */
static void find_live(const struct graph *g, int round, bool live[V_COUNT]) {
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        for (int k = 0; k < input_count(n->row); k++)
            if (g->ready[n->out[0]] > round && g->ready[n->in[k]] <= round)
                live[n->in[k]] = true;
    }
    for (int i = g->count - 1; i >= 0; i--) {
        const struct graph_node *n = &g->node[i];
        if (n->row->op == OP_TOKEN || n->row->op == OP_EMBEDDING)
            live[n->out[0]] = false;
        if (is_cheap(n->row) && live[n->in[0]])
            for (int o = 0; o < NODE_OUTPUTS; o++)
                live[n->out[o]] = false;
        if (sums_experts(g, n, round) && live[n->out[0]]) {
            live[n->out[0]] = false;
            live[n->in[0]] = live[n->in[1]] = true;
        }
    }
}

static enum llmq_status find_stores(struct graph *g, llmq_error *err) {
    for (int round = 0; round < g->rounds; round++) {
        bool live[V_COUNT] = {false};
        int count = 0;
        find_live(g, round, live);
        for (int v = V_NONE + 1; v < V_COUNT; v++) {
            if (live[v] && count == GRAPH_STORES)
                return error_set(err, LLMQ_E_UNSUPPORTED,
                                 "more than %d values live through round %d", GRAPH_STORES, round);
            if (live[v])
                g->stored[round][count++] = (enum value)v;
        }
    }
    return LLMQ_OK;
}

enum llmq_status graph_make(const struct node *rows, trait_set traits, const struct facts *facts,
                            enum value input, struct graph *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct graph){.traits = traits, .facts = *facts, .input = input};
    memset(out->producer, -1, sizeof out->producer);
    out->width[input] =
        facts->dims[input == V_X && facts->dims[DIM_STREAM] ? DIM_STREAM : DIM_HIDDEN];
    LLMQ_TRY(take_rows(rows, out, err));
    LLMQ_TRY(connect(out, err));
    LLMQ_TRY(find_experts(out, err));
    LLMQ_TRY(order(out, err));
    LLMQ_TRY(find_tasks(out, err));
    list_linears(out);
    LLMQ_TRY(find_stores(out, err));
cleanup:
    return status;
}
