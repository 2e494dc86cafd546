/* SPDX-License-Identifier: Apache-2.0 */
/* See bases.h. */
#include "bases.h"

#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "pipeline/tiny_model.h"
#include "support.h"
#include "verify/record.h"

static llmq_error err;

const struct base bases[BASES] = {{"g", "gptq", true},
                                  {"ga", "gptq", false},
                                  {"a", "awq", true},
                                  {"c", "compressed-tensors", true}};

const char base_turned[] = "t", base_blocks[] = "b";

llmq_quantize_report base_report;

static llmq_quantize_report make_base(const char *source, const char *name, const char *format,
                                      bool sym) {
    llmq_quantize_options o;
    llmq_quantize_report r;
    char *model = strdup(scratch_path(source));
    llmq_quantize_options_init(&o, LLMQ_METHOD_RTN);
    o.model = model;
    o.out = scratch_path(name);
    o.format = format;
    o.bits = strcmp(format, "fp8") == 0 ? 8 : 4;
    o.group = o.bits == 8 ? 128 : 32;
    o.sym = sym;
    ck_assert_ok(llmq_quantize(&o, NULL, &r, &err), &err);
    free(model);
    return r;
}

void bases_setup(void) {
    llmq_quantize_report r;
    scratch_setup();
    tiny_model_write(scratch_path("source"), 1, 0);
    tiny_gpt2_write(scratch_path("gpt2"), 1);
    base_report = make_base("source", bases[0].name, bases[0].format, bases[0].sym);
    for (size_t i = 1; i < BASES; i++) {
        r = make_base("source", bases[i].name, bases[i].format, bases[i].sym);
        llmq_quantize_report_free(&r);
    }
    r = make_base("gpt2", base_turned, "compressed-tensors", true);
    llmq_quantize_report_free(&r);
    r = make_base("source", base_blocks, "fp8", true);
    llmq_quantize_report_free(&r);
}

void bases_teardown(void) {
    llmq_quantize_report_free(&base_report);
    scratch_teardown();
}

void base_copy(const char *from, const char *to) {
    struct dir_list list = {0};
    ck_assert_ok(dir_remove(to, &err), &err);
    ck_assert_ok(dir_make(to, false, &err), &err);
    ck_assert_ok(dir_list_read(from, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++) {
        if (strcmp(list.names[i], RECORD_NAME) == 0)
            continue;
        char *a = path_join(from, list.names[i], &err), *b = path_join(to, list.names[i], &err);
        ck_assert_ok(file_copy(a, b, &err), &err);
        free(a);
        free(b);
    }
    dir_list_free(&list);
}

void base_copy_file(const char *dir, const char *from, const char *to) {
    char *a = path_join(dir, from, &err), *b = path_join(dir, to, &err);
    ck_assert_ok(file_copy(a, b, &err), &err);
    free(a);
    free(b);
}

void base_write(const char *dir, const char *name, const char *text) {
    char *path = path_join(dir, name, &err);
    ck_assert_ok(file_write_atomic(path, text, strlen(text), &err), &err);
    free(path);
}

void base_verify(const char *name, bool against, llmq_verify_report *r) {
    char *model = strdup(scratch_path(name)), *original = strdup(scratch_path("source"));
    const llmq_verify_options o = {
        .size = sizeof o, .model = model, .against = against ? original : NULL};
    ck_assert_ok(llmq_verify(&o, NULL, r, &err), &err);
    free(model);
    free(original);
}

static bool mentions(const llmq_finding *f, const char *where) {
    return strstr(f->file, where) || strstr(f->tensor, where) || strstr(f->message, where);
}

bool base_lists(const llmq_findings *list, const char *rule, const char *where) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].rule, rule) == 0 && mentions(&list->items[i], where))
            return true;
    return false;
}
