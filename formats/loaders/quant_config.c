/* SPDX-License-Identifier: Apache-2.0 */
/* See quant_config.h. */
#include "formats/loaders/quant_config.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/fileio.h"

const char *const quant_config_files[] = {"quantize_config.json", "quant_config.json",
                                          "quantization_config.json", NULL};

const struct json *quant_config_object(const struct json *config) {
    static const char *const keys[] = {"quantization_config", "compression_config"};
    const struct json *const places[] = {config, json_get(config, "text_config"),
                                         json_get(config, "llm_config")};
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++)
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            if (json_type(json_get(places[p], keys[i])) != JSON_NULL)
                return json_get(places[p], keys[i]);
    return NULL;
}

enum llmq_status quant_config_find(const char *dir, const struct json *config,
                                   struct quant_config *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct quant_config){.object = quant_config_object(config), .file = "config.json"};
    for (size_t i = 0; status == LLMQ_OK && !out->object && quant_config_files[i]; i++) {
        char *path = path_join(dir, quant_config_files[i], err);
        if (!path)
            return LLMQ_E_MEMORY;
        bool there = false;
        status = file_exists(path, &there, err);
        if (there) {
            status = json_read(path, &out->document, err);
            out->object = out->document;
            out->file = quant_config_files[i];
        }
        free(path);
    }
    return status;
}

void quant_config_free(struct quant_config *q) {
    json_free(&q->document);
    *q = (struct quant_config){0};
}
