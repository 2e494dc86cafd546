/* SPDX-License-Identifier: Apache-2.0 */
/* Reading one module of a GPTQ checkpoint.
 *
 * Files come from many tools and configs are sometimes wrong for single modules, so everything that
 * shapes can tell is taken from shapes: N and G from scales, bits from qzeros (or g_idx), K from
 * g_idx (or qweight). The config decides what shapes cannot: whether stored zeros are z - 1, and
 * whether zeros may be absent. Every tensor is then checked against (N, K, G, bits). */
#include "formats/layouts/gptq.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/pack.h"
#include "formats/layouts/parts.h"

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

static enum llmq_status check_tensor(const struct layout_data *d, int tensor, llmq_error *err) {
    static const enum parts_kind kinds[GPTQ_TENSORS] = {PARTS_WORDS, PARTS_WORDS, PARTS_SCALES,
                                                        PARTS_INDEX};
    return parts_check_tensor(d, gptq_suffixes[tensor], kinds[tensor], tensor == GPTQ_G_IDX ? 1 : 2,
                              err);
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

static enum llmq_status infer_bits_and_k(const struct layout_config *config,
                                         const struct layout_data *data, struct found *f,
                                         llmq_error *err) {
    const struct layout_data *zeros = &data[GPTQ_QZEROS], *g_idx = &data[GPTQ_G_IDX];
    const uint64_t rows = data[GPTQ_QWEIGHT].info.shape[0];
    f->bits = config->bits;
    if (zeros->data)
        f->bits = parts_bits_for(zeros->info.shape[1], (uint64_t)f->n, config->bits);
    else if (g_idx->data)
        f->bits = parts_bits_for(rows, g_idx->info.shape[0], config->bits);
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
    LLMQ_TRY(
        parts_infer_group(config, f->k, f->groups, gptq_suffixes[GPTQ_SCALES], &f->group, err));
    LLMQ_TRY(check_shapes(data, f, err));
    if (config->desc_act && f->groups > 1 && !data[GPTQ_G_IDX].data)
        LLMQ_TRY(refuse(err, GPTQ_G_IDX, "it, since desc_act says that columns were reordered",
                        "no such tensor"));

cleanup:
    return status;
}

/* --- contents --------------------------------------------------------------------------------- */

static void decode_codes(const struct layout_data *d, struct qlinear *q) {
    const struct pack_map map = pack_map_transposed(pack_map_rows(q->bits, q->n, q->k));
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
    struct pack_map map = pack_map_columns(q->bits, q->n, q->groups);
    map.word_stream = (int64_t)d->info.shape[1];
    unpack_seq(&map, d->data, q->zeros);
    for (int64_t i = 0; i < count; i++)
        q->zeros[i] = (uint8_t)((q->zeros[i] + offset) & mask);
    parts_set_sym(q);
    return check_version(config, q, err);
}

enum llmq_status gptq_decode(const struct layout_config *config,
                             const struct layout_data data[LAYOUT_MAX_TENSORS], struct qlinear *q,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct found f = {0};
    *q = (struct qlinear){0};
    LLMQ_TRY(infer(config, data, &f, err));
    LLMQ_TRY(qlinear_alloc(f.n, f.k, f.bits, f.group, q, err));
    LLMQ_TRY(parts_decode_scales(&data[GPTQ_SCALES], PARTS_GROUPS_FIRST, q, err));
    LLMQ_TRY(decode_zeros(config, &data[GPTQ_QZEROS], q, err));
    LLMQ_TRY(parts_decode_groups(&data[GPTQ_G_IDX], gptq_suffixes[GPTQ_G_IDX], q, err));
    decode_codes(&data[GPTQ_QWEIGHT], q);

cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}
