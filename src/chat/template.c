/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: see template.h. */
#include "chat/template.h"

#include <stdlib.h>

#include "base/error.h"
#include "chat/evaluate.h"
#include "chat/tree.h"

struct jinja_template {
    struct jinja_run parsed; /* whose memory holds the tree */
    const struct jinja_node *statements;
};

enum llmq_status jinja_template_parse(const char *text, size_t len, struct jinja_template **out,
                                      llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct jinja_template *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(err, "a template");
    LLMQ_TRY(jinja_begin(&t->parsed, err));
    t->statements = jinja_parse_statements(&t->parsed, text, len);
    LLMQ_TRY(t->parsed.status);
    t->parsed.err = NULL;
    *out = t;
    t = NULL;
cleanup:
    jinja_template_free(&t);
    return status;
}

void jinja_template_free(struct jinja_template **t) {
    if (*t)
        jinja_end(&(*t)->parsed);
    free(*t);
    *t = NULL;
}

enum llmq_status jinja_begin(struct jinja_run *run, llmq_error *err) {
    *run = (struct jinja_run){.err = err};
    run->scope = &run->globals;
    run->status = arena_create("a template", &run->arena, err);
    return run->status;
}

void jinja_restart(struct jinja_run *run, llmq_error *err) {
    struct arena *arena = run->arena;
    arena_reset(arena);
    *run = (struct jinja_run){.arena = arena, .err = err};
    run->scope = &run->globals;
}

void jinja_define(struct jinja_run *run, const char *name, struct jinja_value value) {
    jinja_assign(run, jinja_text_of(name), value);
}

void jinja_end(struct jinja_run *run) {
    arena_free(&run->arena);
}

enum llmq_status jinja_render(struct jinja_run *run, const struct jinja_template *t,
                              struct strbuf *out) {
    struct jinja_scope scope = {.parent = &run->globals};
    run->steps = 0;
    run->depth = 0;
    run->out = out;
    run->scope = &scope;
    (void)jinja_execute(run, t->statements);
    run->out = NULL;
    run->scope = &run->globals;
    if (!jinja_failed(run) && !strbuf_ok(out))
        run->status = error_memory(run->err, "what a template gives");
    return run->status;
}
