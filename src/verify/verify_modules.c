/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for packed modules, each decoded: see verify.h. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/loaders/compat.h"
#include "formats/safetensors/value_peak.h"
#include "verify/verify.h"

/* The largest number of F16, in which most formats keep scales; the largest that BF16 holds too;
 * and the least of which a step of its subnormals is no more than an eighth. */
#define F16_MOST  65504.0f
#define DUAL_MOST 65280.0f
#define F16_FINE  0x1p-21f

static const char *file_of(const struct verify *v, const char *module) {
    const struct st_tensor *t = layout_tensor_of(v->tensors, v->layout, module, 0);
    return t ? verify_file_of(v, t) : NULL;
}

/* How many scales lie outside of [least, most], and one of them. */
static int64_t scales_outside(const struct qlinear *q, float least, float most, float *one) {
    int64_t count = 0;
    for (int64_t i = 0; i < q->n * q->groups; i++)
        if (!(q->scales[i] >= least && q->scales[i] <= most)) {
            *one = q->scales[i];
            count++;
        }
    return count;
}

static void scale_range(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    const bool half = v->layout->scales == DTYPE_F16;
    float one = 0;
    const int64_t bad = scales_outside(q, 0x1p-149f, half ? F16_MOST : FLT_MAX, &one);
    if (bad > 0)
        verify_found(v, file_of(v, m->name), m->name,
                     "kernels multiply with the scale even where all codes equal the zero point",
                     "%" PRId64 " scales are zero or beyond the range of %s, one is %g", bad,
                     dtype_name(v->layout->scales), (double)one);
}

/* Whoever wrote scales this close to the ends of F16 had no others: the weights asked for ones that
 * it does not hold. */
static void scale_coarse(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    float one = 0, most = 0;
    if (v->layout->scales != DTYPE_F16)
        return;
    const int64_t zero = scales_outside(q, 0x1p-149f, FLT_MAX, &one);
    const int64_t low = scales_outside(q, F16_FINE, FLT_MAX, &one) - zero;
    const int64_t high = scales_outside(q, 0, nextafterf(DUAL_MOST, 0), &most);
    if (low > 0)
        verify_found(v, file_of(v, m->name), m->name, "llmq verify --against shows what was lost",
                     "%" PRId64 " scales are so small that F16 has them in coarse steps, one is "
                     "%g: the weights of these groups may be lost",
                     low, (double)one);
    if (high > 0)
        verify_found(v, file_of(v, m->name), m->name, "llmq verify --against shows what was lost",
                     "%" PRId64 " scales are the largest that F16 holds: the weights of these "
                     "groups may be cut off",
                     high);
}

static void half_range_packed(struct verify *v, const llmq_verify_module *m,
                              const struct qlinear *q) {
    const float peak = config_names_half(v->config) ? qlinear_peak(q, HALF_MOST) : HALF_MOST;
    if (peak > HALF_MOST)
        verify_found(v, file_of(v, m->name), m->name, HALF_HINT,
                     "weights up to %g, beyond the range of float16, which config.json names",
                     (double)peak);
}

/* What llmq writes is what every loader expects; files by others may have a wider type, lack the
 * zero points of symmetric codes or the map of groups. */
static void packed_form(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    const struct module_setting *s = verify_setting_of(v, m);
    const bool sym = !verify_names_modules(v) || (s ? s->sym : v->layout_config.sym);
    const struct quant_shape shape = {q->n, q->k, q->bits, q->group, q->sym && sym};
    struct layout_tensor wanted[LAYOUT_MAX_TENSORS];
    const int count = v->layout->tensors(&shape, wanted);
    for (int i = 0; i < count; i++) {
        char name[LAYOUT_NAME_MAX];
        (void)snprintf(name, sizeof name, "%s.%s", m->name, wanted[i].suffix);
        const struct st_tensor *t = st_find(v->tensors, name);
        if (!t)
            verify_found(v, NULL, name, "llmq convert to the same format writes it",
                         "the tensor is missing: some loaders ask for it");
        else if (t->dtype != wanted[i].dtype && t->dtype != DTYPE_BF16)
            verify_found(v, verify_file_of(v, t), name,
                         "llmq convert to the same format writes the usual type",
                         "expected %s, found %s: some loaders refuse it",
                         dtype_name(wanted[i].dtype), dtype_name(t->dtype));
    }
}

static void zero_range(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    int least = 0, most = 0;
    int64_t bad = 0;
    v->layout->zero_range(q->bits, &least, &most);
    for (int64_t i = 0; i < q->n * q->groups; i++)
        bad += q->zeros[i] < least || q->zeros[i] > most;
    if (bad > 0)
        verify_found(v, file_of(v, m->name), m->name,
                     "llmq convert --format awq or gptq_v2 stores them without doubt",
                     "%" PRId64 " zero points lie outside of %d to %d, where readers of this "
                     "format disagree",
                     bad, least, most);
}

static void groups_in_order(struct verify *v, const llmq_verify_module *m,
                            const struct qlinear *q) {
    for (int64_t k = 0; q->group_of && k < q->k; k++)
        if (q->group_of[k] != k / q->group) {
            verify_found(v, file_of(v, m->name), m->name,
                         "quantize the original with --act-order static or group-aware, or "
                         "dequantize with llmq convert --format bf16",
                         "column %" PRId64 " is in group %d: vLLM ignores the map of groups and "
                         "computes garbage",
                         k, q->group_of[k]);
            return;
        }
}

/* The shape of a linear of the blocks, or of the head; false: of neither. */
static bool shape_by_config(const struct verify *v, const char *module, int64_t *n, int64_t *k) {
    char head[FAMILY_NAME_MAX];
    if (strcmp(module, ends_head_module(v->model.family, head)) == 0) {
        *n = v->model.vocab;
        *k = v->model.hidden;
        return true;
    }
    struct linear_place at;
    if (blocks_find_linear(v->blocks, module, &at)) {
        blocks_linear_shape(v->blocks, at, n, k);
        return true;
    }
    return false;
}

static void module_shape(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    int64_t n = 0, k = 0;
    if (v->known && shape_by_config(v, m->name, &n, &k) && (n != q->n || k != q->k))
        verify_found(v, file_of(v, m->name), m->name, NULL,
                     "expected [%" PRId64 ", %" PRId64 "] by config.json, found [%" PRId64
                     ", %" PRId64 "]",
                     n, k, q->n, q->k);
}

/* Marlin pads such shapes in current vLLM; older versions fall back to slow kernels. Told once for
 * each shape. */
static void kernel_shape(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    bool fits = !compat_has_fast_kernels(v->layout->name) ||
                (q->n % COMPAT_N_UNIT == 0 && q->k % COMPAT_K_UNIT == 0);
    for (const llmq_verify_module *e = v->report->modules; !fits && e < m; e++)
        fits = e->n == q->n && e->k == q->k;
    if (!fits)
        verify_found(v, file_of(v, m->name), m->name, NULL,
                     "[%" PRId64 ", %" PRId64 "]: fast kernels want out_features in %ds and "
                     "in_features in %ds; current vLLM pads, older servers use slow kernels",
                     q->n, q->k, COMPAT_N_UNIT, COMPAT_K_UNIT);
}

/* vLLM refuses fused layers and shards that end within a block: validate_fp8_block_shape of
 * quantization/utils/fp8_utils.py at 00cb05c3. Told once for each shape. */
static void block_shape(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    const int64_t rows = v->layout->rows;
    bool fits = rows == 0 || (q->n % rows == 0 && q->k % q->group == 0);
    for (const llmq_verify_module *e = v->report->modules; !fits && e < m; e++)
        fits = e->n == q->n && e->k == q->k;
    if (!fits)
        verify_found(v, file_of(v, m->name), m->name, "--scheme FP8_DYNAMIC has no blocks",
                     "[%" PRId64 ", %" PRId64 "] ends within a block of %" PRId64 " x %" PRId64
                     ": vLLM refuses it where it fuses the layer with others or splits it",
                     q->n, q->k, rows, q->group);
}

const struct verify_rule verify_module_rules[] = {
    /* Found while decoding. */
    {"decode", VERIFY_VIOLATION, VERIFY_MODULE,
     "every packed module decodes: dtypes, shapes, ranges and sizes agree", NULL, NULL},
    {"module-shape", VERIFY_VIOLATION, VERIFY_MODULE,
     "packed modules have the shape that config.json implies", NULL, module_shape},
    {"scale-range", VERIFY_VIOLATION, VERIFY_MODULE,
     "scales are positive and within the type the format keeps them in", NULL, scale_range},
    {"scale-coarse", VERIFY_WARNING, VERIFY_MODULE,
     "scales are not at the ends of what F16 holds, where weights are lost", NULL, scale_coarse},
    {"half-range-packed", VERIFY_WARNING, VERIFY_MODULE,
     "where config.json names float16, no packed weight is beyond its range", NULL,
     half_range_packed},
    {"zero-range", VERIFY_VIOLATION, VERIFY_MODULE,
     "zero points are ones that all readers of the format understand alike", NULL, zero_range},
    {"groups-in-order", VERIFY_VIOLATION, VERIFY_MODULE, "groups follow the order of columns", NULL,
     groups_in_order},
    {"packed-form", VERIFY_WARNING, VERIFY_MODULE,
     "packed modules have the tensors and types that every loader expects", NULL, packed_form},
    {"kernel-shape", VERIFY_WARNING, VERIFY_MODULE,
     "modules have shapes that the fast kernels take as they are", NULL, kernel_shape},
    {"block-shape", VERIFY_WARNING, VERIFY_MODULE,
     "modules whose scales are of blocks are whole blocks", NULL, block_shape},
    {.id = NULL},
};
