/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's modules: see llmq/checkpoint.h. */
#include "llmq/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/loaders/layout_load.h"
#include "graph/model.h"
#include "graph/weights.h"
#include "llmq/model.h"
#include "tensor/codes.h"
#include "tensor/dtype.h"

struct llmq_checkpoint {
    struct model m;
    struct module_rules rules; /* what the config says of packed modules */
    llmq_module *modules;
    size_t count;
};

/* --- what a module is --------------------------------------------------------------------------
 */

/* Its codes: a tensor of the layout's or, of a GGUF file, what is shown decoded. */
static const struct st_tensor *codes_of(const struct model *m, const char *name) {
    return layout_tensor_of(m->tensors, m->layout, name, 0);
}

static uint64_t packed_bytes(const struct model *m, const char *name) {
    uint64_t bytes = 0;
    for (int i = 0; m->layout->suffixes[i]; i++) {
        const struct st_tensor *t = layout_tensor_of(m->tensors, m->layout, name, i);
        bytes += t ? t->nbytes : 0;
    }
    return bytes;
}

/* Settings by the config or, where blocks of codes say themselves what they are, by their type. */
static enum llmq_status describe_packed(const llmq_checkpoint *c, llmq_module *module,
                                        llmq_error *err) {
    const struct model *m = &c->m;
    const struct st_tensor *t = codes_of(m, module->name);
    struct module_setting s = module_general(&m->layout_config);
    enum llmq_status status = LLMQ_OK;
    if (c->rules.count > 0)
        LLMQ_TRY(module_rules_find(&c->rules, module->name, &s, err));
    if (!s.packed)
        s = module_general(&m->layout_config);
    module->packed = true;
    module->format = m->layout->name;
    module->dtype = dtype_name(t->dtype);
    module->bits = s.bits;
    module->group = s.group;
    module->sym = s.sym;
    module->bytes = packed_bytes(m, module->name);
    if (dtype_block(t->dtype) > 1) {
        module->bits = t->dtype == DTYPE_Q8_0 ? 8 : 4;
        module->sym = t->dtype != DTYPE_Q4_1;
    }
cleanup:
    return status;
}

/* `parts`: modules that share the tensor. */
static void describe_plain(const struct model *m, const struct st_tensor *t, uint64_t parts,
                           llmq_module *module) {
    const struct st_tensor *stored = t->coded ? &t->coded->codes : t;
    module->format = !t->coded             ? "none"
                     : m->encoded.encoding ? m->encoded.encoding->name
                                           : dtype_name(stored->dtype);
    module->dtype = dtype_name(stored->dtype);
    module->bits = t->coded && m->encoded.encoding
                       ? m->encoded.encoding->bits
                       : (int)(dtype_bits(stored->dtype) / dtype_block(stored->dtype));
    module->bytes = st_stored_bytes(t) / parts;
}

static enum llmq_status describe_linear(llmq_checkpoint *c, struct linear_place at,
                                        llmq_module *module, llmq_error *err) {
    const struct model *m = &c->m;
    char name[MODEL_NAME_MAX];
    *module = (llmq_module){.name = strdup(blocks_node_name(m->blocks, at, "", name)),
                            .block = at.block,
                            .expert = at.expert};
    if (!module->name)
        return error_memory(err, "the modules of a checkpoint");
    blocks_linear_shape(m->blocks, at, &module->rows, &module->columns);
    if (model_linear_packed(m, at))
        return describe_packed(c, module, err);
    const struct st_tensor *stack = weights_find_stack(m->tensors, m->blocks, at);
    const struct st_tensor *t =
        stack ? stack : st_find(m->tensors, blocks_node_name(m->blocks, at, ".weight", name));
    if (!t)
        return error_set(err, LLMQ_E_INPUT, "%s: %s has no weight", m->dir, module->name);
    describe_plain(m, t, stack ? (uint64_t)m->config.facts.dims[DIM_EXPERTS] : 1, module);
    return LLMQ_OK;
}

static enum llmq_status describe_head(llmq_checkpoint *c, llmq_module *module, llmq_error *err) {
    const struct model *m = &c->m;
    const struct family *f = m->config.family;
    char name[MODEL_NAME_MAX];
    *module = (llmq_module){.name = strdup(model_head_name(m, name)),
                            .block = -1,
                            .expert = -1,
                            .rows = m->config.vocab,
                            .columns = m->config.hidden};
    if (!module->name)
        return error_memory(err, "the modules of a checkpoint");
    if (model_head_packed(m))
        return describe_packed(c, module, err);
    const struct st_tensor *t = st_find(m->tensors, m->config.tied ? f->embedding : f->head);
    if (!t)
        return error_set(err, LLMQ_E_INPUT, "%s: there is no output head", m->dir);
    describe_plain(m, t, 1, module);
    return LLMQ_OK;
}

static enum llmq_status list_modules(llmq_checkpoint *c, llmq_error *err) {
    const size_t linears = (size_t)blocks_linear_count(c->m.blocks);
    enum llmq_status status = LLMQ_OK;
    c->modules = calloc(linears + 1, sizeof *c->modules);
    if (!c->modules)
        return error_memory(err, "the modules of a checkpoint");
    for (; c->count < linears && status == LLMQ_OK; c->count++)
        status = describe_linear(c, blocks_linear_at(c->m.blocks, (int64_t)c->count),
                                 &c->modules[c->count], err);
    if (status == LLMQ_OK)
        status = describe_head(c, &c->modules[c->count++], err);
    return status;
}

/* --- opening -----------------------------------------------------------------------------------
 */

enum llmq_status llmq_checkpoint_open(const char *model, const char *family, llmq_checkpoint **out,
                                      llmq_error *err) {
    llmq_checkpoint *c = NULL;
    char *dir = NULL;
    enum llmq_status status = LLMQ_OK;
    *out = NULL;
    LLMQ_TRY(llmq_model_resolve(model, &dir, err));
    c = calloc(1, sizeof *c);
    if (!c)
        LLMQ_TRY(error_memory(err, "a checkpoint"));
    LLMQ_TRY(model_open_as(dir, family, &c->m, err));
    if (c->m.layout)
        LLMQ_TRY(
            module_rules_read(c->m.quant.object, c->m.layout, &c->m.layout_config, &c->rules, err));
    LLMQ_TRY(list_modules(c, err));
    *out = c;
    c = NULL;
cleanup:
    llmq_checkpoint_close(&c);
    free(dir);
    return status;
}

void llmq_checkpoint_close(llmq_checkpoint **checkpoint) {
    llmq_checkpoint *c = *checkpoint;
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++)
        free((char *)(uintptr_t)c->modules[i].name);
    free(c->modules);
    module_rules_free(&c->rules);
    model_close(&c->m);
    free(c);
    *checkpoint = NULL;
}

const char *llmq_checkpoint_path(const llmq_checkpoint *checkpoint) {
    return checkpoint->m.dir;
}

const char *llmq_checkpoint_family(const llmq_checkpoint *checkpoint) {
    return checkpoint->m.config.family->name;
}

int64_t llmq_checkpoint_blocks(const llmq_checkpoint *checkpoint) {
    return checkpoint->m.config.blocks;
}

const llmq_module *llmq_checkpoint_module(const llmq_checkpoint *checkpoint, size_t index) {
    return index < checkpoint->count ? &checkpoint->modules[index] : NULL;
}

const llmq_module *llmq_checkpoint_find(const llmq_checkpoint *checkpoint, const char *name) {
    for (size_t i = 0; i < checkpoint->count; i++)
        if (strcmp(checkpoint->modules[i].name, name) == 0)
            return &checkpoint->modules[i];
    return NULL;
}

/* --- weights -----------------------------------------------------------------------------------
 */

/* The module's number among the checkpoint's, its address being one of theirs. */
static enum llmq_status number_of(const llmq_checkpoint *c, const llmq_module *module,
                                  size_t *number, llmq_error *err) {
    const uintptr_t begin = (uintptr_t)c->modules, at = (uintptr_t)module;
    *number = (at - begin) / sizeof *module;
    if (at < begin || *number >= c->count || (at - begin) % sizeof *module != 0)
        return error_set(err, LLMQ_E_USAGE, "a module that is not one of %s", c->m.dir);
    return LLMQ_OK;
}

static enum llmq_status check_packed(const llmq_checkpoint *c, const llmq_module *module,
                                     llmq_error *err) {
    size_t number = 0;
    enum llmq_status status = number_of(c, module, &number, err);
    if (status != LLMQ_OK || module->packed)
        return status;
    error_set(err, LLMQ_E_USAGE, "%s: %s is not packed: it has numbers and no codes", c->m.dir,
              module->name);
    error_hint(err, "llmq_checkpoint_decode reads it");
    return LLMQ_E_USAGE;
}

enum llmq_status llmq_checkpoint_codes(const llmq_checkpoint *c, const llmq_module *module,
                                       llmq_codes *out, llmq_error *err) {
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    *out = (llmq_codes){0};
    LLMQ_TRY(check_packed(c, module, err));
    LLMQ_TRY(model_load_qlinear(&c->m, module->name, module->rows, module->columns, &q, err));
    codes_give(&q, out);
cleanup:
    return status;
}

enum llmq_status llmq_checkpoint_load(const llmq_checkpoint *c, const llmq_module *module,
                                      llmq_qmat **out, llmq_error *err) {
    *out = NULL;
    const enum llmq_status status = check_packed(c, module, err);
    return status == LLMQ_OK
               ? model_load_packed(&c->m, module->name, module->rows, module->columns, out, err)
               : status;
}

/* The output head. */
static enum llmq_status decode_head(const llmq_checkpoint *c, const llmq_module *module, float *out,
                                    llmq_error *err) {
    struct qlinear q = {0};
    if (!module->packed)
        return model_head_rows(&c->m, 0, module->rows, out, err);
    const enum llmq_status status =
        model_load_qlinear(&c->m, module->name, module->rows, module->columns, &q, err);
    if (status == LLMQ_OK)
        qlinear_dequantize(&q, 0, q.n, out);
    qlinear_free(&q);
    return status;
}

enum llmq_status llmq_checkpoint_decode(const llmq_checkpoint *c, const llmq_module *module,
                                        float *out, llmq_error *err) {
    size_t number = 0;
    const enum llmq_status status = number_of(c, module, &number, err);
    if (status != LLMQ_OK)
        return status;
    return module->block < 0
               ? decode_head(c, module, out, err)
               : model_load_weight(&c->m, blocks_linear_at(c->m.blocks, (int64_t)number), out, err);
}
