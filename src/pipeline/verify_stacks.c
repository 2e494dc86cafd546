/* Which stacks load a checkpoint, and how far its modules can be split: see verify.h. */
#include <stdlib.h>

#include "base/error.h"
#include "formats/compat.h"
#include "pipeline/verify.h"

static struct compat_case case_of(const struct verify *v, const llmq_verify_module *m) {
    return (struct compat_case){
        .layout = v->layout->name,
        .bits = m->bits,
        .group = m->group == m->k ? -1 : m->group,
        /* A module of an asymmetric checkpoint may have its zero points in the middle by chance. */
        .sym = v->layout_config.sym && m->sym,
        .sequential = m->sequential,
    };
}

/* A checkpoint loads as its least module does. */
static struct compat_answer worst_answer(const struct verify *v, int stack) {
    struct compat_answer worst = {COMPAT_LOADS, "", ""};
    bool any = false;
    for (size_t i = 0; i < v->report->module_count; i++) {
        const llmq_verify_module *m = &v->report->modules[i];
        if (m->bits == 0)
            continue;
        const struct compat_case c = case_of(v, m);
        const struct compat_answer answer = compat_find(stack, &c);
        if (!any || answer.verdict < worst.verdict)
            worst = answer;
        any = true;
    }
    return any ? worst : (struct compat_answer){COMPAT_REFUSES, "", "no module could be decoded"};
}

/* Say which of the common stacks refuse what others of them load. */
static void warn_of_refusals(struct verify *v) {
    const llmq_verify_report *r = v->report;
    bool any = false;
    v->rule = verify_rule_find("stacks");
    for (size_t i = 0; i < r->stack_count; i++)
        any = any || (compat_stack_is_common((int)i) && r->stacks[i].loads);
    for (size_t i = 0; any && i < r->stack_count; i++)
        if (compat_stack_is_common((int)i) && !r->stacks[i].loads)
            verify_found(v, NULL, NULL, "llmq convert may have a format that it loads", "%s: %s",
                         r->stacks[i].stack, r->stacks[i].note);
}

enum llmq_status verify_stacks(struct verify *v, llmq_error *err) {
    llmq_verify_report *r = v->report;
    size_t count = 0;
    if (!v->layout)
        return LLMQ_OK;
    while (compat_stack_at((int)count))
        count++;
    r->stacks = calloc(count, sizeof *r->stacks);
    if (!r->stacks)
        return error_memory(err, "the stacks");
    for (size_t i = 0; i < count; i++) {
        const struct compat_answer a = worst_answer(v, (int)i);
        r->stacks[i] = (llmq_stack_report){compat_stack_at((int)i), a.verdict != COMPAT_REFUSES,
                                           a.kernel, a.note};
    }
    r->stack_count = count;
    warn_of_refusals(v);
    for (size_t i = 0; i < r->module_count; i++) {
        llmq_verify_module *m = &r->modules[i];
        m->tensor_parallel = m->bits ? compat_tensor_parallel(m->name, m->n, m->k, m->group) : 0;
    }
    return LLMQ_OK;
}

/* Checked by verify_stacks. */
const struct verify_rule verify_stack_rules[] = {
    {"stacks", VERIFY_WARNING, VERIFY_CONTENTS, "vLLM, SGLang, transformers and TGI load it", NULL,
     NULL},
    {.id = NULL},
};
