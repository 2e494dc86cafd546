/* Rules for the lists by which a config says which linears are quantized: see verify.h. Loaders
 * match them in different ways; what is checked is what all of them agree on. */
#include <string.h>

#include "pipeline/verify.h"

/* --- modules_in_block_to_quantize (gptq) ------------------------------------------------------ */

static const struct json *block_list(const struct verify *v) {
    return json_get(v->quant.object, "modules_in_block_to_quantize");
}

/* A list of lists: loaders add them up, which fails for strings. */
static bool is_list_of_lists(const struct json *list) {
    if (json_type(list) != JSON_ARRAY)
        return false;
    for (const struct json *c = json_first(list); c; c = json_next(c)) {
        if (json_type(c) != JSON_ARRAY)
            return false;
        for (const struct json *name = json_first(c); name; name = json_next(name))
            if (!json_string(name))
                return false;
    }
    return true;
}

static enum llmq_status in_block_form(struct verify *v, llmq_error *err) {
    (void)err;
    if (json_type(block_list(v)) != JSON_NULL && !is_list_of_lists(block_list(v)))
        verify_found(v, v->quant.file, NULL, "write [[\"self_attn.q_proj\", ...]]",
                     "modules_in_block_to_quantize: expected a list of lists of names");
    return LLMQ_OK;
}

/* vLLM asks whether an entry is part of the name, transformers whether it is its end. */
static bool list_names(const struct json *lists, const char *module) {
    for (const struct json *c = json_first(lists); c; c = json_next(c))
        for (const struct json *name = json_first(c); name; name = json_next(name))
            if (json_string(name) && strstr(module, json_string(name)))
                return true;
    return false;
}

/* Call `found` for every linear of a known family that is not packed. */
static void each_plain(struct verify *v, void (*found)(struct verify *v, const char *name)) {
    char name[LAYOUT_NAME_MAX];
    for (int64_t i = 0; v->known && v->layout && i < v->model.blocks * LINEAR_COUNT; i++) {
        verify_linear_name(v, i / LINEAR_COUNT, (enum linear_role)(i % LINEAR_COUNT), name,
                           sizeof name);
        if (!layout_has_module(v->tensors, v->layout, name))
            found(v, name);
    }
}

static void plain_in_block_list(struct verify *v, const char *name) {
    if (list_names(block_list(v), name))
        verify_found(v, v->quant.file, name, NULL,
                     "modules_in_block_to_quantize names a linear that is not packed");
}

static enum llmq_status in_block_match(struct verify *v, llmq_error *err) {
    (void)err;
    if (!is_list_of_lists(block_list(v)))
        return LLMQ_OK;
    for (size_t i = 0; i < v->report->module_count; i++)
        if (!list_names(block_list(v), v->report->modules[i].name))
            verify_found(v, v->quant.file, v->report->modules[i].name, NULL,
                         "modules_in_block_to_quantize does not name this packed module");
    each_plain(v, plain_in_block_list);
    return LLMQ_OK;
}

/* --- modules_to_not_convert (awq), ignore (compressed-tensors) -------------------------------- */

static const struct json *skip_list(const struct verify *v) {
    return v->layout == &layout_awq ? json_get(v->quant.object, "modules_to_not_convert")
           : v->layout == &layout_compressed_tensors ? json_get(v->quant.object, "ignore")
                                                     : NULL;
}

static bool is_pattern(const char *entry) {
    return strncmp(entry, "re:", 3) == 0;
}

/* Does an entry stand for the module? A part of its name in awq, all of it in compressed-tensors,
 * whose expressions are not evaluated. */
static bool skips(const struct verify *v, const char *entry, const char *module) {
    if (v->layout == &layout_awq)
        return strstr(module, entry) != NULL;
    return !is_pattern(entry) && strcmp(entry, module) == 0;
}

static enum llmq_status skip_packed(struct verify *v, llmq_error *err) {
    const struct json *list = skip_list(v);
    (void)err;
    for (const struct json *c = json_first(list); c; c = json_next(c))
        for (size_t i = 0; json_string(c) && i < v->report->module_count; i++)
            if (skips(v, json_string(c), v->report->modules[i].name))
                verify_found(v, v->quant.file, v->report->modules[i].name, NULL,
                             "'%.80s' says that it is not quantized, but it is packed",
                             json_string(c));
    return LLMQ_OK;
}

static void plain_not_listed(struct verify *v, const char *name) {
    for (const struct json *c = json_first(skip_list(v)); c; c = json_next(c))
        if (json_string(c) && (is_pattern(json_string(c)) || skips(v, json_string(c), name)))
            return;
    verify_found(v, v->quant.file, name, "llmq convert to the same format names it",
                 "a linear that is not packed and that the config does not name: loaders look for "
                 "packed weights");
}

static enum llmq_status skip_plain(struct verify *v, llmq_error *err) {
    (void)err;
    if (v->layout == &layout_awq || v->layout == &layout_compressed_tensors)
        each_plain(v, plain_not_listed);
    return LLMQ_OK;
}

static void plain_not_told(struct verify *v, const char *name) {
    verify_found(v, v->quant.file, name, "llmq convert to the same format names it",
                 "a linear that is not packed and that the config does not name: transformers "
                 "looks for packed weights");
}

static enum llmq_status in_block_plain(struct verify *v, llmq_error *err) {
    (void)err;
    if ((v->layout == &layout_gptq || v->layout == &layout_gptq_v2) &&
        json_type(block_list(v)) == JSON_NULL &&
        json_type(json_get(v->quant.object, "dynamic")) == JSON_NULL)
        each_plain(v, plain_not_told);
    return LLMQ_OK;
}

const struct verify_rule verify_list_rules[] = {
    {"in-block-form", VERIFY_VIOLATION, VERIFY_HEADERS,
     "modules_in_block_to_quantize is a list of lists of names", in_block_form, NULL},
    {"in-block-match", VERIFY_VIOLATION, VERIFY_HEADERS,
     "modules_in_block_to_quantize names the packed modules and no others", in_block_match, NULL},
    {"in-block-plain", VERIFY_WARNING, VERIFY_HEADERS,
     "gptq configs name the linears that are not packed", in_block_plain, NULL},
    {"skip-packed", VERIFY_VIOLATION, VERIFY_HEADERS,
     "no packed module is in the list of those that are not quantized", skip_packed, NULL},
    {"skip-plain", VERIFY_VIOLATION, VERIFY_HEADERS,
     "awq and compressed-tensors configs name the linears that are not packed", skip_plain, NULL},
    {.id = NULL},
};
