/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 4-bit floats (E2M1) in groups of 32 that share a power of two (E8M0), as gpt-oss
 * ships its experts: <name>_blocks U8 [experts, rows, groups, 16], the even column of a pair in the
 * low half of its byte, and <name>_scales U8 [experts, rows, groups].
 *
 * transformers (integrations/mxfp4.py, convert_moe_packed_tensors) decodes them to
 * [experts, rows, 32 groups] and exchanges the last two dimensions, because the plain tensor <name>
 * is [experts, columns, rows]: that is how they are shown. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/encodings/encoding.h"
#include "formats/layouts/quant_config_keys.h"
#include "tensor/minifloat.h"

enum { GROUP = 32, GROUP_BYTES = GROUP / 2 };

/* --- config ----------------------------------------------------------------------------------- */

static bool config_matches(const struct json *config) {
    const char *method = json_string(json_get(config, "quant_method"));
    return method && strcmp(method, "mxfp4") == 0;
}

static enum llmq_status config_read(const struct json *config, struct encoding_settings *out,
                                    llmq_error *err) {
    static const struct config_key keys[] = {
        {"quant_method", KEY_TEXT, NULL, NULL},
        {"modules_to_not_convert", KEY_LIST, NULL, NULL},
        {"dequantize", KEY_BOOL, NULL, NULL},
        {.name = NULL},
    };
    (void)out;
    return config_keys_check(config, "quantization_config", keys, err);
}

/* --- tensors ---------------------------------------------------------------------------------- */

#define BLOCKS "_blocks"
#define SCALES "_scales"

static bool holds_codes(const struct st_tensor *t) {
    return t->dtype == DTYPE_U8 && text_ends_with(t->name, BLOCKS);
}

static enum llmq_status compare_parts(const struct st_tensor *codes, const struct st_tensor *scales,
                                      llmq_error *err) {
    char found[ENCODING_SHAPE_MAX], of[ENCODING_SHAPE_MAX];
    if (codes->rank != 4 || codes->shape[3] != GROUP_BYTES || codes->nbytes == 0)
        return error_set(err, LLMQ_E_INPUT,
                         "tensor '%.200s': expected shape [experts, rows, groups, 16], found %s",
                         codes->name, encoding_shape(codes->shape, codes->rank, found));
    if (scales->dtype != DTYPE_U8 && scales->dtype != DTYPE_F8_E8M0)
        return error_set(err, LLMQ_E_INPUT, "tensor '%.200s': expected U8, found %s", scales->name,
                         dtype_name(scales->dtype));
    if (scales->rank != 3 || memcmp(scales->shape, codes->shape, 3 * sizeof *codes->shape) != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "tensor '%.200s': expected shape %s, one scale for each group of "
                         "'%.200s', found %s",
                         scales->name, encoding_shape(codes->shape, 3, of), codes->name,
                         encoding_shape(scales->shape, scales->rank, found));
    return LLMQ_OK;
}

static enum llmq_status check_parts(const struct st_tensor *codes, const struct st_tensor *scales,
                                    llmq_error *err) {
    enum llmq_status status = compare_parts(codes, scales, err);
    if (status != LLMQ_OK)
        encoding_hint(err);
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

/* One matrix [rows, columns] as it is stored. */
struct matrix {
    const struct st_coded *c;
    uint8_t *codes, *scales;
    float values[16], powers[256]; /* of codes and scales */
};

static float value_at(const struct matrix *m, uint64_t row, uint64_t column) {
    const uint64_t at = row * m->c->columns + column;
    const unsigned byte = m->codes[at / 2];
    return m->values[at % 2 ? byte >> 4 : byte & 15] * m->powers[m->scales[at / GROUP]];
}

static enum llmq_status read_matrix(const struct st_set *set, const struct matrix *m, uint64_t e,
                                    llmq_error *err) {
    const uint64_t codes = m->c->codes.nbytes / m->c->matrices;
    const uint64_t scales = m->c->scales.nbytes / m->c->matrices;
    enum llmq_status status = st_read(set, &m->c->codes, e * codes, (size_t)codes, m->codes, err);
    return status == LLMQ_OK
               ? st_read(set, &m->c->scales, e * scales, (size_t)scales, m->scales, err)
               : status;
}

/* The first element that is not finite: of a scale that is NaN or that is too large. */
static enum llmq_status refuse(const struct st_set *set, const struct matrix *m, uint64_t e,
                               llmq_error *err) {
    const uint64_t groups = m->c->columns / GROUP;
    for (uint64_t row = 0; row < m->c->rows; row++)
        for (uint64_t g = 0; g < groups; g++) {
            const uint8_t scale = m->scales[row * groups + g];
            bool finite = true;
            for (uint64_t i = 0; i < GROUP; i++)
                finite = finite && isfinite(value_at(m, row, g * GROUP + i));
            if (!finite)
                return st_coded_refuse(set, &m->c->scales, e * m->c->rows + row, g,
                                       scale == 255 ? "a scale of 255, which stands for NaN"
                                                    : "a scale that leads beyond float32",
                                       err);
        }
    return LLMQ_OK;
}

/* Rows of the result that are made together: their part of a column stays in the first cache. */
enum { TILE = 64 };

/* Elements [begin, end) of the matrix turned, which is [columns, rows]. Each column is half of a
 * byte of each row: tiles, so that neither side is walked against its order. */
static bool decode_turned(const struct matrix *m, uint64_t begin, uint64_t end, float *out) {
    const uint64_t rows = m->c->rows, first = begin / rows, last = (end - 1) / rows + 1;
    bool finite = true;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(m, begin, end, out, rows, first, last) reduction(&& : finite) if (end - begin > 1 << 20)
    for (uint64_t tile = 0; tile < rows; tile += TILE) {
        const uint64_t tile_end = tile + TILE < rows ? tile + TILE : rows;
        for (uint64_t column = first; column < last; column++)
            for (uint64_t row = tile; row < tile_end; row++) {
                const uint64_t at = column * rows + row;
                if (at < begin || at >= end)
                    continue;
                const float v = value_at(m, row, column);
                out[at - begin] = v;
                finite = finite && isfinite(v);
            }
    }
    return finite;
}

static enum llmq_status decode(const struct st_set *set, const struct st_coded *c, uint64_t begin,
                               size_t count, float *out, llmq_error *err) {
    const uint64_t size = c->rows * c->columns;
    struct matrix m = {.c = c,
                       .codes = malloc((size_t)(c->codes.nbytes / c->matrices)),
                       .scales = malloc((size_t)(c->scales.nbytes / c->matrices))};
    enum llmq_status status =
        m.codes && m.scales ? LLMQ_OK : error_memory(err, "decoding an expert");
    for (int code = 0; code < 256; code++) {
        m.values[code & 15] = e2m1_to_f32((unsigned)code);
        m.powers[code] = e8m0_to_f32((uint8_t)code);
    }
    while (status == LLMQ_OK && count > 0) {
        const uint64_t e = begin / size, from = begin - e * size;
        const size_t part = count < size - from ? count : (size_t)(size - from);
        status = read_matrix(set, &m, e, err);
        if (status == LLMQ_OK && !decode_turned(&m, from, from + part, out))
            status = refuse(set, &m, e, err);
        begin += part;
        out += part;
        count -= part;
    }
    free(m.codes);
    free(m.scales);
    return status;
}

static enum llmq_status view(const struct st_set *set, const struct st_tensor *codes,
                             const struct encoding_settings *settings, struct st_coded_view *out,
                             char *name, bool *hidden, llmq_error *err) {
    const size_t cut = strlen(BLOCKS);
    const struct st_tensor *scales = encoding_part(set, codes->name, cut, SCALES);
    (void)settings;
    if (!scales) {
        (void)error_set(err, LLMQ_E_INPUT,
                        "tensor '%.200s': expected its scales '%.*s%s', found "
                        "none",
                        codes->name, (int)(strlen(codes->name) - cut), codes->name, SCALES);
        error_hint(err, "codes without their scales are no weights: complete the download");
        return LLMQ_E_INPUT;
    }
    enum llmq_status status = check_parts(codes, scales, err);
    if (status != LLMQ_OK)
        return status;
    out->coded = (struct st_coded){.decode = decode,
                                   .codes = *codes,
                                   .scales = *scales,
                                   .matrices = codes->shape[0],
                                   .rows = codes->shape[1],
                                   .columns = codes->shape[2] * GROUP,
                                   .block_rows = 1,
                                   .block_columns = GROUP};
    out->coded.workspace = (codes->nbytes + scales->nbytes) / out->coded.matrices;
    out->rank = 3;
    out->shape[0] = out->coded.matrices;
    out->shape[1] = out->coded.columns;
    out->shape[2] = out->coded.rows;
    (void)snprintf(name, ENCODING_NAME_MAX, "%.*s", (int)(strlen(codes->name) - cut), codes->name);
    encoding_hide(set, scales, hidden);
    return LLMQ_OK;
}

static const char *const scale_suffixes[] = {SCALES, NULL};

const struct encoding encoding_mxfp4 = {
    .name = "mxfp4",
    .description = "E2M1 in groups of 32 with a power of two",
    .bits = 4,
    .config_matches = config_matches,
    .config_read = config_read,
    .holds_codes = holds_codes,
    .view = view,
    .scale_suffixes = scale_suffixes,
};
