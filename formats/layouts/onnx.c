/* SPDX-License-Identifier: Apache-2.0 */
/* The ONNX layout: the inputs of ONNX Runtime's operator com.microsoft.MatMulNBits, as tensors of
 * an ordinary checkpoint.
 *
 *     B            U8  [N, blocks * block bytes]      PACKSEQ along each row
 *     scales       F32 [N, blocks]
 *     attributes   I64 [4]                            N, K, bits, columns per group
 *     zero_points  U8  [N, ceil(blocks * bits / 8)]   low bits first; asymmetric only
 *
 * The operator cuts rows into blocks of 16, 32, 64, 128 or 256 columns. A group is one block where
 * it has such a size; otherwise it is several blocks of the largest such size that divides it, all
 * with the group's scale and zero point. `attributes` is llmq's own, so that a module tells its
 * groups and bits by itself.
 *
 * Beside the tensors lies one model <module>.onnx for each linear, whose constants point into the
 * safetensors files: see onnx_model.c.
 * Source: onnxruntime docs/ContribOperators.md, com.microsoft.MatMulNBits; the bit widths and block
 * sizes are those that its CPU kernel takes (1.30). */
#include "formats/layouts/onnx.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/pack.h"
#include "formats/layouts/parts.h"
#include "formats/layouts/quant_config_keys.h"

#define BLOCK_MIN 16
#define BLOCK_MAX 256

/* Positions in `attributes`. */
enum { ATTRIBUTE_N, ATTRIBUTE_K, ATTRIBUTE_BITS, ATTRIBUTE_GROUP, ATTRIBUTES };

static const char method_name[] = "onnx", format_name[] = "MatMulNBits";

const char *const onnx_suffixes[ONNX_TENSORS + 1] = {"B", "scales", "attributes", "zero_points",
                                                     NULL};

/* --- what fits -------------------------------------------------------------------------------- */

static bool has_bits(int64_t bits) {
    return bits == 2 || bits == 4 || bits == 8;
}

struct onnx_blocks onnx_blocks_of(const struct quant_shape *shape) {
    const int64_t group = shape->group == -1 ? shape->k : shape->group;
    struct onnx_blocks b = {.size = BLOCK_MAX};
    while (b.size > BLOCK_MIN && group % b.size != 0)
        b.size /= 2;
    b.count = shape->k / b.size;
    b.bytes = b.size * shape->bits / 8;
    b.zero_bytes = (b.count * shape->bits + 7) / 8;
    return b;
}

static enum llmq_status onnx_accepts(const struct quant_shape *shape, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!has_bits(shape->bits)) {
        error_set(err, LLMQ_E_UNSUPPORTED, "expected 2, 4 or 8 bits for the onnx format, found %d",
                  shape->bits);
        error_hint(err, "choose 2, 4 or 8 bits, or the gptq format");
        return LLMQ_E_UNSUPPORTED;
    }
    LLMQ_TRY(parts_accept_size("in_features", shape->k, BLOCK_MIN, err));
    LLMQ_TRY(parts_accept_size("out_features", shape->n, 1, err));
    LLMQ_TRY(parts_accept_group(shape, err));
    if (shape->group != -1 && shape->group % BLOCK_MIN != 0) {
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "group size %" PRId64 " is not a multiple of %d, the smallest block of the onnx "
                  "format",
                  shape->group, BLOCK_MIN);
        error_hint(err, "16, 32, 64, 128, 256, multiples of these, or -1 would do");
        return LLMQ_E_UNSUPPORTED;
    }

cleanup:
    return status;
}

static const char *onnx_caveat(const struct layout_config *config) {
    (void)config;
    return "onnx files hold one MatMulNBits model for each linear, for ONNX Runtime; there is no "
           "graph of the whole model, and transformers and vLLM do not load them";
}

static void onnx_zero_range(int bits, int *zmin, int *zmax) {
    *zmin = 0;
    *zmax = (1 << bits) - 1;
}

static int onnx_tensors(const struct quant_shape *shape,
                        struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    const struct onnx_blocks b = onnx_blocks_of(shape);
    const uint64_t n = (uint64_t)shape->n, blocks = (uint64_t)b.count;
    const struct layout_tensor tensors[ONNX_TENSORS] = {
        {onnx_suffixes[ONNX_B], DTYPE_U8, 2, {n, blocks * (uint64_t)b.bytes}},
        {onnx_suffixes[ONNX_SCALES], DTYPE_F32, 2, {n, blocks}},
        {onnx_suffixes[ONNX_ATTRIBUTES], DTYPE_I64, 1, {ATTRIBUTES, 0}},
        {onnx_suffixes[ONNX_ZERO_POINTS], DTYPE_U8, 2, {n, (uint64_t)b.zero_bytes}},
    };
    memcpy(out, tensors, sizeof tensors);
    return shape->sym ? ONNX_ZERO_POINTS : ONNX_TENSORS;
}

/* --- encoding --------------------------------------------------------------------------------- */

static struct quant_shape shape_of(const struct qlinear *q) {
    return (struct quant_shape){
        .n = q->n, .k = q->k, .bits = q->bits, .group = q->group, .sym = q->sym};
}

/* Rows are whole words, since a block of 16 codes of 2 bits is one: blocks follow each other
 * without gaps, and a row is one stream. */
static struct pack_map codes_map(const struct qlinear *q) {
    return pack_map_rows(q->bits, q->n, q->k);
}

/* Each group's scale once per block. */
static enum llmq_status encode_scales(const struct qlinear *q, const struct onnx_blocks *b,
                                      void *out, llmq_error *err) {
    unsigned char *bytes = out;
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t i = 0; i < b->count; i++) {
            const int64_t g = i * b->size / q->group;
            const float s = q->scales[n * q->groups + g];
            if (!(s > 0.0f) || isinf(s))
                return error_set(err, LLMQ_E_INPUT,
                                 "row %" PRId64 ", group %" PRId64
                                 ": expected a positive finite scale, found %g",
                                 n, g, (double)s);
            memcpy(bytes + (size_t)(n * b->count + i) * sizeof s, &s, sizeof s);
        }
    return LLMQ_OK;
}

/* The same of zero points. Rows start on a byte; no field spans two. */
static void encode_zeros(const struct qlinear *q, const struct onnx_blocks *b, uint8_t *out) {
    memset(out, 0, (size_t)(q->n * b->zero_bytes));
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t i = 0; i < b->count; i++) {
            const unsigned z = q->zeros[n * q->groups + i * b->size / q->group];
            uint8_t *byte = &out[n * b->zero_bytes + i * q->bits / 8];
            *byte = (uint8_t)(*byte | z << (i * q->bits % 8));
        }
}

static enum llmq_status onnx_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                    llmq_error *err) {
    const struct quant_shape shape = shape_of(q);
    const struct onnx_blocks b = onnx_blocks_of(&shape);
    const struct pack_map codes = codes_map(q);
    const int64_t attributes[ATTRIBUTES] = {q->n, q->k, q->bits, q->group};
    enum llmq_status status = LLMQ_OK;
    if (!q->sym && !data[ONNX_ZERO_POINTS])
        return error_set(err, LLMQ_E_INPUT,
                         "expected a symmetric module as planned, found an asymmetric one");
    LLMQ_TRY(parts_check_order(q, err));
    LLMQ_TRY(parts_check_zeros(q, 0, err));
    LLMQ_TRY(encode_scales(q, &b, data[ONNX_SCALES], err));
    if (data[ONNX_ZERO_POINTS])
        encode_zeros(q, &b, data[ONNX_ZERO_POINTS]);
    memcpy(data[ONNX_ATTRIBUTES], attributes, sizeof attributes);
    pack_seq(&codes, q->codes, data[ONNX_B]);

cleanup:
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

static enum llmq_status check_tensors(const struct layout_data *data, llmq_error *err) {
    static const struct {
        enum parts_kind kind;
        int rank;
    } rules[ONNX_TENSORS] = {
        {PARTS_BYTES, 2}, {PARTS_SCALES, 2}, {PARTS_INDEX, 1}, {PARTS_BYTES, 2}};
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < ONNX_TENSORS; i++)
        if (data[i].data)
            LLMQ_TRY(
                parts_check_tensor(&data[i], onnx_suffixes[i], rules[i].kind, rules[i].rank, err));
        else if (i != ONNX_ZERO_POINTS)
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT, "%s: expected it, found no such tensor",
                               onnx_suffixes[i]));

cleanup:
    return status;
}

/* N, K, bits and the group, as far as they make sense together. */
static enum llmq_status read_attributes(const struct layout_data *d, struct quant_shape *s,
                                        llmq_error *err) {
    int64_t v[ATTRIBUTES] = {0};
    if (d->info.shape[0] != ATTRIBUTES)
        return error_set(err, LLMQ_E_INPUT, "attributes: expected %d numbers, found %" PRIu64,
                         ATTRIBUTES, d->info.shape[0]);
    for (int i = 0; i < ATTRIBUTES; i++)
        v[i] = parts_index_at(d, i);
    const int64_t n = v[ATTRIBUTE_N], k = v[ATTRIBUTE_K], group = v[ATTRIBUTE_GROUP];
    const bool sizes = n > 0 && k > 0 && n <= INT32_MAX && k <= INT32_MAX;
    if (!sizes || !has_bits(v[ATTRIBUTE_BITS]) || group <= 0 || k % group != 0 ||
        group % BLOCK_MIN != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "attributes: expected outputs, inputs, 2, 4 or 8 bits and a multiple of "
                         "%d that divides the inputs, found %" PRId64 ", %" PRId64 ", %" PRId64
                         " and %" PRId64,
                         BLOCK_MIN, n, k, v[ATTRIBUTE_BITS], group);
    *s = (struct quant_shape){.n = n, .k = k, .bits = (int)v[ATTRIBUTE_BITS], .group = group};
    return LLMQ_OK;
}

/* The attributes determine every shape. */
static enum llmq_status check_shapes(const struct layout_data *data, const struct quant_shape *s,
                                     llmq_error *err) {
    struct layout_tensor expected[LAYOUT_MAX_TENSORS];
    const int count = onnx_tensors(s, expected);
    for (int i = 0; i < count; i++) {
        const uint64_t *want = expected[i].shape, *found = data[i].info.shape;
        if (data[i].data && i != ONNX_ATTRIBUTES && (found[0] != want[0] || found[1] != want[1]))
            return error_set(err, LLMQ_E_INPUT,
                             "%s: expected [%" PRIu64 ", %" PRIu64 "], found [%" PRIu64 ", %" PRIu64
                             "]",
                             onnx_suffixes[i], want[0], want[1], found[0], found[1]);
    }
    return LLMQ_OK;
}

/* Blocks [n, blocks] as a matrix with a group per block, whose values are then one per group. */
struct block_params {
    struct qlinear per_block; /* scales and zeros only */
    int64_t per_group;        /* blocks of a group */
};

static enum llmq_status block_params_alloc(const struct qlinear *q, const struct onnx_blocks *b,
                                           struct block_params *p, llmq_error *err) {
    const size_t count = (size_t)(q->n * b->count);
    *p = (struct block_params){.per_group = q->group / b->size};
    p->per_block = (struct qlinear){.n = q->n, .groups = b->count, .bits = q->bits};
    p->per_block.scales = malloc(count * sizeof *p->per_block.scales);
    p->per_block.zeros = malloc(count);
    if (p->per_block.scales && p->per_block.zeros)
        return LLMQ_OK;
    return error_memory(err, "scales");
}

static void decode_zeros(const struct layout_data *d, const struct onnx_blocks *b,
                         struct qlinear *out) {
    const uint8_t *bytes = d->data;
    const int mask = (1 << out->bits) - 1;
    for (int64_t n = 0; n < out->n; n++)
        for (int64_t i = 0; i < b->count; i++) {
            uint8_t *z = &out->zeros[n * b->count + i];
            if (!bytes)
                *z = (uint8_t)(1 << (out->bits - 1));
            else
                *z = (uint8_t)(bytes[n * b->zero_bytes + i * out->bits / 8] >> (i * out->bits % 8) &
                               mask);
        }
}

/* One value of each group; blocks of a group that disagree are refused. */
static enum llmq_status merge_blocks(const struct block_params *p, struct qlinear *q,
                                     llmq_error *err) {
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        const float *scales = p->per_block.scales + i * p->per_group;
        const uint8_t *zeros = p->per_block.zeros + i * p->per_group;
        for (int64_t j = 1; j < p->per_group; j++)
            if (scales[j] < scales[0] || scales[j] > scales[0] || zeros[j] != zeros[0])
                return error_set(err, LLMQ_E_INPUT,
                                 "scales: output %" PRId64 ", group %" PRId64
                                 ": expected blocks of one scale and zero point, found several",
                                 i / q->groups, i % q->groups);
        q->scales[i] = scales[0];
        q->zeros[i] = zeros[0];
    }
    return LLMQ_OK;
}

static enum llmq_status decode_params(const struct layout_data *data, const struct onnx_blocks *b,
                                      struct qlinear *q, llmq_error *err) {
    struct block_params p = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(block_params_alloc(q, b, &p, err));
    LLMQ_TRY(parts_decode_scales(&data[ONNX_SCALES], PARTS_ROWS_FIRST, &p.per_block, err));
    decode_zeros(&data[ONNX_ZERO_POINTS], b, &p.per_block);
    LLMQ_TRY(merge_blocks(&p, q, err));
    parts_set_sym(q);

cleanup:
    qlinear_free(&p.per_block);
    return status;
}

static enum llmq_status onnx_decode(const struct layout_config *config,
                                    const struct layout_data data[LAYOUT_MAX_TENSORS],
                                    struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct quant_shape s = {0};
    struct onnx_blocks b = {0};
    struct pack_map codes = {0};
    (void)config;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensors(data, err));
    LLMQ_TRY(read_attributes(&data[ONNX_ATTRIBUTES], &s, err));
    LLMQ_TRY(check_shapes(data, &s, err));
    b = onnx_blocks_of(&s);
    LLMQ_TRY(qlinear_alloc(s.n, s.k, s.bits, s.group, q, err));
    LLMQ_TRY(decode_params(data, &b, q, err));
    codes = codes_map(q);
    unpack_seq(&codes, data[ONNX_B].data, q->codes);

cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}

/* --- config ----------------------------------------------------------------------------------- */

/* Modules state their own settings. No loader of transformers knows this quant_method, which is as
 * it should be. */
static struct json *onnx_config_write(const struct layout_config *config,
                                      const struct layout_module *modules, int64_t count) {
    struct json *root = json_new_object();
    (void)modules;
    (void)count;
    json_add_string(root, "quant_method", method_name);
    json_add_string(root, "format", format_name);
    json_add_int64(root, "bits", config->bits);
    json_add_int64(root, "group_size", config->group);
    json_add_bool(root, "sym", config->sym);
    return root;
}

static bool onnx_config_matches(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    const char *format = json_string(json_get(quantization_config, "format"));
    return method && format && strcmp(method, method_name) == 0 && strcmp(format, format_name) == 0;
}

static const struct config_key config_keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL}, {"format", KEY_TEXT, NULL, NULL},
    {"bits", KEY_NUMBER, NULL, NULL},       {"group_size", KEY_NUMBER, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},          {.name = NULL},
};

static enum llmq_status onnx_config_read(const struct json *quantization_config,
                                         struct layout_config *out, llmq_error *err) {
    int64_t bits = 0, group = 0;
    bool sym = true;
    *out = (struct layout_config){0};
    enum llmq_status status =
        config_keys_check(quantization_config, "quantization_config", config_keys, err);
    if (status != LLMQ_OK)
        return status;
    if (!json_as_int64(json_get(quantization_config, "bits"), &bits) || !has_bits(bits))
        return error_set(err, LLMQ_E_INPUT, "quantization_config: bits: expected 2, 4 or 8");
    if (!json_as_int64(json_get(quantization_config, "group_size"), &group) || group == 0 ||
        group < -1)
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: group_size: expected -1 or a positive integer");
    if (!json_as_bool(json_get(quantization_config, "sym"), &sym))
        return error_set(err, LLMQ_E_INPUT, "quantization_config: sym: expected true or false");
    *out = (struct layout_config){.bits = (int)bits, .group = group, .sym = sym};
    return LLMQ_OK;
}

const struct layout layout_onnx = {
    .name = "onnx",
    .description = "ONNX Runtime MatMulNBits, 2, 4 and 8 bits: one model for each linear",
    .accepts = onnx_accepts,
    .scales = DTYPE_F32,
    .overrides = true,
    .merges = LAYOUT_MERGES_NOTHING,
    .model_dtype = NULL,
    .caveat = onnx_caveat,
    .zero_range = onnx_zero_range,
    .tensors = onnx_tensors,
    .encode = onnx_encode,
    .config_write = onnx_config_write,
    .config_file = NULL,
    .config_matches = onnx_config_matches,
    .config_read = onnx_config_read,
    .suffixes = onnx_suffixes,
    .decode = onnx_decode,
    .write_beside = onnx_write_models,
};
