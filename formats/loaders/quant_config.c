/* See quant_config.h. */
#include "formats/loaders/quant_config.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/fileio.h"

const char *const quant_config_files[] = {"quantize_config.json", "quant_config.json",
                                          "quantization_config.json", NULL};

const char *quant_config_key(const struct json *config) {
    static const char *const keys[] = {"quantization_config", "compression_config"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_type(json_get(config, keys[i])) != JSON_NULL)
            return keys[i];
    return NULL;
}

enum llmq_status quant_config_find(const char *dir, const struct json *config,
                                   struct quant_config *out, llmq_error *err) {
    const char *key = quant_config_key(config);
    enum llmq_status status = LLMQ_OK;
    *out =
        (struct quant_config){.object = key ? json_get(config, key) : NULL, .file = "config.json"};
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
