/* SPDX-License-Identifier: Apache-2.0 */
/* Settings for all parts within a size: see llmq/sensitivity.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "quant/allocate.h"
#include "sensitivity/study.h"

/* The parts as the allocation takes them, with `choices` for all of their settings. */
static enum llmq_status list_items(const llmq_sensitivity *s, struct allocate_item *items,
                                   struct allocate_choice *choices, llmq_error *err) {
    for (size_t p = 0; p < s->part_count; p++) {
        const llmq_part_settings *part = &s->parts[p];
        items[p] = (struct allocate_item){choices, (int)part->setting_count};
        for (size_t c = 0; c < part->setting_count; c++) {
            if (!isfinite(part->settings[c].cost))
                return error_set(err, LLMQ_E_USAGE, "%s: its costs were not measured",
                                 part->modules[0]);
            *choices++ = (struct allocate_choice){part->settings[c].bytes, part->settings[c].cost};
        }
    }
    return LLMQ_OK;
}

static double bits_of(const llmq_sensitivity *s, uint64_t bytes) {
    return 8 * (double)bytes / (double)s->weights;
}

/* Bytes for the parts alone. */
static enum llmq_status capacity_of(const llmq_sensitivity *s, const llmq_target *target,
                                    uint64_t least, uint64_t *out, llmq_error *err) {
    if (target->bits > 0)
        *out = (uint64_t)(target->bits * (double)s->weights / 8);
    else
        *out = target->bytes > s->fixed_bytes ? target->bytes - s->fixed_bytes : 0;
    if (*out >= least)
        return LLMQ_OK;
    if (target->bits > 0)
        error_set(err, LLMQ_E_USAGE, "%g bits per weight: the smallest settings take %.4f",
                  target->bits, bits_of(s, least));
    else
        error_set(err, LLMQ_E_USAGE,
                  "%" PRIu64 " bytes: the smallest settings take %" PRIu64 ", of which %" PRIu64
                  " are tensors that are not quantized",
                  target->bytes, least + s->fixed_bytes, s->fixed_bytes);
    error_hint(err, "let --candidates have fewer bits or larger groups");
    return LLMQ_E_USAGE;
}

static void sum_up(const llmq_sensitivity *s, llmq_allocation *a) {
    uint64_t bytes = 0;
    for (size_t p = 0; p < s->part_count; p++) {
        const llmq_setting *setting = &s->parts[p].settings[a->chosen[p]];
        bytes += setting->bytes;
        a->cost += setting->cost;
    }
    a->bits = bits_of(s, bytes);
    a->bytes = bytes + s->fixed_bytes;
}

enum llmq_status llmq_sensitivity_allocate(const llmq_sensitivity *s, const llmq_target *target,
                                           llmq_allocation *out, llmq_error *err) {
    struct allocate_item *items = calloc(s->part_count + 1, sizeof *items);
    struct allocate_choice *choices =
        calloc((s->part_count + 1) * LLMQ_CANDIDATES_MOST, sizeof *choices);
    uint64_t capacity = 0;
    enum llmq_status status = LLMQ_OK;
    *out = (llmq_allocation){.chosen = calloc(s->part_count + 1, sizeof *out->chosen)};
    if (!items || !choices || !out->chosen)
        LLMQ_TRY(error_memory(err, "the allocation"));
    if ((target->bits > 0) == (target->bytes > 0))
        LLMQ_TRY(error_set(err, LLMQ_E_USAGE, "a target is a number of bits or of bytes"));
    LLMQ_TRY(list_items(s, items, choices, err));
    const int64_t count = (int64_t)s->part_count;
    LLMQ_TRY(capacity_of(s, target, allocate_least(items, count), &capacity, err));
    LLMQ_TRY(allocate(items, count, capacity, out->chosen, err));
    sum_up(s, out);
    out->recipe = study_rules(s, out->chosen);
    if (!out->recipe)
        status = error_memory(err, "the recipe");
cleanup:
    free(items);
    free(choices);
    if (status != LLMQ_OK)
        llmq_allocation_free(out);
    return status;
}

void llmq_allocation_free(llmq_allocation *a) {
    free(a->chosen);
    free(a->recipe);
    *a = (llmq_allocation){0};
}
