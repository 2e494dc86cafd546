/* SPDX-License-Identifier: Apache-2.0 */
/* See serving.h. */
#include "pipeline/serving.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "llmq/printable.h"

/* --- who loads it ----------------------------------------------------------------------------- */

static enum compat_role role_of(const struct plan_module *module) {
    return module->at.node < 0      ? COMPAT_HEAD
           : module->at.expert >= 0 ? COMPAT_EXPERT
                                    : COMPAT_LINEAR;
}

/* A checkpoint loads as its least module does; false: none is packed. */
static bool worst_answer(const struct plan *p, int stack, struct compat_answer *worst) {
    bool any = false;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->fate == MODULE_PLAIN)
            continue;
        const struct compat_case c = {
            .layout = p->layout->name,
            .bits = module->shape.bits,
            .group = module->shape.group == module->shape.k ? -1 : module->shape.group,
            .sym = module->shape.sym,
            .sequential = true,
            .role = role_of(module),
        };
        const struct compat_answer answer = compat_find(stack, &c);
        if (!any || answer.verdict < worst->verdict)
            *worst = answer;
        any = true;
    }
    return any;
}

/* What the stack does with the model's own parts, when that is less. */
static void limit_answer(const struct plan *p, const struct family *f, int stack,
                         struct compat_answer *answer) {
    for (const struct family_limit *l = f->limits; l && l->stack; l++) {
        const enum compat_verdict verdict = l->refuses ? COMPAT_REFUSES : COMPAT_CAVEAT;
        if (strcmp(l->stack, compat_stack_at(stack)) == 0 && verdict < answer->verdict &&
            !(l->except && strcmp(l->except, p->layout->name) == 0))
            *answer = (struct compat_answer){verdict, answer->kernel, l->note};
    }
}

size_t serving_find(const struct plan *p, const struct family *f, llmq_serving out[COMPAT_STACKS]) {
    static const enum compat_verdict order[] = {COMPAT_LOADS, COMPAT_CAVEAT};
    size_t count = 0;
    for (size_t o = 0; p->layout && o < 2; o++)
        for (int i = 0; compat_stack_at(i); i++) {
            struct compat_answer answer;
            if (!worst_answer(p, i, &answer))
                continue;
            limit_answer(p, f, i, &answer);
            if (answer.verdict == order[o])
                out[count++] = (llmq_serving){compat_stack_at(i), answer.kernel, answer.note, NULL};
        }
    return count;
}

/* --- how it is started ------------------------------------------------------------------------ */

static const struct {
    const char *stack, *command;
    enum layout_container container;
    const char *file; /* below the folder, or NULL */
} commands[] = {
    {"vLLM", "vllm serve", LAYOUT_SAFETENSORS, NULL},
    {"SGLang", "python3 -m sglang.launch_server --model-path", LAYOUT_SAFETENSORS, NULL},
    {"TGI", "text-generation-launcher --model-id", LAYOUT_SAFETENSORS, NULL},
    {"transformers",
     "python3 -c 'import sys, transformers; print(transformers.pipeline(\"text-generation\", "
     "sys.argv[1])(\"Once upon a time\")[0][\"generated_text\"])'",
     LAYOUT_SAFETENSORS, NULL},
    {"llama.cpp", "llama-server -m", LAYOUT_GGUF, "model.gguf"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

bool serving_put_command(struct strbuf *out, const char *stack, const struct layout *layout,
                         const char *folder) {
    size_t i = 0;
    struct strbuf path = {0};
    while (i < COMMANDS && (strcmp(commands[i].stack, stack) != 0 || !layout ||
                            commands[i].container != layout->container))
        i++;
    if (i == COMMANDS)
        return false;
    const char *file = commands[i].file;
    strbuf_printf(&path, "%s%s%s%s", folder[0] == '-' ? "./" : "", folder, file ? "/" : "",
                  file ? file : "");
    char *quoted = strbuf_ok(&path) ? llmq_shell_quoted(path.data) : NULL;
    if (quoted)
        strbuf_printf(out, "%s %s", commands[i].command, quoted);
    else
        out->failed = true;
    free(quoted);
    strbuf_free(&path);
    return true;
}

enum llmq_status serving_report(const struct plan *p, const struct family *f, const char *folder,
                                llmq_servings *out, llmq_error *err) {
    out->items = calloc(COMPAT_STACKS, sizeof *out->items);
    if (!out->items)
        return error_memory(err, "the report");
    out->count = serving_find(p, f, out->items);
    for (size_t i = 0; i < out->count; i++) {
        struct strbuf command = {0};
        if (!serving_put_command(&command, out->items[i].stack, p->layout, folder))
            continue;
        out->items[i].command = strbuf_take(&command);
        if (!out->items[i].command)
            return error_memory(err, "the report");
    }
    return LLMQ_OK;
}

void serving_free(llmq_servings *s) {
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i].command);
    free(s->items);
    *s = (llmq_servings){0};
}

struct json *serving_json(const llmq_servings *s) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < s->count; i++) {
        struct json *o = json_new_object();
        json_add_string(o, "stack", s->items[i].stack);
        json_add_string(o, "kernel", s->items[i].kernel);
        json_add_string(o, "note", s->items[i].note);
        json_add_string(o, "command", s->items[i].command);
        json_add(array, NULL, o);
    }
    return array;
}
