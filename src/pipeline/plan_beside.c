/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors beside the model, which are carried along as they are: see plan.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/inventory.h"
#include "pipeline/plan.h"

/* The part of that name, which is the last one where tensors of it lie together. */
static enum llmq_status find_part(struct plan *p, const char *name, struct plan_part **out,
                                  llmq_error *err) {
    for (size_t i = p->part_count; i-- > 0;)
        if (strcmp(p->parts[i].name, name) == 0) {
            *out = &p->parts[i];
            return LLMQ_OK;
        }
    if (p->part_count == p->part_cap) {
        const size_t cap = p->part_cap ? 2 * p->part_cap : 8;
        struct plan_part *parts = realloc(p->parts, cap * sizeof *parts);
        if (!parts)
            return error_memory(err, "the plan");
        p->parts = parts;
        p->part_cap = cap;
    }
    *out = &p->parts[p->part_count];
    **out = (struct plan_part){.name = strdup(name)};
    p->part_count += (*out)->name != NULL;
    return (*out)->name ? LLMQ_OK : error_memory(err, "the plan");
}

bool plan_list_has(char *const *list, size_t count, const char *name) {
    while (count-- > 0)
        if (strcmp(list[count], name) == 0)
            return true;
    return false;
}

/* The lists grow while tensors are listed: the settings follow them. */
static void point_settings(struct plan *p) {
    p->layout_config.beside = (const char *const *)p->beside;
    p->layout_config.beside_count = (int64_t)p->beside_count;
    p->layout_config.beside_parts = (const char *const *)p->beside_parts;
    p->layout_config.beside_part_count = (int64_t)p->beside_part_count;
}

/* Do blocks lie in the part, too, of layers that predict further tokens? */
static bool holds_blocks(const struct model *m, const char *part) {
    for (int64_t d = 0; d < m->config.drafts; d++) {
        char name[MODEL_NAME_MAX];
        const char *at =
            strstr(family_block_name(m->config.family, m->config.blocks + d, "", "", name), part);
        if (at && (at == name || at[-1] == '.') && at[strlen(part)] == '.')
            return true;
    }
    return false;
}

static enum llmq_status name_linear(const struct model *m, struct plan *p, const char *part,
                                    const struct st_tensor *t, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char module[MODEL_NAME_MAX];
    const size_t len = inventory_linear(t);
    if (len == 0 || len >= sizeof module)
        return LLMQ_OK;
    memcpy(module, t->name, len);
    module[len] = '\0';
    if (holds_blocks(m, part)) /* the part is not to be passed over as a whole */
        return plan_add_plain(p, module, err);
    LLMQ_TRY(plan_list_add(&p->beside, &p->beside_count, &p->beside_cap, module, err));
    if (!plan_list_has(p->beside_parts, p->beside_part_count, part))
        LLMQ_TRY(
            plan_list_add(&p->beside_parts, &p->beside_part_count, &p->beside_part_cap, part, err));
cleanup:
    point_settings(p);
    return status;
}

enum llmq_status plan_carry(const struct model *m, struct plan *p, const struct st_tensor *t,
                            llmq_error *err) {
    char name[INVENTORY_GROUP_MAX];
    struct plan_part *part = NULL;
    struct st_spec spec = {.dtype = st_copy_dtype(t), .rank = t->rank};
    enum llmq_status status = LLMQ_OK;
    memcpy(spec.shape, t->shape, sizeof spec.shape);
    inventory_group(m->blocks, t, name);
    LLMQ_TRY(find_part(p, name, &part, err));
    part->tensors++;
    part->bytes += t->nbytes * dtype_bits(spec.dtype) / dtype_bits(t->dtype);
    LLMQ_TRY(name_linear(m, p, name, t, err));
    LLMQ_TRY(plan_list_add(&p->kept, &p->kept_count, &p->kept_cap, t->name, err));
    LLMQ_TRY(plan_list_add(&p->carried, &p->carried_count, &p->carried_cap, t->name, err));
    LLMQ_TRY(plan_add_spec(p, t->name, &spec, err));
cleanup:
    return status;
}
