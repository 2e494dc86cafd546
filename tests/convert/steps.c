/* SPDX-License-Identifier: Apache-2.0 */
/* See steps.h. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/loaders/model_folder.h"
#include "llmq/verify.h"
#include "pipeline/tiny_run.h"
#include "support.h"

static llmq_error err;

void step_quantize(const char *name, const char *format, int bits, bool sym) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.out = scratch_path(name);
    o.format = format;
    o.bits = bits;
    o.sym = sym;
    run_quantize(&o);
}

enum llmq_status step_try(const char *from, const char *format, const char *to,
                          llmq_convert_report *r, llmq_error *why) {
    llmq_convert_options o;
    llmq_convert_options_init(&o);
    o.model = scratch_path(from);
    o.out = scratch_path(to);
    o.format = format;
    memset(why, 0, sizeof *why);
    return llmq_convert(&o, NULL, r, why);
}

void step_convert(const char *from, const char *format, const char *to) {
    llmq_convert_report r;
    ck_assert_ok(step_try(from, format, to, &r, &err), &err);
    llmq_convert_report_free(&r);
}

void step_refused(const char *from, const char *format, const char *part, const char *hint) {
    llmq_convert_report r;
    enum llmq_status status = step_try(from, format, "refused", &r, &err);
    ck_assert_msg(status == LLMQ_E_UNSUPPORTED || status == LLMQ_E_INPUT, "%s: %s",
                  llmq_status_name(status), err.message);
    ck_assert_msg(strstr(err.message, part) != NULL, "message lacks '%s': %s", part, err.message);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "hint lacks '%s': %s", hint, err.hint);
    llmq_convert_report_free(&r);
    ck_assert(!path_is_dir(scratch_path("refused")));
    ck_assert(!path_is_dir(scratch_path("refused.partial")));
}

void step_same_tensors(const char *a, const char *b) {
    struct st_set *x = NULL, *y = NULL;
    ck_assert_ok(st_open_dir(scratch_path(a), &x, &err), &err);
    ck_assert_ok(st_open_dir(scratch_path(b), &y, &err), &err);
    ck_assert_uint_eq(st_count(x), st_count(y));
    for (size_t i = 0; i < st_count(x); i++) {
        const struct st_tensor *t = st_at(x, i), *u = st_find(y, t->name);
        ck_assert_msg(u != NULL, "%s is missing", t->name);
        ck_assert_int_eq((int)t->dtype, (int)u->dtype);
        ck_assert_uint_eq(t->nbytes, u->nbytes);
        void *p = malloc((size_t)t->nbytes), *q = malloc((size_t)t->nbytes);
        ck_assert_ok(st_read(x, t, 0, (size_t)t->nbytes, p, &err), &err);
        ck_assert_ok(st_read(y, u, 0, (size_t)t->nbytes, q, &err), &err);
        ck_assert_msg(memcmp(p, q, (size_t)t->nbytes) == 0, "%s differs", t->name);
        free(p);
        free(q);
    }
    st_close(&x);
    st_close(&y);
}

double step_loss(const char *name, bool dequantize) {
    return run_loss(scratch_path(name), dequantize);
}

void step_no_violation(const char *name) {
    llmq_verify_report r;
    const llmq_verify_options o = {.size = sizeof o, .model = scratch_path(name)};
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    ck_assert_msg(r.ok, "%s: %s", r.ok ? "" : r.violations.items[0].rule,
                  r.ok ? "" : r.violations.items[0].message);
    llmq_verify_report_free(&r);
}
