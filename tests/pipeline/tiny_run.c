/* SPDX-License-Identifier: Apache-2.0 */
/* Runs on the tiny model: see tiny_run.h. */
#include "tiny_run.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/safetensors/safetensors.h"
#include "support.h"
#include "tiny_model.h"
#include "verify/record.h"

char *source, *calib, *text, *out;
static llmq_recipe *ends;

void run_setup(void) {
    scratch_setup();
    source = strdup(scratch_path("source"));
    calib = strdup(scratch_path("calib.json"));
    text = strdup(scratch_path("text.json"));
    out = strdup(scratch_path("out"));
    tiny_model_write(source, 1, 0);
    tiny_windows_write(calib, 12, 24, 2);
    tiny_windows_write(text, 5, 20, 3);
}

void run_teardown(void) {
    free(source);
    free(calib);
    free(text);
    free(out);
    llmq_recipe_free(&ends);
    scratch_teardown();
}

const llmq_recipe *run_keep_ends(void) {
    static const char names[] =
        "(embed_tokens|wte|tok_embeddings|word_embeddings|embed_in|lm_head|embed_out|output)$";
    llmq_error err = {0};
    if (!ends) {
        ck_assert_ok(llmq_recipe_create(&ends, &err), &err);
        ck_assert_ok(llmq_recipe_keep(ends, names, &err), &err);
    }
    return ends;
}

llmq_quantize_options run_options(enum llmq_method method) {
    llmq_quantize_options o;
    llmq_quantize_options_init(&o, method);
    o.model = source;
    o.out = out;
    o.group = 32;
    o.calib = method == LLMQ_METHOD_RTN ? NULL : calib;
    o.force = true;
    return o;
}

/* --- one run ---------------------------------------------------------------------------------- */

llmq_quantize_report run_report(const llmq_quantize_options *o, const llmq_context *ctx) {
    llmq_error err = {0};
    llmq_quantize_report report;
    ck_assert_ok(llmq_quantize(o, ctx, &report, &err), &err);
    return report;
}

static void run_quantize_in(const llmq_quantize_options *o, const llmq_context *ctx) {
    llmq_quantize_report report = run_report(o, ctx);
    llmq_quantize_report_free(&report);
}

void run_quantize(const llmq_quantize_options *o) {
    run_quantize_in(o, NULL);
}

static llmq_error run_fails_in(const llmq_quantize_options *o, const llmq_context *ctx,
                               enum llmq_status code, const char *part) {
    llmq_error err = {0};
    llmq_quantize_report report;
    ck_assert_fails(llmq_quantize(o, ctx, &report, &err), code, part, &err);
    llmq_quantize_report_free(&report);
    return err;
}

llmq_error run_fails(const llmq_quantize_options *o, enum llmq_status code, const char *part) {
    return run_fails_in(o, NULL, code, part);
}

llmq_error run_refused(const llmq_quantize_options *o, enum llmq_status code, const char *part) {
    llmq_error err = run_fails(o, code, part);
    ck_assert_msg(!path_is_dir(out), "%s left a result", part);
    ck_assert_msg(!path_is_dir(scratch_path("out.partial")), "%s left a part", part);
    return err;
}

/* --- what came out ---------------------------------------------------------------------------- */

llmq_eval_options run_eval_options(const char *model) {
    llmq_eval_options o;
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = text;
    return o;
}

double run_eval(const llmq_eval_options *o) {
    llmq_error err = {0};
    llmq_eval_result r;
    ck_assert_ok(llmq_eval(o, NULL, &r, &err), &err);
    ck_assert_int_eq(r.tokens, 5 * 19);
    ck_assert(r.activations == o->activations && r.compute == o->compute);
    return r.nll;
}

double run_loss(const char *model, bool dequantize) {
    llmq_eval_options o = run_eval_options(model);
    o.dequantize = dequantize;
    return run_eval(&o);
}

/* --- the same bytes --------------------------------------------------------------------------- */

/* How much of a record is the same for the same run: what is before "run". */
static size_t lasting(const char *path, const char *data, size_t len) {
    const char *run = strstr(data, "\n  \"run\": {");
    if (strcmp(path_base(path), RECORD_NAME) != 0)
        return len;
    ck_assert_ptr_nonnull(run);
    return (size_t)(run - data);
}

static void assert_same_files(const char *a, const char *b) {
    llmq_error err = {0};
    char *da = NULL, *db = NULL;
    size_t na = 0, nb = 0;
    ck_assert_ok(file_read(a, 1 << 24, &da, &na, &err), &err);
    ck_assert_ok(file_read(b, 1 << 24, &db, &nb, &err), &err);
    na = lasting(a, da, na);
    nb = lasting(b, db, nb);
    ck_assert_msg(na == nb && memcmp(da, db, na) == 0, "%s differs", a);
    free(da);
    free(db);
}

/* Every file of folder `a` is in `b` with the same bytes, and the other way round. */
static void assert_same_folders(const char *a, const char *b) {
    llmq_error err = {0};
    struct dir_list la, lb;
    ck_assert_ok(dir_list_read(a, &la, &err), &err);
    ck_assert_ok(dir_list_read(b, &lb, &err), &err);
    ck_assert_uint_eq(la.count, lb.count);
    for (size_t i = 0; i < la.count; i++) {
        char *pa = path_join(a, la.names[i], NULL), *pb = path_join(b, la.names[i], NULL);
        ck_assert_str_eq(la.names[i], lb.names[i]);
        if (path_is_dir(pa))
            assert_same_folders(pa, pb);
        else
            assert_same_files(pa, pb);
        free(pa);
        free(pb);
    }
    dir_list_free(&la);
    dir_list_free(&lb);
}

/* Three batches of tokens: a file of activations saves what two of them take. */
enum { LONG_WINDOWS = 400, LONG_LENGTH = 24 };

void run_with_any_threads_and_memory(const llmq_quantize_options *o) {
    llmq_quantize_options one = *o;
    char *longer = strdup(scratch_path("longer.json"));
    tiny_windows_write(longer, LONG_WINDOWS, LONG_LENGTH, 2);
    one.calib = longer;
    one.samples = LONG_WINDOWS;
    llmq_quantize_options other = one;
    run_quantize_in(&one, &(llmq_context){.size = sizeof(llmq_context), .threads = 1});
    other.out = scratch_path("three");
    run_quantize_in(&other, &(llmq_context){.size = sizeof(llmq_context), .threads = 3});
    assert_same_folders(one.out, other.out);
    other.out = scratch_path("spilled");
    other.dry_run = true;
    llmq_quantize_report plan = run_report(&other, NULL);
    ck_assert_uint_eq(plan.spill_bytes, 0);
    other.dry_run = false;
    other.max_mem = plan.plan_ram_bytes - 1;
    llmq_quantize_report spilled = run_report(&other, NULL);
    ck_assert_uint_gt(spilled.spill_bytes, 0);
    assert_same_folders(one.out, other.out);
    llmq_quantize_report_free(&plan);
    llmq_quantize_report_free(&spilled);
    free(longer);
}

static volatile sig_atomic_t interrupt;

static void stop_in_block_two(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    (void)done;
    (void)total;
    if (strncmp(what, "block 2", 7) == 0)
        interrupt = 1;
}

void run_interrupt(const llmq_quantize_options *o) {
    llmq_context ctx = {
        .size = sizeof ctx, .sink = {.progress = stop_in_block_two}, .interrupt = &interrupt};
    interrupt = 0;
    run_fails_in(o, &ctx, LLMQ_E_INTERRUPTED, "interrupted");
}

llmq_quantize_report run_resume(const llmq_quantize_options *o) {
    llmq_quantize_options resumed = *o, whole = *o;
    resumed.resume = true;
    llmq_quantize_report report = run_report(&resumed, NULL);
    ck_assert_int_eq(report.blocks_resumed, 1);
    whole.out = scratch_path("whole");
    run_quantize(&whole);
    assert_same_folders(o->out, whole.out);
    return report;
}

void run_resume_fails(const llmq_quantize_options *o, enum llmq_status code, const char *part) {
    llmq_quantize_options resumed = *o;
    resumed.resume = true;
    run_fails(&resumed, code, part);
}

void run_damage(const char *tensor) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    struct file f;
    unsigned char byte = 0;
    char *path = strdup(scratch_path("out.partial/model.safetensors"));
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    const struct st_tensor *t = st_find(set, tensor);
    ck_assert_msg(t != NULL, "no %s", tensor);
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    ck_assert_ok(file_pread(&f, &byte, 1, t->begin, &err), &err);
    byte ^= 1;
    ck_assert_ok(file_pwrite(&f, &byte, 1, t->begin, &err), &err);
    file_close(&f, &err);
    st_close(&set);
    free(path);
}
