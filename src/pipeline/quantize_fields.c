/* SPDX-License-Identifier: Apache-2.0 */
/* See quantize_fields.h. */
#include "pipeline/quantize_fields.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#include "pipeline/plan.h"
#include "setup/setup.h"

static const char *const methods[] = {"rtn", "gptq", "awq", NULL};
static const char *const scales[] = {"dual-exact", "f16", NULL};
static const char *const act_orders[] = {"none", "static", "group-aware", NULL};
static const char *const searches[] = {"minmax",     "plain",   "weighted",
                                       "percentile", "entropy", NULL};
static const char *const selects[] = {"random", "stratified", NULL};
static const char *const specials[] = {"none", "model", "bos", NULL};
static const char *const curvatures[] = {"off", "on", "auto", NULL};
static const char *const tunes[] = {"off", "auto", "scales", "norms", NULL};
static const char *const sources[] = {"refuse", "keep", "requantize", NULL};
static const char *const mtp_words[] = {"keep", "quantize", NULL};
static const char *const computes[] = {"f32", "bf16", NULL};

/* field, name, kind, effect, words */
#define FIELDS(ROW)                                                                                \
    ROW(method, "method", FIELD_WORD, EFFECT_RESULT, methods)                                      \
    ROW(model, "model", FIELD_TEXT, EFFECT_PLACE, NULL)                                            \
    ROW(family, "family", FIELD_TEXT, EFFECT_RESULT, NULL)                                         \
    ROW(source_quantized, "source-quantized", FIELD_WORD, EFFECT_RESULT, sources)                  \
    ROW(mtp, "mtp", FIELD_WORD, EFFECT_RESULT, mtp_words)                                          \
    ROW(out, "out", FIELD_TEXT, EFFECT_PLACE, NULL)                                                \
    ROW(format, "format", FIELD_TEXT, EFFECT_RESULT, NULL)                                         \
    ROW(bits, "bits", FIELD_INT, EFFECT_RESULT, NULL)                                              \
    ROW(group, "group", FIELD_INT64, EFFECT_RESULT, NULL)                                          \
    ROW(group_auto_fit, "group auto-fit", FIELD_BOOL, EFFECT_RESULT, NULL)                         \
    ROW(group_keep, "group keep", FIELD_BOOL, EFFECT_RESULT, NULL)                                 \
    ROW(sym, "sym", FIELD_BOOL, EFFECT_RESULT, NULL)                                               \
    ROW(recipe, "recipe", FIELD_RECIPE, EFFECT_RESULT, NULL)                                       \
    ROW(awq, "awq", FIELD_BOOL, EFFECT_RESULT, NULL)                                               \
    ROW(equalize, "equalize", FIELD_BOOL, EFFECT_RESULT, NULL)                                     \
    ROW(scales, "scales", FIELD_WORD, EFFECT_RESULT, scales)                                       \
    ROW(calib, "calib", FIELD_TEXT, EFFECT_PLACE, NULL)                                            \
    ROW(calib_more, "calib", FIELD_TEXTS, EFFECT_PLACE, NULL)                                      \
    ROW(calib_field, "calib-field", FIELD_TEXT, EFFECT_PLACE, NULL)                                \
    ROW(samples, "samples", FIELD_INT64, EFFECT_WINDOWS, NULL)                                     \
    ROW(seqlen, "seqlen", FIELD_INT64, EFFECT_WINDOWS, NULL)                                       \
    ROW(act_order, "act-order", FIELD_WORD, EFFECT_RESULT, act_orders)                             \
    ROW(search, "search", FIELD_WORD, EFFECT_RESULT, searches)                                     \
    ROW(percentile, "search percentile", FIELD_REAL, EFFECT_RESULT, NULL)                          \
    ROW(correct, "correct", FIELD_CORRECT, EFFECT_RESULT, NULL)                                    \
    ROW(descent, "descent", FIELD_PASSES, EFFECT_RESULT, NULL)                                     \
    ROW(rounds, "rounds", FIELD_PASSES, EFFECT_RESULT, NULL)                                       \
    ROW(curvature, "curvature", FIELD_WORD, EFFECT_RESULT, curvatures)                             \
    ROW(curvature_tokens, "curvature-tokens", FIELD_INT64, EFFECT_RESULT, NULL)                    \
    ROW(restarts, "restarts", FIELD_INT, EFFECT_RESULT, NULL)                                      \
    ROW(token_weights, "token-weights", FIELD_POWER, EFFECT_RESULT, NULL)                          \
    ROW(damp, "damp", FIELD_DAMP, EFFECT_RESULT, NULL)                                             \
    ROW(tune, "tune", FIELD_WORD, EFFECT_RESULT, tunes)                                            \
    ROW(tune_windows, "tune-windows", FIELD_INT64, EFFECT_RESULT, NULL)                            \
    ROW(tune_rate, "tune-rate", FIELD_REAL, EFFECT_RESULT, NULL)                                   \
    ROW(expert_tokens, "expert-tokens", FIELD_INT64, EFFECT_RESULT, NULL)                          \
    ROW(special, "special", FIELD_WORD, EFFECT_WINDOWS, specials)                                  \
    ROW(select, "select", FIELD_WORD, EFFECT_WINDOWS, selects)                                     \
    ROW(seed, "seed", FIELD_UINT64, EFFECT_WINDOWS, NULL)                                          \
    ROW(seed_given, "seed given", FIELD_BOOL, EFFECT_MANNER, NULL)                                 \
    ROW(compute, "compute", FIELD_WORD, EFFECT_RESULT, computes)                                   \
    ROW(max_mem, "max-mem", FIELD_UINT64, EFFECT_MANNER, NULL)                                     \
    ROW(shard_limit, "shard-size", FIELD_UINT64, EFFECT_RESULT, NULL)                              \
    ROW(resume, "resume", FIELD_BOOL, EFFECT_MANNER, NULL)                                         \
    ROW(force, "force", FIELD_BOOL, EFFECT_MANNER, NULL)                                           \
    ROW(dry_run, "dry-run", FIELD_BOOL, EFFECT_MANNER, NULL)                                       \
    ROW(ranks, "ranks", FIELD_RANKS, EFFECT_MANNER, NULL)

#define AS_TABLE(field, name, kind, effect, words)                                                 \
    {name,                                                                                         \
     offsetof(llmq_quantize_options, field),                                                       \
     sizeof((llmq_quantize_options *)0)->field,                                                    \
     kind,                                                                                         \
     effect,                                                                                       \
     words},
#define AS_VALUE(field, name, kind, effect, words) o->field,

static const struct quantize_field fields[] = {FIELDS(AS_TABLE)};
enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

const struct quantize_field *quantize_fields(size_t *count) {
    *count = FIELD_COUNT;
    return fields;
}

/* A copy that names every field: one that has no row above is missing here, which is an error of
 * the compiler; one in another place has another type. */
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wmissing-field-initializers"
static llmq_quantize_options copy_fields(const llmq_quantize_options *o) {
    const llmq_quantize_options copy = {o->size, FIELDS(AS_VALUE)};
    return copy;
}

static llmq_correct copy_correct(const llmq_correct *c) {
    const llmq_correct copy = {c->mode, c->alpha, c->beta};
    return copy;
}
#pragma GCC diagnostic pop

/* --- JSON ------------------------------------------------------------------------------------- */

static void add_correct(struct json *object, const char *name, const llmq_correct *correct) {
    static const char *const words[] = {[LLMQ_CORRECT_OFF] = "off", [LLMQ_CORRECT_AUTO] = "auto"};
    const llmq_correct c = copy_correct(correct);
    if (c.mode != LLMQ_CORRECT_FIXED) {
        json_add_string(object, name, words[c.mode]);
        return;
    }
    struct json *strengths = json_new_array();
    json_add_double(strengths, NULL, c.alpha);
    json_add_double(strengths, NULL, c.beta);
    json_add(object, name, strengths);
}

static void add_texts(struct json *object, const char *name, const char *const *texts) {
    struct json *array = json_new_array();
    for (; texts && *texts; texts++)
        json_add_string(array, NULL, *texts);
    json_add(object, name, array);
}

static void add_real(struct json *object, const char *name, bool settled, double value) {
    if (settled)
        json_add_double(object, name, value);
    else
        json_add_string(object, name, "auto");
}

static void add_passes(struct json *object, const char *name, int passes) {
    if (passes != LLMQ_BY_TOKENS)
        json_add_int64(object, name, passes);
    else
        json_add_string(object, name, "auto");
}

static void add_recipe(struct json *object, const char *name, const llmq_recipe *recipe) {
    if (recipe)
        json_add(object, name, recipe_rules_json(recipe));
    else
        json_add_null(object, name);
}

/* Larger numbers than a double counts are text. */
static void add_uint64(struct json *object, const char *name, uint64_t value) {
    char text[24];
    if (value <= UINT64_C(1) << 53) {
        json_add_int64(object, name, (int64_t)value);
        return;
    }
    snprintf(text, sizeof text, "%" PRIu64, value);
    json_add_string(object, name, text);
}

static void add_field(struct json *object, const struct quantize_field *f,
                      const llmq_quantize_options *o) {
    const void *value = (const char *)o + f->offset;
    switch (f->kind) {
    case FIELD_INT:
        json_add_int64(object, f->name, *(const int *)value);
        break;
    case FIELD_INT64:
        json_add_int64(object, f->name, *(const int64_t *)value);
        break;
    case FIELD_UINT64:
        add_uint64(object, f->name, *(const uint64_t *)value);
        break;
    case FIELD_BOOL:
        json_add_bool(object, f->name, *(const bool *)value);
        break;
    case FIELD_REAL:
        add_real(object, f->name, true, *(const double *)value);
        break;
    case FIELD_DAMP:
        add_real(object, f->name, *(const double *)value > 0, *(const double *)value);
        break;
    case FIELD_POWER:
        add_real(object, f->name, *(const double *)value >= 0, *(const double *)value);
        break;
    case FIELD_PASSES:
        add_passes(object, f->name, *(const int *)value);
        break;
    case FIELD_WORD:
        json_add_string(object, f->name, f->words[*(const unsigned *)value]);
        break;
    case FIELD_CORRECT:
        add_correct(object, f->name, value);
        break;
    case FIELD_RECIPE:
        add_recipe(object, f->name, *(const llmq_recipe *const *)value);
        break;
    case FIELD_TEXTS:
        add_texts(object, f->name, *(const char *const *const *)value);
        break;
    case FIELD_RANKS:
        break;
    case FIELD_TEXT:
    default:
        json_add_string(object, f->name, *(const char *const *)value);
    }
}

struct json *quantize_fields_json(const llmq_quantize_options *options, const char *format,
                                  int64_t context, bool calibrated) {
    llmq_quantize_options o = copy_fields(options);
    struct json *object = json_new_object();
    o.format = format;
    o.awq = plan_folds(options);
    o.seqlen = o.seqlen ? o.seqlen : context;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (fields[i].effect == EFFECT_RESULT || (fields[i].effect == EFFECT_WINDOWS && calibrated))
            add_field(object, &fields[i], &o);
    return object;
}
