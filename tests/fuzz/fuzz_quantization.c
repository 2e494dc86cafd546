/* SPDX-License-Identifier: Apache-2.0 */
/* quantization_config: which layout or encoding it is, its settings, and its rules for modules. */
#include "base/json.h"
#include "formats/encodings/encoding.h"
#include "formats/layouts/layout.h"
#include "formats/layouts/module_rules.h"
#include "tests/fuzz/fuzz.h"

static enum llmq_status read_layout(const struct json *json, llmq_error *err) {
    static const char *const names[] = {"lm_head", "model.layers.0.self_attn.q_proj",
                                        "model.layers.11.mlp.experts.3.down_proj"};
    const struct layout *layout = NULL;
    struct layout_config config = {0};
    struct module_rules rules = {0};
    struct module_setting setting;
    enum llmq_status status = layout_of_config(json, &layout, err);
    if (status == LLMQ_OK)
        status = layout->config_read(json, &config, err);
    if (status == LLMQ_OK)
        status = module_rules_read(json, layout, &config, &rules, err);
    for (size_t i = 0; status == LLMQ_OK && i < sizeof names / sizeof names[0]; i++)
        status = module_rules_find(&rules, names[i], &setting, err);
    module_rules_free(&rules);
    return status;
}

void fuzz_quantization(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct json *json = NULL;
    struct encoding_settings encoded = {0};
    enum llmq_status status = json_parse((const char *)data, len, "config.json", &json, &err);
    if (status == LLMQ_OK)
        status = encoding_of_config(json, &encoded, &err);
    if (status == LLMQ_OK && !encoded.encoding)
        status = read_layout(json, &err);
    fuzz_check(status, &err);
    json_free(&json);
}
