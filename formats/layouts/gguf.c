/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of GGUF files: a linear is one tensor of blocks, 32 codes of a row with their scale.
 *
 *     Q4_0   f16 d; u8 qs[16]          w = d (q - 8)    4 bits, symmetric
 *     Q4_1   f16 d; f16 m; u8 qs[16]   w = d q + m      4 bits, asymmetric: m = -d z
 *     Q8_0   f16 d; i8 qs[32]          w = d q          8 bits, symmetric
 *
 * Byte j of qs[16] holds element j in its low and element j + 16 in its high half. A group's scale
 * is repeated in each of its blocks, so groups are multiples of 32. m = -d z has to be exact in
 * F16, which depends on the group: asymmetric modules can be refused when they are encoded.
 *
 * Files by others may hold negative scales, which ours never do: the codes are turned round then,
 * where 16 - q does not fit 4 bits in a module of 8 bits.
 * Source: ggml/src/ggml-common.h (block_q4_0, block_q4_1, block_q8_0) of ggml-org/llama.cpp. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "formats/gguf/gguf_file.h"
#include "formats/layouts/parts.h"
#include "formats/layouts/quant_config_keys.h"

#define BLOCK     32
#define NIBBLES_8 8 /* what a code of Q4_0 counts from */
#define BYTES_128 128

static const char *const gguf_suffixes[] = {GGUF_BLOCKS_SUFFIX, NULL};

static enum dtype dtype_for(int bits, bool sym) {
    return bits == 8 ? DTYPE_Q8_0 : sym ? DTYPE_Q4_0 : DTYPE_Q4_1;
}

static size_t block_bytes(enum dtype t) {
    return dtype_bits(t) / 8;
}

/* Bytes of a block before its codes. */
static size_t param_bytes(enum dtype t) {
    return t == DTYPE_Q4_1 ? 4 : 2;
}

/* --- what fits -------------------------------------------------------------------------------- */

static enum llmq_status gguf_accepts(const struct quant_shape *shape, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (shape->bits != 4 && !(shape->bits == 8 && shape->sym)) {
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "expected 4 bits, or 8 bits and a symmetric grid, for the gguf format, found %d "
                  "bits, %s",
                  shape->bits, shape->sym ? "symmetric" : "asymmetric");
        error_hint(err, "choose 4 bits, 8 bits with --sym, or --format %s", layout_gptq.name);
        return LLMQ_E_UNSUPPORTED;
    }
    LLMQ_TRY(parts_accept_size("in_features", shape->k, BLOCK, err));
    LLMQ_TRY(parts_accept_size("out_features", shape->n, 1, err));
    LLMQ_TRY(parts_accept_group(shape, err));
    if (shape->group != -1)
        LLMQ_TRY(parts_accept_size("group size", shape->group, BLOCK, err));

cleanup:
    return status;
}

static const char *gguf_caveat(const struct layout_config *config) {
    (void)config;
    return NULL;
}

static void gguf_zero_range(int bits, int *zmin, int *zmax) {
    *zmin = 0;
    *zmax = (1 << bits) - 1;
}

static int gguf_tensors(const struct quant_shape *shape,
                        struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    out[0] = (struct layout_tensor){gguf_suffixes[0],
                                    dtype_for(shape->bits, shape->sym),
                                    2,
                                    {(uint64_t)shape->n, (uint64_t)shape->k}};
    return 1;
}

/* --- encoding --------------------------------------------------------------------------------- */

static bool exact_f16(double value, uint16_t *half) {
    *half = f32_to_f16((float)value);
    const double back = (double)f16_to_f32(*half);
    return back >= value && back <= value;
}

/* The params of a block of group g of row n. */
static enum llmq_status put_params(const struct qlinear *q, int64_t n, int64_t g, enum dtype t,
                                   unsigned char *out, llmq_error *err) {
    const float s = q->scales[n * q->groups + g];
    const int z = q->zeros[n * q->groups + g];
    uint16_t half[2] = {0};
    if (!(s > 0.0f) || isinf(s) || !exact_f16((double)s, &half[0]))
        return error_set(err, LLMQ_E_INPUT,
                         "row %" PRId64 ", group %" PRId64
                         ": expected a positive scale that F16 holds exactly, found %g",
                         n, g, (double)s);
    if (t == DTYPE_Q4_1 && !exact_f16(0.0 - (double)s * z, &half[1])) {
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "row %" PRId64 ", group %" PRId64
                  ": expected a scale times zero point that F16 holds exactly, found %g times %d",
                  n, g, (double)s, z);
        error_hint(err, "asymmetric codes fit GGUF files only where this product is exact: keep "
                        "the format, or quantize symmetrically");
        return LLMQ_E_UNSUPPORTED;
    }
    memcpy(out, half, param_bytes(t));
    return LLMQ_OK;
}

static void put_codes(const uint8_t *codes, enum dtype t, unsigned char *out) {
    for (int j = 0; t == DTYPE_Q8_0 && j < BLOCK; j++)
        out[j] = (unsigned char)(codes[j] - BYTES_128);
    for (int j = 0; t != DTYPE_Q8_0 && j < BLOCK / 2; j++)
        out[j] = (unsigned char)(codes[j] | codes[j + BLOCK / 2] << 4);
}

static enum llmq_status gguf_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const enum dtype t = dtype_for(q->bits, q->sym);
    unsigned char *out = data[0];
    LLMQ_TRY(parts_check_order(q, err));
    LLMQ_TRY(parts_check_zeros(q, 0, err));
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t k = 0; k < q->k; k += BLOCK) {
            LLMQ_TRY(put_params(q, n, k / q->group, t, out, err));
            put_codes(q->codes + n * q->k + k, t, out + param_bytes(t));
            out += block_bytes(t);
        }

cleanup:
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

static enum llmq_status check_tensor(const struct layout_data *d, llmq_error *err) {
    const enum dtype t = d->info.dtype;
    uint64_t bytes = 0;
    if (!d->data)
        return error_set(err, LLMQ_E_INPUT, "%s: expected it, found no such tensor",
                         gguf_suffixes[0]);
    if (t != DTYPE_Q4_0 && t != DTYPE_Q4_1 && t != DTYPE_Q8_0)
        return error_set(err, LLMQ_E_INPUT, "%s: expected Q4_0, Q4_1 or Q8_0, found %s",
                         gguf_suffixes[0], dtype_name(t));
    const uint64_t n = d->info.shape[0], k = d->info.shape[1];
    if (d->info.rank != 2 || n == 0 || k == 0 || n > INT32_MAX || k > INT32_MAX || k % BLOCK != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected two dimensions from 1 to 2^31 - 1, the second a multiple "
                         "of %d, found others",
                         gguf_suffixes[0], BLOCK);
    if (!dtype_bytes(t, n * k, &bytes) || bytes != d->nbytes)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRIu64 " bytes by its shape, found %" PRIu64,
                         gguf_suffixes[0], bytes, d->nbytes);
    return LLMQ_OK;
}

/* Columns per group: the config's where all blocks of each such group say the same, else a
 * block's. */
static int64_t find_group(const struct layout_config *config, const struct layout_data *d) {
    const int64_t k = (int64_t)d->info.shape[1];
    const int64_t group = config->group == -1 ? k : config->group;
    const size_t step = block_bytes(d->info.dtype), params = param_bytes(d->info.dtype);
    const unsigned char *first = d->data, *end = first + d->nbytes;
    if (group < BLOCK || group % BLOCK != 0 || k % group != 0)
        return BLOCK;
    const size_t group_bytes = (size_t)(group / BLOCK) * step;
    for (; first < end; first += group_bytes)
        for (size_t at = step; at < group_bytes; at += step)
            if (memcmp(first, first + at, params) != 0)
                return BLOCK;
    return group;
}

/* Does any block of Q4_0 have a negative scale? */
static bool any_negative(const struct layout_data *d) {
    const unsigned char *bytes = d->data;
    for (uint64_t at = 0; d->info.dtype == DTYPE_Q4_0 && at < d->nbytes;
         at += block_bytes(DTYPE_Q4_0)) {
        uint16_t half;
        memcpy(&half, bytes + at, sizeof half);
        if (f16_to_f32(half) < 0.0f)
            return true;
    }
    return false;
}

/* A block's scale and zero point; *turned: its codes run the other way. */
struct params {
    float scale;
    int zero;
    bool turned;
};

static enum llmq_status get_params(const unsigned char *block, enum dtype t, int bits,
                                   struct params *out, llmq_error *err) {
    uint16_t half[2] = {0};
    memcpy(half, block, param_bytes(t));
    const float d = f16_to_f32(half[0]), m = f16_to_f32(half[1]);
    *out = (struct params){fabsf(d), 1 << (bits - 1), d < 0.0f};
    if (!isfinite(d) || !isfinite(m) || (t == DTYPE_Q4_1 && out->turned))
        return error_set(err, LLMQ_E_INPUT, "expected a finite scale%s, found %g",
                         t == DTYPE_Q4_1 ? " that is not negative and a finite minimum" : "",
                         (double)(isfinite(d) ? isfinite(m) ? d : m : d));
    if (t != DTYPE_Q4_1)
        return LLMQ_OK;
    const double z = d > 0.0f ? -(double)m / (double)d : 0.0;
    const int zero = z >= 0.0 && z <= 15.0 ? (int)lround(z) : 0;
    if ((double)d * zero > -(double)m || (double)d * zero < -(double)m)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "expected a minimum of -z times the scale with z from 0 to 15, found %g "
                         "with scale %g",
                         (double)m, (double)d);
    out->zero = zero;
    return LLMQ_OK;
}

/* LLMQ_E_UNSUPPORTED: a turned code of Q8_0 that does not fit. */
static enum llmq_status get_codes(const unsigned char *qs, enum dtype t, const struct params *p,
                                  int bits, uint8_t *codes, llmq_error *err) {
    const int middle = 1 << (bits - 1);
    for (int j = 0; j < BLOCK; j++) {
        const int nibble = qs[j % (BLOCK / 2)] >> (j < BLOCK / 2 ? 0 : 4) & 15;
        const int value = t == DTYPE_Q8_0 ? (qs[j] ^ BYTES_128) - BYTES_128 : nibble - NIBBLES_8;
        const int code = t == DTYPE_Q4_1 ? nibble : middle + (p->turned ? -value : value);
        if (code >= 1 << bits)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "expected no code of -128 with a negative scale, found one");
        codes[j] = (uint8_t)code;
    }
    return LLMQ_OK;
}

static enum llmq_status get_block(const unsigned char *block, enum dtype t, int64_t n, int64_t k,
                                  struct qlinear *q, llmq_error *err) {
    struct params p;
    const int64_t g = n * q->groups + k / q->group;
    enum llmq_status status = get_params(block, t, q->bits, &p, err);
    if (status == LLMQ_OK)
        status = get_codes(block + param_bytes(t), t, &p, q->bits, q->codes + n * q->k + k, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s: output %" PRId64 ", input %" PRId64, gguf_suffixes[0],
                            n, k);
    q->scales[g] = p.scale;
    q->zeros[g] = (uint8_t)p.zero;
    return LLMQ_OK;
}

static enum llmq_status gguf_decode(const struct layout_config *config,
                                    const struct layout_data data[LAYOUT_MAX_TENSORS],
                                    struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const enum dtype t = data[0].info.dtype;
    const unsigned char *block = data[0].data;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensor(&data[0], err));
    const int bits = t == DTYPE_Q8_0 || any_negative(&data[0]) ? 8 : 4;
    LLMQ_TRY(qlinear_alloc((int64_t)data[0].info.shape[0], (int64_t)data[0].info.shape[1], bits,
                           find_group(config, &data[0]), q, err));
    for (int64_t n = 0; n < q->n; n++)
        for (int64_t k = 0; k < q->k; k += BLOCK, block += block_bytes(t))
            LLMQ_TRY(get_block(block, t, n, k, q, err));
    parts_set_sym(q);

cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}

/* --- config ----------------------------------------------------------------------------------- */

/* The file says everything but how many blocks share their scale. Loaders of GGUF files do not read
 * config.json; others find a method they do not know, and no safetensors. */
static struct json *gguf_config_write(const struct layout_config *config,
                                      const struct layout_module *modules, int64_t count) {
    struct json *root = json_new_object();
    (void)modules;
    (void)count;
    json_add_string(root, "quant_method", "gguf");
    json_add_int64(root, "bits", config->bits);
    json_add_int64(root, "group_size", config->group);
    json_add_bool(root, "sym", config->sym);
    return root;
}

static bool gguf_config_matches(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    return method && strcmp(method, "gguf") == 0;
}

static const struct config_key config_keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"bits", KEY_NUMBER, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},
    {.name = NULL},
};

static enum llmq_status gguf_config_read(const struct json *quantization_config,
                                         struct layout_config *out, llmq_error *err) {
    const struct json *config = quantization_config;
    int64_t bits = 0, group = 0;
    bool sym = true;
    *out = (struct layout_config){0};
    enum llmq_status status =
        config_keys_check(quantization_config, "quantization_config", config_keys, err);
    if (status != LLMQ_OK)
        return status;
    if (!json_as_int64(json_get(config, "bits"), &bits) || (bits != 4 && bits != 8))
        return error_set(err, LLMQ_E_INPUT, "quantization_config: bits: expected 4 or 8 for gguf");
    if (!json_as_int64(json_get(config, "group_size"), &group) || group == 0 || group < -1)
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: group_size: expected -1 or a positive integer");
    if (!json_as_bool(json_get(config, "sym"), &sym))
        return error_set(err, LLMQ_E_INPUT, "quantization_config: sym: expected true or false");
    *out = (struct layout_config){.bits = (int)bits, .group = group, .sym = sym};
    return LLMQ_OK;
}

const struct layout layout_gguf = {
    .name = "gguf",
    .description = "llama.cpp: Q4_0, Q8_0, and Q4_1 where it is exact",
    .container = LAYOUT_GGUF,
    .accepts = gguf_accepts,
    .scales = DTYPE_F16,
    .overrides = true,
    .merges = LAYOUT_MERGES_EXPERTS,
    .asym_if_exact = true,
    .model_dtype = NULL,
    .caveat = gguf_caveat,
    .zero_range = gguf_zero_range,
    .tensors = gguf_tensors,
    .encode = gguf_encode,
    .config_write = gguf_config_write,
    .config_file = NULL,
    .config_matches = gguf_config_matches,
    .config_read = gguf_config_read,
    .suffixes = gguf_suffixes,
    .decode = gguf_decode,
};
