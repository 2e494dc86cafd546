/* SPDX-License-Identifier: Apache-2.0 */
/* See look.h. */
#include "look.h"

#include <string.h>

#include "formats/gguf/gguf_file.h"
#include "formats/loaders/model_folder.h"
#include "graph/model.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_run.h"

static llmq_error err;

/* Messages of the latest run, one after another. */
static char heard[8192];

static void note(void *user, enum llmq_log_level level, const char *message) {
    (void)user;
    (void)level;
    strncat(heard, message, sizeof heard - strlen(heard) - 2);
    strcat(heard, "\n");
}

static llmq_context listening(void) {
    heard[0] = '\0';
    return (llmq_context){.size = sizeof(llmq_context), .sink = {.message = note}};
}

void look_says(const char *part) {
    ck_assert_msg(strstr(heard, part) != NULL, "no '%s' in: %s", part, heard);
}

void look_silent(void) {
    ck_assert_str_eq(heard, "");
}

double look_loss(const char *dir) {
    llmq_eval_options o = run_eval_options(dir);
    llmq_context ctx = listening();
    llmq_eval_result r;
    ck_assert_ok(llmq_eval(&o, &ctx, &r, &err), &err);
    return r.nll;
}

void look_quantize(const char *format) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_context ctx = listening();
    o.format = format;
    llmq_quantize_report r = run_report(&o, &ctx);
    llmq_quantize_report_free(&r);
}

void look_convert(const char *from, const char *format, const char *to) {
    llmq_convert_options o;
    llmq_convert_report r;
    llmq_context ctx = listening();
    llmq_convert_options_init(&o);
    o.model = from;
    o.out = to;
    o.format = format;
    o.force = true;
    ck_assert_ok(llmq_convert(&o, &ctx, &r, &err), &err);
    llmq_convert_report_free(&r);
}

/* In a GGUF file, under the family's name for what has another one there. */
static bool stored_gguf(const char *dir, const char *name) {
    struct model m;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    const bool found = st_find(m.tensors, name) != NULL;
    model_close(&m);
    return found;
}

bool look_stored(const char *dir, const char *name) {
    struct st_set *set = NULL;
    ck_assert_ok(st_open_dir(dir, &set, &err), &err);
    if (st_metadata(set, GGUF_KEY_ARCH)) {
        st_close(&set);
        return stored_gguf(dir, name);
    }
    const bool found = st_find(set, name) != NULL;
    st_close(&set);
    return found;
}

bool look_finds(const char *dir, const char *rule, bool violation) {
    llmq_verify_options o = {.size = sizeof o, .model = dir};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    const llmq_findings *list = violation ? &r.violations : &r.warnings;
    bool found = false;
    for (size_t i = 0; i < list->count; i++)
        found = found || strcmp(list->items[i].rule, rule) == 0;
    ck_assert(!violation || r.ok == (r.violations.count == 0));
    llmq_verify_report_free(&r);
    return found;
}
