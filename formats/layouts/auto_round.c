/* SPDX-License-Identifier: Apache-2.0 */
/* See auto_round.h. Its bits, group_size and sym are spelled as in a GPTQ config; only the packing
 * tells how the tensors lie: `packing_format`, before version 0.5 `backend`. Either is a path of
 * words, such as auto_round:auto_gptq or auto_round:gptq:exllamav2, in which the layout's word
 * counts and the kernel's does not. AutoRound's own packing, with no layout named, stores zero
 * points as they are. Where nothing is said loaders take GPTQ. */
#include "formats/layouts/auto_round.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/layout.h"
#include "formats/layouts/quant_config_keys.h"

/* --- the packing ------------------------------------------------------------------------------ */

/* Words of a packing, with the layout they name ("": AutoRound's own; NULL: none, a kernel). */
static const struct {
    const char *word, *layout;
} words[] = {
    {"auto_round", ""},    {"autoround", ""},       {"auto-round", ""},   {"gptq", "gptq"},
    {"auto_gptq", "gptq"}, {"tritonv2_zp", "gptq"}, {"torch_zp", "gptq"}, {"gptqmodel", "gptq_v2"},
    {"awq", "awq"},        {"auto_awq", "awq"},     {"exllamav2", NULL},  {"exllamav1", NULL},
    {"exllama", NULL},     {"triton", NULL},        {"tritonv2", NULL},   {"torch", NULL},
    {"cuda", NULL},        {"gemm", NULL},          {"qigen", NULL},      {"hpu", NULL},
    {"ipex", NULL},        {"qbits", NULL},
};

/* The layout that a path of words names: its last word that names one. NULL: a word that llmq does
 * not know. */
static const char *layout_of_path(const char *path) {
    const char *layout = "gptq", *own = "gptq_v2";
    for (const char *at = path;; at++) {
        const size_t len = strcspn(at, ":");
        size_t i = 0;
        while (i < sizeof words / sizeof words[0] &&
               (strlen(words[i].word) != len || strncmp(words[i].word, at, len) != 0))
            i++;
        if (i == sizeof words / sizeof words[0])
            return NULL;
        if (words[i].layout)
            layout = *words[i].layout ? words[i].layout : own;
        at += len;
        if (!*at)
            return layout;
    }
}

bool auto_round_config(const struct json *quantization_config) {
    static const char *const names[] = {"auto-round", "auto_round", "intel/auto-round",
                                        "intel/auto_round"};
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    for (size_t i = 0; method && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(method, names[i]) == 0)
            return true;
    return false;
}

bool auto_round_packs(const struct json *quantization_config, const char *name) {
    const struct json *packing = json_get(quantization_config, "packing_format");
    const struct json *path = packing ? packing : json_get(quantization_config, "backend");
    const char *text = json_type(path) == JSON_NULL ? "gptq" : json_string(path);
    const char *layout = text && strcmp(text, "auto") != 0 ? layout_of_path(text) : "gptq";
    return auto_round_config(quantization_config) && text && layout && strcmp(layout, name) == 0;
}

/* --- keys ------------------------------------------------------------------------------------- */

#define INTEGERS "int int_sym int_asym rtn_int rtn_int_sym rtn_int_asym opt_rtn_int_sym "
#define FLOATS   "fp float fp16 bf16 float16 bfloat16 fp32 float32 "
#define TYPES_DO "weights of this type are not integers"

/* clang-format off */
static const struct config_key keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"packing_format", KEY_TEXT, NULL, NULL},
    {"bits", KEY_NUMBER, NULL, NULL},
    {"w_bit", KEY_NUMBER, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"q_group_size", KEY_NUMBER, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},
    {"zero_point", KEY_BOOL, NULL, NULL},
    {"desc_act", KEY_BOOL, NULL, NULL},
    {"version", KEY_TEXT, NULL, NULL},
    {"data_type", KEY_TEXT, INTEGERS, TYPES_DO},
    {"extra_config", KEY_OBJECT, NULL, NULL},
    {"layer_config", KEY_EMPTY, NULL, NULL},
    {"regex_config", KEY_EMPTY, NULL, NULL},
    {"block_name_to_quantize", KEY_TEXT | KEY_LIST, NULL, NULL},
    {"to_quant_block_names", KEY_TEXT | KEY_LIST, NULL, NULL},
    {"quant_block_list", KEY_LIST, NULL, NULL},
    {"modules_in_block_to_quantize", KEY_LIST, NULL, NULL},
    {"modules_to_not_convert", KEY_LIST, NULL, NULL},
    {"lm_head", KEY_BOOL, NULL, NULL},
    /* of the formats it borrows */
    {"checkpoint_format", KEY_TEXT, NULL, NULL},
    {"pack_dtype", KEY_TEXT, "int32 ", NULL},
    {"meta", KEY_OBJECT, NULL, NULL},
    {.name = NULL},
};
static const struct config_key extra_keys[] = {
    {"bits", KEY_NUMBER, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},
    {"data_type", KEY_TEXT, INTEGERS FLOATS, TYPES_DO},
    {"in_blocks", KEY_BOOL, NULL, NULL},
    {"fixed_by_user", KEY_BOOL, NULL, NULL},
    {.name = NULL},
};
/* clang-format on */

enum llmq_status auto_round_check(const struct json *quantization_config, llmq_error *err) {
    const struct json *extra = json_get(quantization_config, "extra_config");
    static const char where[] = "quantization_config",
                      inside[] = "quantization_config: extra_config";
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(config_keys_check(quantization_config, where, keys, err));
    for (const struct json *c = json_first(extra); c; c = json_next(c)) {
        if (json_type(c) != JSON_OBJECT)
            LLMQ_TRY(
                error_set(err, LLMQ_E_INPUT, "%s: %.80s: expected an object", inside, json_key(c)));
        status = config_keys_check(c, inside, extra_keys, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "'%.80s'", json_key(c));
    }

cleanup:
    return status;
}

/* --- modules ---------------------------------------------------------------------------------- */

static struct module_setting extra_setting(const struct json *entry,
                                           const struct layout_config *settings) {
    struct module_setting s = module_general(settings);
    int64_t bits = s.bits;
    json_as_int64(json_get(entry, "bits"), &bits);
    json_as_int64(json_get(entry, "group_size"), &s.group);
    json_as_bool(json_get(entry, "sym"), &s.sym);
    s.packed = bits < CONFIG_WHOLE_BITS;
    s.bits = s.packed ? (int)bits : 0;
    return s;
}

/* A key is a name; one with a character that names do not have is an expression too. */
static bool is_expression(const char *key) {
    return strpbrk(key, "*+?^$()[]{}|\\") != NULL;
}

static enum llmq_status add_extra(const struct json *extra, const struct layout_config *settings,
                                  bool expressions, struct module_rules *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *c = json_first(extra); status == LLMQ_OK && c; c = json_next(c)) {
        const struct module_setting s = extra_setting(c, settings);
        if (!json_first(c) || is_expression(json_key(c)) != expressions)
            continue;
        status = expressions ? module_rules_add_regex(out, json_key(c), REGEX_ANYWHERE, json_key(c),
                                                      &s, err)
                             : module_rules_add(out, MATCH_NAME, json_key(c), &s, err);
    }
    return status;
}

/* Names of blocks: texts with commas between them, in lists of any depth. */
static enum llmq_status add_blocks(const struct json *blocks, const struct module_setting *setting,
                                   struct module_rules *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *c = json_first(blocks); status == LLMQ_OK && c; c = json_next(c))
        status = add_blocks(c, setting, out, err);
    for (const char *at = json_string(blocks); status == LLMQ_OK && at && *at;) {
        const size_t len = strcspn(at, ",");
        char *name = strndup(at, len);
        status = name ? module_rules_add(out, MATCH_PREFIX, name, setting, err)
                      : error_memory(err, "a name");
        free(name);
        at += len + (at[len] == ',');
    }
    return status;
}

enum llmq_status auto_round_rules(const struct json *quantization_config,
                                  const struct layout_config *settings, struct module_rules *out,
                                  llmq_error *err) {
    static const char *const lists[] = {"block_name_to_quantize", "to_quant_block_names",
                                        "quant_block_list"};
    const struct json *extra = json_get(quantization_config, "extra_config"), *blocks = NULL;
    const struct module_setting general = module_general(settings);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(add_extra(extra, settings, false, out, err));
    LLMQ_TRY(add_extra(extra, settings, true, out, err));
    for (size_t i = 0; config_value_is_empty(blocks) && i < sizeof lists / sizeof lists[0]; i++)
        blocks = json_get(quantization_config, lists[i]);
    LLMQ_TRY(module_rules_add(out, MATCH_LAST, "lm_head", &module_plain, err));
    if (config_value_is_empty(blocks))
        LLMQ_TRY(module_rules_add(out, MATCH_LINEAR, "", &general, err));
    LLMQ_TRY(add_blocks(blocks, &general, out, err));

cleanup:
    return status;
}
