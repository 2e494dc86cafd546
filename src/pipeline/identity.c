/* SPDX-License-Identifier: Apache-2.0 */
/* See identity.h. */
#include "pipeline/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/hash.h"
#include "base/strbuf.h"
#include "llmq/host.h"
#include "llmq/matmul.h"
#include "llmq/model.h"
#include "llmq/version.h"
#include "pipeline/quantize_fields.h"
#include "pipeline/run.h"
#include "setup/setup.h"

/* --- making ----------------------------------------------------------------------------------- */

static void add_hash(struct json *object, const char *key, uint64_t hash) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    json_add_string(object, key, text);
}

struct json *identity_options(const struct run *run) {
    return quantize_fields_json(run->options, run->plan.layout->name,
                                setup_context(&run->model.config), run->calibrated);
}

static void add_calibration(struct json *object, const struct run *run) {
    const struct corpus *c = &run->corpus;
    if (!run->calibrated) {
        json_add_string(object, "calibration", NULL);
        return;
    }
    struct json *calibration = json_new_object();
    uint64_t hash = hash_array(HASH_INIT, c->ids, (size_t)c->tokens_used * sizeof *c->ids);
    hash = hash_array(hash, c->offsets, (size_t)(c->count + 1) * sizeof *c->offsets);
    const int64_t windows = c->count - c->held, tokens = c->offsets[windows];
    json_add_int64(calibration, "windows", windows);
    json_add_int64(calibration, "tokens", tokens);
    json_add_int64(calibration, "held_windows", c->held);
    json_add_int64(calibration, "held_tokens", c->tokens_used - tokens);
    add_hash(calibration, "hash", hash);
    json_add(object, "calibration", calibration);
}

static uint64_t hash_text(uint64_t hash, const char *text) {
    return hash_bytes(hash, text, strlen(text) + 1);
}

/* Tensors of the result as planned, and how modules are grouped. */
static uint64_t hash_plan(const struct plan *p) {
    uint64_t hash = hash_text(HASH_INIT, p->layout->name);
    for (size_t i = 0; i < p->spec_count; i++) {
        const struct st_spec *s = &p->specs[i];
        hash = hash_word(hash_text(hash, s->name), (uint64_t)s->dtype);
        hash = hash_bytes(hash, s->shape, (size_t)s->rank * sizeof s->shape[0]);
    }
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct quant_shape *s = &p->modules[i].shape;
        hash = hash_word(hash_text(hash, p->modules[i].name), (uint64_t)s->bits);
        hash = hash_word(hash_word(hash, (uint64_t)s->group), s->sym);
    }
    for (size_t i = 0; i < p->folded_count; i++)
        hash = hash_text(hash, p->folded[i]);
    return hash;
}

/* Times as text: in numbers of JSON nanoseconds would be rounded. */
static void add_weights(struct json *object, const struct run *run) {
    struct json *weights = json_new_object();
    char text[128];
    for (int i = 0; i < st_shard_count(run->model.tensors); i++) {
        const struct file_stamp *s = &run->source.shards[i];
        snprintf(text, sizeof text,
                 "%" PRIu64 " bytes, modified %" PRId64 " ns, changed %" PRId64 " ns", s->size,
                 s->modified, s->changed);
        json_add_string(weights, path_base(st_shard_path(run->model.tensors, i)), text);
    }
    json_add(object, "weights", weights);
}

static void add_files(struct json *object, const struct source *source) {
    struct json *files = json_new_object();
    json_add_string(files, source->config.name, source->config.hash);
    for (size_t i = 0; i < source->companions.count; i++)
        json_add_string(files, source->companions.files[i].name, source->companions.files[i].hash);
    json_add(object, "files", files);
}

struct json *identity_make(const struct run *run) {
    struct json *o = json_new_object();
    json_add_string(o, "llmq", llmq_version());
    add_hash(o, "build", llmq_build_id());
    json_add_string(o, "kernels", llmq_cpu_name());
    json_add_string(o, "blas", llmq_blas_name());
    json_add(o, "options", identity_options(run));
    add_calibration(o, run);
    add_hash(o, "result", hash_plan(&run->plan));
    add_weights(o, run);
    add_files(o, &run->source);
    return o;
}

static void add_shard(struct json *weights, const char *name, uint64_t bytes, const char *key,
                      const char *sum) {
    struct json *o = json_new_object();
    json_add_int64(o, "bytes", (int64_t)bytes);
    json_add_string(o, key, sum);
    json_add(weights, name, o);
}

struct json *identity_source(const struct source *source, const struct model *m) {
    struct json *o = json_new_object(), *weights = json_new_object();
    for (int i = 0; i < st_shard_count(m->tensors); i++)
        add_shard(weights, path_base(st_shard_path(m->tensors, i)), source->shards[i].size,
                  "header_sha256", source->headers[i]);
    if (source->index.name)
        add_shard(weights, source->index.name, source->index.stamp.size, "sha256",
                  source->index.hash);
    json_add(o, "weights", weights);
    add_files(o, source);
    return o;
}

struct json *identity_made_from(const struct run *run) {
    struct json *o = identity_source(&run->source, &run->model);
    add_calibration(o, run);
    add_hash(o, "result", hash_plan(&run->plan));
    return o;
}

/* --- comparing -------------------------------------------------------------------------------- */

/* The differences found, as one sentence. */
struct differences {
    struct strbuf text;
    int count;
};

enum { SHOWN = 6 };

/* Begin to tell of a difference; false when enough are told. */
static bool begin(struct differences *d) {
    if (d->count++ >= SHOWN)
        return false;
    strbuf_puts(&d->text, d->count > 1 ? "; " : "");
    return true;
}

/* Do two values print the same? Numbers do when they are the same. */
static bool same(const struct json *a, const struct json *b) {
    char *x = a ? json_print(a, false) : NULL, *y = b ? json_print(b, false) : NULL;
    bool equal = (!a && !b) || (x && y && strcmp(x, y) == 0);
    free(x);
    free(y);
    return equal;
}

/* A value as the user would write it. */
static void put_value(struct strbuf *b, const struct json *v) {
    char *text = json_string(v) ? NULL : v ? json_print(v, false) : NULL;
    strbuf_puts(b, json_string(v) ? json_string(v) : text ? text : "absent");
    free(text);
}

static void put_change(struct differences *d, const char *what, const struct json *before,
                       const struct json *now) {
    if (!begin(d))
        return;
    strbuf_printf(&d->text, "%s was ", what);
    put_value(&d->text, before);
    strbuf_puts(&d->text, ", is ");
    put_value(&d->text, now);
}

static const struct json *member(const struct json *root, const char *section, const char *key) {
    return json_get(json_get(root, section), key);
}

/* Options with an effect: those on the result, or those on the windows when these differ. */
static void compare_options(struct differences *d, const struct json *before,
                            const struct json *now, enum field_effect effect) {
    size_t count = 0;
    const struct quantize_field *fields = quantize_fields(&count);
    for (size_t i = 0; i < count; i++) {
        const struct json *a = member(before, "options", fields[i].name);
        const struct json *b = member(now, "options", fields[i].name);
        char what[64];
        if (fields[i].effect != effect || same(a, b))
            continue;
        snprintf(what, sizeof what, "%s%s", strcmp(fields[i].name, "method") == 0 ? "" : "--",
                 fields[i].name);
        put_change(d, what, a, b);
    }
}

static void compare_calibration(struct differences *d, const struct json *before,
                                const struct json *now) {
    if (same(json_get(before, "calibration"), json_get(now, "calibration")))
        return;
    if (begin(d))
        strbuf_puts(&d->text, "the calibration tokens differ");
    compare_options(d, before, now, EFFECT_WINDOWS);
}

/* `changed` says what another value means. */
static void compare_files(struct differences *d, const struct json *before, const struct json *now,
                          const char *section, const char *changed) {
    for (const struct json *a = json_first(json_get(before, section)); a; a = json_next(a)) {
        const struct json *b = member(now, section, json_key(a));
        if (!same(a, b) && begin(d))
            strbuf_printf(&d->text, "%s %s", json_key(a), b ? changed : "is gone");
    }
    for (const struct json *b = json_first(json_get(now, section)); b; b = json_next(b))
        if (!member(before, section, json_key(b)) && begin(d))
            strbuf_printf(&d->text, "%s is new", json_key(b));
}

static void compare_all(struct differences *d, const struct json *before, const struct json *now) {
    static const struct {
        const char *key, *what;
    } machine[] = {{"llmq", "llmq's version"},
                   {"build", "llmq's build"},
                   {"kernels", "the instruction set"},
                   {"blas", "the BLAS"}};
    compare_options(d, before, now, EFFECT_RESULT);
    compare_files(d, before, now, "files", "was changed");
    compare_files(d, before, now, "weights", "was changed, replaced or copied");
    compare_calibration(d, before, now);
    for (size_t i = 0; i < sizeof machine / sizeof machine[0]; i++)
        if (!same(json_get(before, machine[i].key), json_get(now, machine[i].key)))
            put_change(d, machine[i].what, json_get(before, machine[i].key),
                       json_get(now, machine[i].key));
    /* Of options and files, when they differ too. */
    if (d->count == 0 && !same(json_get(before, "result"), json_get(now, "result")) && begin(d))
        strbuf_puts(&d->text, "the result's tensors differ");
}

/* Finish: LLMQ_OK when nothing differs. `what` begins the message. */
static enum llmq_status conclude(struct differences *d, const char *what, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (d->count > SHOWN)
        strbuf_printf(&d->text, "; and %d more", d->count - SHOWN);
    if (!strbuf_ok(&d->text))
        status = error_memory(err, "the differences of two runs");
    else if (d->count > 0)
        status = error_set(err, LLMQ_E_INPUT, "%s%s", what, d->text.data);
    strbuf_free(&d->text);
    return status;
}

enum llmq_status identity_compare(const struct json *before, const struct json *now,
                                  llmq_error *err) {
    struct differences d = {0};
    enum llmq_status status = LLMQ_E_INPUT;
    if (json_type(before) != JSON_OBJECT || !json_get(before, "build")) {
        error_set(err, status, "the interrupted run was another version's of llmq");
    } else {
        compare_all(&d, before, now);
        status = conclude(&d, "the interrupted run was another one: ", err);
    }
    if (status == LLMQ_E_INPUT)
        error_hint(err, "repeat it with its options and inputs as they were, or start over with "
                        "--force");
    return status;
}

enum llmq_status identity_compare_result(const struct json *marker, const struct json *record,
                                         llmq_error *err) {
    const struct json *before = json_get(marker, "made_from"), *now = json_get(record, "made_from");
    struct differences d = {0};
    if (!same(json_get(marker, "command"), json_get(record, "command")))
        put_change(&d, "the command", json_get(marker, "command"), json_get(record, "command"));
    if (!same(json_get(marker, "llmq"), json_get(record, "llmq")))
        put_change(&d, "llmq's version", json_get(marker, "llmq"), json_get(record, "llmq"));
    compare_options(&d, marker, record, EFFECT_RESULT);
    compare_files(&d, before, now, "files", "was changed");
    compare_files(&d, before, now, "weights", "was changed");
    compare_calibration(&d, before, now);
    compare_options(&d, marker, record, EFFECT_WINDOWS);
    if (d.count == 0 && !same(json_get(before, "result"), json_get(now, "result")) && begin(&d))
        strbuf_puts(&d.text, "the result's tensors differ");
    return conclude(&d, "", err);
}
