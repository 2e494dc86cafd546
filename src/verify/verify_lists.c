/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for modules_in_block_to_quantize of gptq configs: see verify.h. Loaders match its names in
 * different ways; what is checked is what all of them agree on. */
#include <string.h>

#include "verify/verify.h"

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
    const int64_t count = v->known && v->layout ? blocks_linear_count(v->blocks) : 0;
    for (int64_t i = 0; i < count; i++) {
        blocks_node_name(v->blocks, blocks_linear_at(v->blocks, i), "", name);
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

const struct verify_rule verify_list_rules[] = {
    {"in-block-form", VERIFY_VIOLATION, VERIFY_HEADERS,
     "modules_in_block_to_quantize is a list of lists of names", in_block_form, NULL},
    {"in-block-match", VERIFY_VIOLATION, VERIFY_HEADERS,
     "modules_in_block_to_quantize names the packed modules and no others", in_block_match, NULL},
    {.id = NULL},
};
