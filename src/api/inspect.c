/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a checkpoint: see llmq_inspect in llmq/model.h. Works from headers and configs alone,
 * also for families llmq has no table for. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "formats/encodings/encoding.h"
#include "formats/loaders/layout_load.h"
#include "formats/loaders/model_folder.h"
#include "formats/loaders/quant_config.h"
#include "llmq/model.h"
#include "models/config.h"

#define SHOWN_RANK 8

/* What inspection works on. */
struct subject {
    struct json *config; /* NULL when the folder has none */
    struct st_set *tensors;
    const struct layout *layout;
    struct layout_config layout_config;
    struct module_rules rules; /* of modules; none where the layout's config says nothing of them */
    struct encoding_settings encoded;
};

static uint64_t element_count(const struct st_tensor *t) {
    return t->nbytes * 8 / dtype_bits(t->dtype) * dtype_block(t->dtype);
}

static void add_decoded(const struct st_tensor *t, llmq_inspect_report *r,
                        uint64_t *quantized_bytes) {
    const int64_t weights = (int64_t)element_count(t);
    r->bytes += st_stored_bytes(t);
    *quantized_bytes += st_stored_bytes(t);
    r->quantized_modules++;
    r->quantized_parameters += weights;
    r->parameters += weights;
}

/* The module's setting by the config; the general one where nothing else can be told. */
static struct module_setting setting_of(const struct subject *s, const char *tensor, size_t len) {
    const struct module_setting general = module_general(&s->layout_config);
    struct module_setting found = general;
    char name[LAYOUT_NAME_MAX];
    (void)snprintf(name, sizeof name, "%.*s", (int)len, tensor);
    if (s->rules.count == 0 || module_rules_find(&s->rules, name, &found, NULL) != LLMQ_OK)
        return general;
    return found.packed ? found : general;
}

static void add_tensor(const struct subject *s, const struct st_tensor *t, llmq_inspect_report *r,
                       uint64_t *quantized_bytes) {
    size_t module_len = 0;
    int suffix = layout_suffix(s->layout, t->name, &module_len);
    uint64_t elements = element_count(t);
    if (t->coded) {
        add_decoded(t, r, quantized_bytes);
        return;
    }
    r->bytes += t->nbytes;
    if (suffix < 0) {
        r->parameters += (int64_t)elements;
        return;
    }
    *quantized_bytes += t->nbytes;
    if (suffix == 0) { /* the packed codes: 32 / bits weights to a word */
        const struct module_setting m = setting_of(s, t->name, module_len);
        r->deviating_modules += m.bits != s->layout_config.bits ||
                                m.group != s->layout_config.group || m.sym != s->layout_config.sym;
        int64_t weights =
            dtype_block(t->dtype) > 1 ? (int64_t)elements : (int64_t)(t->nbytes * 8) / m.bits;
        r->quantized_modules++;
        r->quantized_parameters += weights;
        r->parameters += weights;
    }
}

static enum llmq_status list_tensors(const struct subject *s, llmq_inspect_report *r,
                                     llmq_error *err) {
    size_t count = st_count(s->tensors);
    uint64_t quantized_bytes = 0;
    r->tensors = calloc(count ? count : 1, sizeof *r->tensors);
    if (!r->tensors)
        return error_memory(err, "the tensor list");
    for (size_t i = 0; i < count; i++) {
        const struct st_tensor *t = st_at(s->tensors, i);
        llmq_inspect_tensor *out = &r->tensors[i];
        out->name = strdup(t->name);
        if (!out->name)
            return error_memory(err, "the tensor list");
        r->tensor_count = i + 1;
        out->dtype = dtype_name(t->coded ? t->coded->codes.dtype : t->dtype);
        out->rank = t->rank;
        out->bytes = st_stored_bytes(t);
        for (int d = 0; d < t->rank && d < SHOWN_RANK; d++)
            out->shape[d] = t->shape[d];
        add_tensor(s, t, r, &quantized_bytes);
    }
    if (r->parameters > 0)
        r->bits_per_weight = 8.0 * (double)r->bytes / (double)r->parameters;
    if (r->quantized_parameters > 0)
        r->bits_per_quantized_weight =
            8.0 * (double)quantized_bytes / (double)r->quantized_parameters;
    return LLMQ_OK;
}

static enum llmq_status read_config(const char *dir, struct subject *s, llmq_inspect_report *r,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct quant_config quant = {0};
    bool there = false;
    char *path = path_join(dir, "config.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    r->layout = "none";
    LLMQ_TRY(file_exists(path, &there, err));
    if (!there)
        goto cleanup;
    LLMQ_TRY(json_read(path, &s->config, err));
    const char *type = json_string(json_get(s->config, "model_type"));
    r->model_type = strdup(type ? type : "");
    if (!r->model_type) {
        status = error_memory(err, "the report");
        goto cleanup;
    }
    const struct family *family = config_family_said(s->config);
    r->family = family ? family->name : NULL;
    json_as_int64(json_get(config_text_part(s->config), "num_hidden_layers"), &r->blocks);
    LLMQ_TRY(quant_config_find(dir, s->config, &quant, err));
    if (!quant.object)
        goto cleanup;
    LLMQ_TRY(encoding_of_config(quant.object, &s->encoded, err));
    if (s->encoded.encoding) {
        r->layout = s->encoded.encoding->name;
        r->bits = s->encoded.encoding->bits;
        r->group = (int64_t)s->encoded.block_columns;
        r->sym = true;
        goto cleanup;
    }
    LLMQ_TRY(layout_of_config(quant.object, &s->layout, err));
    LLMQ_TRY(s->layout->config_read(quant.object, &s->layout_config, err));
    r->layout = s->layout->name;
    r->bits = s->layout_config.bits;
    r->group = s->layout_config.group;
    r->sym = s->layout_config.sym;
    /* What loaders cannot use either is for verify to say. */
    if (module_rules_read(quant.object, s->layout, &s->layout_config, &s->rules, NULL) != LLMQ_OK)
        module_rules_free(&s->rules);
cleanup:
    quant_config_free(&quant);
    free(path);
    return status;
}

enum llmq_status llmq_inspect(const char *model, const char *family, llmq_inspect_report *report,
                              llmq_error *err) {
    struct subject s = {0};
    const struct family *forced = NULL;
    enum llmq_status status = LLMQ_OK;
    *report = (llmq_inspect_report){0};
    LLMQ_TRY(llmq_model_resolve(model, &report->path, err));
    if (family)
        LLMQ_TRY(config_family_named(family, &forced, err));
    LLMQ_TRY(read_config(report->path, &s, report, err));
    report->family = forced ? forced->name : report->family;
    LLMQ_TRY(st_open_dir(report->path, &s.tensors, err));
    LLMQ_TRY(encoding_settle(&s.encoded, s.tensors, err));
    report->shards = st_shard_count(s.tensors);
    LLMQ_TRY(list_tensors(&s, report, err));
cleanup:
    module_rules_free(&s.rules);
    json_free(&s.config);
    st_close(&s.tensors);
    if (status != LLMQ_OK)
        llmq_inspect_report_free(report);
    return status;
}

void llmq_inspect_report_free(llmq_inspect_report *report) {
    for (size_t i = 0; i < report->tensor_count; i++)
        free(report->tensors[i].name);
    free(report->tensors);
    free(report->path);
    free(report->model_type);
    *report = (llmq_inspect_report){0};
}

static struct json *tensor_json(const llmq_inspect_tensor *t) {
    struct json *o = json_new_object(), *shape = json_new_array();
    for (int d = 0; d < t->rank && d < SHOWN_RANK; d++)
        json_add_int64(shape, NULL, (int64_t)t->shape[d]);
    json_add_string(o, "name", t->name);
    json_add_string(o, "dtype", t->dtype);
    json_add(o, "shape", shape);
    json_add_int64(o, "bytes", (int64_t)t->bytes);
    return o;
}

char *llmq_inspect_json(const llmq_inspect_report *r, bool with_tensors) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_string(o, "path", r->path);
    json_add_string(o, "model_type", r->model_type);
    json_add_string(o, "family", r->family);
    json_add_string(o, "format", r->layout);
    json_add_int64(o, "blocks", r->blocks);
    json_add_int64(o, "parameters", r->parameters);
    json_add_int64(o, "quantized_parameters", r->quantized_parameters);
    json_add_int64(o, "quantized_modules", r->quantized_modules);
    json_add_int64(o, "deviating_modules", r->deviating_modules);
    json_add_int64(o, "bits", r->bits);
    json_add_int64(o, "group", r->group);
    json_add_bool(o, "sym", r->sym);
    json_add_int64(o, "bytes", (int64_t)r->bytes);
    json_add_double(o, "bits_per_weight", r->bits_per_weight);
    json_add_double(o, "bits_per_quantized_weight", r->bits_per_quantized_weight);
    json_add_int64(o, "shards", r->shards);
    json_add_int64(o, "tensor_count", (int64_t)r->tensor_count);
    if (with_tensors) {
        struct json *tensors = json_new_array();
        for (size_t i = 0; i < r->tensor_count; i++)
            json_add(tensors, NULL, tensor_json(&r->tensors[i]));
        json_add(o, "tensors", tensors);
    }
    return json_print_and_free(o);
}
