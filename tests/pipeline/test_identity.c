/* SPDX-License-Identifier: Apache-2.0 */
/* A run that goes on after an interruption is the run that stopped, or says what differs; and what
 * is written to a model while it is read does not go unnoticed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/json.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/convert.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

/* --- changing files --------------------------------------------------------------------------- */

static void put_in(const char *folder, const char *name, const char *content) {
    llmq_error err = {0};
    char *path = path_join(folder, name, NULL);
    ck_assert_ok(file_write_atomic(path, content, strlen(content), &err), &err);
    free(path);
}

static char *text_in(const char *folder, const char *name) {
    llmq_error err = {0};
    char *path = path_join(folder, name, NULL), *data = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 24, &data, &len, &err), &err);
    free(path);
    return data;
}

/* The clock of file systems is coarse. */
static void wait_a_moment(void) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

/* Flip a bit of a tensor of the source in place, and set the file's time of change back. */
static void flip_quietly(const char *tensor) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    struct file f;
    struct stat st;
    unsigned char byte = 0;
    char *path = path_join(source, "model.safetensors", NULL);
    wait_a_moment();
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    const struct st_tensor *t = st_find(set, tensor);
    ck_assert_msg(t != NULL, "no %s", tensor);
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    ck_assert_int_eq(fstat(f.fd, &st), 0);
    ck_assert_ok(file_pread(&f, &byte, 1, t->begin, &err), &err);
    byte ^= 1;
    ck_assert_ok(file_pwrite(&f, &byte, 1, t->begin, &err), &err);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    ck_assert_int_eq(futimens(f.fd, times), 0);
    file_close(&f, &err);
    st_close(&set);
    free(path);
}

/* A source with a tokenizer and a template, and a run on it that is interrupted in block 2. */
static llmq_quantize_options interrupted_run(void) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.samples = 128; /* said, so that it can be told when it is another */
    put_in(source, "tokenizer.json", "{\"model\":{}}");
    ck_assert_ok(dir_make(scratch_path("source/additional_chat_templates"), true, &err), &err);
    put_in(source, "additional_chat_templates/tool_use.jinja", "{{ x }}");
    run_interrupt(&o);
    return o;
}

/* --- between an interruption and its resume --------------------------------------------------- */

/* Change something, see the resume refused for `part`, change it back. */
static void refuse_text(const llmq_quantize_options *o, const char *name, const char *content,
                        const char *part) {
    char *before = text_in(source, name);
    put_in(source, name, content);
    run_resume_fails(o, LLMQ_E_INPUT, part);
    put_in(source, name, before);
    free(before);
}

START_TEST(files_of_the_model_are_compared_by_content) {
    llmq_error err = {0};
    const llmq_quantize_options o = interrupted_run();
    char *config = text_in(source, "config.json"), *edited = NULL;
    ck_assert_ok(json_text_set(config, strlen(config), "rms_norm_eps", "1e-06", &edited, &err),
                 &err);
    refuse_text(&o, "config.json", edited, "config.json was changed");
    refuse_text(&o, "tokenizer.json", "{\"model\":[]}", "tokenizer.json was changed");
    refuse_text(&o, "additional_chat_templates/tool_use.jinja", "{{ y }}",
                "additional_chat_templates/tool_use.jinja was changed");
    put_in(source, "generation_config.json", "{}");
    run_resume_fails(&o, LLMQ_E_INPUT, "generation_config.json is new");
    ck_assert_int_eq(unlink(scratch_path("source/generation_config.json")), 0);
    ck_assert_int_eq(unlink(scratch_path("source/tokenizer.json")), 0);
    run_resume_fails(&o, LLMQ_E_INPUT, "tokenizer.json is gone");
    put_in(source, "tokenizer.json", "{\"model\":{}}");
    /* The same content again, at other times. */
    llmq_quantize_report report = run_resume(&o);
    llmq_quantize_report_free(&report);
    free(config);
    free(edited);
}
END_TEST

START_TEST(weights_changed_behind_their_times_are_noticed) {
    static const char *const tensors[] = {"model.layers.0.mlp.up_proj.weight",
                                          "model.layers.1.mlp.up_proj.weight",
                                          "model.embed_tokens.weight"};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        const llmq_quantize_options o = interrupted_run();
        flip_quietly(tensors[i]);
        run_resume_fails(&o, LLMQ_E_INPUT, "model.safetensors was changed");
    }
}
END_TEST

START_TEST(calibration_is_compared_by_its_tokens) {
    llmq_quantize_options o = interrupted_run();
    o.samples = 11;
    run_resume_fails(&o, LLMQ_E_INPUT, "the calibration tokens differ; --samples was 128, is 11");
    o.samples = 128;
    tiny_windows_write(calib, 12, 24, 5);
    run_resume_fails(&o, LLMQ_E_INPUT, "the calibration tokens differ");
    /* The same tokens in another file and by another number of samples: the same run. */
    char *again = strdup(scratch_path("again.json"));
    o.calib = again;
    o.samples = 12;
    tiny_windows_write(again, 12, 24, 2);
    llmq_quantize_report report = run_resume(&o);
    llmq_quantize_report_free(&report);
    free(again);
}
END_TEST

START_TEST(several_differences_are_told_together) {
    llmq_quantize_options o = interrupted_run();
    o.damp = 0.02;
    o.bits = 8;
    put_in(source, "tokenizer.json", "{}");
    llmq_error err = {0};
    llmq_quantize_report report;
    o.resume = true;
    ck_assert_fails(llmq_quantize(&o, NULL, &report, &err), LLMQ_E_INPUT,
                    "another one: --bits was 4, is 8; --damp was auto, is 0.02; tokenizer.json was "
                    "changed",
                    &err);
    llmq_quantize_report_free(&report);
}
END_TEST

/* Edit a member of the journal's first line. */
static void edit_journal(const char *key, const char *value) {
    llmq_error err = {0};
    char *journal = text_in(scratch_path("out.partial"), "llmq-journal.jsonl"), *edited = NULL;
    char *end = strchr(journal, '\n');
    ck_assert_ptr_nonnull(end);
    *end = '\0';
    ck_assert_ok(value ? json_text_set(journal, strlen(journal), key, value, &edited, &err)
                       : json_text_remove(journal, strlen(journal), key, &edited, &err),
                 &err);
    FILE *f = fopen(scratch_path("out.partial/llmq-journal.jsonl"), "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "%s\n%s", edited, end + 1);
    fclose(f);
    free(journal);
    free(edited);
}

START_TEST(another_build_or_machine_does_not_go_on) {
    const llmq_quantize_options o = interrupted_run();
    edit_journal("build", "\"0123456789abcdef\"");
    run_resume_fails(&o, LLMQ_E_INPUT, "llmq's build was 0123456789abcdef, is ");
    run_interrupt(&o);
    edit_journal("kernels", "\"neon\"");
    run_resume_fails(&o, LLMQ_E_INPUT, "the instruction set was neon, is ");
    run_interrupt(&o);
    edit_journal("result", "\"00\"");
    run_resume_fails(&o, LLMQ_E_INPUT, "the result's tensors differ");
    edit_journal("build", NULL); /* as older versions wrote it */
    run_resume_fails(&o, LLMQ_E_INPUT, "another version's of llmq");
}
END_TEST

START_TEST(a_run_killed_before_it_began_is_started_over) {
    const llmq_quantize_options o = interrupted_run();
    llmq_quantize_options resumed = o;
    resumed.resume = true;
    put_in(scratch_path("out.partial"), "llmq-journal.jsonl", "{\"llmq\":\"0.1");
    llmq_error e = run_fails(&resumed, LLMQ_E_INPUT, "llmq-journal.jsonl: nothing is recorded");
    ck_assert_ptr_nonnull(strstr(e.hint, "--force"));
    run_quantize(&o);
}
END_TEST

/* --- what is in <out>.partial ----------------------------------------------------------------- */

static void remove_in(const char *folder, const char *name) {
    char *path = path_join(folder, name, NULL);
    ck_assert_int_eq(unlink(path), 0);
    free(path);
}

START_TEST(what_was_edited_in_the_part_is_written_again) {
    llmq_quantize_options o = interrupted_run();
    char *partial = strdup(scratch_path("out.partial"));
    put_in(partial, "config.json", "{}");
    put_in(partial, "tokenizer.json", "{\"other\":1}");
    remove_in(partial, "additional_chat_templates/tool_use.jinja");
    remove_in(partial, "quantize_config.json");
    run_damage("model.embed_tokens.weight"); /* copied, and copied again */
    llmq_quantize_report report = run_resume(&o);
    llmq_quantize_report_free(&report);
    free(partial);
}
END_TEST

START_TEST(the_index_of_the_part_is_written_again) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.shard_limit = 20000;
    run_interrupt(&o);
    put_in(scratch_path("out.partial"), "model.safetensors.index.json", "{}");
    llmq_quantize_report report = run_resume(&o);
    llmq_quantize_report_free(&report);
}
END_TEST

START_TEST(links_in_the_part_are_not_followed) {
    llmq_quantize_options o = interrupted_run();
    char *file = strdup(scratch_path("out.partial/tokenizer.json"));
    char *folder = strdup(scratch_path("out.partial/additional_chat_templates"));
    put_file("precious", "mine", 4);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(symlink(scratch_path("precious"), file), 0);
    remove_in(folder, "tool_use.jinja");
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(symlink("..", folder), 0);
    run_resume_fails(&o, LLMQ_E_IO, "additional_chat_templates: expected a folder of the result");
    ck_assert_int_eq(unlink(folder), 0);
    llmq_quantize_report report = run_resume(&o);
    llmq_quantize_report_free(&report);
    char *mine = text_in(scratch_path(""), "precious");
    ck_assert_str_eq(mine, "mine");
    free(mine);
    free(file);
    free(folder);
}
END_TEST

/* --- while a run works ------------------------------------------------------------------------ */

/* Something that happens when progress tells of `when` for the first time. */
struct happening {
    const char *when;
    void (*what)(void);
    bool done;
};

static void let_happen(void *user, const char *what, int64_t done, int64_t total) {
    struct happening *h = user;
    (void)done;
    (void)total;
    if (h->done || strncmp(what, h->when, strlen(h->when)) != 0)
        return;
    h->done = true;
    h->what();
}

static void fail_while(const llmq_quantize_options *o, const char *when, void (*what)(void),
                       const char *part) {
    llmq_error err = {0};
    llmq_quantize_report report;
    struct happening h = {.when = when, .what = what};
    const llmq_context ctx = {.size = sizeof ctx, .sink = {.user = &h, .progress = let_happen}};
    ck_assert_fails(llmq_quantize(o, &ctx, &report, &err), LLMQ_E_INPUT, part, &err);
    ck_assert(h.done);
    ck_assert_ptr_nonnull(strstr(err.hint, "--force"));
    llmq_quantize_report_free(&report);
    ck_assert(!path_is_dir(out));
}

static void flip_first_block(void) {
    flip_quietly("model.layers.0.mlp.up_proj.weight");
}

static void flip_last_block(void) {
    flip_quietly("model.layers.1.mlp.down_proj.weight");
}

static void replace_weights(void) {
    const char *path = scratch_path("source/model.safetensors");
    const char *copy = scratch_path("source/copy");
    llmq_error err = {0};
    ck_assert_ok(file_copy(path, copy, &err), &err);
    ck_assert_int_eq(rename(copy, path), 0);
}

/* A download that starts over, and one that is not finished. */
static void cut_weights(void) {
    ck_assert_int_eq(truncate(scratch_path("source/model.safetensors"), 4096), 0);
}

static void lengthen_weights(void) {
    FILE *f = fopen(scratch_path("source/model.safetensors"), "a");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fputc(0, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static void edit_config(void) {
    wait_a_moment();
    char *config = text_in(source, "config.json");
    put_in(source, "config.json", config);
    free(config);
}

static void remove_tokenizer(void) {
    remove_in(source, "tokenizer.json");
}

START_TEST(a_model_that_is_written_to_is_not_a_result) {
    enum { COUNT = 6 };
    static void (*const happenings[])(void) = {flip_first_block, flip_last_block,  replace_weights,
                                               edit_config,      lengthen_weights, cut_weights};
    static const char *const files[] = {
        "model.safetensors: changed or replaced", "model.safetensors: changed or replaced",
        "model.safetensors: changed or replaced", "config.json: changed or replaced",
        "model.safetensors: changed or replaced", "model.safetensors: changed while it was being"};
    llmq_error err = {0};
    char *weights = strdup(scratch_path("source/model.safetensors"));
    char *whole = strdup(scratch_path("whole"));
    put_in(source, "tokenizer.json", "{}");
    ck_assert_ok(file_copy(weights, whole, &err), &err);
    for (size_t i = 0; i < COUNT; i++) {
        llmq_quantize_options o = run_options(i % 2 ? LLMQ_METHOD_RTN : LLMQ_METHOD_GPTQ);
        fail_while(&o, "block 2", happenings[i], files[i]);
        ck_assert(path_is_dir(scratch_path("out.partial")));
        ck_assert_ok(file_copy(whole, weights, &err), &err);
    }
    free(weights);
    free(whole);
    llmq_quantize_report report;
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    struct happening h = {.when = "block 2", .what = remove_tokenizer};
    const llmq_context ctx = {.size = sizeof ctx, .sink = {.user = &h, .progress = let_happen}};
    ck_assert_fails(llmq_quantize(&o, &ctx, &report, &err), LLMQ_E_NOT_FOUND, "tokenizer.json",
                    &err);
    llmq_quantize_report_free(&report);
    ck_assert(!path_is_dir(out));
}
END_TEST

static void damage_copies(void) {
    char *partial = strdup(scratch_path("out.partial"));
    remove_in(partial, "tokenizer.json");
    put_in(partial, "config.json", "{}");
    free(partial);
}

START_TEST(what_happens_to_copies_during_a_run_leaves_no_trace) {
    static const enum llmq_method methods[] = {LLMQ_METHOD_RTN, LLMQ_METHOD_GPTQ};
    put_in(source, "tokenizer.json", "{}");
    llmq_quantize_options o = run_options(methods[_i]);
    struct happening h = {.when = "block 2", .what = damage_copies};
    const llmq_context ctx = {.size = sizeof ctx, .sink = {.user = &h, .progress = let_happen}};
    llmq_error err = {0};
    llmq_quantize_report report;
    ck_assert_ok(llmq_quantize(&o, &ctx, &report, &err), &err);
    llmq_quantize_report_free(&report);
    char *tokenizer = text_in(out, "tokenizer.json"), *config = text_in(out, "config.json");
    ck_assert(h.done && strcmp(tokenizer, "{}") == 0);
    ck_assert_ptr_nonnull(strstr(config, "quantization_config"));
    free(tokenizer);
    free(config);
}
END_TEST

START_TEST(a_block_read_again_has_to_be_the_same) {
    llmq_quantize_options o = interrupted_run(); /* reads the original block again to go on */
    o.resume = true;
    fail_while(&o, "block 1", flip_first_block,
               "model.safetensors: tensor 'model.layers.0.mlp.up_proj.weight': its content is not "
               "what was read before");
}
END_TEST

START_TEST(a_conversion_of_a_changing_model_is_no_result) {
    llmq_error err = {0};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_convert_options c;
    llmq_convert_report report;
    struct happening h = {.when = "verifying", .what = edit_config};
    const llmq_context ctx = {.size = sizeof ctx, .sink = {.user = &h, .progress = let_happen}};
    run_quantize(&o);
    free(source);
    source = strdup(out); /* what is read now */
    llmq_convert_options_init(&c);
    c.model = source;
    c.out = scratch_path("converted");
    c.format = "compressed-tensors";
    ck_assert_fails(llmq_convert(&c, &ctx, &report, &err), LLMQ_E_INPUT,
                    "config.json: changed or replaced", &err);
    llmq_convert_report_free(&report);
    ck_assert(h.done && !path_is_dir(scratch_path("converted")));
}
END_TEST

/* --- the journal ------------------------------------------------------------------------------ */

START_TEST(the_journal_says_what_a_run_was) {
    llmq_error err = {0};
    struct json *line = NULL;
    interrupted_run();
    char *journal = text_in(scratch_path("out.partial"), "llmq-journal.jsonl");
    char *end = strchr(journal, '\n');
    ck_assert_ok(json_parse(journal, (size_t)(end - journal), "journal", &line, &err), &err);
    const struct json *options = json_get(line, "options"), *files = json_get(line, "files");
    ck_assert_str_eq(json_string(json_get(options, "method")), "gptq");
    ck_assert_str_eq(json_string(json_get(options, "format")), "gptq");
    ck_assert_str_eq(json_string(json_get(options, "correct")), "auto");
    ck_assert_str_eq(json_string(json_get(options, "token-weights")), "auto");
    ck_assert_ptr_nonnull(json_get(files, "config.json"));
    ck_assert_ptr_nonnull(json_get(files, "additional_chat_templates/tool_use.jinja"));
    ck_assert_ptr_nonnull(
        strstr(json_string(json_get(json_get(line, "weights"), "model.safetensors")),
               " bytes, modified "));
    json_free(&line);
    char *next = strchr(end + 1, '\n');
    ck_assert_ok(json_parse(end + 1, (size_t)(next - end - 1), "journal", &line, &err), &err);
    ck_assert_ptr_nonnull(json_get(json_get(line, "kept"), "lm_head.weight"));
    json_free(&line);
    end = strchr(next + 1, '\n');
    ck_assert_ok(json_parse(next + 1, (size_t)(end - next - 1), "journal", &line, &err), &err);
    ck_assert_uint_eq(json_count(json_get(line, "source")), 9);
    json_free(&line);
    free(journal);
}
END_TEST

int main(void) {
    Suite *s = suite_create("identity");
    TCase *t = tcase_create("identity");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, files_of_the_model_are_compared_by_content);
    tcase_add_test(t, weights_changed_behind_their_times_are_noticed);
    tcase_add_test(t, calibration_is_compared_by_its_tokens);
    tcase_add_test(t, several_differences_are_told_together);
    tcase_add_test(t, another_build_or_machine_does_not_go_on);
    tcase_add_test(t, a_run_killed_before_it_began_is_started_over);
    tcase_add_test(t, what_was_edited_in_the_part_is_written_again);
    tcase_add_test(t, the_index_of_the_part_is_written_again);
    tcase_add_test(t, links_in_the_part_are_not_followed);
    tcase_add_test(t, a_model_that_is_written_to_is_not_a_result);
    tcase_add_loop_test(t, what_happens_to_copies_during_a_run_leaves_no_trace, 0, 2);
    tcase_add_test(t, a_block_read_again_has_to_be_the_same);
    tcase_add_test(t, a_conversion_of_a_changing_model_is_no_result);
    tcase_add_test(t, the_journal_says_what_a_run_was);
    suite_add_tcase(s, t);
    return run_suite(s);
}
