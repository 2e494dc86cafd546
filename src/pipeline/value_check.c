/* One pass over tensors as they are stored: see value_check.h.
 *
 * A tensor is read in slices. The largest magnitude of a slice says whether all is finite and
 * within range, at the speed of memory; only where it is larger than before is the element looked
 * for. */
#include "pipeline/value_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/hugemem.h"
#include "base/log.h"
#include "tensor/dtype.h"

#define SLICE_BYTES ((size_t)4 << 20)

/* From here on float16 rounds to infinity. */
#define HALF_OVERFLOW 65520.0f

/* --- the largest element of a tensor ---------------------------------------------------------- */

static bool exceeds(float a, float b) {
    if (!isfinite(a) || !isfinite(b))
        return isfinite(b) && !isfinite(a);
    return fabsf(a) > fabsf(b);
}

/* The slice has an element of magnitude `peak`, larger than *found: find it. */
static void locate(enum dtype type, const unsigned char *raw, size_t count, float peak,
                   uint64_t begin, struct value_at *found) {
    const size_t element = dtype_bits(type) / 8;
    for (size_t i = 0; i < count; i++) {
        float v;
        dtype_to_f32(type, raw + i * element, 1, &v);
        if (isfinite(peak) ? fabsf(v) >= peak : !isfinite(v)) {
            *found = (struct value_at){begin + i, v};
            return;
        }
    }
}

enum llmq_status value_peak(const struct st_set *set, const struct st_tensor *t,
                            const llmq_context *ctx, struct value_at *peak, llmq_error *err) {
    const size_t element = dtype_bits(t->dtype) / 8;
    enum llmq_status status = LLMQ_OK;
    unsigned char *raw = huge_malloc(SLICE_BYTES);
    *peak = (struct value_at){0};
    if (!raw)
        return error_memory(err, "a buffer");
    for (uint64_t at = 0; at < t->nbytes && isfinite(peak->value); at += SLICE_BYTES) {
        const size_t part = t->nbytes - at < SLICE_BYTES ? (size_t)(t->nbytes - at) : SLICE_BYTES;
        LLMQ_TRY(interrupt_check(ctx, err));
        LLMQ_TRY(st_read(set, t, at, part, raw, err));
        const float most = dtype_peak(t->dtype, raw, part / element);
        if (exceeds(most, peak->value))
            locate(t->dtype, raw, part / element, most, at / element, peak);
    }
cleanup:
    free(raw);
    return status;
}

const char *value_place(const struct st_tensor *t, uint64_t index, char text[VALUE_PLACE_MAX]) {
    const uint64_t columns = t->rank > 1 ? t->shape[t->rank - 1] : 0;
    if (columns > 0)
        (void)snprintf(text, VALUE_PLACE_MAX, "row %" PRIu64 ", column %" PRIu64, index / columns,
                       index % columns);
    else
        (void)snprintf(text, VALUE_PLACE_MAX, "element %" PRIu64, index);
    return text;
}

/* --- what a result may hold ------------------------------------------------------------------- */

bool config_names_half(const struct json *config) {
    const char *dtype = json_string(json_get(config, "dtype"));
    if (!dtype)
        dtype = json_string(json_get(config, "torch_dtype"));
    return dtype && (strcmp(dtype, "float16") == 0 || strcmp(dtype, "torch.float16") == 0 ||
                     strcmp(dtype, "half") == 0);
}

bool value_half_result(const struct plan *plan, const struct json *config) {
    if (!plan->layout)
        return plan->plain_dtype == DTYPE_F16;
    if (plan->gguf) /* says of every tensor what type it has, and is not run in one type */
        return false;
    if (plan->layout->model_dtype)
        return strcmp(plan->layout->model_dtype, "float16") == 0;
    return config_names_half(config);
}

enum llmq_status value_not_finite(const struct st_set *set, const struct st_tensor *t,
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
        return value_not_finite(c->from, t, &at, err);
    if (!c->plan->layout && c->plan->plain_dtype == DTYPE_F16 && fabsf(at.value) >= HALF_OVERFLOW) {
        char place[VALUE_PLACE_MAX];
        (void)error_set(err, LLMQ_E_NUMERIC,
                        "%s: tensor '%s': %s is %g, beyond the range of float16",
                        st_shard_path(c->from, t->shard), t->name, value_place(t, at.index, place),
                        (double)at.value);
        error_hint(err, "choose --format bf16 or f32");
        return LLMQ_E_NUMERIC;
    }
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
    return value_not_finite(set, t, &at, err);
}
