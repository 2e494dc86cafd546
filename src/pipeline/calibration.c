/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration's files: see calibration.h. */
#include "pipeline/calibration.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/filestate.h"
#include "base/int64.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/strbuf.h"
#include "llmq/model.h"
#include "pipeline/run.h"
#include "setup/setup.h"

/* --- what is given ---------------------------------------------------------------------------- */

size_t calibration_count(const llmq_quantize_options *options) {
    size_t count = options->calib != NULL;
    for (const char *const *more = options->calib_more; more && *more; more++)
        count++;
    return count;
}

const char *calibration_given(const llmq_quantize_options *options, size_t index) {
    return index == 0 ? options->calib : options->calib_more[index - 1];
}

enum llmq_status calibration_part(const char *given, char **path, double *weight, llmq_error *err) {
    const char *colon = strrchr(given, ':');
    char *end = NULL;
    const double value = colon && colon > given && colon[1] ? strtod(colon + 1, &end) : 1;
    const bool has_weight = end && *end == '\0' && !path_is_file(given);
    if (has_weight && !(value > 0 && isfinite(value)))
        return error_set(err, LLMQ_E_USAGE, "--calib %s: a weight is a number above 0", given);
    *weight = has_weight ? value : 1;
    *path = has_weight ? strndup(given, (size_t)(colon - given)) : strdup(given);
    return *path ? LLMQ_OK : error_memory(err, "a path");
}

void calibration_share(int64_t total, const double *weights, size_t count, int64_t *shares) {
    double sum = 0;
    int64_t given = 0;
    for (size_t i = 0; i < count; i++)
        sum += weights[i];
    for (size_t i = 0; i < count; i++) {
        shares[i] = (int64_t)((double)total * (weights[i] / sum));
        given += shares[i];
    }
    for (; given < total; given++) { /* to the one that lacks most */
        size_t most = 0;
        for (size_t i = 1; i < count; i++)
            if ((double)total * (weights[i] / sum) - (double)shares[i] >
                (double)total * (weights[most] / sum) - (double)shares[most])
                most = i;
        shares[most]++;
    }
    for (size_t i = 0; i < count && total >= (int64_t)count; i++) {
        size_t largest = 0;
        for (size_t k = 1; k < count; k++)
            largest = shares[k] > shares[largest] ? k : largest;
        if (shares[i] == 0) {
            shares[largest]--;
            shares[i] = 1;
        }
    }
}

/* --- loading ---------------------------------------------------------------------------------- */

/* So many windows of a file, and so many to be held back. */
struct part {
    char *path;
    int64_t windows, held;
};

/* Tokens that are held back, in windows of at most so many tokens: as many whatever calibrates, so
 * that errors tell one calibration from another. */
enum { HELD_TOKENS = 4096, HELD_LENGTH = 512 };

static int64_t held_length(const struct run *run) {
    const int64_t context = setup_context(&run->model.config);
    return context < HELD_LENGTH ? context : HELD_LENGTH;
}

static int64_t held_windows(const struct run *run) {
    const int64_t windows = HELD_TOKENS / held_length(run);
    return windows > 0 ? windows : 1;
}

static struct corpus_options cut_of(const struct run *run, const struct part *from, size_t index) {
    const llmq_quantize_options *o = run->options;
    return (struct corpus_options){
        .special = o->special,
        .window = o->seqlen ? o->seqlen : setup_context(&run->model.config),
        .window_given = o->seqlen != 0,
        .window_option = "--seqlen",
        .max_windows = from->windows,
        .held = from->held,
        .held_length = held_length(run),
        .sample = true,
        .stratified = o->select == LLMQ_SELECT_STRATIFIED,
        .seed = o->seed + index,
        .seed_given = o->seed_given,
        .field = o->calib_field,
        .field_option = "--calib-field",
    };
}

/* The fewest that a number which nobody gave comes to; the tokens that gradients of all want. */
enum { USUAL_WINDOWS = 128, CURVATURE_TOKENS = 131072 };

int64_t calibration_samples(const struct run *run) {
    const llmq_quantize_options *o = run->options;
    if (o->samples > 0)
        return o->samples;
    const int64_t window = max_i64(1, cut_of(run, &(struct part){.windows = 0}, 0).window);
    const bool all = o->curvature == LLMQ_CURVATURE_ON && o->curvature_tokens == 0;
    return all ? max_i64(USUAL_WINDOWS, ceil_div(CURVATURE_TOKENS, window)) : USUAL_WINDOWS;
}

static void say_of_windows(const struct run *run, const struct part *from, const struct corpus *c) {
    const int64_t count = c->count - c->held;
    if (count < from->windows && (run->options->samples > 0 || count < USUAL_WINDOWS))
        log_message(run->ctx, LLMQ_LOG_WARNING,
                    "%s gives %" PRId64 " windows; %" PRId64 " were asked for", from->path, count,
                    from->windows);
    else if (c->windows_beyond > 0)
        log_message(run->ctx, LLMQ_LOG_WARNING,
                    "the first %" PRId64 " of %" PRId64
                    " windows of %s are used: give --samples to choose how many",
                    c->count, c->count + c->windows_beyond, from->path);
}

/* Memory that the run takes with as many windows as are asked for; 0: no limit asks, or there is no
 * such plan, which shows later. */
static uint64_t memory_foreseen(const struct run *run) {
    const struct part all = {NULL, calibration_samples(run), held_windows(run)};
    const struct corpus_options cut = cut_of(run, &all, 0);
    const int64_t count = all.windows + all.held;
    int64_t *offsets = run->options->max_mem ? calloc((size_t)count + 1, sizeof *offsets) : NULL;
    struct plan plan = {0};
    llmq_error unsaid = {0};
    for (int64_t i = 0; offsets && i < count; i++)
        offsets[i + 1] = offsets[i] + (i < all.windows ? cut.window : cut.held_length);
    const struct calib_tokens tokens = {NULL, offsets, count, all.held};
    if (!offsets || plan_create(&run->model, run->options, &tokens, &plan, &unsaid) != LLMQ_OK)
        plan.ram_bytes = 0;
    const uint64_t bytes = plan.ram_bytes;
    plan_free(&plan);
    free(offsets);
    return bytes;
}

/* The windows of one file, behind those of `to`. */
static enum llmq_status load_file(const struct run *run, const struct part *from, size_t index,
                                  struct corpus *to, llmq_error *err) {
    struct corpus_options cut = cut_of(run, from, index);
    const struct reading limits = {run->options->max_mem, memory_foreseen(run)};
    struct corpus_file file = {0};
    struct corpus corpus = {0};
    enum llmq_status status = LLMQ_OK;
    if (to != &run->corpus) /* more text: the plan counts with windows as long as those before */
        cut.longest = run->corpus.max_len;
    LLMQ_TRY(corpus_file_open(from->path, &limits, &file, err));
    LLMQ_TRY(setup_corpus(run->ctx, &run->model, &file, &cut, &corpus, err));
    say_of_windows(run, from, &corpus);
    status = corpus_join(to, &corpus, err);
cleanup:
    corpus_free(&corpus);
    corpus_file_free(&file);
    (void)memory_resident(); /* what reading took goes back to the system */
    return status;
}

static enum llmq_status load_bundled(const struct run *run, int64_t windows, struct corpus *to,
                                     llmq_error *err) {
    const char *path = setup_bundled_text(DATA_CALIBRATION, err);
    if (!path)
        return LLMQ_E_NOT_FOUND;
    log_message(run->ctx, LLMQ_LOG_WARNING,
                "calibrating on the bundled English text; --calib FILE with text like what the "
                "model will see gives a better result");
    char *copy = strdup(path);
    const struct part bundled = {copy, windows, held_windows(run)};
    const enum llmq_status status =
        copy ? load_file(run, &bundled, 0, to, err) : error_memory(err, "a path");
    free(copy);
    return status;
}

/* The files and their shares of `total`; the caller frees the paths, also after an error. */
static enum llmq_status share_out(const struct run *run, int64_t total, struct part *parts,
                                  size_t count, llmq_error *err) {
    const llmq_quantize_options *o = run->options;
    enum llmq_status status = LLMQ_OK;
    double *weights = calloc(count, sizeof *weights);
    int64_t *shares = calloc(count, sizeof *shares);
    if (!weights || !shares)
        LLMQ_TRY(error_memory(err, "the calibration's files"));
    for (size_t i = 0; i < count; i++)
        LLMQ_TRY(calibration_part(calibration_given(o, i), &parts[i].path, &weights[i], err));
    if (total < (int64_t)count) {
        status = error_set(err, LLMQ_E_USAGE, "--samples %" PRId64 ": fewer than the %zu files",
                           total, count);
        goto cleanup;
    }
    calibration_share(total, weights, count, shares);
    for (size_t i = 0; i < count; i++)
        parts[i].windows = shares[i];
    calibration_share(held_windows(run), weights, count, shares);
    for (size_t i = 0; i < count; i++)
        parts[i].held = shares[i];
cleanup:
    free(weights);
    free(shares);
    return status;
}

static enum llmq_status load_files(const struct run *run, int64_t windows, struct corpus *to,
                                   llmq_error *err) {
    const size_t count = calibration_count(run->options);
    enum llmq_status status = LLMQ_OK;
    struct part *parts = calloc(count, sizeof *parts);
    if (!parts)
        return error_memory(err, "the calibration's files");
    LLMQ_TRY(share_out(run, windows, parts, count, err));
    for (size_t i = 0; i < count; i++)
        LLMQ_TRY(load_file(run, &parts[i], i, to, err));
cleanup:
    for (size_t i = 0; i < count; i++)
        free(parts[i].path);
    free(parts);
    return status;
}

enum llmq_status calibration_read(const struct run *run, int64_t windows, struct corpus *to,
                                  llmq_error *err) {
    const enum llmq_status status = calibration_count(run->options)
                                        ? load_files(run, windows, to, err)
                                        : load_bundled(run, windows, to, err);
    if (status == LLMQ_OK && to->held < held_windows(run)) /* of every file its share, or nothing */
        corpus_drop_held(to);
    return status;
}

enum llmq_status calibration_load(struct run *run, llmq_error *err) {
    const enum llmq_status status =
        calibration_read(run, calibration_samples(run), &run->corpus, err);
    if (status != LLMQ_OK)
        return status;
    run->calibrated = true;
    const struct corpus *c = &run->corpus;
    run->tokens = (struct calib_tokens){c->ids, c->offsets, c->count, c->held};
    return LLMQ_OK;
}

/* --- recorded --------------------------------------------------------------------------------- */

static enum llmq_status add_text(const char *path, struct json *texts, llmq_error *err) {
    struct file_stamp stamp = {0};
    char sum[SHA256_TEXT];
    struct json *o = json_new_object();
    enum llmq_status status = file_hash(path, &stamp, sum, err);
    json_add_string(o, "name", path_base(path));
    json_add_int64(o, "bytes", (int64_t)stamp.size);
    json_add_string(o, "sha256", sum);
    json_add(texts, NULL, o);
    return status;
}

enum llmq_status calibration_texts(const struct run *run, struct json **out, llmq_error *err) {
    const size_t count = calibration_count(run->options);
    enum llmq_status status = LLMQ_OK;
    char *path = NULL;
    double weight = 1;
    struct json *texts = *out = json_new_array();
    for (size_t i = 0; run->calibrated && i < count; i++) {
        LLMQ_TRY(calibration_part(calibration_given(run->options, i), &path, &weight, err));
        LLMQ_TRY(add_text(path, texts, err));
        free(path);
        path = NULL;
    }
    if (run->calibrated && count == 0) {
        const char *bundled = setup_bundled_text(DATA_CALIBRATION, err);
        LLMQ_TRY(bundled ? add_text(bundled, texts, err) : LLMQ_E_NOT_FOUND);
    }
cleanup:
    free(path);
    if (status != LLMQ_OK)
        json_free(out);
    return status;
}

/* --- shown ------------------------------------------------------------------------------------ */

/* Whole characters only: windows are cut between tokens, which may be parts of one. */
static void append_characters(struct strbuf *out, const struct strbuf *bytes) {
    for (size_t at = 0; at < bytes->len;) {
        const size_t len = utf8_sequence((const unsigned char *)bytes->data + at, bytes->len - at);
        if (len == 0 || bytes->data[at] == '\0')
            strbuf_puts(out, "\xef\xbf\xbd"); /* U+FFFD */
        else
            strbuf_append(out, bytes->data + at, len);
        at += len ? len : 1;
    }
}

static enum llmq_status window_text(const struct tokenizer *tok, const struct corpus *c,
                                    int64_t window, llmq_window *out, llmq_error *err) {
    struct strbuf bytes = {0}, text = {0};
    for (int64_t i = c->offsets[window]; i < c->offsets[window + 1]; i++)
        tokenizer_decode(tok, c->ids[i], &bytes);
    out->tokens = c->offsets[window + 1] - c->offsets[window];
    const bool whole = strbuf_ok(&bytes);
    append_characters(&text, &bytes);
    strbuf_free(&bytes);
    out->text = strbuf_take(&text);
    return out->text && whole ? LLMQ_OK : error_memory(err, "the text of a window");
}

static enum llmq_status show_windows(struct run *run, int64_t count, llmq_windows *out,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct tokenizer *tok = NULL;
    const int64_t total = run->corpus.count - run->corpus.held;
    const int64_t shown = count < total ? count : total;
    LLMQ_TRY(setup_tokenizer(run->model.dir, &tok, err));
    out->windows = calloc((size_t)shown, sizeof *out->windows);
    if (!out->windows)
        LLMQ_TRY(error_memory(err, "windows"));
    out->total = total;
    for (; out->count < shown; out->count++)
        LLMQ_TRY(window_text(tok, &run->corpus, out->count, &out->windows[out->count], err));
cleanup:
    tokenizer_free(&tok);
    return status;
}

static enum llmq_status list_windows(const llmq_quantize_options *options, int64_t count,
                                     const llmq_context *ctx, llmq_windows *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct run run = {.options = options, .ctx = ctx};
    char *dir = NULL;
    if (options->method == LLMQ_METHOD_RTN && calibration_count(options) == 0)
        return error_set(err, LLMQ_E_USAGE, "rtn reads no text without --calib");
    LLMQ_TRY(llmq_model_resolve(options->model, &dir, err));
    LLMQ_TRY(model_open_as(dir, options->family, &run.model, err));
    LLMQ_TRY(calibration_load(&run, err));
    LLMQ_TRY(show_windows(&run, count, out, err));
cleanup:
    corpus_free(&run.corpus);
    model_close(&run.model);
    free(dir);
    if (status != LLMQ_OK)
        llmq_windows_free(out);
    return status;
}

enum llmq_status llmq_calibration_windows(const llmq_quantize_options *given, int64_t count,
                                          const llmq_context *lent, llmq_windows *out,
                                          llmq_error *err) {
    llmq_quantize_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *out = (llmq_windows){0};
    llmq_quantize_options_init(&options, LLMQ_METHOD_GPTQ);
    LLMQ_TRY(SIZED_READ(llmq_quantize_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = list_windows(&options, count, &ctx, out, err);
cleanup:
    return status;
}

void llmq_windows_free(llmq_windows *windows) {
    for (int64_t i = 0; windows->windows && i < windows->count; i++)
        free(windows->windows[i].text);
    free(windows->windows);
    *windows = (llmq_windows){0};
}

char *llmq_windows_json(const llmq_windows *windows) {
    struct json *o = json_new_object(), *array = json_new_array();
    for (int64_t i = 0; i < windows->count; i++) {
        struct json *window = json_new_object();
        json_add_int64(window, "tokens", windows->windows[i].tokens);
        json_add_string(window, "text", windows->windows[i].text);
        json_add(array, NULL, window);
    }
    json_add_int64(o, "schema", 1);
    json_add_int64(o, "total", windows->total);
    json_add(o, "windows", array);
    return json_print_and_free(o);
}
