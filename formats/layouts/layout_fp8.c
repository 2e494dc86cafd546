/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 8-bit floats (E4M3), a byte for each, and scales of float32 for rows or for blocks:
 *
 *                   float-quantized         fp8
 *     weight        F8_E4M3 [N, K]          F8_E4M3 [N, K]
 *     scales        weight_scale            weight_scale_inv
 *                   F32 [N, 1]              F32 [ceil(N / 128), ceil(K / 128)]
 *
 * A weight is its code times its scale in both, whatever the name says. float-quantized is
 * compressed-tensors' preset FP8_DYNAMIC (FloatQuantizationCompressor of
 * compressors/naive_quantized/base.py and quantization/quant_scheme.py at ac8e2ba8), which tells
 * servers to round activations to E4M3 token by token: vLLM runs it with W8A8 kernels, and weights
 * alone where a GPU has none (compressed_tensors.py at 004dadbe). fp8 is DeepSeek's, read by
 * transformers (quantizer_finegrained_fp8.py) and vLLM (layers/quantization/fp8.py), and means the
 * same for activations, by 128 of a token's.
 *
 * No loader known takes weights of E5M2. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "formats/layouts/compressed_tensors.h"
#include "formats/layouts/parts.h"
#include "formats/layouts/quant_config_keys.h"

enum { BLOCK = 128 };

/* Positions in data[]: the scales first, for they tell a module from a plain weight. */
enum fp8_tensor { FP8_SCALE, FP8_WEIGHT };
static const char *const row_suffixes[] = {"weight_scale", "weight", NULL};
static const char *const block_suffixes[] = {"weight_scale_inv", "weight", NULL};

/* Weights that share a scale: so many rows, and columns, -1 for all. */
struct blocks {
    int64_t rows, columns;
};
static const struct blocks row_blocks = {1, -1}, square_blocks = {BLOCK, BLOCK};

/* --- what fits -------------------------------------------------------------------------------- */

static enum llmq_status accept(const struct quant_shape *shape, const struct layout *layout,
                               const struct blocks *b, const char *scheme, llmq_error *err) {
    const bool whole = shape->group == -1 || shape->group == shape->k;
    if (shape->bits == 8 && shape->sym && (b->columns == -1 ? whole : shape->group == b->columns))
        return LLMQ_OK;
    error_set(
        err, LLMQ_E_UNSUPPORTED,
        "expected 8 bits, symmetric, in %s for the %s format, found %d bits, %s, in groups of "
        "%" PRId64,
        b->columns == -1 ? "one group per row" : "groups of 128", layout->name, shape->bits,
        shape->sym ? "symmetric" : "asymmetric", shape->group);
    error_hint(err, "--scheme %s sets all of them", scheme);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status rows_accepts(const struct quant_shape *shape, llmq_error *err) {
    return accept(shape, &layout_float_quantized, &row_blocks, "FP8_DYNAMIC", err);
}

static enum llmq_status blocks_accepts(const struct quant_shape *shape, llmq_error *err) {
    return accept(shape, &layout_fp8, &square_blocks, "FP8_BLOCK", err);
}

static const char *caveat(const struct layout_config *config) {
    (void)config;
    return "FP8 files load in vLLM, SGLang and transformers, which round activations to 8 bits "
           "too; "
           "what llmq measures is the weights alone";
}

static void no_zeros(int bits, int *zmin, int *zmax) {
    (void)bits;
    *zmin = *zmax = 0;
}

static int list_tensors(const struct quant_shape *shape, const char *const *suffixes,
                        const struct blocks *b, struct layout_tensor *out) {
    const int64_t columns = b->columns == -1 ? shape->k : b->columns;
    out[FP8_SCALE] = (struct layout_tensor){
        suffixes[FP8_SCALE],
        DTYPE_F32,
        2,
        {(uint64_t)ceil_div(shape->n, b->rows), (uint64_t)ceil_div(shape->k, columns)}};
    out[FP8_WEIGHT] = (struct layout_tensor){
        suffixes[FP8_WEIGHT], DTYPE_F8_E4M3, 2, {(uint64_t)shape->n, (uint64_t)shape->k}};
    return FP8_WEIGHT + 1;
}

static int rows_tensors(const struct quant_shape *shape,
                        struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    return list_tensors(shape, row_suffixes, &row_blocks, out);
}

static int blocks_tensors(const struct quant_shape *shape,
                          struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    return list_tensors(shape, block_suffixes, &square_blocks, out);
}

/* --- encoding and decoding -------------------------------------------------------------------- */

/* The scale of a block, which all of its rows have. */
static enum llmq_status block_scale(const struct qlinear *q, const struct blocks *b, int64_t block,
                                    int64_t g, float *scale, llmq_error *err) {
    const int64_t begin = block * b->rows, end = min_i64(begin + b->rows, q->n);
    *scale = q->scales[begin * q->groups + g];
    for (int64_t row = begin + 1; row < end; row++)
        if (q->scales[row * q->groups + g] != *scale)
            return error_set(err, LLMQ_E_INPUT,
                             "row %" PRId64 ", group %" PRId64
                             ": expected the scale of row %" PRId64 ", %g, found %g",
                             row, g, begin, (double)*scale, (double)q->scales[row * q->groups + g]);
    return LLMQ_OK;
}

static enum llmq_status encode(const struct qlinear *q, const struct blocks *b, void *const *data,
                               llmq_error *err) {
    unsigned char *scales = data[FP8_SCALE];
    enum llmq_status status = parts_check_number(q, NUMBER_E4M3, err);
    const int64_t blocks = ceil_div(q->n, b->rows);
    for (int64_t i = 0; status == LLMQ_OK && i < blocks * q->groups; i++) {
        float scale = 0;
        status = block_scale(q, b, i / q->groups, i % q->groups, &scale, err);
        memcpy(scales + (size_t)i * sizeof scale, &scale, sizeof scale);
    }
    if (status == LLMQ_OK)
        memcpy(data[FP8_WEIGHT], q->codes, (size_t)(q->n * q->k));
    return status;
}

static enum llmq_status rows_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                    llmq_error *err) {
    return encode(q, &row_blocks, data, err);
}

static enum llmq_status blocks_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                      llmq_error *err) {
    return encode(q, &square_blocks, data, err);
}

/* Both tensors are there, the scales as many as the blocks. */
static enum llmq_status check_tensors(const struct layout_data *d, const char *const *suffixes,
                                      const struct blocks *b, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct layout_tensor wanted[LAYOUT_MAX_TENSORS];
    LLMQ_TRY(parts_check_there(d, suffixes, FP8_WEIGHT + 1, err));
    LLMQ_TRY(parts_check_tensor(&d[FP8_WEIGHT], suffixes[FP8_WEIGHT], PARTS_E4M3, 2, err));
    LLMQ_TRY(parts_check_tensor(&d[FP8_SCALE], suffixes[FP8_SCALE], PARTS_ANY_SCALES, 2, err));
    const uint64_t *shape = d[FP8_WEIGHT].info.shape, *found = d[FP8_SCALE].info.shape;
    const struct quant_shape s = {.n = (int64_t)shape[0], .k = (int64_t)shape[1]};
    (void)list_tensors(&s, suffixes, b, wanted);
    if (memcmp(found, wanted[FP8_SCALE].shape, 2 * sizeof *found) != 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected [%" PRIu64 ", %" PRIu64 "], found [%" PRIu64 ", %" PRIu64
                           "]",
                           suffixes[FP8_SCALE], wanted[FP8_SCALE].shape[0],
                           wanted[FP8_SCALE].shape[1], found[0], found[1]));
cleanup:
    return status;
}

static enum llmq_status decode(const struct layout_data *d, const char *const *suffixes,
                               const struct blocks *b, struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    float *scales = NULL;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensors(d, suffixes, b, err));
    const int64_t n = (int64_t)d[FP8_WEIGHT].info.shape[0];
    const int64_t k = (int64_t)d[FP8_WEIGHT].info.shape[1];
    const int64_t columns = b->columns == -1 ? k : min_i64(b->columns, k);
    const int64_t rows = ceil_div(n, b->rows);
    LLMQ_TRY(qlinear_alloc(n, k, 8, columns, q, err));
    parts_set_floats(q, NUMBER_E4M3);
    scales = malloc((size_t)(rows * q->groups) * sizeof *scales);
    if (!scales)
        LLMQ_TRY(error_memory(err, "scales"));
    scales_to_f32(d[FP8_SCALE].info.dtype, d[FP8_SCALE].data, (size_t)(rows * q->groups), scales);
    for (int64_t row = 0; row < n; row++)
        memcpy(q->scales + row * q->groups, scales + row / b->rows * q->groups,
               (size_t)q->groups * sizeof *scales);
    memcpy(q->codes, d[FP8_WEIGHT].data, (size_t)(n * k));
cleanup:
    free(scales);
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}

static enum llmq_status rows_decode(const struct layout_config *config,
                                    const struct layout_data data[LAYOUT_MAX_TENSORS],
                                    struct qlinear *q, llmq_error *err) {
    (void)config;
    return decode(data, row_suffixes, &row_blocks, q, err);
}

static enum llmq_status blocks_decode(const struct layout_config *config,
                                      const struct layout_data data[LAYOUT_MAX_TENSORS],
                                      struct qlinear *q, llmq_error *err) {
    (void)config;
    return decode(data, block_suffixes, &square_blocks, q, err);
}

/* --- config of float-quantized ---------------------------------------------------------------- */

static const struct ct_form rows_form = {.format = "float-quantized",
                                         .type = "float",
                                         .strategy = "channel",
                                         .bits = 8,
                                         .group = -1,
                                         .tokens = true};

static struct json *rows_config_write(const struct layout_config *config,
                                      const struct layout_module *modules, int64_t count) {
    return ct_form_write(&rows_form, config, modules, count);
}

static bool rows_config_matches(const struct json *quantization_config) {
    return ct_form_matches(&rows_form, quantization_config);
}

static enum llmq_status rows_config_read(const struct json *quantization_config,
                                         struct layout_config *out, llmq_error *err) {
    (void)quantization_config;
    (void)err;
    *out = (struct layout_config){.bits = 8, .group = -1, .sym = true};
    return LLMQ_OK;
}

/* --- config of fp8 ---------------------------------------------------------------------------- */

static const char skipped[] = "modules_to_not_convert";

static struct json *blocks_config_write(const struct layout_config *config,
                                        const struct layout_module *modules, int64_t count) {
    struct json *root = json_new_object(), *names = json_new_array(), *size = json_new_array();
    json_add_string(root, "quant_method", "fp8");
    json_add_string(root, "fmt", "e4m3");
    json_add_string(root, "activation_scheme", "dynamic");
    for (int i = 0; i < 2; i++)
        json_add_int64(size, NULL, BLOCK);
    json_add(root, "weight_block_size", size);
    if (!layout_quantizes_head(config, modules, count))
        json_add_string(names, NULL, layout_head(config));
    for (int64_t i = 0; i < config->plain_count; i++)
        json_add_string(names, NULL, config->plain[i]);
    for (int64_t i = 0; i < config->beside_count; i++)
        json_add_string(names, NULL, config->beside[i]);
    json_add(root, skipped, names);
    return root;
}

static bool blocks_config_matches(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    const struct json *size = json_get(quantization_config, "weight_block_size");
    int64_t rows = 0, columns = 0;
    return method && strcmp(method, "fp8") == 0 && json_count(size) == 2 &&
           json_as_int64(json_first(size), &rows) && rows == BLOCK &&
           json_as_int64(json_next(json_first(size)), &columns) && columns == BLOCK;
}

static enum llmq_status blocks_config_read(const struct json *quantization_config,
                                           struct layout_config *out, llmq_error *err) {
    (void)quantization_config;
    (void)err;
    *out = (struct layout_config){.bits = 8, .group = BLOCK, .sym = true};
    return LLMQ_OK;
}

/* A name is a module's, or the beginning of those of all that are in it. */
static enum llmq_status blocks_rules(const struct json *quantization_config,
                                     const struct layout_config *settings, struct module_rules *out,
                                     llmq_error *err) {
    const struct json *names = json_get(quantization_config, skipped);
    const struct module_setting general = module_general(settings);
    enum llmq_status status = LLMQ_OK;
    for (const struct json *c = json_first(names); status == LLMQ_OK && c; c = json_next(c))
        if (json_string(c))
            status = module_rules_add(out, MATCH_PREFIX, json_string(c), &module_plain, err);
    return status == LLMQ_OK ? module_rules_add(out, MATCH_LINEAR, "", &general, err) : status;
}

/* --- vtables ---------------------------------------------------------------------------------- */

const struct layout layout_float_quantized = {
    .name = "float-quantized",
    .description = "compressed-tensors FP8, a scale for each row (vLLM, SGLang, transformers)",
    .number = NUMBER_E4M3,
    .accepts = rows_accepts,
    .scales = DTYPE_F32,
    .of_library = true,
    .cache_scheme = true,
    .caveat = caveat,
    .zero_range = no_zeros,
    .tensors = rows_tensors,
    .encode = rows_encode,
    .config_write = rows_config_write,
    .config_matches = rows_config_matches,
    .config_read = rows_config_read,
    .rules = ct_form_rules,
    .suffixes = row_suffixes,
    .decode = rows_decode,
};

const struct layout layout_fp8 = {
    .name = "fp8",
    .description = "FP8 in blocks of 128 x 128, as DeepSeek ships (vLLM, SGLang, transformers)",
    .number = NUMBER_E4M3,
    .rows = BLOCK,
    .accepts = blocks_accepts,
    .scales = DTYPE_F32,
    .caveat = caveat,
    .zero_range = no_zeros,
    .tensors = blocks_tensors,
    .encode = blocks_encode,
    .config_write = blocks_config_write,
    .config_matches = blocks_config_matches,
    .config_read = blocks_config_read,
    .rules = blocks_rules,
    .suffixes = block_suffixes,
    .decode = blocks_decode,
};
