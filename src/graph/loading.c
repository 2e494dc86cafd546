/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of loading weights: see loading.h. */
#include "graph/loading.h"

#include "base/int64.h"
#include "formats/loaders/layout_load.h"
#include "graph/weights.h"

/* Of a packed module's tensors, as stored. */
static uint64_t stored_bytes(const struct model *m, const char *module) {
    uint64_t bytes = 0;
    for (int i = 0; m->layout->suffixes[i]; i++) {
        const struct st_tensor *t = layout_tensor_of(m->tensors, m->layout, module, i);
        bytes += t ? t->nbytes : 0;
    }
    return bytes;
}

uint64_t loading_read_bytes(const struct model *m, struct linear_place at) {
    char name[MODEL_NAME_MAX];
    int64_t n = 0, k = 0;
    blocks_linear_shape(m->blocks, at, &n, &k);
    if (model_linear_packed(m, at)) /* as it is stored, and a byte for each code */
        return (uint64_t)n * (uint64_t)k +
               stored_bytes(m, blocks_node_name(m->blocks, at, "", name));
    const struct st_tensor *stack = weights_find_stack(m->tensors, m->blocks, at);
    const struct st_tensor *t =
        stack ? stack : st_find(m->tensors, blocks_node_name(m->blocks, at, ".weight", name));
    uint64_t bytes = t && t->coded ? t->coded->workspace : 0;
    if (stack)
        bytes += stack->nbytes * 8 / dtype_bits(stack->dtype) * sizeof(float) /
                 (uint64_t)m->config.facts.dims[DIM_EXPERTS];
    return bytes;
}

/* A linear's weight while the block is there. The packed product's own order pads rows and columns
 * and has its scales in float32: half as much again, and a page, is more than that. */
static uint64_t kept_bytes(const struct model *m, struct linear_place at, enum load_mode mode) {
    char name[MODEL_NAME_MAX];
    int64_t n = 0, k = 0;
    if (mode != LOAD_PLAIN && model_linear_packed(m, at))
        return stored_bytes(m, blocks_node_name(m->blocks, at, "", name)) * 3 / 2 + 4096;
    blocks_linear_shape(m->blocks, at, &n, &k);
    return (uint64_t)n * (uint64_t)k * sizeof(float);
}

struct loading loading_of(const struct model *m, int64_t index, int64_t expert,
                          enum load_mode mode) {
    struct graph_param params[GRAPH_PARAMS];
    const struct graph *block = model_graph(m, index);
    const struct graph *g = expert < 0 ? block : block->body;
    const int count = graph_params(g, params);
    struct loading bytes = {0, 0};
    for (int i = 0; i < count; i++) {
        const struct linear_place at = {index, params[i].node, expert};
        if (!params[i].quantized) {
            bytes.kept += (uint64_t)graph_param_entries(&params[i]) * sizeof(float);
            continue;
        }
        bytes.kept += kept_bytes(m, at, mode);
        bytes.reading = max_u64(bytes.reading, loading_read_bytes(m, at));
    }
    return bytes;
}

uint64_t loading_bytes(const struct model *m, int64_t index, int64_t expert, enum load_mode mode) {
    const struct loading bytes = loading_of(m, index, expert, mode);
    return bytes.kept + bytes.reading;
}

uint64_t loading_head_bytes(const struct model *m) {
    char name[MODEL_NAME_MAX];
    const uint64_t elements = (uint64_t)m->config.vocab * (uint64_t)m->config.hidden;
    return model_head_packed(m) ? elements + stored_bytes(m, model_head_name(m, name)) : 0;
}
