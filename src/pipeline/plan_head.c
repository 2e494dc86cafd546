/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a model in a plan, its output head and its embedding: see plan.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "formats/loaders/compat.h"
#include "pipeline/plan.h"

/* A block of GGUF files, and the bits of what is stored so by default, as users of llama.cpp expect
 * (its own conversions have Q8_0 or finer there). */
enum { BLOCK = 32, GGUF_END_BITS = 8 };

enum { EMBEDDING_NODE = -2 };

const struct plan_module *plan_head(const struct plan *p) {
    const struct plan_module *last = p->module_count > 0 ? &p->modules[p->module_count - 1] : NULL;
    return last && last->at.node == -1 ? last : NULL;
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
    head->manner.curvature = LLMQ_CURVATURE_OFF; /* what it makes are the predictions */
    head->manner.restarts = 0;
    p->module_count += head->name != NULL;
    return head->name ? LLMQ_OK : error_memory(err, "the plan");
}

/* The embedding's module, for the rules. */
static enum llmq_status append_embedding(const struct model *m, const llmq_quantize_options *o,
                                         struct plan *p, llmq_error *err) {
    struct plan_module *module = &p->modules[p->module_count];
    const char *tensor = m->config.family->embedding, *dot = strrchr(tensor, '.');
    *module = (struct plan_module){
        .at = {0, EMBEDDING_NODE, -1},
        .name = strndup(tensor, dot ? (size_t)(dot - tensor) : strlen(tensor)),
        .fate = MODULE_PLAIN,
        .shape = {m->config.vocab, m->config.hidden, GGUF_END_BITS, BLOCK, true},
        .manner = plan_manner(o)};
    p->module_count += module->name != NULL;
    return module->name ? LLMQ_OK : error_memory(err, "the plan");
}

enum llmq_status plan_add_ends(const struct model *m, const llmq_quantize_options *o,
                               struct plan *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!o->recipe)
        return LLMQ_OK;
    if (!model_head_packed(m))
        status = plan_append_head(m, o, p, err);
    return status == LLMQ_OK ? append_embedding(m, o, p, err) : status;
}

/* --- what rules came to ----------------------------------------------------------------------- */

/* What a rule may ask of the embedding. */
static enum llmq_status check_embedding(const struct plan *p, const struct plan_module *module,
                                        llmq_error *err) {
    char rule[RECIPE_SHOWN];
    if (module->fate == MODULE_PLAIN)
        return LLMQ_OK;
    recipe_show(module->rule, rule);
    if (p->layout->container != LAYOUT_GGUF) {
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "%s: an embedding that is quantized is for GGUF files: others are loaded with a "
                  "plain one",
                  module->name);
        error_hint(err, "leave it out of rule %s, or give --format gguf", rule);
        return LLMQ_E_UNSUPPORTED;
    }
    if (module->rule->given == RECIPE_BITS &&
        (module->shape.bits == 4 || module->shape.bits == 8) && module->shape.k % BLOCK == 0)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "%s: the embedding is rounded to nearest in blocks of %d: expected bits=4 or bits=8, "
              "nothing else, and rows of whole blocks",
              module->name, BLOCK);
    error_hint(err, "change rule %s, or let it keep the embedding", rule);
    return LLMQ_E_UNSUPPORTED;
}

/* How an end is stored that no rule is about. */
static int usual_bits(const struct model *m, const struct plan *p) {
    return p->layout->container == LAYOUT_GGUF && m->config.hidden % BLOCK == 0 ? GGUF_END_BITS : 0;
}

static enum llmq_status settle_embedding(const struct model *m, struct plan *p, llmq_error *err) {
    struct plan_module *last = p->module_count > 0 ? &p->modules[p->module_count - 1] : NULL;
    enum llmq_status status = LLMQ_OK;
    p->rounded[0] = (struct plan_rounded){m->config.family->embedding, usual_bits(m, p)};
    if (!last || last->at.node != EMBEDDING_NODE)
        return LLMQ_OK;
    status = check_embedding(p, last, err);
    if (last->fate == MODULE_QUANTIZED)
        p->rounded[0].bits = last->shape.bits;
    else if (last->rule)
        p->rounded[0].bits = 0;
    free(last->name);
    p->module_count--;
    return status;
}

static void settle_head(const struct model *m, struct plan *p) {
    const struct plan_module *head = plan_head(p);
    p->rounded[1] = (struct plan_rounded){m->config.family->head, usual_bits(m, p)};
    if (head && head->rule && head->rule->given & RECIPE_KEEP)
        p->rounded[1].bits = 0;
    if (head && head->fate == MODULE_PLAIN) {
        free(head->name);
        p->module_count--;
    } else if (head) {
        p->untied = p->untied || m->config.tied;
    }
}

enum llmq_status plan_settle_ends(const struct model *m, struct plan *p, llmq_error *err) {
    enum llmq_status status = settle_embedding(m, p, err);
    if (status == LLMQ_OK)
        settle_head(m, p);
    return status;
}

int plan_rounded_bits(const struct plan *p, const char *tensor) {
    for (int i = 0; i < 2; i++)
        if (p->rounded[i].bits && strcmp(p->rounded[i].name, tensor) == 0)
            return p->rounded[i].bits;
    return 0;
}

/* --- the head in the plan --------------------------------------------------------------------- */

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
