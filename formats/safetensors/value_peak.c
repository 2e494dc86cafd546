/* SPDX-License-Identifier: Apache-2.0 */
/* See value_peak.h.
 *
 * A tensor is read in slices. The largest magnitude of a slice says whether all is finite and
 * within range, at the speed of memory; only where it is larger than before is the element looked
 * for. */
#include "formats/safetensors/value_peak.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "base/log.h"
#include "tensor/dtype.h"

#define SLICE_BYTES ((size_t)4 << 20)

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

bool config_names_half(const struct json *config) {
    const char *dtype = json_string(json_get(config, "dtype"));
    if (!dtype)
        dtype = json_string(json_get(config, "torch_dtype"));
    return dtype && (strcmp(dtype, "float16") == 0 || strcmp(dtype, "torch.float16") == 0 ||
                     strcmp(dtype, "half") == 0);
}
