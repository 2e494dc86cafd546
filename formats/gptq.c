/* The GPTQ layouts: codes packed along the input features, zeros along the output features.
 *
 *     qweight I32 [K * bits / 32, N]   PACKSEQ down each column: word r of output n at [r, n]
 *     qzeros  I32 [G, N * bits / 32]   PACKSEQ along each row, of z - 1 (gptq) or z (gptq_v2)
 *     scales  F16 [G, N]
 *     g_idx   I32 [K]                  k / group: no other map survives current loaders
 *
 * This file decides what fits and encodes; gptq_decode.c reads, gptq_config.c does the config. The
 * two versions differ in the stored zeros and in one word of the config. */
#include "formats/gptq.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "formats/pack.h"

/* The packers work in units of 32 codes: K and N are multiples of this. */
#define PACK_UNIT 32

/* Rows of scales turned at a time: 64 rows of 64 bytes stay in the first-level cache. */
#define TURN_ROWS 64

const char *const gptq_suffixes[GPTQ_TENSORS + 1] = {"qweight", "qzeros", "scales", "g_idx", NULL};

bool gptq_has_bits(int64_t bits) {
    return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

/* --- what fits -------------------------------------------------------------------------------- */

/* Group sizes that divide k, for a message: multiples of 16 up to 1024, and -1. */
static void list_groups(int64_t k, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (int64_t g = 16; g <= 1024 && g <= k; g += 16) {
        if (k % g != 0)
            continue;
        int n = snprintf(out + used, size - used, "%" PRId64 ", ", g);
        if (n < 0 || (size_t)n >= size - used - 3)
            break;
        used += (size_t)n;
    }
    (void)snprintf(out + used, size - used, "-1");
}

static enum llmq_status refuse_group(const struct quant_shape *shape, llmq_error *err) {
    char groups[160];
    list_groups(shape->k, groups, sizeof groups);
    enum llmq_status status = error_set(
        err, LLMQ_E_UNSUPPORTED,
        "group size %" PRId64 " does not divide in_features %" PRId64 "; these would do: %s",
        shape->group, shape->k, groups);
    error_hint(err, "choose a group size that divides every module, or a size for each module");
    return status;
}

static enum llmq_status gptq_accepts(const struct quant_shape *shape, llmq_error *err) {
    if (!gptq_has_bits(shape->bits))
        return error_set(err, LLMQ_E_UNSUPPORTED, "expected 2, 3, 4 or 8 bits, found %d",
                         shape->bits);
    const struct {
        const char *what;
        int64_t size;
    } sides[] = {{"in_features", shape->k}, {"out_features", shape->n}};
    for (int i = 0; i < 2; i++)
        if (sides[i].size <= 0 || sides[i].size > INT32_MAX || sides[i].size % PACK_UNIT != 0) {
            enum llmq_status status =
                error_set(err, LLMQ_E_UNSUPPORTED, "%s %" PRId64 " is not a multiple of %d",
                          sides[i].what, sides[i].size, PACK_UNIT);
            error_hint(err, "GPTQ files pack %d values at a time: leave this module in 16 bits",
                       PACK_UNIT);
            return status;
        }
    if (shape->group != -1 && (shape->group <= 0 || shape->k % shape->group != 0))
        return refuse_group(shape, err);
    return LLMQ_OK;
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
    const struct pack_map map = {.bits = q->bits,
                                 .streams = q->n,
                                 .count = q->k,
                                 .code_stream = q->k,
                                 .code_step = 1,
                                 .word_stream = 1,
                                 .word_step = q->n};
    pack_seq(&map, q->codes, qweight);
}

/* zeros [N, G] to qzeros; `offset` is 1 where the file stores z - 1. */
static enum llmq_status encode_zeros(const struct qlinear *q, int offset, void *qzeros,
                                     llmq_error *err) {
    const int64_t count = q->n * q->groups;
    const int middle = 1 << (q->bits - 1);
    uint8_t *stored = malloc((size_t)count);
    if (!stored)
        return error_memory(err, "zero points");
    for (int64_t i = 0; i < count; i++) {
        const int z = q->zeros[i];
        if (q->sym ? z != middle : z < offset || z >> q->bits) {
            free(stored);
            return error_set(err, LLMQ_E_INPUT,
                             "row %" PRId64 ", group %" PRId64
                             ": expected a zero point from %d to %d, found %d",
                             i / q->groups, i % q->groups, q->sym ? middle : offset,
                             q->sym ? middle : (1 << q->bits) - 1, z);
        }
        stored[i] = (uint8_t)(z - offset);
    }
    const struct pack_map map = {.bits = q->bits,
                                 .streams = q->groups,
                                 .count = q->n,
                                 .code_stream = 1,
                                 .code_step = q->groups,
                                 .word_stream = (int64_t)pack_words(q->bits, (uint64_t)q->n),
                                 .word_step = 1};
    pack_seq(&map, stored, qzeros);
    free(stored);
    return LLMQ_OK;
}

/* scales [N, G] to F16 [G, N]. A scale that F16 cannot hold would change every weight of its
 * group after the codes were chosen: the quantizer has to round first. */
static enum llmq_status encode_scales(const struct qlinear *q, void *out, llmq_error *err) {
    unsigned char *bytes = out;
    for (int64_t begin = 0; begin < q->n; begin += TURN_ROWS) {
        const int64_t end = begin + TURN_ROWS < q->n ? begin + TURN_ROWS : q->n;
        for (int64_t g = 0; g < q->groups; g++)
            for (int64_t n = begin; n < end; n++) {
                const float s = q->scales[n * q->groups + g];
                const uint16_t half = f32_to_f16(s);
                if (!(s > 0.0f) || isinf(s) || f16_to_f32(half) < s || f16_to_f32(half) > s)
                    return error_set(err, LLMQ_E_INPUT,
                                     "row %" PRId64 ", group %" PRId64
                                     ": expected a positive scale that F16 holds exactly, found %g",
                                     n, g, (double)s);
                memcpy(bytes + (size_t)(g * q->n + n) * sizeof half, &half, sizeof half);
            }
    }
    return LLMQ_OK;
}

static enum llmq_status encode_groups(const struct qlinear *q, void *out, llmq_error *err) {
    unsigned char *bytes = out;
    for (int64_t k = 0; k < q->k; k++) {
        const int32_t group = (int32_t)(k / q->group);
        if (q->group_of && q->group_of[k] != group)
            return error_set(err, LLMQ_E_INPUT,
                             "column %" PRId64 ": expected group %d, found %d: current loaders "
                             "ignore g_idx, so only groups in column order can be written",
                             k, group, q->group_of[k]);
        memcpy(bytes + (size_t)k * sizeof group, &group, sizeof group);
    }
    return LLMQ_OK;
}

static enum llmq_status encode(const struct qlinear *q, int offset,
                               void *const data[LAYOUT_MAX_TENSORS], llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(encode_groups(q, data[GPTQ_G_IDX], err));
    LLMQ_TRY(encode_scales(q, data[GPTQ_SCALES], err));
    LLMQ_TRY(encode_zeros(q, offset, data[GPTQ_QZEROS], err));
    encode_codes(q, data[GPTQ_QWEIGHT]);

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
    .zero_range = zero_range_v1,
    .tensors = gptq_tensors,
    .encode = encode_v1,
    .config_write = gptq_v1_config_write,
    .config_file = "quantize_config.json",
    .config_matches = gptq_v1_config_matches,
    .config_read = gptq_config_read,
    .suffixes = gptq_suffixes,
    .decode = gptq_decode,
};

const struct layout layout_gptq_v2 = {
    .name = "gptq_v2",
    .description = "GPTQ with zero points stored as they are (GPTQModel, SGLang, vLLM)",
    .accepts = gptq_accepts,
    .zero_range = zero_range_v2,
    .tensors = gptq_tensors,
    .encode = encode_v2,
    .config_write = gptq_v2_config_write,
    .config_file = "quantize_config.json",
    .config_matches = gptq_v2_config_matches,
    .config_read = gptq_config_read,
    .suffixes = gptq_suffixes,
    .decode = gptq_decode,
};
