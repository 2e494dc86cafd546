/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a verification as JSON: see llmq/verify.h. */
#include "base/json.h"
#include "llmq/verify.h"

static struct json *findings_json(const llmq_findings *list) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < list->count; i++) {
        const llmq_finding *f = &list->items[i];
        struct json *o = json_new_object();
        json_add_string(o, "rule", f->rule);
        json_add_string(o, "file", f->file);
        json_add_string(o, "tensor", f->tensor);
        json_add_string(o, "message", f->message);
        json_add_string(o, "hint", f->hint);
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *stacks_json(const llmq_verify_report *r) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < r->stack_count; i++) {
        struct json *o = json_new_object();
        json_add_string(o, "stack", r->stacks[i].stack);
        if (r->stacks[i].known)
            json_add_bool(o, "loads", r->stacks[i].loads);
        else
            json_add_null(o, "loads");
        json_add_string(o, "kernel", r->stacks[i].kernel);
        json_add_string(o, "note", r->stacks[i].note);
        json_add_string(o, "rule", r->stacks[i].rule);
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *modules_json(const llmq_verify_report *r) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < r->module_count; i++) {
        const llmq_verify_module *m = &r->modules[i];
        struct json *o = json_new_object();
        json_add_string(o, "name", m->name);
        json_add_int64(o, "n", m->n);
        json_add_int64(o, "k", m->k);
        json_add_int64(o, "bits", m->bits);
        json_add_int64(o, "group", m->group);
        json_add_bool(o, "sym", m->sym);
        json_add_int64(o, "tensor_parallel", m->tensor_parallel);
        json_add_double(o, "error", m->error);
        json_add(array, NULL, o);
    }
    return array;
}

char *llmq_verify_json(const llmq_verify_report *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_bool(o, "ok", r->ok);
    json_add_string(o, "path", r->path);
    json_add_string(o, "format", r->format);
    json_add_int64(o, "tensors", r->tensors);
    json_add_int64(o, "shards", r->shards);
    json_add_int64(o, "bytes", (int64_t)r->bytes);
    json_add_int64(o, "rules", r->rules);
    json_add(o, "violations", findings_json(&r->violations));
    json_add(o, "warnings", findings_json(&r->warnings));
    json_add(o, "stacks", stacks_json(r));
    json_add(o, "modules", modules_json(r));
    json_add_string(o, "against", r->against);
    json_add_double(o, "error", r->error);
    json_add_int64(o, "equal", r->equal);
    json_add_int64(o, "changed", r->changed);
    json_add_int64(o, "folded", r->folded);
    json_add_double(o, "seconds", r->seconds);
    return json_print_and_free(o);
}
