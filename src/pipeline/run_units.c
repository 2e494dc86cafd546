/* SPDX-License-Identifier: Apache-2.0 */
/* The units of scales that are E4M3 numbers: see run.h. vLLM takes the largest number of those of
 * the linears that it merges for all of them (process_weights_after_loading of
 * compressed_tensors_w4a16_nvfp4.py at 17b6501a): those that read the same value have the same. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "formats/safetensors/value_peak.h"
#include "graph/weights.h"
#include "pipeline/run.h"
#include "quant/grid.h"

/* The tensor of the source that holds a module's weight; NULL: it is packed. A stack stands for
 * all that are in it. */
static const struct st_tensor *tensor_of(const struct model *m, const struct plan_module *module) {
    char name[MODEL_NAME_MAX];
    if (module->at.node < 0) {
        const struct st_tensor *head = st_find(m->tensors, m->config.family->head);
        return head ? head : st_find(m->tensors, m->config.family->embedding);
    }
    const struct st_tensor *t =
        st_find(m->tensors, blocks_node_name(m->blocks, module->at, ".weight", name));
    return t ? t : weights_find_stack(m->tensors, m->blocks, module->at);
}

/* `known` [st_count] are the peaks of tensors that were read, else negative: many experts may be in
 * one. */
static enum llmq_status peak_of(const struct run *run, const struct plan_module *module,
                                float *known, float *peak, llmq_error *err) {
    const struct model *m = &run->model;
    const struct st_tensor *t = tensor_of(m, module);
    struct value_at found = {0};
    struct qlinear q = {0};
    if (t && known[t - st_at(m->tensors, 0)] < 0) {
        const enum llmq_status status = value_peak(m->tensors, t, run->ctx, &found, err);
        if (status != LLMQ_OK)
            return status;
        known[t - st_at(m->tensors, 0)] = fabsf(found.value);
    }
    if (t) {
        *peak = known[t - st_at(m->tensors, 0)];
        return LLMQ_OK;
    }
    const enum llmq_status status =
        model_load_qlinear(m, module->name, module->shape.n, module->shape.k, &q, err);
    *peak = status == LLMQ_OK ? qlinear_peak(&q, 0) : 0;
    qlinear_free(&q);
    return status;
}

/* What a module's node reads, within its block and expert; -1: the head. */
static int input_of(const struct model *m, const struct plan_module *module) {
    if (module->at.node < 0)
        return -1;
    return (int)blocks_graph_of(m->blocks, module->at)->node[module->at.node].in[0];
}

static bool reads_the_same(const struct model *m, const struct plan_module *a,
                           const struct plan_module *b) {
    return a->at.block == b->at.block && a->at.expert == b->at.expert &&
           input_of(m, a) == input_of(m, b);
}

/* Modules of a block follow each other. */
static float group_peak(const struct run *run, const float *peaks, int64_t i) {
    const struct plan *p = &run->plan;
    float peak = 0;
    for (int step = -1; step <= 1; step += 2)
        for (int64_t j = i;
             j >= 0 && j < p->module_count && p->modules[j].at.block == p->modules[i].at.block;
             j += step)
            if (reads_the_same(&run->model, &p->modules[i], &p->modules[j]))
                peak = peaks[j] > peak ? peaks[j] : peak;
    return peak;
}

static enum llmq_status find_peaks(const struct run *run, float *peaks, llmq_error *err) {
    const struct plan *p = &run->plan;
    const size_t count = st_count(run->model.tensors);
    float *known = malloc((count + 1) * sizeof *known);
    enum llmq_status status = known ? LLMQ_OK : error_memory(err, "the units of scales");
    for (size_t i = 0; known && i < count; i++)
        known[i] = -1;
    for (int64_t i = 0; status == LLMQ_OK && i < p->module_count; i++)
        if (p->modules[i].fate == MODULE_QUANTIZED)
            status = peak_of(run, &p->modules[i], known, &peaks[i], err);
    free(known);
    return status;
}

enum llmq_status run_choose_units(struct run *run, llmq_error *err) {
    const struct plan *p = &run->plan;
    if (p->layout->scales != DTYPE_F8_E4M3)
        return LLMQ_OK;
    float *peaks = calloc((size_t)p->module_count, sizeof *peaks);
    run->units = calloc((size_t)p->module_count, sizeof *run->units);
    enum llmq_status status = peaks && run->units ? find_peaks(run, peaks, err)
                                                  : error_memory(err, "the units of scales");
    for (int64_t i = 0; status == LLMQ_OK && i < p->module_count; i++)
        run->units[i] = grid_unit(p->layout->number, group_peak(run, peaks, i));
    free(peaks);
    return status;
}
