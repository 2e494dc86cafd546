/* SPDX-License-Identifier: Apache-2.0 */
/* The class of the model that config.json names: see config_parts.h. */
#include <string.h>

#include "base/error.h"
#include "models/config_parts.h"

static bool is_listed(const char *const *names, const char *name) {
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* transformers goes by model_type, vLLM and SGLang by architectures; a class of another family, or
 * one with another head, is another model. The model without its head is read where the head is
 * there. */
enum llmq_status config_check_architectures(const struct json *json, const struct model_config *c,
                                            llmq_error *err) {
    const char *type = c->wrapper ? c->wrapper->model_type : c->family->model_types[0];
    const char *const *known = c->wrapper ? c->wrapper->architectures : c->family->architectures;
    const struct json *list = config_value(json, "architectures");
    char text[CONFIG_TEXT_MAX];
    if (list && json_type(list) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "config.json: 'architectures' is %s: expected a list",
                         config_text(list, text));
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        if (json_string(v) && is_listed(known, json_string(v)))
            continue;
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "config.json: 'architectures' names %s, which is not what model_type '%s' stands "
                  "for: expected %s",
                  config_text(v, text), type, known[0]);
        error_hint(err, "loaders go by the one or the other; models with another head than the "
                        "vocabulary's, and with code of their own, are not supported");
        return LLMQ_E_UNSUPPORTED;
    }
    return LLMQ_OK;
}
