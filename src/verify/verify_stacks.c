/* SPDX-License-Identifier: Apache-2.0 */
/* Which stacks load a checkpoint, and how far its modules can be split: see verify.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/loaders/compat.h"
#include "models/parts.h"
#include "verify/verify.h"

/* --- which rules concern whom ----------------------------------------------------------------- */

#define STACK(name) (1u << COMPAT_##name)
#define VLLM_BOTH   (STACK(VLLM) | STACK(VLLM_OLD))
#define SERVERS     (VLLM_BOTH | STACK(SGLANG))
#define READERS     (SERVERS | STACK(TRANSFORMERS) | STACK(TGI))
#define ALL         (READERS | STACK(LLAMA_CPP) | STACK(ONNX_RUNTIME) | STACK(TENSORRT))

/* For each rule that is about what loaders can use (violations, and some warnings), the stacks that
 * stop on it, or load and compute something else. Of "decode" nobody can tell: what llmq cannot
 * decode others may. */
static const struct {
    const char *rule;
    unsigned stacks;
} blame[] = {
    {"index", READERS},
    {"stale-weights", VLLM_BOTH}, /* looks at the headers of all files */
    {"shard-index", STACK(TRANSFORMERS)},
    {"model-tensors", ALL},
    {"packed-orphans", READERS},
    {"packed-and-plain", READERS},
    {"stray-buffers", VLLM_BOTH},
    {"fused-status", SERVERS | STACK(TGI)},
    {"fused-grid", SERVERS | STACK(TGI)},
    {"tied-head-packed", READERS},
    {"tensor-names", SERVERS | STACK(TGI)}, /* transformers knows names without the prefix */
    {"tensor-prefix", READERS},
    {"unused-tensors", VLLM_BOTH}, /* others warn */
    {"foreign-tensors", ALL},
    {"tied-head", STACK(VLLM_OLD) | STACK(SGLANG) | STACK(TGI)}, /* they take the embedding */
    {"finite", ALL},
    {"turned-packed", STACK(TRANSFORMERS) | STACK(TGI)},
    {"bias-unknown", ALL}, /* loads, and leaves the bias out */
    {"config-model", ALL},
    {"config-readable", READERS},
    {"config-keys", SERVERS},
    {"config-forbidden", READERS},
    {"config-misread", STACK(TRANSFORMERS) | STACK(TGI)},
    {"config-values", STACK(TRANSFORMERS)},
    {"config-agree", STACK(TRANSFORMERS)}, /* GPTQModel reads the other file first */
    {"config-patterns", READERS},
    {"in-block-form", STACK(TRANSFORMERS)},
    {"in-block-match", SERVERS | STACK(TRANSFORMERS)},
    {"skip-packed", READERS},
    {"skip-plain", READERS},
    {"module-shape", ALL},
    {"grid-config", READERS},
    {"scale-range", ALL},
    {"zero-range", READERS},
    {"zeros-symmetric", SERVERS | STACK(TGI)}, /* kernels that do not look at zero points */
    {"groups-in-order", STACK(VLLM)},
    {"old-form", READERS},
    {"idle-map", SERVERS},
    {"decode", 0},
    /* Of what was written, which no loader knows; what a change did shows in other rules. */
    {"record", 0},
    {"file-changed", 0},
    {"file-missing", 0},
    /* Of the distance from the original, which no loader knows. */
    {"against-error", 0},
    {"against-shape", 0},
    {"against-fold", 0},
    {"against-kept", 0},
    {"against-missing", 0},
};

bool verify_rule_concerns(const char *rule, int stack) {
    for (size_t b = 0; b < sizeof blame / sizeof blame[0]; b++)
        if (strcmp(blame[b].rule, rule) == 0)
            return stack < 0 || (blame[b].stacks >> stack & 1);
    return false;
}

/* --- what they do ----------------------------------------------------------------------------- */

/* The layout's name in the table: AutoRound's configs have readers of their own. */
static const char *name_of(const struct verify *v) {
    static const struct {
        const struct layout *layout;
        const char *name;
    } names[] = {{&layout_gptq, "auto-round gptq"},
                 {&layout_gptq_v2, "auto-round gptq_v2"},
                 {&layout_awq, "auto-round awq"}};
    for (size_t i = 0; auto_round_config(v->quant.object) && i < 3; i++)
        if (names[i].layout == v->layout)
            return names[i].name;
    return v->layout->name;
}

/* Is the module an expert's? */
static bool is_expert(const struct verify *v, const char *module) {
    struct linear_place at;
    return v->known && blocks_find_linear(v->blocks, module, &at) && at.expert >= 0;
}

static bool is_head(const struct verify *v, const char *module) {
    char head[FAMILY_NAME_MAX];
    return v->known && strcmp(module, ends_head_module(v->model.family, head)) == 0;
}

static struct compat_case case_of(const struct verify *v, const llmq_verify_module *m) {
    const struct module_setting *s = verify_setting_of(v, m);
    return (struct compat_case){
        .layout = name_of(v),
        .bits = m->bits,
        .group = m->group == m->k ? -1 : m->group,
        /* A module of an asymmetric checkpoint may have its zero points in the middle by chance. */
        .sym = (s ? s->sym : v->layout_config.sym) && m->sym,
        .sequential = m->sequential,
        .role = is_head(v, m->name)     ? COMPAT_HEAD
                : is_expert(v, m->name) ? COMPAT_EXPERT
                                        : COMPAT_LINEAR,
    };
}

/* A checkpoint loads as its least module does. */
static struct compat_answer worst_answer(const struct verify *v, int stack) {
    struct compat_answer worst = {COMPAT_LOADS, "", ""};
    for (size_t i = 0; i < v->report->module_count; i++) {
        const llmq_verify_module *m = &v->report->modules[i];
        if (m->bits == 0)
            continue;
        const struct compat_case c = case_of(v, m);
        const struct compat_answer answer = compat_find(stack, &c);
        if (!*worst.kernel || answer.verdict < worst.verdict)
            worst = answer;
        if (worst.verdict == COMPAT_REFUSES)
            break;
    }
    return worst;
}

/* What the stack does with the model's own parts, when that is less. */
static struct compat_answer limited(const struct verify *v, int stack,
                                    struct compat_answer answer) {
    const struct family_limit *l = v->known ? v->model.family->limits : NULL;
    for (; l && l->stack; l++) {
        const enum compat_verdict verdict = l->refuses ? COMPAT_REFUSES : COMPAT_CAVEAT;
        if (strcmp(l->stack, compat_stack_at(stack)) == 0 && verdict < answer.verdict &&
            !(l->except && strcmp(l->except, v->layout->name) == 0))
            answer = (struct compat_answer){verdict, l->refuses ? "" : answer.kernel, l->note};
    }
    return answer;
}

static bool all_decoded(const struct verify *v) {
    bool decoded = v->report->module_count > 0;
    for (size_t i = 0; i < v->report->module_count; i++)
        decoded = decoded && v->report->modules[i].bits != 0;
    return decoded;
}

static const char *first_blamed(const llmq_findings *list, int stack) {
    for (size_t i = 0; i < list->count; i++)
        if (verify_rule_concerns(list->items[i].rule, stack))
            return list->items[i].rule;
    return NULL;
}

/* The first rule, of those that do not hold, that a stack stops on or computes wrongly with, or
 * "". */
static const char *blamed_rule(const struct verify *v, int stack) {
    const char *rule = first_blamed(&v->report->violations, stack);
    rule = rule ? rule : first_blamed(&v->report->warnings, stack);
    return rule ? rule : "";
}

static llmq_stack_report stack_report(const struct verify *v, int stack) {
    const struct compat_answer a = limited(v, stack, worst_answer(v, stack));
    const bool refuses = a.verdict == COMPAT_REFUSES;
    const char *rule = refuses ? "" : blamed_rule(v, stack);
    const char *name = compat_stack_at(stack);
    if (refuses)
        return (llmq_stack_report){name, true, false, "", a.note, ""};
    if (*rule)
        return (llmq_stack_report){name, true, false, "", "see the finding of ", rule};
    if (!all_decoded(v))
        return (llmq_stack_report){name, false, false, "", "not every module could be decoded", ""};
    return (llmq_stack_report){name, true, true, a.kernel, a.note, ""};
}

/* Say which of the common stacks refuse what others of them load. */
static void warn_of_refusals(struct verify *v) {
    const llmq_verify_report *r = v->report;
    bool any = false;
    v->rule = verify_rule_find("stacks");
    for (size_t i = 0; i < r->stack_count; i++)
        any = any || (compat_stack_is_common((int)i) && r->stacks[i].loads);
    for (size_t i = 0; any && i < r->stack_count; i++)
        if (compat_stack_is_common((int)i) && r->stacks[i].known && !r->stacks[i].loads &&
            !*r->stacks[i].rule)
            verify_found(v, NULL, NULL, "llmq convert may have a format that it loads", "%s: %s",
                         r->stacks[i].stack, r->stacks[i].note);
}

/* Whatever way a module is split that the family, if it is known, does not have. */
static int64_t tensor_parallel(const struct verify *v, const llmq_verify_module *m) {
    struct linear_place at;
    const int64_t by_rows = compat_tensor_parallel(false, m->n, m->k, m->group);
    const int64_t by_columns = compat_tensor_parallel(true, m->n, m->k, m->group);
    if (v->known && blocks_find_linear(v->blocks, m->name, &at))
        return part_splits_columns(blocks_graph_of(v->blocks, at), blocks_node(v->blocks, at))
                   ? by_columns
                   : by_rows;
    return v->known || by_rows < by_columns ? by_rows : by_columns; /* the head: its rows */
}

enum llmq_status verify_stacks(struct verify *v, llmq_error *err) {
    llmq_verify_report *r = v->report;
    if (!v->layout)
        return LLMQ_OK;
    r->stacks = calloc(COMPAT_STACKS, sizeof *r->stacks);
    if (!r->stacks)
        return error_memory(err, "the stacks");
    for (int i = 0; i < COMPAT_STACKS; i++)
        r->stacks[i] = stack_report(v, i);
    r->stack_count = COMPAT_STACKS;
    warn_of_refusals(v);
    for (size_t i = 0; i < r->module_count; i++) {
        llmq_verify_module *m = &r->modules[i];
        m->tensor_parallel = m->bits ? tensor_parallel(v, m) : 0;
    }
    return LLMQ_OK;
}

/* Checked by verify_stacks. */
const struct verify_rule verify_stack_rules[] = {
    {"stacks", VERIFY_WARNING, VERIFY_CONTENTS, "vLLM, SGLang, transformers and TGI load it", NULL,
     NULL},
    {.id = NULL},
};
