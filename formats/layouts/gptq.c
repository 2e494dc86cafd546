/* SPDX-License-Identifier: Apache-2.0 */
/* The GPTQ layouts: codes packed along the input features, zeros along the output features.
 *
 *     qweight I32 [K * bits / 32, N]   PACKSEQ down each column: word r of output n at [r, n]
 *     qzeros  I32 [G, N * bits / 32]   PACKSEQ along each row, of z - 1 (gptq) or z (gptq_v2)
 *     scales  F16 [G, N]
 *     g_idx   I32 [K]                  k / group: no other map survives current loaders
 *
 * This file decides what fits and encodes; gptq_decode.c reads, gptq_config.c does the config. The
 * two versions differ in the stored zeros and in one word of the config. */
#include "formats/layouts/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/pack.h"
#include "formats/layouts/parts.h"

/* The packers work in units of 32 codes: K and N are multiples of this. */
#define PACK_UNIT 32

const char *const gptq_suffixes[GPTQ_TENSORS + 1] = {"qweight", "qzeros", "scales", "g_idx", NULL};

bool gptq_has_bits(int64_t bits) {
    return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

/* --- what fits -------------------------------------------------------------------------------- */

static enum llmq_status gptq_accepts(const struct quant_shape *shape, llmq_error *err) {
    if (!gptq_has_bits(shape->bits))
        return error_set(err, LLMQ_E_UNSUPPORTED, "expected 2, 3, 4 or 8 bits, found %d",
                         shape->bits);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(parts_accept_size("in_features", shape->k, PACK_UNIT, err));
    LLMQ_TRY(parts_accept_size("out_features", shape->n, PACK_UNIT, err));
    LLMQ_TRY(parts_accept_group(shape, err));

cleanup:
    return status;
}

static const char *gptq_caveat(const struct layout_config *config) {
    if (config->bits < 4)
        return "GPTQ files of 2 and 3 bits load in transformers, SGLang and older vLLM only";
    if (!config->sym)
        return "asymmetric GPTQ files load in transformers, SGLang and older vLLM only; vLLM's "
               "current kernels want symmetric codes, or asymmetric ones as awq";
    return NULL;
}

/* v1 stores z - 1. Zero would be stored as all ones, which readers disagree about. */
static void zero_range_v1(int bits, int *zmin, int *zmax) {
    *zmin = 1;
    *zmax = (1 << bits) - 1;
}

static void zero_range_v2(int bits, int *zmin, int *zmax) {
    *zmin = 0;
    *zmax = (1 << bits) - 1;
}

static int gptq_tensors(const struct quant_shape *shape,
                        struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    const uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k;
    const uint64_t groups = shape->group == -1 ? 1 : k / (uint64_t)shape->group;
    const struct layout_tensor tensors[GPTQ_TENSORS] = {
        {gptq_suffixes[GPTQ_QWEIGHT], DTYPE_I32, 2, {pack_words(shape->bits, k), n}},
        {gptq_suffixes[GPTQ_QZEROS], DTYPE_I32, 2, {groups, pack_words(shape->bits, n)}},
        {gptq_suffixes[GPTQ_SCALES], DTYPE_F16, 2, {groups, n}},
        {gptq_suffixes[GPTQ_G_IDX], DTYPE_I32, 1, {k, 0}},
    };
    memcpy(out, tensors, sizeof tensors);
    return GPTQ_TENSORS;
}

/* --- encoding --------------------------------------------------------------------------------- */

static void encode_codes(const struct qlinear *q, void *qweight) {
    const struct pack_map map = pack_map_transposed(pack_map_rows(q->bits, q->n, q->k));
    pack_seq(&map, q->codes, qweight);
}

/* zeros [N, G] to qzeros; `offset` is 1 where the file stores z - 1. */
static enum llmq_status encode_zeros(const struct qlinear *q, int offset, void *qzeros,
                                     llmq_error *err) {
    const int64_t count = q->n * q->groups;
    uint8_t *stored = malloc((size_t)count);
    if (!stored)
        return error_memory(err, "zero points");
    for (int64_t i = 0; i < count; i++)
        stored[i] = (uint8_t)(q->zeros[i] - offset);
    const struct pack_map map = pack_map_columns(q->bits, q->n, q->groups);
    pack_seq(&map, stored, qzeros);
    free(stored);
    return LLMQ_OK;
}

static void encode_groups(const struct qlinear *q, void *out) {
    unsigned char *bytes = out;
    for (int64_t k = 0; k < q->k; k++) {
        const int32_t group = (int32_t)(k / q->group);
        memcpy(bytes + (size_t)k * sizeof group, &group, sizeof group);
    }
}

static enum llmq_status encode(const struct qlinear *q, int offset,
                               void *const data[LAYOUT_MAX_TENSORS], llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(parts_check_order(q, err));
    LLMQ_TRY(parts_check_zeros(q, offset, err));
    LLMQ_TRY(parts_encode_scales(q, PARTS_GROUPS_FIRST, data[GPTQ_SCALES], err));
    LLMQ_TRY(encode_zeros(q, offset, data[GPTQ_QZEROS], err));
    encode_codes(q, data[GPTQ_QWEIGHT]);
    encode_groups(q, data[GPTQ_G_IDX]);

cleanup:
    return status;
}

static enum llmq_status encode_v1(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                  llmq_error *err) {
    return encode(q, 1, data, err);
}

static enum llmq_status encode_v2(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                  llmq_error *err) {
    return encode(q, 0, data, err);
}

/* --- the vtables ------------------------------------------------------------------------------ */

const struct layout layout_gptq = {
    .name = "gptq",
    .description = "GPTQ, loads everywhere (zero points stored minus one)",
    .accepts = gptq_accepts,
    .scales = DTYPE_F16,
    .overrides = true,
    .caveat = gptq_caveat,
    .zero_range = zero_range_v1,
    .tensors = gptq_tensors,
    .encode = encode_v1,
    .config_write = gptq_v1_config_write,
    .config_file = "quantize_config.json",
    .config_matches = gptq_v1_config_matches,
    .config_read = gptq_config_read,
    .rules = gptq_rules,
    .suffixes = gptq_suffixes,
    .decode = gptq_decode,
};

const struct layout layout_gptq_v2 = {
    .name = "gptq_v2",
    .description = "GPTQ with zero points stored as they are (GPTQModel, SGLang, vLLM)",
    .accepts = gptq_accepts,
    .scales = DTYPE_F16,
    .overrides = true,
    .caveat = gptq_caveat,
    .zero_range = zero_range_v2,
    .tensors = gptq_tensors,
    .encode = encode_v2,
    .config_write = gptq_v2_config_write,
    .config_file = "quantize_config.json",
    .config_matches = gptq_v2_config_matches,
    .config_read = gptq_config_read,
    .rules = gptq_rules,
    .suffixes = gptq_suffixes,
    .decode = gptq_decode,
};
