/* The output head as a module of a plan: see plan.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "formats/loaders/compat.h"
#include "pipeline/plan.h"

const struct plan_module *plan_head(const struct plan *p) {
    const struct plan_module *last = p->module_count > 0 ? &p->modules[p->module_count - 1] : NULL;
    return last && last->at.node < 0 ? last : NULL;
}

enum llmq_status plan_append_head(const struct model *m, const llmq_quantize_options *o,
                                  struct plan *p, llmq_error *err) {
    struct plan_module *head = &p->modules[p->module_count];
    *head = (struct plan_module){
        .at = {m->config.blocks - 1, -1, -1},
        .name = strdup(p->head),
        .fate = MODULE_PLAIN,
        .shape = {m->config.vocab, m->config.hidden, o->bits, o->group, o->sym},
        .manner = plan_manner(o)};
    head->shape.group = plan_group(m, head->at, head->shape.k, o->group, o->group_auto_fit);
    head->manner.correct.mode = LLMQ_CORRECT_OFF;
    p->module_count += head->name != NULL;
    return head->name ? LLMQ_OK : error_memory(err, "the plan");
}

enum llmq_status plan_add_head(const struct model *m, const llmq_quantize_options *o,
                               struct plan *p, llmq_error *err) {
    return o->recipe && !model_head_packed(m) ? plan_append_head(m, o, p, err) : LLMQ_OK;
}

void plan_settle_head(const struct model *m, struct plan *p) {
    const struct plan_module *head = plan_head(p);
    if (head && head->fate == MODULE_PLAIN) {
        free(head->name);
        p->module_count--;
    } else if (head) {
        p->untied = p->untied || m->config.tied;
    }
}

bool plan_is_head(const struct model *m, const struct plan *p, const char *tensor) {
    const struct plan_module *head = plan_head(p);
    return head && head->fate == MODULE_QUANTIZED && strcmp(tensor, m->config.family->head) == 0;
}

enum llmq_status plan_add_untied_head(const struct model *m, struct plan *p, llmq_error *err) {
    const struct plan_module *head = plan_head(p);
    if (!head || head->fate != MODULE_QUANTIZED || st_find(m->tensors, m->config.family->head))
        return LLMQ_OK;
    return plan_add_packed(p, head, err);
}

void plan_warn_of_head(const struct plan *p, const llmq_context *ctx) {
    const struct plan_module *head = plan_head(p);
    struct strbuf names = {0};
    if (!head)
        return;
    const struct quant_shape *s = &head->shape;
    for (int i = 0; compat_stack_at(i); i++) {
        struct compat_case c = {.layout = p->layout->name,
                                .bits = s->bits,
                                .group = s->group == s->k ? -1 : s->group,
                                .sym = s->sym,
                                .sequential = true};
        const bool linears = compat_find(i, &c).verdict != COMPAT_REFUSES;
        c.role = COMPAT_HEAD;
        if (linears && compat_find(i, &c).verdict == COMPAT_REFUSES)
            strbuf_printf(&names, "%s%s", names.len ? ", " : "", compat_stack_at(i));
    }
    if (names.len && strbuf_ok(&names))
        log_message(ctx, LLMQ_LOG_WARNING,
                    "the packed output head keeps the result from loading in %s, which read it in "
                    "16 bits",
                    names.data);
    strbuf_free(&names);
}
