/* SPDX-License-Identifier: Apache-2.0 */
/* model.gguf: a file that is accepted has its tensors in order, whole and findable. */
#include "formats/gguf/gguf_file.h"
#include "formats/safetensors/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void check_tensors(const struct st_set *set, size_t size) {
    static unsigned char data[1 << 16];
    uint64_t end = 0;
    for (size_t i = 0; i < st_count(set); i++) {
        const struct st_tensor *t = st_at(set, i);
        MUST(t->begin >= end && t->begin + t->nbytes <= size);
        MUST(st_find(set, t->name) == t);
        if (t->nbytes <= sizeof data)
            MUST(st_read(set, t, 0, (size_t)t->nbytes, data, NULL) == LLMQ_OK);
        end = t->begin + t->nbytes;
    }
}

void fuzz_gguf(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    const enum llmq_status status = gguf_open_file(fuzz_put("model.gguf", data, len), &set, &err);
    fuzz_check(status, &err);
    MUST((status == LLMQ_OK) == (set != NULL));
    if (set)
        check_tensors(set, len);
    st_close(&set);
}
