/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for config.json and the files that repeat its quantization settings: see verify.h. What the
 * keys must be follows the loaders; see the comments of the layouts' config writers. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/verify.h"

static bool is_layout(const struct verify *v, const struct layout *layout) {
    return v->layout == layout && !auto_round_config(v->quant.object);
}

static bool is_gptq(const struct verify *v) {
    return is_layout(v, &layout_gptq) || is_layout(v, &layout_gptq_v2);
}

static bool is_of_library(const struct verify *v) {
    return v->layout && v->layout->of_library;
}

/* --- keys that loaders read without asking whether they are there ----------------------------- */

/* Stand-alone files of older tools lack it: there config-place says what there is to say. */
static const char quant_method[] = "quant_method";

static const struct required {
    const struct layout *layout;
    const char *key, *old; /* `old`: a spelling that loaders accept too, or NULL */
    enum json_type type;
} required[] = {
    {&layout_gptq, "bits", NULL, JSON_NUMBER},
    {&layout_gptq, "group_size", NULL, JSON_NUMBER},
    {&layout_gptq, "desc_act", NULL, JSON_BOOL},
    {&layout_gptq, "sym", NULL, JSON_BOOL},
    {&layout_gptq, quant_method, "method", JSON_STRING},
    {&layout_gptq_v2, "bits", NULL, JSON_NUMBER},
    {&layout_gptq_v2, "group_size", NULL, JSON_NUMBER},
    {&layout_gptq_v2, "desc_act", NULL, JSON_BOOL},
    {&layout_gptq_v2, "sym", NULL, JSON_BOOL},
    {&layout_gptq_v2, quant_method, "method", JSON_STRING},
    {&layout_awq, "bits", "w_bit", JSON_NUMBER},
    {&layout_awq, "group_size", "q_group_size", JSON_NUMBER},
    {&layout_awq, "zero_point", NULL, JSON_BOOL},
    {&layout_awq, quant_method, NULL, JSON_STRING},
    {&layout_compressed_tensors, quant_method, NULL, JSON_STRING},
    {&layout_compressed_tensors, "format", NULL, JSON_STRING},
    {&layout_compressed_tensors, "config_groups", NULL, JSON_OBJECT},
    {&layout_compressed_tensors, "quantization_status", NULL, JSON_STRING},
};

static enum llmq_status config_keys(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        const struct required *r = &required[i];
        const bool concerns =
            is_layout(v, r->layout) || (r->layout->of_library && is_of_library(v));
        if (!concerns || (r->key == quant_method && v->quant.document))
            continue;
        const struct json *value = json_get(v->quant.object, r->key);
        value = value || !r->old ? value : json_get(v->quant.object, r->old);
        if (!value)
            verify_found(v, v->quant.file, NULL, "llmq convert to the same format writes all keys",
                         "%s: the key is missing, which loaders read", r->key);
        else if (json_type(value) != r->type)
            verify_found(v, v->quant.file, NULL, NULL, "%s: a value of the wrong type", r->key);
    }
    return LLMQ_OK;
}

/* --- keys that break a loader ----------------------------------------------------------------- */

static bool is_one_of(const char *key, const char *const *list) {
    for (; *list; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

static void only_keys(struct verify *v, const struct json *object, const char *const *known) {
    for (const struct json *c = json_first(object); c; c = json_next(c))
        if (!is_one_of(json_key(c), known))
            verify_found(v, v->quant.file, NULL, "remove the key",
                         "config_groups: %.60s: the library refuses keys it does not know",
                         json_key(c));
}

/* The mere presence of these tells some loaders another story than the rest of a gptq config. */
static enum llmq_status config_misread(struct verify *v, llmq_error *err) {
    static const char *const keys[] = {"zero_point", "is_marlin_format"};
    bool marlin = false;
    (void)err;
    for (size_t i = 0; is_gptq(v) && i < sizeof keys / sizeof keys[0]; i++)
        if (json_get(v->quant.object, keys[i]) &&
            !(i == 1 && json_as_bool(json_get(v->quant.object, keys[i]), &marlin) && marlin))
            verify_found(v, v->quant.file, NULL, "remove the key",
                         "%s: the presence of the key changes how some loaders read the weights",
                         keys[i]);
    return LLMQ_OK;
}

static enum llmq_status config_forbidden(struct verify *v, llmq_error *err) {
    bool marlin = false;
    static const char *const group_keys[] = {
        "targets", "weights", "input_activations", "output_activations", "format", NULL};
    static const char *const weight_keys[] = {
        "num_bits",        "type",     "symmetric", "group_size", "strategy",
        "block_structure", "dynamic",  "actorder",  "observer",   "observer_kwargs",
        "scale_dtype",     "zp_dtype", NULL};
    (void)err;
    if (is_gptq(v) && json_as_bool(json_get(v->quant.object, "is_marlin_format"), &marlin) &&
        marlin)
        verify_found(v, v->quant.file, NULL, "remove the key",
                     "is_marlin_format is true, but the tensors are not in Marlin's order: loaders "
                     "that believe it do not find theirs");
    if (is_of_library(v)) {
        const struct json *groups = json_get(v->quant.object, "config_groups");
        for (const struct json *g = json_first(groups); g; g = json_next(g)) {
            only_keys(v, g, group_keys);
            only_keys(v, json_get(g, "weights"), weight_keys);
        }
    }
    return LLMQ_OK;
}

/* Keys that the library learnt over time: older versions refuse them. */
static enum llmq_status config_new_keys(struct verify *v, llmq_error *err) {
    static const char *const weights[] = {"scale_dtype", "zp_dtype"};
    (void)err;
    if (!is_of_library(v))
        return LLMQ_OK;
    const struct json *groups = json_get(v->quant.object, "config_groups");
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
            if (json_get(json_get(g, "weights"), weights[i]))
                verify_found(v, v->quant.file, NULL, NULL,
                             "config_groups: %s: older versions of the library refuse this key",
                             weights[i]);
        if (json_get(g, "format"))
            verify_found(v, v->quant.file, NULL, NULL,
                         "config_groups: format: older versions of the library refuse this key");
    }
    return LLMQ_OK;
}

/* --- values ----------------------------------------------------------------------------------- */

static enum llmq_status config_values(struct verify *v, llmq_error *err) {
    static const char *const datasets[] = {"wikitext2", "c4", "c4-new", NULL};
    const struct json *q = v->quant.object, *dataset = json_get(q, "dataset");
    const char *status = json_string(json_get(q, "quantization_status"));
    double damp = 0;
    (void)err;
    if (is_gptq(v) && json_as_double(json_get(q, "damp_percent"), &damp) && !(damp > 0 && damp < 1))
        verify_found(v, v->quant.file, NULL, NULL,
                     "damp_percent: transformers wants it between 0 and 1, found %g", damp);
    if (is_gptq(v) && json_string(dataset) && !is_one_of(json_string(dataset), datasets))
        verify_found(v, v->quant.file, NULL, "remove the key",
                     "dataset: transformers refuses the name '%.60s'", json_string(dataset));
    if (is_of_library(v) && status && strcmp(status, "compressed") != 0)
        verify_found(v, v->quant.file, NULL, NULL,
                     "quantization_status: expected compressed, found '%.60s'", status);
    return LLMQ_OK;
}

static enum llmq_status awq_zero_point(struct verify *v, llmq_error *err) {
    bool zero_point = true;
    (void)err;
    if (is_layout(v, &layout_awq) &&
        json_as_bool(json_get(v->quant.object, "zero_point"), &zero_point) && !zero_point)
        verify_found(v, v->quant.file, NULL,
                     "llmq convert --format awq stores the middle as the zero point and says true",
                     "zero_point is false: servers use slow kernels");
    return LLMQ_OK;
}

static enum llmq_status model_dtype(struct verify *v, llmq_error *err) {
    const struct json *key = json_get(v->config, "dtype");
    const char *found = json_string(key ? key : json_get(v->config, "torch_dtype"));
    (void)err;
    if (v->layout && v->layout->model_dtype && found && strcmp(found, v->layout->model_dtype) != 0)
        verify_found(v, "config.json", NULL, NULL, "%s: %s loads most widely, found %.40s",
                     key ? "dtype" : "torch_dtype", v->layout->model_dtype, found);
    return LLMQ_OK;
}

static enum llmq_status desc_act(struct verify *v, llmq_error *err) {
    bool sequential = v->report->module_count > 0;
    (void)err;
    for (size_t i = 0; i < v->report->module_count; i++)
        sequential = sequential && v->report->modules[i].bits && v->report->modules[i].sequential;
    if (v->layout_config.desc_act && sequential)
        verify_found(v, v->quant.file, NULL, "set desc_act to false",
                     "desc_act is true although all groups are in column order: older servers "
                     "limit tensor parallelism");
    return LLMQ_OK;
}

/* --- the same in several places --------------------------------------------------------------- */

static bool same_config(const struct layout_config *a, const struct layout_config *b) {
    return a->bits == b->bits && a->group == b->group && a->sym == b->sym &&
           a->desc_act == b->desc_act && a->zeros_minus_one == b->zeros_minus_one;
}

static void compare_beside(struct verify *v, const char *file, const struct json *beside) {
    const struct layout *layout = NULL;
    struct layout_config config = {0};
    llmq_error found = {0};
    if (layout_of_config(beside, &layout, &found) != LLMQ_OK ||
        layout->config_read(beside, &config, &found) != LLMQ_OK)
        verify_found(v, file, NULL, found.hint, "%s", found.message);
    else if (layout != v->layout || !same_config(&config, &v->layout_config))
        verify_found(v, file, NULL, "make the two say the same",
                     "it disagrees with quantization_config of config.json");
}

static enum llmq_status config_agree(struct verify *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; v->decodable && !v->quant.document && quant_config_files[i]; i++) {
        struct json *beside = NULL;
        bool there = false;
        char *path = path_join(v->dir, quant_config_files[i], err);
        if (!path)
            return LLMQ_E_MEMORY;
        status = file_exists(path, &there, err);
        if (there)
            status = json_read(path, &beside, err);
        if (beside)
            compare_beside(v, quant_config_files[i], beside);
        json_free(&beside);
        free(path);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

static enum llmq_status config_place(struct verify *v, llmq_error *err) {
    (void)err;
    if (v->quant.document)
        verify_found(v, v->quant.file, NULL,
                     "llmq convert to the same format puts it into config.json",
                     "config.json has no quantization_config: transformers takes the checkpoint "
                     "for a plain one");
    return LLMQ_OK;
}

const struct verify_rule verify_config_rules[] = {
    /* The first three are found while opening. */
    {"config-model", VERIFY_VIOLATION, VERIFY_HEADERS, "config.json describes a possible model",
     NULL, NULL},
    {"family-unknown", VERIFY_WARNING, VERIFY_HEADERS,
     "the model is of a family whose tensors llmq knows", NULL, NULL},
    {"config-readable", VERIFY_VIOLATION, VERIFY_HEADERS,
     "the quantization settings have the keys and values it takes to decode", NULL, NULL},
    {"config-keys", VERIFY_VIOLATION, VERIFY_HEADERS,
     "the quantization settings have every key that loaders read", config_keys, NULL},
    {"config-forbidden", VERIFY_VIOLATION, VERIFY_HEADERS,
     "the quantization settings have no key that breaks a loader", config_forbidden, NULL},
    {"config-misread", VERIFY_VIOLATION, VERIFY_HEADERS,
     "gptq configs have no key that some loaders take for something else", config_misread, NULL},
    {"config-new-keys", VERIFY_WARNING, VERIFY_HEADERS,
     "the quantization settings have no key that older versions refuse", config_new_keys, NULL},
    {"config-values", VERIFY_VIOLATION, VERIFY_HEADERS,
     "informational keys have values that loaders accept", config_values, NULL},
    {"config-agree", VERIFY_VIOLATION, VERIFY_HEADERS,
     "files beside config.json state the same quantization settings", config_agree, NULL},
    {"config-place", VERIFY_WARNING, VERIFY_HEADERS, "the quantization settings are in config.json",
     config_place, NULL},
    {"awq-zero-point", VERIFY_WARNING, VERIFY_HEADERS, "zero_point is true in awq checkpoints",
     awq_zero_point, NULL},
    {"model-dtype", VERIFY_WARNING, VERIFY_HEADERS,
     "config.json names the dtype in which the format loads most widely", model_dtype, NULL},
    {"desc-act", VERIFY_WARNING, VERIFY_CONTENTS,
     "desc_act is false where groups are in column order", desc_act, NULL},
    {.id = NULL},
};
