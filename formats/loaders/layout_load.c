/* SPDX-License-Identifier: Apache-2.0 */
/* See layout_load.h. */
#include "formats/loaders/layout_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "formats/safetensors/safetensors_coded.h"

/* The same of any suffix. */
static int any_suffix(const struct layout *layout, const char *tensor, size_t *len) {
    const char *dot = strrchr(tensor, '.');
    *len = dot ? (size_t)(dot - tensor) : 0;
    for (int i = 0; dot && layout && layout->suffixes[i]; i++)
        if (strcmp(dot + 1, layout->suffixes[i]) == 0)
            return i;
    return -1;
}

int layout_suffix(const struct layout *layout, const char *tensor, size_t *len) {
    const int i = any_suffix(layout, tensor, len);
    return i >= 0 && strcmp(layout->suffixes[i], "weight") == 0 ? -1 : i;
}

bool layout_owns(const struct st_set *tensors, const struct layout *layout, const char *tensor) {
    char module[LAYOUT_NAME_MAX];
    size_t len = 0;
    if (any_suffix(layout, tensor, &len) < 0 || len >= sizeof module)
        return false;
    (void)snprintf(module, sizeof module, "%.*s", (int)len, tensor);
    return layout_has_module(tensors, layout, module);
}

const struct st_tensor *layout_tensor_of(const struct st_set *tensors, const struct layout *layout,
                                         const char *module, int suffix) {
    char name[LAYOUT_NAME_MAX];
    const int len = snprintf(name, sizeof name, "%s.%s", module, layout->suffixes[suffix]);
    return len > 0 && (size_t)len < sizeof name ? st_find(tensors, name) : NULL;
}

bool layout_has_module(const struct st_set *tensors, const struct layout *layout,
                       const char *module) {
    return layout && layout_tensor_of(tensors, layout, module, 0);
}

/* The same tensor or, of a GGUF file, the codes of a weight that the set shows decoded. */
static const struct st_tensor *codes_of(const struct st_set *tensors, const struct layout *layout,
                                        const char *module, int suffix) {
    char name[LAYOUT_NAME_MAX];
    const struct st_tensor *t = layout_tensor_of(tensors, layout, module, suffix);
    if (t || layout->container != LAYOUT_GGUF)
        return t;
    (void)snprintf(name, sizeof name, "%s.weight", module);
    t = st_find(tensors, name);
    return t && t->coded ? &t->coded->codes : NULL;
}

/* data->data is malloc'ed. */
static enum llmq_status read_tensor(const struct st_set *tensors, const struct st_tensor *t,
                                    struct layout_data *data, llmq_error *err) {
    if (t->rank > 2)
        return error_set(err, LLMQ_E_INPUT, "%s: expected at most 2 dimensions, found %d",
                         data->info.suffix, t->rank);
    data->info.dtype = t->dtype;
    data->info.rank = t->rank;
    data->info.shape[0] = t->rank > 0 ? t->shape[0] : 0;
    data->info.shape[1] = t->rank > 1 ? t->shape[1] : 0;
    data->nbytes = t->nbytes;
    size_t size = 0;
    void *bytes = checked_size(t->nbytes, &size) ? malloc(size ? size : 1) : NULL;
    data->data = bytes;
    return bytes ? st_read(tensors, t, 0, size, bytes, err) : error_memory(err, "a packed tensor");
}

enum llmq_status layout_load(const struct st_set *tensors, const struct layout *layout,
                             const struct layout_config *config, const char *module,
                             struct qlinear *q, llmq_error *err) {
    struct layout_data data[LAYOUT_MAX_TENSORS] = {0};
    enum llmq_status status = LLMQ_OK;
    *q = (struct qlinear){0};
    for (int i = 0; status == LLMQ_OK && layout->suffixes[i]; i++) {
        const struct st_tensor *t = codes_of(tensors, layout, module, i);
        data[i].info.suffix = layout->suffixes[i];
        if (t)
            status = read_tensor(tensors, t, &data[i], err);
    }
    if (status == LLMQ_OK)
        status = layout->decode(config, data, q, err);
    for (int i = 0; i < LAYOUT_MAX_TENSORS; i++)
        free((void *)(uintptr_t)data[i].data);
    return status;
}

enum llmq_status layout_check_tensors(const struct st_set *tensors, llmq_error *err) {
    for (size_t i = 0; i < st_count(tensors); i++) {
        const struct st_tensor *t = st_at(tensors, i);
        const char *dot = strrchr(t->name, '.');
        char scales[LAYOUT_NAME_MAX];
        if (!dot || strcmp(dot, ".B") != 0 || t->dtype != DTYPE_I32)
            continue;
        const int len = snprintf(scales, sizeof scales, "%.*s.s", (int)(dot - t->name), t->name);
        if (len < 0 || (size_t)len >= sizeof scales || !st_find(tensors, scales))
            continue;
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "tensors '%s' and '%s' are in Marlin's order, which llmq does not read", t->name,
                  scales);
        error_hint(err, "take the checkpoint in gptq format that it was made from");
        return LLMQ_E_UNSUPPORTED;
    }
    return LLMQ_OK;
}
