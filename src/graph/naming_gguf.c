/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a GGUF file under the family's names: see naming.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/encodings/encoding.h"
#include "formats/gguf/gguf_file.h"
#include "graph/naming.h"
#include "models/gguf_names.h"

struct views {
    struct st_view *view; /* names are the list's */
    size_t count, cap;
};

static enum llmq_status add(struct views *v, const struct st_view *view, llmq_error *err) {
    if (v->count == v->cap) {
        const size_t cap = v->cap ? 2 * v->cap : 64;
        struct st_view *grown = realloc(v->view, cap * sizeof *grown);
        if (!grown)
            return error_memory(err, "tensor names");
        v->view = grown;
        v->cap = cap;
    }
    v->view[v->count] = *view;
    v->view[v->count].name = strdup(view->name);
    return v->view[v->count++].name ? LLMQ_OK : error_memory(err, "tensor names");
}

/* Its view, or those of each expert. Names without a counterpart stay what they are; divisors of
 * the rotary frequencies say again what config.json says. */
static enum llmq_status add_tensor(const struct blocks *b, const struct st_set *set, size_t index,
                                   struct views *v, llmq_error *err) {
    const char *stored = st_at(set, index)->name;
    struct gguf_tensor t = {0};
    struct st_view view = {.name = stored, .tensor = index};
    enum llmq_status status = LLMQ_OK;
    char name[FAMILY_NAME_MAX];
    if (strncmp(stored, "rope_f", strlen("rope_f")) == 0)
        return LLMQ_OK;
    if (!gguf_tensor_name(b, stored, 0, name) || !gguf_tensor_of(b, name, &t))
        return add(v, &view, err);
    view = (struct st_view){.name = name,
                            .tensor = index,
                            .parts = (uint64_t)t.parts,
                            .heads = (uint64_t)t.heads,
                            .plus_one = t.plus_one};
    do {
        (void)gguf_tensor_name(b, stored, (int64_t)view.part, name);
        status = add(v, &view, err);
    } while (status == LLMQ_OK && ++view.part < view.parts);
    return status;
}

enum llmq_status naming_from_gguf(const struct blocks *b, struct st_set *set, llmq_error *err) {
    const char *arch = st_metadata(set, GGUF_KEY_ARCH), *expected = b->config->family->gguf;
    struct views v = {0};
    enum llmq_status status = LLMQ_OK;
    if (!arch)
        return LLMQ_OK;
    if (!expected || strcmp(arch, expected) != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "the GGUF file is of architecture '%.60s': expected %s, since config.json "
                         "is of a %s model",
                         arch, expected ? expected : "another container", b->config->family->name);
    for (size_t i = 0; status == LLMQ_OK && i < st_count(set); i++)
        status = add_tensor(b, set, i, &v, err);
    if (status == LLMQ_OK)
        status = st_view_as(set, v.view, v.count, err);
    for (size_t i = 0; i < v.count; i++)
        free((char *)(uintptr_t)v.view[i].name);
    free(v.view);
    const char *const ends[] = {b->config->family->embedding, b->config->family->head};
    return status == LLMQ_OK ? encoding_show_blocks(set, ends, 2, err) : status;
}
