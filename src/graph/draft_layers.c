/* SPDX-License-Identifier: Apache-2.0 */
/* See draft_layers.h. */
#include "graph/draft_layers.h"

#include <inttypes.h>

#include "base/error.h"
#include "formats/loaders/layout_load.h"
#include "graph/required.h"
#include "models/drafts.h"

/* What the tensors say of them. */
struct found {
    int64_t count; /* of those numbered from the first on without a gap */
    bool packed;
};

static struct found look(const struct model_config *c, const struct st_set *set,
                         const struct layout *layout) {
    bool there[DRAFTS_MAX] = {false};
    struct found found = {0};
    for (size_t i = 0; i < st_count(set); i++) {
        const char *name = st_at(set, i)->name;
        const int64_t layer = drafts_layer_of(c, name);
        size_t len = 0;
        if (layer < 0 || layer >= DRAFTS_MAX)
            continue;
        there[layer] = true;
        found.packed = found.packed || layout_suffix(layout, name, &len) >= 0;
    }
    while (found.count < DRAFTS_MAX && there[found.count])
        found.count++;
    return found;
}

static enum llmq_status check_fit(void *set, const struct required *r, llmq_error *err) {
    (void)err;
    return tensor_fits(set, r).misfit == FITS ? LLMQ_OK : LLMQ_E_INPUT;
}

static bool is_whole(const struct blocks *blocks, const struct st_set *set,
                     const struct layout *layout) {
    const struct required_of of = {blocks, set, layout};
    return required_drafts(&of, check_fit, (void *)(uintptr_t)set, NULL) == LLMQ_OK;
}

static enum llmq_status make_blocks(struct model_config *c, int64_t count, struct blocks **blocks,
                                    llmq_error *err) {
    enum llmq_status status = drafts_take(c, count, err);
    if (status != LLMQ_OK)
        return status;
    blocks_free(blocks);
    return blocks_create(c, blocks, err);
}

/* Why they cannot be quantized; LLMQ_OK: they can. */
static enum llmq_status check_asked(const struct model_config *c, const struct found *found,
                                    llmq_error *err) {
    if (!c->family->draft)
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "--mtp quantize: of %s models llmq does not know layers that predict further "
                  "tokens and that servers load packed",
                  c->family->name);
    else if (found->count == 0)
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "--mtp quantize: the checkpoint has no layers that predict further tokens: "
                  "expected tensors of them behind those of the %" PRId64 " blocks",
                  c->blocks);
    else
        return LLMQ_OK;
    error_hint(err, "leave out --mtp: such layers are carried along as they are where there are "
                    "any; docs/FAMILIES.md lists those that can be quantized");
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status draft_layers_settle(struct model_config *c, struct blocks **blocks,
                                     const struct st_set *set, const struct layout *layout,
                                     bool asked, llmq_error *err) {
    const struct found found = look(c, set, layout);
    enum llmq_status status = asked ? check_asked(c, &found, err) : LLMQ_OK;
    if (status != LLMQ_OK || found.count == 0 || (!asked && !found.packed))
        return status;
    status = make_blocks(c, found.count, blocks, err);
    if (status == LLMQ_OK && !asked && !is_whole(*blocks, set, layout))
        status = make_blocks(c, 0, blocks, err);
    return status;
}
