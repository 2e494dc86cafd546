/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors.index.json beside two shards, each with one tensor. */
#include <string.h>

#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void put_shard(const char *file, const char *tensor) {
    char bytes[256] = "";
    const int len =
        snprintf(bytes + 8, sizeof bytes - 8,
                 "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", tensor);
    bytes[0] = (char)len;
    fuzz_put(file, bytes, 8 + (size_t)len + 8);
}

void fuzz_index(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    fuzz_clear();
    put_shard("a.safetensors", "model.a");
    put_shard("b.safetensors", "model.b");
    fuzz_put("model.safetensors.index.json", data, len);
    const enum llmq_status status = st_open_dir(fuzz_dir(), &set, &err);
    fuzz_check(status, &err);
    MUST((status == LLMQ_OK) == (set != NULL));
    if (set)
        MUST(st_count(set) >= 1 && st_count(set) <= 2);
    st_close(&set);
}
