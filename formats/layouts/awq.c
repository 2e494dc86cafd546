/* SPDX-License-Identifier: Apache-2.0 */
/* The AWQ layout, in the arrangement that AutoAWQ calls GEMM: everything lies along the output
 * features, eight codes to a word.
 *
 *     qweight I32 [K, N / 8]   nibble i of word c in row k is the code of output 8c + order[i]
 *     qzeros  I32 [G, N / 8]   the same of z itself
 *     scales  F16 [G, N]
 *
 * 4 bits only, and one group size for all modules: the config has no place for another. Symmetric
 * codes are stored as asymmetric ones with z = 8, because loaders have fast kernels for no other
 * kind. The scaling of activations that AWQ is named for leaves no trace in the file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "formats/layouts/auto_round.h"
#include "formats/layouts/parts.h"
#include "formats/layouts/quant_config_keys.h"

#define AWQ_BITS     4
#define AWQ_PER_WORD 8

/* One legacy packer computes the words of a row as N / 32 * 4. */
#define AWQ_PACK_UNIT 32

/* Columns turned at a time: one cache line of each of the eight rows that share a word. */
#define TURN_COLUMNS 64

/* Values below which threads cost more than they save. */
#define PARALLEL_MIN (1 << 16)

/* Positions in data[]. */
enum awq_tensor { AWQ_QWEIGHT, AWQ_QZEROS, AWQ_SCALES, AWQ_TENSORS };
static const char *const awq_suffixes[AWQ_TENSORS + 1] = {"qweight", "qzeros", "scales", NULL};

static const int nibble_order[AWQ_PER_WORD] = {0, 2, 4, 6, 1, 3, 5, 7};

/* --- what fits -------------------------------------------------------------------------------- */

static enum llmq_status awq_accepts(const struct quant_shape *shape, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (shape->bits != AWQ_BITS) {
        error_set(err, LLMQ_E_UNSUPPORTED, "expected 4 bits for the awq format, found %d",
                  shape->bits);
        error_hint(err, "choose 4 bits, or the gptq format");
        return LLMQ_E_UNSUPPORTED;
    }
    LLMQ_TRY(parts_accept_size("in_features", shape->k, 1, err));
    LLMQ_TRY(parts_accept_size("out_features", shape->n, AWQ_PACK_UNIT, err));
    LLMQ_TRY(parts_accept_group(shape, err));

cleanup:
    return status;
}

static const char *awq_caveat(const struct layout_config *config) {
    (void)config;
    return NULL;
}

static void awq_zero_range(int bits, int *zmin, int *zmax) {
    *zmin = 0;
    *zmax = (1 << bits) - 1;
}

static int awq_tensors(const struct quant_shape *shape,
                       struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    const uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k;
    const uint64_t groups = shape->group == -1 ? 1 : k / (uint64_t)shape->group;
    const struct layout_tensor tensors[AWQ_TENSORS] = {
        {awq_suffixes[AWQ_QWEIGHT], DTYPE_I32, 2, {k, n / AWQ_PER_WORD}},
        {awq_suffixes[AWQ_QZEROS], DTYPE_I32, 2, {groups, n / AWQ_PER_WORD}},
        {awq_suffixes[AWQ_SCALES], DTYPE_F16, 2, {groups, n}},
    };
    memcpy(out, tensors, sizeof tensors);
    return AWQ_TENSORS;
}

/* --- packing ---------------------------------------------------------------------------------- */

/* Values [n, columns], one byte each, to words [columns, n / 8] and back. Threads take blocks of
 * columns, which share no word and no value. */
static void pack_turned(const uint8_t *values, int64_t n, int64_t columns, void *words) {
    unsigned char *out = words;
    const int64_t row_words = n / AWQ_PER_WORD;
    const bool parallel = n * columns >= PARALLEL_MIN;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(values, columns, out, row_words, nibble_order) if (parallel)
    for (int64_t begin = 0; begin < columns; begin += TURN_COLUMNS) {
        const int64_t end = begin + TURN_COLUMNS < columns ? begin + TURN_COLUMNS : columns;
        for (int64_t c = 0; c < row_words; c++)
            for (int64_t k = begin; k < end; k++) {
                uint32_t word = 0;
                for (int i = 0; i < AWQ_PER_WORD; i++) {
                    const int64_t row = c * AWQ_PER_WORD + nibble_order[i];
                    word |= (uint32_t)values[row * columns + k] << (AWQ_BITS * i);
                }
                memcpy(out + (size_t)(k * row_words + c) * sizeof word, &word, sizeof word);
            }
    }
}

static void unpack_turned(const void *words, int64_t n, int64_t columns, uint8_t *values) {
    const unsigned char *in = words;
    const int64_t row_words = n / AWQ_PER_WORD;
    const bool parallel = n * columns >= PARALLEL_MIN;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(values, columns, in, row_words, nibble_order) if (parallel)
    for (int64_t begin = 0; begin < columns; begin += TURN_COLUMNS) {
        const int64_t end = begin + TURN_COLUMNS < columns ? begin + TURN_COLUMNS : columns;
        for (int64_t c = 0; c < row_words; c++)
            for (int64_t k = begin; k < end; k++) {
                uint32_t word;
                memcpy(&word, in + (size_t)(k * row_words + c) * sizeof word, sizeof word);
                for (int i = 0; i < AWQ_PER_WORD; i++) {
                    const int64_t row = c * AWQ_PER_WORD + nibble_order[i];
                    values[row * columns + k] = (uint8_t)(word >> (AWQ_BITS * i) & 15);
                }
            }
    }
}

static enum llmq_status awq_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(parts_check_order(q, err));
    LLMQ_TRY(parts_check_zeros(q, 0, err));
    LLMQ_TRY(parts_encode_scales(q, PARTS_GROUPS_FIRST, data[AWQ_SCALES], err));
    pack_turned(q->zeros, q->n, q->groups, data[AWQ_QZEROS]);
    pack_turned(q->codes, q->n, q->k, data[AWQ_QWEIGHT]);

cleanup:
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

static enum llmq_status check_tensors(const struct layout_config *config,
                                      const struct layout_data *data, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < AWQ_TENSORS; i++)
        if (data[i].data)
            LLMQ_TRY(parts_check_tensor(&data[i], awq_suffixes[i],
                                        i == AWQ_SCALES ? PARTS_SCALES : PARTS_WORDS, 2, err));
        else if (i != AWQ_QZEROS || !config->sym)
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT, "%s: expected it, found no such tensor",
                               awq_suffixes[i]));

cleanup:
    return status;
}

/* N and G come from scales, K from qweight. */
static enum llmq_status check_shapes(const struct layout_data *data, llmq_error *err) {
    const uint64_t *codes = data[AWQ_QWEIGHT].info.shape, *zeros = data[AWQ_QZEROS].info.shape;
    const uint64_t *scales = data[AWQ_SCALES].info.shape;
    if (codes[1] * AWQ_PER_WORD != scales[1])
        return error_set(err, LLMQ_E_INPUT,
                         "qweight: expected an eighth of the %" PRIu64
                         " columns of scales, found %" PRIu64,
                         scales[1], codes[1]);
    if (data[AWQ_QZEROS].data && (zeros[0] != scales[0] || zeros[1] != codes[1]))
        return error_set(err, LLMQ_E_INPUT,
                         "qzeros: expected [%" PRIu64 ", %" PRIu64 "], found [%" PRIu64 ", %" PRIu64
                         "]",
                         scales[0], codes[1], zeros[0], zeros[1]);
    return LLMQ_OK;
}

static enum llmq_status awq_decode(const struct layout_config *config,
                                   const struct layout_data data[LAYOUT_MAX_TENSORS],
                                   struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int64_t n = 0, k = 0, group = 0;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensors(config, data, err));
    LLMQ_TRY(check_shapes(data, err));
    n = (int64_t)data[AWQ_SCALES].info.shape[1];
    k = (int64_t)data[AWQ_QWEIGHT].info.shape[0];
    LLMQ_TRY(parts_infer_group(config, k, (int64_t)data[AWQ_SCALES].info.shape[0],
                               awq_suffixes[AWQ_SCALES], &group, err));
    LLMQ_TRY(qlinear_alloc(n, k, AWQ_BITS, group, q, err));
    LLMQ_TRY(parts_decode_scales(&data[AWQ_SCALES], PARTS_GROUPS_FIRST, q, err));
    if (data[AWQ_QZEROS].data)
        unpack_turned(data[AWQ_QZEROS].data, n, q->groups, q->zeros);
    else
        memset(q->zeros, 1 << (AWQ_BITS - 1), (size_t)(n * q->groups));
    parts_set_sym(q);
    unpack_turned(data[AWQ_QWEIGHT].data, n, k, q->codes);

cleanup:
    if (status != LLMQ_OK)
        qlinear_free(q);
    return status;
}

/* --- config ----------------------------------------------------------------------------------- */

/* Length of the name of the layer that holds all experts, of which the linear is one's:
 * "model.layers.3.mlp.experts" of "model.layers.3.mlp.experts.0.up_proj". 0: it is of none. */
static size_t experts_layer(const char *name) {
    static const char part[] = ".experts.";
    const char *at = strstr(name, part);
    const char *number = at ? at + sizeof part - 1 : "";
    const size_t digits = strspn(number, "0123456789");
    return digits > 0 && number[digits] == '.' ? (size_t)(at - name) + sizeof part - 2 : 0;
}

/* Experts stay plain together, and vLLM asks for their layer: whether an entry is part of its name
 * (is_layer_skipped with substrings, AWQMarlinConfig.get_quant_method in
 * vllm/model_executor/layers/quantization/awq_marlin.py at 0322f292). Told once for each layer, of
 * whose experts the names follow each other. */
static void add_plain_name(struct json *names, const char *name, const char *before) {
    char layer[256];
    const size_t len = experts_layer(name);
    if (len == 0 || len >= sizeof layer) {
        json_add_string(names, NULL, name);
    } else if (!before || experts_layer(before) != len || strncmp(before, name, len) != 0) {
        (void)snprintf(layer, sizeof layer, "%.*s", (int)len, name);
        json_add_string(names, NULL, layer);
    }
}

/* Loaders match the entries as part of a name, as its end or from its start: only a full name means
 * the same to all. Null, not an empty list, where everything is quantized. */
static void add_plain_names(struct json *root, const struct layout_config *config, bool head) {
    if (config->plain_count + config->beside_count == 0) {
        json_add_null(root, "modules_to_not_convert");
        return;
    }
    struct json *names = json_new_array();
    for (int64_t i = 0; i < config->plain_count; i++)
        add_plain_name(names, config->plain[i], i > 0 ? config->plain[i - 1] : NULL);
    for (int64_t i = 0; i < config->beside_count; i++)
        json_add_string(names, NULL, config->beside[i]);
    if (!head)
        json_add_string(names, NULL, layout_head(config));
    json_add(root, "modules_to_not_convert", names);
}

/* zero_point is true for symmetric codes too: false selects slow kernels. */
static struct json *awq_config_write(const struct layout_config *config,
                                     const struct layout_module *modules, int64_t count) {
    struct json *root = json_new_object();
    const bool head = layout_quantizes_head(config, modules, count);
    json_add_string(root, "quant_method", "awq");
    json_add_int64(root, "bits", config->bits);
    json_add_int64(root, "group_size", config->group);
    json_add_bool(root, "zero_point", true);
    json_add_string(root, "version", "gemm");
    if (head)
        json_add_bool(root, "lm_head", true);
    add_plain_names(root, config, head);
    return root;
}

/* Stand-alone files of llm-awq and old AutoAWQ have no quant_method and keys of their own. */
static bool awq_config_matches(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    method = method ? method : json_string(json_get(quantization_config, "method"));
    if (!method)
        return json_get(quantization_config, "w_bit") &&
               json_get(quantization_config, "q_group_size");
    return strcmp(method, "awq") == 0 || auto_round_packs(quantization_config, layout_awq.name);
}

/* Older configs spell some keys differently. */
static bool get_int(const struct json *config, const char *key, const char *old, int64_t *out) {
    return json_as_int64(json_get(config, key), out) || json_as_int64(json_get(config, old), out);
}

/* clang-format off */
static const struct config_key keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"method", KEY_TEXT, NULL, NULL},
    {"bits", KEY_NUMBER, NULL, NULL},
    {"w_bit", KEY_NUMBER, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"q_group_size", KEY_NUMBER, NULL, NULL},
    {"zero_point", KEY_BOOL, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},
    {"desc_act", KEY_EMPTY, NULL, NULL},
    {"lm_head", KEY_BOOL, NULL, NULL},
    {"version", KEY_TEXT, NULL, NULL},           /* read_arrangement */
    {"format", KEY_TEXT, NULL, NULL},
    {"checkpoint_format", KEY_TEXT, NULL, NULL},
    {"backend", KEY_TEXT, NULL, NULL},
    {"pack_dtype", KEY_TEXT, "int32 ", NULL},
    {"modules_to_not_convert", KEY_LIST, NULL, NULL},
    {"block_name_to_quantize", KEY_TEXT | KEY_LIST, NULL, NULL},
    {"to_quant_block_names", KEY_TEXT | KEY_LIST, NULL, NULL},
    {"quant_block_list", KEY_LIST, NULL, NULL},
    {"dynamic", KEY_EMPTY, NULL, NULL},
    {"meta", KEY_OBJECT, NULL, NULL},
    {"data_type", KEY_TEXT, "int int_sym int_asym ", "weights of this type are not integers"},
    {"config_file_name", KEY_TEXT, NULL, NULL},
    {.name = NULL},
};
/* clang-format on */

static enum llmq_status refuse_arrangement(const struct json *value, const char *expected,
                                           llmq_error *err) {
    enum llmq_status status = config_key_refuse(value, "quantization_config", expected, NULL, err);
    error_hint(err, "there the codes lie in another order: quantize the original checkpoint with "
                    "llmq awq, or with AutoAWQ in its version gemm");
    return status;
}

/* Several keys name the arrangement, by tool and age. "exllama" and "ipex" are kernels for gemm
 * files; AutoAWQ's "marlin" stores Marlin's order. */
static enum llmq_status read_arrangement(const struct json *config, llmq_error *err) {
    static const char *const names[] = {"version", "format", "checkpoint_format"};
    static const char *const known[] = {"gemm", "exllama", "ipex"};
    const struct json *backend = json_get(config, "backend");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct json *v = json_get(config, names[i]);
        const char *text = json_string(v);
        bool fits = !text;
        for (size_t k = 0; text && k < sizeof known / sizeof known[0]; k++)
            fits = fits || strcasecmp(text, known[k]) == 0;
        if (!fits)
            return refuse_arrangement(v, "gemm", err);
    }
    if (json_string(backend) && strcasecmp(json_string(backend), "llm-awq") == 0)
        return refuse_arrangement(backend, "autoawq", err);
    return LLMQ_OK;
}

static enum llmq_status check_keys(const struct json *config, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (auto_round_config(config))
        return auto_round_check(config, err);
    LLMQ_TRY(config_keys_check(config, "quantization_config", keys, err));
    LLMQ_TRY(config_notes_check(json_get(config, "meta"), "quantization_config: meta", err));
    LLMQ_TRY(read_arrangement(config, err));

cleanup:
    return status;
}

/* vLLM skips the modules that have an entry in their names. */
static enum llmq_status awq_rules(const struct json *quantization_config,
                                  const struct layout_config *settings, struct module_rules *out,
                                  llmq_error *err) {
    const struct json *skipped = json_get(quantization_config, "modules_to_not_convert");
    const struct module_setting general = module_general(settings);
    enum llmq_status status = LLMQ_OK;
    bool head = false;
    json_as_bool(json_get(quantization_config, "lm_head"), &head);
    for (const struct json *c = json_first(skipped); c; c = json_next(c))
        if (json_string(c))
            LLMQ_TRY(module_rules_add(out, MATCH_PART, json_string(c), &module_plain, err));
    if (!head)
        LLMQ_TRY(module_rules_add(out, MATCH_LAST, "lm_head", &module_plain, err));
    LLMQ_TRY(module_rules_add(out, MATCH_LINEAR, "", &general, err));

cleanup:
    return status;
}

static enum llmq_status awq_config_read(const struct json *quantization_config,
                                        struct layout_config *out, llmq_error *err) {
    const struct json *config = quantization_config;
    int64_t bits = 0, group = 0;
    bool zero_point = true;
    *out = (struct layout_config){0};
    enum llmq_status status = check_keys(config, err);
    if (status != LLMQ_OK)
        return status;
    if (!get_int(config, "bits", "w_bit", &bits))
        return error_set(err, LLMQ_E_INPUT, "quantization_config: bits: expected an integer");
    if (bits != AWQ_BITS)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "quantization_config: bits: expected 4 for awq, found %" PRId64, bits);
    if (!get_int(config, "group_size", "q_group_size", &group) || group == 0 || group < -1)
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: group_size: expected -1 or a positive integer");
    if (json_get(config, "zero_point") &&
        !json_as_bool(json_get(config, "zero_point"), &zero_point))
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: zero_point: expected true or false");
    *out = (struct layout_config){.bits = AWQ_BITS, .group = group, .sym = !zero_point};
    return LLMQ_OK;
}

const struct layout layout_awq = {
    .name = "awq",
    .description = "AutoAWQ GEMM, 4 bits: the widest choice for asymmetric codes",
    .accepts = awq_accepts,
    .scales = DTYPE_F16,
    .overrides = false,
    .any_symmetry = true,
    .model_dtype = "float16",
    .caveat = awq_caveat,
    .zero_range = awq_zero_range,
    .tensors = awq_tensors,
    .encode = awq_encode,
    .config_write = awq_config_write,
    .config_file = NULL,
    .config_matches = awq_config_matches,
    .config_read = awq_config_read,
    .rules = awq_rules,
    .suffixes = awq_suffixes,
    .decode = awq_decode,
};
