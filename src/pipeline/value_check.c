/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over tensors as they are stored: see value_check.h. */
#include "pipeline/value_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "tensor/dtype.h"

/* From here on float16 rounds to infinity. */
#define HALF_OVERFLOW 65520.0f

bool value_half_result(const struct plan *plan, const struct json *config) {
    if (!plan->layout)
        return plan->plain_dtype == DTYPE_F16;
    if (plan->gguf) /* says of every tensor what type it has, and is not run in one type */
        return false;
    if (plan->layout->model_dtype)
        return strcmp(plan->layout->model_dtype, "float16") == 0;
    return config_names_half(config);
}

/* LLMQ_E_NUMERIC naming file, tensor, element and value. */
static enum llmq_status not_finite(const struct st_set *set, const struct st_tensor *t,
                                   const struct value_at *at, llmq_error *err) {
    char place[VALUE_PLACE_MAX];
    (void)error_set(err, LLMQ_E_NUMERIC, "%s: tensor '%s': %s is %g", st_shard_path(set, t->shard),
                    t->name, value_place(t, at->index, place), (double)at->value);
    error_hint(err, "the checkpoint is damaged: get it again, or repair it where it was made");
    return LLMQ_E_NUMERIC;
}

static void warn_of_half(const struct st_tensor *t, const struct value_at *at,
                         const llmq_context *ctx) {
    char place[VALUE_PLACE_MAX];
    log_message(ctx, LLMQ_LOG_WARNING,
                "%s: %s is %g, beyond float16 (at most 65504), which the result's config.json "
                "names: infinite where the model runs in that",
                t->name, value_place(t, at->index, place), (double)at->value);
}

/* Decoded tensors that are kept are stored as bf16, which rounds the largest numbers to infinity.
 */
static enum llmq_status refuse_bf16(const struct st_set *set, const struct st_tensor *t,
                                    const struct value_at *at, llmq_error *err) {
    char place[VALUE_PLACE_MAX];
    return error_set(err, LLMQ_E_NUMERIC, "%s: tensor '%s': %s is %g, beyond bf16",
                     st_shard_path(set, t->shard), t->name, value_place(t, at->index, place),
                     (double)at->value);
}

/* What the checks of one plan share. */
struct check {
    const struct plan *plan;
    const struct st_set *from;
    bool half;
    const llmq_context *ctx;
};

static enum llmq_status check_tensor(const struct check *c, const char *name, llmq_error *err) {
    const struct st_tensor *t = st_find(c->from, name);
    struct value_at at = {0};
    if (!t || !dtype_is_float(t->dtype))
        return LLMQ_OK;
    enum llmq_status status = value_peak(c->from, t, c->ctx, &at, err);
    if (status != LLMQ_OK)
        return status;
    if (!isfinite(at.value))
        return not_finite(c->from, t, &at, err);
    if (!c->plan->layout && plan_kept_dtype(c->plan, t) == DTYPE_F16 &&
        fabsf(at.value) >= HALF_OVERFLOW) {
        char place[VALUE_PLACE_MAX];
        (void)error_set(err, LLMQ_E_NUMERIC,
                        "%s: tensor '%s': %s is %g, beyond the range of float16",
                        st_shard_path(c->from, t->shard), t->name, value_place(t, at.index, place),
                        (double)at.value);
        error_hint(err, "choose --format bf16 or f32");
        return LLMQ_E_NUMERIC;
    }
    if (t->coded && st_copy_dtype(t) == DTYPE_BF16 && !isfinite(bf16_to_f32(f32_to_bf16(at.value))))
        return refuse_bf16(c->from, t, &at, err);
    if (c->half && fabsf(at.value) > HALF_MOST)
        warn_of_half(t, &at, c->ctx);
    return LLMQ_OK;
}

static enum llmq_status check_names(const struct check *c, char *const *names, size_t count,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < count; i++)
        status = check_tensor(c, names[i], err);
    return status;
}

static enum llmq_status check_linears(const struct check *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; status == LLMQ_OK && i < c->plan->module_count; i++) {
        char name[MODEL_NAME_MAX];
        (void)snprintf(name, sizeof name, "%s.weight", c->plan->modules[i].name);
        status = check_tensor(c, name, err);
    }
    return status;
}

enum llmq_status value_check(const struct plan *plan, const struct st_set *from, bool linears,
                             bool half, const llmq_context *ctx, llmq_error *err) {
    const struct check c = {plan, from, half, ctx};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_names(&c, plan->kept, plan->kept_count, err));
    LLMQ_TRY(check_names(&c, plan->folded, plan->folded_count, err));
    if (linears)
        LLMQ_TRY(check_linears(&c, err));
cleanup:
    return status;
}

enum llmq_status value_check_tensor(const struct st_set *set, const struct plan_module *module,
                                    const llmq_context *ctx, llmq_error *err) {
    char name[MODEL_NAME_MAX];
    struct value_at at = {0};
    (void)snprintf(name, sizeof name, "%s.weight", module->name);
    const struct st_tensor *t = st_find(set, name);
    if (!t || value_peak(set, t, ctx, &at, NULL) != LLMQ_OK || isfinite(at.value))
        return LLMQ_E_NUMERIC;
    return not_finite(set, t, &at, err);
}
