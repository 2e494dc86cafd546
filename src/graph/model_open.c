/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a model folder: see model.h.
 *
 * config.json says what the model is and the tensors are held against it: under which names they
 * are there, whether any says that the model is another one, which of them is the output head, and
 * whether all are there in the shapes that follow. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "formats/loaders/layout_load.h"
#include "formats/loaders/model_folder.h"
#include "graph/draft_layers.h"
#include "graph/inventory.h"
#include "graph/model_private.h"
#include "graph/required.h"
#include "models/drafts.h"

/* --- what is missing, and what helps ---------------------------------------------------------- */

/* The weight is there, packed in a layout that no config names. */
static bool hint_packed(const struct model *m, const char *name, llmq_error *err) {
    const size_t len = strlen(name), suffix = strlen(".weight");
    const struct layout *layout;
    char module[MODEL_NAME_MAX];
    if (len <= suffix || strcmp(name + len - suffix, ".weight") != 0)
        return false;
    (void)snprintf(module, sizeof module, "%.*s", (int)(len - suffix), name);
    for (int i = 0; (layout = layout_at(i)); i++) {
        if (layout == m->layout || !layout_has_module(m->tensors, layout, module))
            continue;
        error_hint(err,
                   "'%.120s.%s' is there: the weights are quantized, and %s. Put back the "
                   "quantization_config that the quantizer wrote into config.json, or its "
                   "quantize_config.json beside it",
                   module, layout->suffixes[0],
                   m->layout ? "in another format than the config says" : "no config says how");
        return true;
    }
    return false;
}

static bool hint_head(const struct model *m, const char *name, llmq_error *err) {
    if (strcmp(name, m->config.family->head) != 0)
        return false;
    const struct st_tensor *score = st_find(m->tensors, "score.weight");
    if (score)
        error_hint(err,
                   "the checkpoint has score.weight, a classifier's head: llmq computes models "
                   "of language");
    else
        error_hint(err, "if the embedding is the output head, set \"tie_word_embeddings\": true in "
                        "config.json; if the model was saved without its head, save it from the "
                        "class for causal language models");
    return true;
}

/* Layers that the files hold, when that is not what the config says. */
static bool hint_layers(const struct model *m, llmq_error *err) {
    const struct family *f = m->config.family;
    int64_t layers = 0, block = 0;
    const char *rest = NULL;
    for (size_t i = 0; i < st_count(m->tensors); i++)
        if (family_block_of(f, st_at(m->tensors, i)->name, &block, &rest) && block >= layers)
            layers = block + 1;
    if (layers == 0 || layers >= m->config.blocks)
        return false;
    error_hint(err,
               "the files hold %" PRId64 " layers, num_hidden_layers is %" PRId64
               ": complete the download, or correct config.json",
               layers, m->config.blocks);
    return true;
}

/* PEFT puts the weight that an adapter goes with into a module of that name. */
static bool hint_adapter(const struct model *m, const char *name, llmq_error *err) {
    char base[MODEL_NAME_MAX];
    const char *dot = strrchr(name, '.');
    (void)snprintf(base, sizeof base, "%.*s.base_layer%s", dot ? (int)(dot - name) : 0, name,
                   dot ? dot : "");
    if (!st_find(m->tensors, base))
        return false;
    inventory_hint_merge(err);
    return true;
}

/* A part of a layer that would stay as it is. */
static bool hint_draft(const struct model *m, const char *name, llmq_error *err) {
    for (int64_t d = 0; d < m->config.drafts; d++) {
        struct end_param params[ENDS_PARAMS];
        bool wiring = drafts_layer_of(&m->config, name) == d;
        for (int i = drafts_params(&m->config, d, params); i-- > 0;)
            wiring = wiring || strcmp(params[i].name, name) == 0;
        if (wiring)
            error_hint(err, "it is of a layer that predicts further tokens: complete the "
                            "download, or leave out --mtp to carry the layer along as it is");
        if (wiring)
            return true;
    }
    return false;
}

static void hint_missing(const struct model *m, const char *name, llmq_error *err) {
    if (hint_draft(m, name, err) || hint_adapter(m, name, err) || hint_packed(m, name, err) ||
        hint_head(m, name, err) || hint_layers(m, err))
        return;
    if (st_count(m->tensors) > 0)
        error_hint(err,
                   "the files hold %zu tensors, '%.120s' among them: is the download complete, and "
                   "are these the names of a %s model?",
                   st_count(m->tensors), st_at(m->tensors, 0)->name, m->config.family->name);
}

/* --- shapes ----------------------------------------------------------------------------------- */

/* Quantized in a way that no quantization config tells of, as bitsandbytes and FP8 files are. */
static void hint_form(const struct model *m, const struct st_tensor *t, llmq_error *err) {
    if (t->dtype == DTYPE_F8_E4M3 && !m->quant.object) {
        error_hint(err,
                   "no config says how it is quantized: put back the quantization_config that "
                   "the checkpoint was shipped with, or take the one that it was made from, in 16 "
                   "or 32 bits");
        return;
    }
    error_hint(err, "it is quantized already, in a form that llmq does not read: take the "
                    "checkpoint that it was made from, in 16 or 32 bits");
}

/* A floating tensor of that name and shape. */
static enum llmq_status require(const struct model *m, const struct required *r,
                                const struct st_tensor **out, llmq_error *err) {
    const struct tensor_fit fit = tensor_fits(m->tensors, r);
    switch (fit.misfit) {
    case MISFIT_MISSING:
        error_set(err, LLMQ_E_INPUT, "%s: tensor '%.200s' is missing", m->dir, r->name);
        hint_missing(m, r->name, err);
        return LLMQ_E_INPUT;
    case MISFIT_DTYPE:
        error_set(err, LLMQ_E_UNSUPPORTED, "%s: tensor '%.200s' is %s: expected %s", m->dir,
                  r->name, fit.found, fit.expected);
        hint_form(m, fit.tensor, err);
        return LLMQ_E_UNSUPPORTED;
    case MISFIT_SHAPE:
        return error_set(err, LLMQ_E_INPUT,
                         "%s: tensor '%.200s' has shape %s; config.json implies %s", m->dir,
                         r->name, fit.found, fit.expected);
    case FITS:
    default:
        *out = fit.tensor;
        return LLMQ_OK;
    }
}

enum llmq_status model_require(const struct model *m, const char *name, int64_t rows, int64_t cols,
                               const struct st_tensor **out, llmq_error *err) {
    const struct graph_param p = {.rows = rows, .columns = cols};
    struct required r;
    r.rank = graph_param_shape(&p, r.shape);
    (void)snprintf(r.name, sizeof r.name, "%s", name);
    return require(m, &r, out, err);
}

enum llmq_status model_require_param(const struct model *m, int64_t block, int64_t expert,
                                     const struct graph_param *p, const struct st_tensor **out,
                                     llmq_error *err) {
    const struct required r = required_param(m->blocks, block, expert, p);
    return require(m, &r, out, err);
}

/* --- opening ---------------------------------------------------------------------------------- */

static enum llmq_status read_layout(struct model *m, llmq_error *err) {
    enum llmq_status status = quant_config_find(m->dir, m->config_json, &m->quant, err);
    if (status != LLMQ_OK || !m->quant.object)
        return status;
    status = encoding_of_config(m->quant.object, &m->encoded, err);
    if (status == LLMQ_OK && !m->encoded.encoding)
        status = layout_of_config(m->quant.object, &m->layout, err);
    if (status == LLMQ_OK && m->layout)
        status = m->layout->config_read(m->quant.object, &m->layout_config, err);
    if (status == LLMQ_OK && m->layout)
        status = layout_check_tensors(m->tensors, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s/%s", m->dir, m->quant.file);
    return encoding_settle(&m->encoded, m->tensors, err);
}

static enum llmq_status check_tensor(void *model, const struct required *r, llmq_error *err) {
    const struct st_tensor *t = NULL;
    return require(model, r, &t, err);
}

/* Hold the tensors against the config: their names, which are blocks, and which is the head. */
static enum llmq_status settle_tensors(struct model *m, bool drafts, llmq_error *err) {
    struct model_config *c = &m->config;
    enum llmq_status status = naming_settle(c, m->blocks, m->tensors, &m->naming, err);
    if (status == LLMQ_OK)
        status = draft_layers_settle(c, &m->blocks, m->tensors, m->layout, drafts, err);
    if (status == LLMQ_OK)
        status = tying_settle(c->family, c->tied, m->layout, m->tensors, &m->tying, err);
    c->tied = c->tied && m->tying != TYING_DIFFERS;
    return status == LLMQ_OK ? status : error_prefix(err, status, "%s", m->dir);
}

enum llmq_status model_open(const char *dir, struct model *out, llmq_error *err) {
    return model_open_as(dir, NULL, out, err);
}

enum llmq_status model_open_as(const char *dir, const char *family, struct model *out,
                               llmq_error *err) {
    return model_open_by(dir, &(struct model_reading){.family = family}, out, err);
}

enum llmq_status model_open_by(const char *dir, const struct model_reading *how, struct model *out,
                               llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct model){0};
    char *config_path = path_join(dir, "config.json", err);
    out->dir = strdup(dir);
    if (!config_path || !out->dir) {
        status = error_memory(err, "a path");
        goto cleanup;
    }
    LLMQ_TRY(json_read(config_path, &out->config_json, err));
    status = config_parse_as(out->config_json, how->family, &out->config, err);
    if (status == LLMQ_OK)
        status = blocks_create(&out->config, &out->blocks, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s", dir);
        goto cleanup;
    }
    LLMQ_TRY(st_open_dir(dir, &out->tensors, err));
    LLMQ_TRY(read_layout(out, err));
    LLMQ_TRY(settle_tensors(out, how->drafts, err));
    const struct required_of of = {out->blocks, out->tensors, out->layout};
    LLMQ_TRY(required_each(&of, check_tensor, out, err));
    status = inventory_check(out->blocks, out->layout, out->tensors, err);
    if (status != LLMQ_OK)
        error_prefix(err, status, "%s", dir);
cleanup:
    free(config_path);
    if (status != LLMQ_OK)
        model_close(out);
    return status;
}
