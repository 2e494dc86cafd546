/* SPDX-License-Identifier: Apache-2.0 */
/* The compressed-tensors layout in its format pack-quantized: codes along the input features, zero
 * points along the output features.
 *
 *     weight_packed      I32 [N, K * bits / 32]   PACKSEQ along each row
 *     weight_scale       F16 [N, G]
 *     weight_shape       I64 [2]                  N, K
 *     weight_zero_point  I32 [N * bits / 32, G]   PACKSEQ down each column; asymmetric only
 *
 * The library thinks in signed codes and zero points, 2^(bits-1) less than ours, and adds as much
 * to both when it packs: the file holds our u and z. Written are 4 and 8 bits, the widths that
 * older readers pack in the same way; read are 2, 3, 4 and 8. Files by others may have
 *     weight_g_idx       I32 [K]      the group of each column; -1 throughout: nobody set it
 *     weight_zero_point  I8 [N, G]    signed, as it is before packing
 *     weight_packed      of 3 bits, ten codes to a word, and the zero points likewise: before dense
 *                        packing; the number of columns tells */
#include "formats/layouts/compressed_tensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/pack.h"
#include "formats/layouts/parts.h"

/* Whole words of 4-bit codes; kernels for asymmetric codes want as much of out_features. */
#define CT_PACK_UNIT 8

/* The width that older versions packed with gaps and that llmq reads. */
#define LOOSE_BITS 3

/* Positions in data[]. */
enum ct_tensor { CT_PACKED, CT_SCALE, CT_SHAPE, CT_ZERO_POINT, CT_G_IDX, CT_TENSORS };
static const char *const ct_suffixes[CT_TENSORS + 1] = {
    "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", NULL};

/* --- what fits -------------------------------------------------------------------------------- */

static enum llmq_status ct_accepts(const struct quant_shape *shape, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (shape->bits != 4 && shape->bits != 8) {
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "expected 4 or 8 bits for the compressed-tensors format, found %d", shape->bits);
        error_hint(err, "choose 4 or 8 bits, or the gptq format");
        return LLMQ_E_UNSUPPORTED;
    }
    LLMQ_TRY(parts_accept_size("in_features", shape->k, CT_PACK_UNIT, err));
    LLMQ_TRY(parts_accept_size("out_features", shape->n, shape->sym ? 1 : CT_PACK_UNIT, err));
    LLMQ_TRY(parts_accept_group(shape, err));

cleanup:
    return status;
}

static const char *ct_caveat(const struct layout_config *config) {
    if (config->sym)
        return NULL;
    if (config->bits == 8)
        return "asymmetric compressed-tensors files of 8 bits load in transformers and, on compute "
               "capability 9.0, in vLLM only";
    return "asymmetric compressed-tensors files load in transformers, vLLM and SGLang since "
           "mid-2026 only; awq loads more widely";
}

static void ct_zero_range(int bits, int *zmin, int *zmax) {
    *zmin = 0;
    *zmax = (1 << bits) - 1;
}

static int ct_tensors(const struct quant_shape *shape,
                      struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    const uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k;
    const uint64_t groups = shape->group == -1 ? 1 : k / (uint64_t)shape->group;
    const struct layout_tensor tensors[] = {
        {ct_suffixes[CT_PACKED], DTYPE_I32, 2, {n, pack_words(shape->bits, k)}},
        {ct_suffixes[CT_SCALE], DTYPE_F16, 2, {n, groups}},
        {ct_suffixes[CT_SHAPE], DTYPE_I64, 1, {2, 0}},
        {ct_suffixes[CT_ZERO_POINT], DTYPE_I32, 2, {pack_words(shape->bits, n), groups}},
    };
    memcpy(out, tensors, sizeof tensors);
    return shape->sym ? CT_ZERO_POINT : CT_ZERO_POINT + 1;
}

/* --- encoding and decoding -------------------------------------------------------------------- */

static struct pack_map codes_map(const struct qlinear *q) {
    return pack_map_rows(q->bits, q->n, q->k);
}

static struct pack_map zeros_map(const struct qlinear *q) {
    return pack_map_transposed(pack_map_columns(q->bits, q->n, q->groups));
}

static enum llmq_status ct_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                  llmq_error *err) {
    const struct pack_map codes = codes_map(q), zeros = zeros_map(q);
    const int64_t shape[2] = {q->n, q->k};
    enum llmq_status status = LLMQ_OK;
    if (!q->sym && !data[CT_ZERO_POINT])
        return error_set(err, LLMQ_E_INPUT,
                         "expected a symmetric module as planned, found an asymmetric one");
    LLMQ_TRY(parts_check_order(q, err));
    LLMQ_TRY(parts_check_zeros(q, 0, err));
    LLMQ_TRY(parts_encode_scales(q, PARTS_ROWS_FIRST, data[CT_SCALE], err));
    memcpy(data[CT_SHAPE], shape, sizeof shape);
    if (data[CT_ZERO_POINT])
        pack_seq(&zeros, q->zeros, data[CT_ZERO_POINT]);
    pack_seq(&codes, q->codes, data[CT_PACKED]);

cleanup:
    return status;
}

static enum llmq_status check_tensors(const struct layout_config *config,
                                      const struct layout_data *data, llmq_error *err) {
    static const struct {
        enum parts_kind kind;
        int rank;
    } rules[CT_TENSORS] = {
        {PARTS_WORDS, 2}, {PARTS_SCALES, 2}, {PARTS_INDEX, 1}, {PARTS_ZEROS, 2}, {PARTS_INDEX, 1}};
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < CT_TENSORS; i++) {
        const bool optional = i == CT_G_IDX || (i == CT_ZERO_POINT && config->sym);
        if (data[i].data)
            LLMQ_TRY(
                parts_check_tensor(&data[i], ct_suffixes[i], rules[i].kind, rules[i].rank, err));
        else if (!optional)
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT, "%s: expected it, found no such tensor",
                               ct_suffixes[i]));
    }

cleanup:
    return status;
}

/* N and K, which are stored as numbers. */
static enum llmq_status read_shape(const struct layout_data *d, int64_t *n, int64_t *k,
                                   llmq_error *err) {
    if (d->info.shape[0] != 2)
        return error_set(err, LLMQ_E_INPUT, "weight_shape: expected 2 numbers, found %" PRIu64,
                         d->info.shape[0]);
    *n = parts_index_at(d, 0);
    *k = parts_index_at(d, 1);
    if (*n <= 0 || *k <= 0 || *n > INT32_MAX || *k > INT32_MAX)
        return error_set(err, LLMQ_E_INPUT,
                         "weight_shape: expected sizes from 1 to 2^31 - 1, found %" PRId64
                         " and %" PRId64,
                         *n, *k);
    return LLMQ_OK;
}

static enum llmq_status check_dims(const struct layout_data *data, int tensor, uint64_t rows,
                                   uint64_t columns, llmq_error *err) {
    const uint64_t *found = data[tensor].info.shape;
    if (!data[tensor].data || (found[0] == rows && found[1] == columns))
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "%s: expected [%" PRIu64 ", %" PRIu64 "], found [%" PRIu64 ", %" PRIu64 "]",
                     ct_suffixes[tensor], rows, columns, found[0], found[1]);
}

/* A row of codes tells the bits, and whether they are packed with or without gaps: a width that the
 * config names comes before the others, and one without gaps before the 3 bits of older files. */
static int infer_bits(const struct layout_config *config, uint64_t words, uint64_t k, bool *loose) {
    const int dense = parts_bits_for(words, k, config->bits);
    *loose = dense != config->bits && pack_loose_words(LOOSE_BITS, k) == words &&
             (dense == 0 || config->bits == LOOSE_BITS);
    return *loose ? LOOSE_BITS : dense;
}

static enum llmq_status check_zeros_dims(const struct layout_data *data,
                                         const struct quant_shape *s, bool loose, llmq_error *err) {
    const uint64_t groups = data[CT_SCALE].info.shape[1], n = (uint64_t)s->n;
    const uint64_t rows = data[CT_ZERO_POINT].info.dtype == DTYPE_I8 ? n
                          : loose                                    ? pack_loose_words(s->bits, n)
                                                                     : pack_words(s->bits, n);
    return check_dims(data, CT_ZERO_POINT, rows, groups, err);
}

static enum llmq_status infer(const struct layout_config *config, const struct layout_data *data,
                              struct quant_shape *s, bool *loose, llmq_error *err) {
    const uint64_t words = data[CT_PACKED].info.shape[1], groups = data[CT_SCALE].info.shape[1];
    const struct layout_data *g_idx = &data[CT_G_IDX];
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(read_shape(&data[CT_SHAPE], &s->n, &s->k, err));
    s->bits = infer_bits(config, words, (uint64_t)s->k, loose);
    if (s->bits == 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "weight_packed: expected columns that 2, 3, 4 or 8 bits give for "
                           "%" PRId64 " inputs, found %" PRIu64,
                           s->k, words));
    LLMQ_TRY(check_dims(data, CT_PACKED, (uint64_t)s->n, words, err));
    LLMQ_TRY(check_dims(data, CT_SCALE, (uint64_t)s->n, groups, err));
    LLMQ_TRY(check_zeros_dims(data, s, *loose, err));
    if (g_idx->data && g_idx->info.shape[0] != (uint64_t)s->k)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT, "weight_g_idx: expected %" PRId64 ", found %" PRIu64,
                           s->k, g_idx->info.shape[0]));
    LLMQ_TRY(
        parts_infer_group(config, s->k, (int64_t)groups, ct_suffixes[CT_SCALE], &s->group, err));

cleanup:
    return status;
}

/* Signed zero points, each by itself. */
static enum llmq_status decode_signed(const struct layout_data *d, struct qlinear *q,
                                      llmq_error *err) {
    const int middle = 1 << (q->bits - 1);
    const int8_t *stored = d->data;
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        if (stored[i] < -middle || stored[i] >= middle)
            return error_set(err, LLMQ_E_INPUT,
                             "weight_zero_point: output %" PRId64 ", group %" PRId64
                             ": expected a number from %d to %d, found %d",
                             i / q->groups, i % q->groups, -middle, middle - 1, stored[i]);
        q->zeros[i] = (uint8_t)(stored[i] + middle);
    }
    return LLMQ_OK;
}

static enum llmq_status decode_zeros(const struct layout_data *d, bool loose, struct qlinear *q,
                                     llmq_error *err) {
    const struct pack_map map = zeros_map(q);
    enum llmq_status status = LLMQ_OK;
    if (!d->data)
        memset(q->zeros, 1 << (q->bits - 1), (size_t)(q->n * q->groups));
    else if (d->info.dtype == DTYPE_I8)
        status = decode_signed(d, q, err);
    else if (loose)
        unpack_loose(&map, d->data, q->zeros);
    else
        unpack_seq(&map, d->data, q->zeros);
    if (status == LLMQ_OK)
        parts_set_sym(q);
    return status;
}

static void decode_codes(const struct layout_data *d, bool loose, struct qlinear *q) {
    struct pack_map map = codes_map(q);
    map.word_stream = (int64_t)d->info.shape[1];
    if (loose)
        unpack_loose(&map, d->data, q->codes);
    else
        unpack_seq(&map, d->data, q->codes);
}

/* The library makes the map full of -1 and sets it where columns were reordered. */
static bool is_unset(const struct layout_data *g_idx) {
    bool unset = g_idx->data != NULL;
    for (uint64_t k = 0; unset && k < g_idx->info.shape[0]; k++)
        unset = parts_index_at(g_idx, (int64_t)k) == -1;
    return unset;
}

static enum llmq_status ct_decode(const struct layout_config *config,
                                  const struct layout_data data[LAYOUT_MAX_TENSORS],
                                  struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct quant_shape s = {0};
    bool loose = false;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensors(config, data, err));
    LLMQ_TRY(infer(config, data, &s, &loose, err));
    LLMQ_TRY(qlinear_alloc(s.n, s.k, s.bits, s.group, q, err));
    LLMQ_TRY(parts_decode_scales(&data[CT_SCALE], PARTS_ROWS_FIRST, q, err));
    if (!is_unset(&data[CT_G_IDX]))
        LLMQ_TRY(parts_decode_groups(&data[CT_G_IDX], ct_suffixes[CT_G_IDX], q, err));
    LLMQ_TRY(decode_zeros(&data[CT_ZERO_POINT], loose, q, err));
    decode_codes(&data[CT_PACKED], loose, q);

cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}

const struct layout layout_compressed_tensors = {
    .name = "compressed-tensors",
    .description = "compressed-tensors pack-quantized, 4 and 8 bits (vLLM, SGLang, transformers)",
    .accepts = ct_accepts,
    .scales = DTYPE_F16,
    .overrides = true,
    .of_library = true,
    .cache_scheme = true,
    .model_dtype = NULL,
    .caveat = ct_caveat,
    .zero_range = ct_zero_range,
    .tensors = ct_tensors,
    .encode = ct_encode,
    .config_write = ct_config_write,
    .config_file = NULL,
    .config_matches = ct_config_matches,
    .config_read = ct_config_read,
    .rules = ct_rules,
    .suffixes = ct_suffixes,
    .decode = ct_decode,
};
