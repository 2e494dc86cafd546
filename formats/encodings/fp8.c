/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 8-bit floats (E4M3) with scales: where the scales lie. What they are called and are of
 * is in fp8_config.c. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/encodings/fp8.h"
#include "tensor/minifloat.h"

static const char *const scale_suffixes[] = {"_scale_inv", "_scale", NULL};

static bool holds_codes(const struct st_tensor *t) {
    return t->dtype == DTYPE_F8_E4M3;
}

static enum llmq_status find_scale(const struct st_set *set, const struct st_tensor *codes,
                                   const struct st_tensor **out, llmq_error *err) {
    const struct st_tensor *inv = encoding_part(set, codes->name, 0, scale_suffixes[0]);
    const struct st_tensor *scale = encoding_part(set, codes->name, 0, scale_suffixes[1]);
    *out = inv ? inv : scale;
    if (inv && scale) {
        (void)error_set(err, LLMQ_E_INPUT,
                        "tensor '%.200s': expected one scale, found '%.200s' and '%.200s'",
                        codes->name, inv->name, scale->name);
        encoding_hint(err);
        return LLMQ_E_INPUT;
    }
    if (*out)
        return LLMQ_OK;
    (void)error_set(err, LLMQ_E_INPUT,
                    "tensor '%.200s' is F8_E4M3: expected its scale '%.200s%s' or '...%s', found "
                    "none",
                    codes->name, codes->name, scale_suffixes[0], scale_suffixes[1]);
    error_hint(err, "codes without their scale are no weights: complete the download");
    return LLMQ_E_INPUT;
}

static enum llmq_status check_dtype(const struct st_tensor *scale, llmq_error *err) {
    if (dtype_is_scale(scale->dtype))
        return LLMQ_OK;
    (void)error_set(err, LLMQ_E_UNSUPPORTED,
                    "tensor '%.200s': expected F32, BF16, F16 or F8_E8M0, found %s", scale->name,
                    dtype_name(scale->dtype));
    encoding_hint(err);
    return LLMQ_E_UNSUPPORTED;
}

/* Is a tensor of scales one for each block of these, whatever dimensions of 1 it has or lacks? */
static bool has_scales(const struct st_tensor *scale, const struct st_coded *c) {
    const uint64_t wanted[3] = {c->matrices, st_coded_scale_rows(c), st_coded_scale_columns(c)};
    int d = 0;
    for (int i = 0; i < 3; i++) {
        while (d < scale->rank && scale->shape[d] == 1 && wanted[i] != 1)
            d++;
        if (d < scale->rank && scale->shape[d] == wanted[i])
            d++;
        else if (wanted[i] != 1)
            return false;
    }
    while (d < scale->rank && scale->shape[d] == 1)
        d++;
    return d == scale->rank;
}

static enum llmq_status refuse_shape(const struct st_tensor *codes, const struct st_tensor *scale,
                                     const struct st_coded *c, const struct encoding_settings *s,
                                     llmq_error *err) {
    char found[ENCODING_SHAPE_MAX], of[ENCODING_SHAPE_MAX], expected[ENCODING_SHAPE_MAX];
    const uint64_t shape[3] = {c->matrices, st_coded_scale_rows(c), st_coded_scale_columns(c)};
    const bool stacked = codes->rank == 3;
    encoding_shape(shape + !stacked, 2 + stacked, expected);
    (void)error_set(err, LLMQ_E_INPUT,
                    "tensor '%.200s': expected shape %s%s for '%.200s' %s, found %s", scale->name,
                    s->block_rows > 0 ? expected : "of one scale, or of one for each row",
                    s->block_rows > 0 && s->whole ? ", or of one scale or one for each row," : "",
                    codes->name, encoding_shape(codes->shape, codes->rank, of),
                    encoding_shape(scale->shape, scale->rank, found));
    error_hint(err, "is the quantization_config the one that the checkpoint was shipped with?");
    return LLMQ_E_INPUT;
}

/* The blocks that the scales are of: those of the config, or rows, or all. */
static enum llmq_status settle_blocks(const struct st_tensor *codes, const struct st_tensor *scale,
                                      const struct encoding_settings *s, struct st_coded *c,
                                      llmq_error *err) {
    const uint64_t sizes[3][2] = {
        {s->block_rows, s->block_columns}, {c->rows, c->columns}, {1, c->columns}};
    for (int i = s->block_rows > 0 ? 0 : 1; i < (s->whole ? 3 : 1); i++) {
        c->block_rows = sizes[i][0];
        c->block_columns = sizes[i][1];
        if (has_scales(scale, c))
            return LLMQ_OK;
    }
    c->block_rows = sizes[s->block_rows == 0][0];
    c->block_columns = sizes[s->block_rows == 0][1];
    return refuse_shape(codes, scale, c, s, err);
}

static enum llmq_status check_codes(const struct st_set *set, const struct st_tensor *codes,
                                    llmq_error *err) {
    const struct st_tensor *zeros = encoding_part(set, codes->name, 0, "_zero_point");
    if (!zeros && (codes->rank == 2 || codes->rank == 3) && codes->nbytes > 0)
        return LLMQ_OK;
    if (zeros)
        (void)error_set(err, LLMQ_E_UNSUPPORTED,
                        "tensor '%.200s': expected no zero points beside F8_E4M3 weights",
                        zeros->name);
    else
        (void)error_set(err, LLMQ_E_UNSUPPORTED,
                        "tensor '%.200s' is F8_E4M3: expected a matrix or a stack of them, found "
                        "%d dimensions",
                        codes->name, codes->rank);
    encoding_hint(err);
    return LLMQ_E_UNSUPPORTED;
}

/* Scales of activations, which are servers' matter: of a linear, or of a stack. */
static void hide_activations(const struct st_set *set, const struct st_tensor *codes,
                             bool *hidden) {
    static const char *const ends[] = {"input_scale", "activation_scale", "input_scale_inv"};
    const size_t cut = text_ends_with(codes->name, ".weight") ? strlen("weight") : 0;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char suffix[32];
        (void)snprintf(suffix, sizeof suffix, "%s%s", cut ? "" : "_", ends[i]);
        encoding_hide(set, encoding_part(set, codes->name, cut, suffix), hidden);
    }
}

static enum llmq_status view(const struct st_set *set, const struct st_tensor *codes,
                             const struct encoding_settings *settings, struct st_coded_view *out,
                             char *name, bool *hidden, llmq_error *err) {
    const struct st_tensor *scale = NULL;
    enum llmq_status status = LLMQ_OK;
    const int stacked = codes->rank == 3;
    LLMQ_TRY(check_codes(set, codes, err));
    LLMQ_TRY(find_scale(set, codes, &scale, err));
    LLMQ_TRY(check_dtype(scale, err));
    out->coded = (struct st_coded){.decode = fp8_decode,
                                   .codes = *codes,
                                   .scales = *scale,
                                   .matrices = stacked ? codes->shape[0] : 1,
                                   .rows = codes->shape[stacked],
                                   .columns = codes->shape[stacked + 1]};
    LLMQ_TRY(settle_blocks(codes, scale, settings, &out->coded, err));
    out->coded.workspace = fp8_workspace(&out->coded);
    out->rank = codes->rank;
    memcpy(out->shape, codes->shape, sizeof out->shape);
    (void)snprintf(name, ENCODING_NAME_MAX, "%s", codes->name);
    encoding_hide(set, scale, hidden);
    hide_activations(set, codes, hidden);
cleanup:
    return status;
}

const struct encoding encoding_fp8 = {
    .name = "fp8",
    .description = "F8_E4M3 with scales",
    .bits = 8,
    .config_matches = fp8_config_matches,
    .config_read = fp8_config_read,
    .holds_codes = holds_codes,
    .view = view,
    .scale_suffixes = scale_suffixes,
};
