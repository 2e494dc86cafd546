/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a study as JSON, and back: see llmq/sensitivity.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "sensitivity/study.h"

static const char *const estimate_names[] = {[LLMQ_ESTIMATE_CURVATURE] = "curvature",
                                             [LLMQ_ESTIMATE_HESSIAN] = "hessian",
                                             [LLMQ_ESTIMATE_BLOCK] = "block",
                                             [LLMQ_ESTIMATE_KL] = "kl"};
enum { ESTIMATES = sizeof estimate_names / sizeof estimate_names[0] };

const char *llmq_estimate_name(enum llmq_estimate estimate) {
    return estimate_names[estimate];
}

/* --- writing ---------------------------------------------------------------------------------- */

static struct json *setting_json(const llmq_setting *s) {
    struct json *o = json_new_object();
    json_add_int64(o, "bits", s->bits);
    json_add_int64(o, "group", s->group);
    json_add_int64(o, "bytes", (int64_t)s->bytes);
    json_add_double(o, "cost", s->cost);
    return o;
}

static struct json *part_json(const llmq_part_settings *p, const int *chosen) {
    struct json *o = json_new_object(), *modules = json_new_array(), *settings = json_new_array();
    for (size_t i = 0; i < p->module_count; i++)
        json_add_string(modules, NULL, p->modules[i]);
    for (size_t i = 0; i < p->setting_count; i++)
        json_add(settings, NULL, setting_json(&p->settings[i]));
    json_add(o, "modules", modules);
    json_add_int64(o, "weights", p->weights);
    json_add(o, "settings", settings);
    if (chosen)
        json_add_int64(o, "chosen", *chosen);
    return o;
}

static struct json *parsed(const char *text) {
    struct json *v = NULL;
    return json_parse(text, strlen(text), "rules", &v, NULL) == LLMQ_OK ? v : NULL;
}

static struct json *allocation_json(const llmq_allocation *a) {
    struct json *o = json_new_object();
    json_add_double(o, "bits_per_weight", a->bits);
    json_add_int64(o, "bytes", (int64_t)a->bytes);
    json_add_double(o, "cost", a->cost);
    json_add(o, "recipe", parsed(a->recipe));
    return o;
}

char *llmq_sensitivity_json(const llmq_sensitivity *s, const llmq_allocation *a) {
    struct json *o = json_new_object(), *parts = json_new_array();
    for (size_t i = 0; i < s->part_count; i++)
        json_add(parts, NULL, part_json(&s->parts[i], a ? &a->chosen[i] : NULL));
    json_add_int64(o, "schema", 1);
    json_add_string(o, "model", s->model);
    json_add_string(o, "format", s->format);
    json_add_string(o, "method", s->method == LLMQ_METHOD_GPTQ ? "gptq" : "rtn");
    json_add_string(o, "estimate", llmq_estimate_name(s->estimate));
    json_add_bool(o, "sym", s->sym);
    json_add_int64(o, "weights", s->weights);
    json_add_int64(o, "fixed_bytes", (int64_t)s->fixed_bytes);
    json_add_int64(o, "windows", s->windows);
    json_add_int64(o, "tokens", s->tokens);
    json_add_int64(o, "calib_windows", s->calib_windows);
    json_add_double(o, "passes", s->passes);
    json_add_int64(o, "plan_ram_bytes", (int64_t)s->plan_ram_bytes);
    json_add_int64(o, "spill_bytes", (int64_t)s->spill_bytes);
    json_add_double(o, "seconds", s->seconds);
    json_add_int64(o, "peak_rss_bytes", (int64_t)s->peak_rss_bytes);
    if (s->rules)
        json_add(o, "rules", parsed(s->rules));
    json_add(o, "parts", parts);
    if (a)
        json_add(o, "allocation", allocation_json(a));
    return json_print_and_free(o);
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum llmq_status bad_key(const char *key, llmq_error *err) {
    return error_set(err, LLMQ_E_INPUT,
                     "%s: expected what llmq sensitivity --json prints, found no such value", key);
}

static enum llmq_status get_int64(const struct json *o, const char *key, int64_t *out,
                                  llmq_error *err) {
    return json_as_int64(json_get(o, key), out) && *out >= -1 ? LLMQ_OK : bad_key(key, err);
}

static enum llmq_status get_text(const struct json *o, const char *key, char **out,
                                 llmq_error *err) {
    const char *text = json_string(json_get(o, key));
    if (!text)
        return bad_key(key, err);
    *out = strdup(text);
    return *out ? LLMQ_OK : error_memory(err, "the table of modules");
}

static enum llmq_status read_setting(const struct json *o, llmq_setting *out, llmq_error *err) {
    int64_t bits = 0, bytes = 0;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(get_int64(o, "bits", &bits, err));
    LLMQ_TRY(get_int64(o, "group", &out->group, err));
    LLMQ_TRY(get_int64(o, "bytes", &bytes, err));
    if (bits < 2 || bits > 8 || bytes < 0 || !json_as_double(json_get(o, "cost"), &out->cost))
        LLMQ_TRY(bad_key("settings", err));
    out->bits = (int)bits;
    out->bytes = (uint64_t)bytes;
cleanup:
    return status;
}

static enum llmq_status read_part(const struct json *o, llmq_part_settings *out, llmq_error *err) {
    const struct json *modules = json_get(o, "modules"), *settings = json_get(o, "settings");
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(get_int64(o, "weights", &out->weights, err));
    if (json_count(modules) == 0 || json_count(settings) == 0 ||
        json_count(settings) > LLMQ_CANDIDATES_MOST)
        LLMQ_TRY(bad_key("parts", err));
    out->modules = calloc(json_count(modules), sizeof *out->modules);
    out->settings = calloc(json_count(settings), sizeof *out->settings);
    if (!out->modules || !out->settings)
        LLMQ_TRY(error_memory(err, "the table of modules"));
    for (const struct json *m = json_first(modules); m; m = json_next(m)) {
        const char *name = json_string(m);
        if (!name || !*name)
            LLMQ_TRY(bad_key("modules", err));
        out->modules[out->module_count] = strdup(name);
        if (!out->modules[out->module_count++])
            LLMQ_TRY(error_memory(err, "the table of modules"));
    }
    for (const struct json *v = json_first(settings); v; v = json_next(v))
        LLMQ_TRY(read_setting(v, &out->settings[out->setting_count++], err));
cleanup:
    return status;
}

static enum llmq_status read_words(const struct json *o, llmq_sensitivity *out, llmq_error *err) {
    const char *method = json_string(json_get(o, "method"));
    const char *estimate = json_string(json_get(o, "estimate"));
    const struct json *rules = json_get(o, "rules");
    enum llmq_status status = LLMQ_OK;
    int e = 0;
    LLMQ_TRY(get_text(o, "model", &out->model, err));
    LLMQ_TRY(get_text(o, "format", &out->format, err));
    while (estimate && e < ESTIMATES && strcmp(estimate, estimate_names[e]) != 0)
        e++;
    if (!estimate || e == ESTIMATES)
        LLMQ_TRY(bad_key("estimate", err));
    if (!method || !json_as_bool(json_get(o, "sym"), &out->sym))
        LLMQ_TRY(bad_key(method ? "sym" : "method", err));
    out->estimate = (enum llmq_estimate)e;
    out->method = strcmp(method, "rtn") == 0 ? LLMQ_METHOD_RTN : LLMQ_METHOD_GPTQ;
    out->rules = rules ? json_print(rules, true) : NULL;
cleanup:
    return status;
}

static enum llmq_status read_table(const struct json *o, llmq_sensitivity *out, llmq_error *err) {
    const struct json *parts = json_get(o, "parts");
    int64_t fixed = 0;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(read_words(o, out, err));
    LLMQ_TRY(get_int64(o, "fixed_bytes", &fixed, err));
    LLMQ_TRY(get_int64(o, "windows", &out->windows, err));
    LLMQ_TRY(get_int64(o, "tokens", &out->tokens, err));
    LLMQ_TRY(get_int64(o, "calib_windows", &out->calib_windows, err));
    if (json_type(parts) != JSON_ARRAY || json_count(parts) == 0 || fixed < 0)
        LLMQ_TRY(bad_key("parts", err));
    out->fixed_bytes = (uint64_t)fixed;
    out->parts = calloc(json_count(parts), sizeof *out->parts);
    if (!out->parts)
        LLMQ_TRY(error_memory(err, "the table of modules"));
    for (const struct json *p = json_first(parts); p; p = json_next(p)) {
        LLMQ_TRY(read_part(p, &out->parts[out->part_count++], err));
        out->weights += out->parts[out->part_count - 1].weights;
    }
cleanup:
    return status;
}

enum llmq_status llmq_sensitivity_read(const char *path, llmq_sensitivity *out, llmq_error *err) {
    struct json *root = NULL;
    *out = (llmq_sensitivity){0};
    enum llmq_status status = json_read(path, &root, err);
    if (status != LLMQ_OK)
        return status;
    status = read_table(root, out, err);
    json_free(&root);
    if (status == LLMQ_OK)
        return LLMQ_OK;
    llmq_sensitivity_free(out);
    return error_prefix(err, status, "%s", path);
}

void llmq_sensitivity_free(llmq_sensitivity *s) {
    for (size_t p = 0; s->parts && p < s->part_count; p++) {
        llmq_part_settings *part = &s->parts[p];
        for (size_t i = 0; part->modules && i < part->module_count; i++)
            free(part->modules[i]);
        free(part->modules);
        free(part->settings);
    }
    free(s->parts);
    free(s->model);
    free(s->format);
    free(s->rules);
    *s = (llmq_sensitivity){0};
}
