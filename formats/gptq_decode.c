/* Reading one module of a GPTQ checkpoint.
 *
 * Files come from many tools and configs are sometimes wrong for single modules, so everything that
 * shapes can tell is taken from shapes: N and G from scales, bits from qzeros (or g_idx), K from
 * g_idx (or qweight). The config decides what shapes cannot: whether stored zeros are z - 1, and
 * whether zeros may be absent. Every tensor is then checked against (N, K, G, bits). */
#include "formats/gptq.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "formats/pack.h"

/* What the tensors say. */
struct found {
    int64_t n, k, groups, group;
    int bits;
};

static enum llmq_status refuse(llmq_error *err, int tensor, const char *expected,
                               const char *found) {
    return error_set(err, LLMQ_E_INPUT, "%s: expected %s, found %s", gptq_suffixes[tensor],
                     expected, found);
}

/* --- the tensors by themselves ---------------------------------------------------------------- */

static bool dtype_fits(int tensor, enum dtype t) {
    if (tensor == GPTQ_SCALES)
        return t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F32;
    return t == DTYPE_I32 || (tensor == GPTQ_G_IDX && t == DTYPE_I64);
}

/* dtype, rank, sizes that fit the arithmetic below, and as many bytes as these make. */
static enum llmq_status check_tensor(const struct layout_data *d, int tensor, llmq_error *err) {
    static const char *const dtypes[GPTQ_TENSORS] = {"I32", "I32", "F16, BF16 or F32",
                                                     "I32 or I64"};
    const int rank = tensor == GPTQ_G_IDX ? 1 : 2;
    uint64_t count = 1, bytes = 0;
    if (!dtype_fits(tensor, d->info.dtype))
        return refuse(err, tensor, dtypes[tensor], dtype_name(d->info.dtype));
    if (d->info.rank != rank)
        return error_set(err, LLMQ_E_INPUT, "%s: expected %d dimensions, found %d",
                         gptq_suffixes[tensor], rank, d->info.rank);
    for (int i = 0; i < rank; i++) {
        if (d->info.shape[i] == 0 || d->info.shape[i] > INT32_MAX)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: expected dimensions from 1 to 2^31 - 1, found %" PRIu64,
                             gptq_suffixes[tensor], d->info.shape[i]);
        count *= d->info.shape[i];
    }
    if (!dtype_bytes(d->info.dtype, count, &bytes) || bytes != d->nbytes)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRIu64 " bytes by its shape, found %" PRIu64,
                         gptq_suffixes[tensor], bytes, d->nbytes);
    return LLMQ_OK;
}

static enum llmq_status check_present(const struct layout_config *config,
                                      const struct layout_data *data, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < GPTQ_TENSORS; i++) {
        const bool optional = i == GPTQ_G_IDX || (i == GPTQ_QZEROS && config->sym);
        if (data[i].data)
            LLMQ_TRY(check_tensor(&data[i], i, err));
        else if (!optional)
            LLMQ_TRY(refuse(err, i, i == GPTQ_QZEROS ? "it, since the module is asymmetric" : "it",
                            "no such tensor"));
    }

cleanup:
    return status;
}

/* --- the tensors together --------------------------------------------------------------------- */

/* The bit width at which `count` codes make `words` words, `wish` before the others; 0: none. */
static int bits_for(uint64_t words, uint64_t count, int wish) {
    const int widths[] = {wish, 2, 3, 4, 8};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        if (gptq_has_bits(widths[i]) && pack_words(widths[i], count) == words)
            return widths[i];
    return 0;
}

static enum llmq_status infer_bits_and_k(const struct layout_config *config,
                                         const struct layout_data *data, struct found *f,
                                         llmq_error *err) {
    const struct layout_data *zeros = &data[GPTQ_QZEROS], *g_idx = &data[GPTQ_G_IDX];
    const uint64_t rows = data[GPTQ_QWEIGHT].info.shape[0];
    f->bits = config->bits;
    if (zeros->data)
        f->bits = bits_for(zeros->info.shape[1], (uint64_t)f->n, config->bits);
    else if (g_idx->data)
        f->bits = bits_for(rows, g_idx->info.shape[0], config->bits);
    if (!gptq_has_bits(f->bits))
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected a shape that 2, 3, 4 or 8 bits give for %" PRId64
                         " outputs, found none such",
                         gptq_suffixes[zeros->data ? GPTQ_QZEROS : GPTQ_QWEIGHT], f->n);
    const uint64_t k = g_idx->data ? g_idx->info.shape[0] : rows * 32 / (uint64_t)f->bits;
    if (k > INT32_MAX || pack_words(f->bits, k) != rows)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRIu64 " rows for %" PRIu64
                         " inputs of %d bits, found %" PRIu64,
                         gptq_suffixes[GPTQ_QWEIGHT], pack_words(f->bits, k), k, f->bits, rows);
    f->k = (int64_t)k;
    return LLMQ_OK;
}

/* Columns per group such that there are as many groups as scales: as the config says, else an even
 * split, which is all an override of a single module can mean. */
static enum llmq_status infer_group(const struct layout_config *config, struct found *f,
                                    llmq_error *err) {
    const int64_t wish = config->group == -1 || config->group > f->k ? f->k : config->group;
    if (wish > 0 && (f->k + wish - 1) / wish == f->groups)
        f->group = wish;
    else if (f->groups > 0 && f->k % f->groups == 0)
        f->group = f->k / f->groups;
    else
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRId64 " groups for %" PRId64
                         " inputs in groups of %" PRId64 ", found %" PRId64,
                         gptq_suffixes[GPTQ_SCALES], wish > 0 ? (f->k + wish - 1) / wish : 0, f->k,
                         config->group, f->groups);
    return LLMQ_OK;
}

static enum llmq_status check_shapes(const struct layout_data *data, const struct found *f,
                                     llmq_error *err) {
    const uint64_t columns = data[GPTQ_QWEIGHT].info.shape[1];
    const struct layout_tensor *zeros = &data[GPTQ_QZEROS].info;
    if (columns != (uint64_t)f->n)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRId64 " columns as in scales, found %" PRIu64,
                         gptq_suffixes[GPTQ_QWEIGHT], f->n, columns);
    if (data[GPTQ_QZEROS].data && zeros->shape[0] != (uint64_t)f->groups)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRId64 " rows as in scales, found %" PRIu64,
                         gptq_suffixes[GPTQ_QZEROS], f->groups, zeros->shape[0]);
    return LLMQ_OK;
}

static enum llmq_status infer(const struct layout_config *config, const struct layout_data *data,
                              struct found *f, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_present(config, data, err));
    f->n = (int64_t)data[GPTQ_SCALES].info.shape[1];
    f->groups = (int64_t)data[GPTQ_SCALES].info.shape[0];
    LLMQ_TRY(infer_bits_and_k(config, data, f, err));
    LLMQ_TRY(infer_group(config, f, err));
    LLMQ_TRY(check_shapes(data, f, err));

cleanup:
    return status;
}

/* --- contents --------------------------------------------------------------------------------- */

static void decode_codes(const struct layout_data *d, struct qlinear *q) {
    const struct pack_map map = {.bits = q->bits,
                                 .streams = q->n,
                                 .count = q->k,
                                 .code_stream = q->k,
                                 .code_step = 1,
                                 .word_stream = 1,
                                 .word_step = q->n};
    unpack_seq(&map, d->data, q->codes);
}

/* One value for all zeros that is one off the middle: a file of the other version. */
static enum llmq_status check_version(const struct layout_config *config, const struct qlinear *q,
                                      llmq_error *err) {
    const int middle = 1 << (q->bits - 1), z = q->zeros[0];
    if (!config->sym || q->sym || (z != middle - 1 && z != middle + 1))
        return LLMQ_OK;
    for (int64_t i = 1; i < q->n * q->groups; i++)
        if (q->zeros[i] != z)
            return LLMQ_OK;
    enum llmq_status status =
        error_set(err, LLMQ_E_INPUT,
                  "%s: expected zero points of %d in a symmetric module, found %d throughout",
                  gptq_suffixes[GPTQ_QZEROS], middle, z);
    error_hint(err, "checkpoint_format in the config names the wrong version: this looks like %s",
               config->zeros_minus_one ? layout_gptq_v2.name : layout_gptq.name);
    return status;
}

/* v1 zeros are z - 1 in each field. A field of all ones wraps to 0 and must not carry into its
 * neighbour, which is why fields are unpacked first. */
static enum llmq_status decode_zeros(const struct layout_config *config,
                                     const struct layout_data *d, struct qlinear *q,
                                     llmq_error *err) {
    const int middle = 1 << (q->bits - 1), mask = (1 << q->bits) - 1;
    const int offset = config->zeros_minus_one ? 1 : 0;
    const int64_t count = q->n * q->groups;
    q->sym = true;
    if (!d->data) {
        memset(q->zeros, middle, (size_t)count);
        return LLMQ_OK;
    }
    const struct pack_map map = {.bits = q->bits,
                                 .streams = q->groups,
                                 .count = q->n,
                                 .code_stream = 1,
                                 .code_step = q->groups,
                                 .word_stream = (int64_t)d->info.shape[1],
                                 .word_step = 1};
    unpack_seq(&map, d->data, q->zeros);
    for (int64_t i = 0; i < count; i++) {
        q->zeros[i] = (uint8_t)((q->zeros[i] + offset) & mask);
        q->sym = q->sym && q->zeros[i] == middle;
    }
    return check_version(config, q, err);
}

/* scales [G, N] of any of its dtypes to float [N, G], one row of the file at a time. */
static enum llmq_status decode_scales(const struct layout_data *d, struct qlinear *q,
                                      llmq_error *err) {
    const size_t n = (size_t)q->n, row_bytes = n * dtype_bits(d->info.dtype) / 8;
    float *row = malloc(n * sizeof *row);
    if (!row)
        return error_memory(err, "scales");
    enum llmq_status status = LLMQ_OK;
    for (int64_t g = 0; g < q->groups; g++) {
        const unsigned char *from = d->data;
        dtype_to_f32(d->info.dtype, from + (size_t)g * row_bytes, n, row);
        for (int64_t i = 0; i < q->n; i++) {
            if (!isfinite(row[i]) || row[i] < 0.0f)
                LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                                   "%s: output %" PRId64 ", group %" PRId64
                                   ": expected a finite scale that is not negative, found %g",
                                   gptq_suffixes[GPTQ_SCALES], i, g, (double)row[i]));
            q->scales[i * q->groups + g] = row[i];
        }
    }

cleanup:
    free(row);
    return status;
}

static int64_t group_at(const struct layout_data *d, int64_t k) {
    const unsigned char *bytes = d->data;
    if (d->info.dtype == DTYPE_I64) {
        int64_t wide;
        memcpy(&wide, bytes + (size_t)k * sizeof wide, sizeof wide);
        return wide;
    }
    int32_t narrow;
    memcpy(&narrow, bytes + (size_t)k * sizeof narrow, sizeof narrow);
    return narrow;
}

/* Keeps group_of only where it says more than k / group. */
static enum llmq_status decode_groups(const struct layout_data *d, struct qlinear *q,
                                      llmq_error *err) {
    if (!d->data)
        return LLMQ_OK;
    bool sequential = true;
    q->group_of = malloc((size_t)q->k * sizeof *q->group_of);
    if (!q->group_of)
        return error_memory(err, "the group map");
    for (int64_t k = 0; k < q->k; k++) {
        const int64_t g = group_at(d, k);
        if (g < 0 || g >= q->groups)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: input %" PRId64 ": expected a group from 0 to %" PRId64
                             ", found %" PRId64,
                             gptq_suffixes[GPTQ_G_IDX], k, q->groups - 1, g);
        q->group_of[k] = (int32_t)g;
        sequential = sequential && g == k / q->group;
    }
    if (sequential) {
        free(q->group_of);
        q->group_of = NULL;
    }
    return LLMQ_OK;
}

enum llmq_status gptq_decode(const struct layout_config *config,
                             const struct layout_data data[LAYOUT_MAX_TENSORS], struct qlinear *q,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct found f = {0};
    *q = (struct qlinear){0};
    LLMQ_TRY(infer(config, data, &f, err));
    LLMQ_TRY(qlinear_alloc(f.n, f.k, f.bits, f.group, q, err));
    LLMQ_TRY(decode_scales(&data[GPTQ_SCALES], q, err));
    LLMQ_TRY(decode_zeros(config, &data[GPTQ_QZEROS], q, err));
    LLMQ_TRY(decode_groups(&data[GPTQ_G_IDX], q, err));
    decode_codes(&data[GPTQ_QWEIGHT], q);

cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}
