/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: settings to facts, and the graphs of a model's blocks from them. */
#include "base/json.h"
#include "models/blocks.h"
#include "models/config.h"
#include "tests/fuzz/fuzz.h"

void fuzz_config(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct json *json = NULL;
    struct model_config config = {0};
    struct blocks *blocks = NULL;
    enum llmq_status status = json_parse((const char *)data, len, "config.json", &json, &err);
    if (status == LLMQ_OK)
        status = config_parse(json, &config, &err);
    if (status == LLMQ_OK) {
        MUST(config.blocks > 0 && config.hidden > 0 && config.vocab > 0);
        status = blocks_create(&config, &blocks, &err);
    }
    if (status == LLMQ_OK)
        MUST(blocks_linear_count(blocks) >= 0 && blocks->kind_count > 0);
    fuzz_check(status, &err);
    blocks_free(&blocks);
    config_free(&config);
    json_free(&json);
}
