/* SPDX-License-Identifier: Apache-2.0 */
/* The result's folder: see output.h. */
#include "pipeline/output.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/hash.h"
#include "base/input.h"
#include "base/int64.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "formats/loaders/model_folder.h"
#include "models/wrapper.h"
#include "pipeline/block_fold.h"
#include "pipeline/report.h"
#include "verify/verify.h"

/* --- tensors --------------------------------------------------------------------------------- */

enum llmq_status output_open_writer(const struct output *out, const struct plan *plan,
                                    uint64_t shard_limit, bool resume, struct st_writer **writer,
                                    llmq_error *err) {
    const char *dir = out->partial_dir;
    if (plan->gguf)
        return gguf_export_open(plan->gguf, dir, plan->specs, plan->spec_count, resume, writer,
                                err);
    return (resume ? st_writer_reopen : st_writer_create)(dir, plan->specs, plan->spec_count,
                                                          shard_limit, writer, err);
}

/* --- config ----------------------------------------------------------------------------------- */

/* What a layout gets to know of the modules: those that are packed, *count of them; NULL when
 * memory is short. The caller frees. */
static struct layout_module *layout_modules(const struct plan *plan, int64_t *count) {
    struct layout_module *modules = calloc((size_t)plan->module_count, sizeof *modules);
    *count = 0;
    for (int64_t i = 0; modules && i < plan->module_count; i++)
        if (plan->modules[i].fate != MODULE_PLAIN)
            modules[(*count)++] =
                (struct layout_module){plan->modules[i].name, plan->modules[i].shape};
    return modules;
}

static char *quantization_config(const struct plan *plan) {
    int64_t count = 0;
    struct layout_module *modules = layout_modules(plan, &count);
    if (!modules)
        return NULL;
    struct json *object = plan->layout->config_write(&plan->layout_config, modules, count);
    char *text = json_print(object, true);
    json_free(&object);
    free(modules);
    return text;
}

static enum llmq_status write_in(const char *dir, const char *name, const char *text,
                                 llmq_error *err) {
    char *path = path_join(dir, name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_write_atomic(path, text, strlen(text), err);
    free(path);
    return status;
}

/* Replace *text by an edit of it. */
static enum llmq_status set_member(const char *key, const char *value, char **text,
                                   llmq_error *err) {
    char *edited = NULL;
    enum llmq_status status = value ? json_text_set(*text, strlen(*text), key, value, &edited, err)
                                    : json_text_remove(*text, strlen(*text), key, &edited, err);
    if (status == LLMQ_OK) {
        free(*text);
        *text = edited;
    }
    return status;
}

/* The same in the text_config of a wrapper, where it has the member: else the whole's counts. */
static enum llmq_status set_inner(const char *key, const char *value, char **text,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; wrapper_text_keys[i] && status == LLMQ_OK; i++) {
        char *edited = NULL;
        status = json_text_edit_within(*text, strlen(*text), wrapper_text_keys[i], key, value,
                                       &edited, err);
        if (status != LLMQ_OK)
            break;
        free(*text);
        *text = edited;
    }
    return status;
}

/* Let config.json name `dtype`, under the key it has: transformers 4 says torch_dtype, 5 dtype. */
static enum llmq_status set_dtype(const char *dtype, char **text, llmq_error *err) {
    char value[32];
    struct json *root = NULL;
    enum llmq_status status = LLMQ_OK;
    (void)snprintf(value, sizeof value, "\"%s\"", dtype);
    LLMQ_TRY(json_parse(*text, strlen(*text), "config.json", &root, err));
    LLMQ_TRY(set_member(json_get(root, "dtype") ? "dtype" : "torch_dtype", value, text, err));
    LLMQ_TRY(set_inner("dtype", value, text, err));
    LLMQ_TRY(set_inner("torch_dtype", value, text, err));
cleanup:
    json_free(&root);
    return status;
}

/* The name config.json has for a dtype that plain weights are written in. */
static const char *dtype_key(enum dtype t) {
    return t == DTYPE_F16 ? "float16" : t == DTYPE_BF16 ? "bfloat16" : "float32";
}

/* `quant` is the text of quantization_config, NULL when there is none. It stands at the top of a
 * wrapper's config too: transformers looks nowhere else (get_hf_quantizer in
 * src/transformers/quantizers/auto.py at 753d6110), and vLLM in text_config only if it finds none
 * there (_verify_quantization in vllm/config/model.py at 18ec6629). */
static enum llmq_status edit_config(const struct plan *plan, const char *quant, char **text,
                                    llmq_error *err) {
    const char *dtype = plan->layout ? plan->layout->model_dtype : dtype_key(plan->plain_dtype);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(set_member("compression_config", NULL, text, err)); /* an old name of the same */
    LLMQ_TRY(set_member("quantization_config", quant, text, err));
    LLMQ_TRY(set_inner("compression_config", NULL, text, err));
    LLMQ_TRY(set_inner("quantization_config", NULL, text, err));
    if (dtype)
        LLMQ_TRY(set_dtype(dtype, text, err));
    if (plan->untied) { /* else loaders take the embedding for the head that is stored */
        LLMQ_TRY(set_member("tie_word_embeddings", "false", text, err));
        LLMQ_TRY(set_inner("tie_word_embeddings", "false", text, err));
    }
cleanup:
    return status;
}

enum llmq_status output_write_config(const struct output *out, const char *model_dir,
                                     const struct companions *companions, const struct plan *plan,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(model_dir, "config.json", err);
    char *text = NULL, *quant = plan->layout ? quantization_config(plan) : NULL;
    size_t len = 0;
    if (!path || (plan->layout && !quant)) {
        status = error_memory(err, "the config");
        goto cleanup;
    }
    LLMQ_TRY(input_read(path, INPUT_SETTINGS, &text, &len, err));
    if (plan->layout && plan->layout->config_file)
        LLMQ_TRY(write_in(out->partial_dir, plan->layout->config_file, quant, err));
    LLMQ_TRY(edit_config(plan, quant, &text, err));
    LLMQ_TRY(write_in(out->partial_dir, "config.json", text, err));
    LLMQ_TRY(companions_copy(companions, model_dir, out->partial_dir, err));
cleanup:
    free(path);
    free(text);
    free(quant);
    return status;
}

enum llmq_status output_write_beside(const struct output *out, const struct plan *plan,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct layout_module *modules = NULL;
    struct st_set *tensors = NULL;
    int64_t count = 0;
    if (!plan->layout->write_beside)
        return LLMQ_OK;
    modules = layout_modules(plan, &count);
    if (!modules)
        LLMQ_TRY(error_memory(err, "the modules"));
    LLMQ_TRY(st_open_dir(out->partial_dir, &tensors, err));
    LLMQ_TRY(plan->layout->write_beside(out->partial_dir, tensors, modules, count, err));

cleanup:
    st_close(&tensors);
    free(modules);
    return status;
}

/* --- verification and commit ------------------------------------------------------------------ */

/* Groups beside each other that are alike are one to the hash: GGUF files do not say how many of
 * their blocks share a scale. */
static uint64_t hash_row(uint64_t hash, const struct qlinear *q, int64_t row) {
    const float *scales = q->scales + row * q->groups;
    const uint8_t *zeros = q->zeros + row * q->groups;
    for (int64_t g = 0; g < q->groups; g++) {
        const bool last = g + 1 == q->groups;
        uint32_t bits, next = 0;
        memcpy(&bits, &scales[g], sizeof bits);
        if (!last)
            memcpy(&next, &scales[g + 1], sizeof next);
        if (!last && bits == next && zeros[g] == zeros[g + 1])
            continue;
        hash = hash_step(hash, (uint64_t)bits << 8 | zeros[g]);
        hash = hash_step(hash, (uint64_t)(last ? q->k : (g + 1) * q->group));
    }
    return hash;
}

/* Values hashed, and read back, at a time. */
enum { HASHED = 256, VERIFIED = 1 << 20 };

static uint64_t hash_values(uint64_t hash, const float *w, int64_t count) {
    for (int64_t i = 0; i < count; i += HASHED)
        hash = hash_array(hash, w + i, (size_t)min_i64(HASHED, count - i) * sizeof *w);
    return hash;
}

/* Codes of floats are read back as the numbers that they stand for. */
static uint64_t hash_floats(const struct qlinear *q) {
    const struct qlinear_levels levels = qlinear_levels(q);
    uint64_t hash = HASH_INIT;
    for (int64_t i = 0, count; i < q->n * q->k; i += count) {
        const int64_t row = i / q->k, c = i % q->k;
        count = min_i64(HASHED, q->k - c);
        float values[HASHED];
        for (int64_t j = 0; j < count; j++)
            values[j] = qlinear_level(&levels, q->codes[i + j], 0) *
                        q->scales[row * q->groups + (c + j) / q->group];
        hash = hash_values(hash, values, count);
    }
    return hash;
}

uint64_t output_hash(const struct qlinear *q) {
    if (q->number != NUMBER_INT)
        return hash_floats(q);
    uint64_t hash = hash_array(HASH_INIT, q->codes, (size_t)(q->n * q->k));
    for (int64_t row = 0; row < q->n; row++)
        hash = hash_row(hash, q, row);
    return hash;
}

static enum llmq_status differs(const struct plan_module *module, llmq_error *err) {
    return error_set(err, LLMQ_E_CHECK, "%s: what was read back differs from what was stored",
                     module->name);
}

/* Floats: the tensor as it is shown, some rows at a time. */
static enum llmq_status verify_floats(const struct model *stored, const char *name,
                                      const struct plan_module *module, uint64_t expected,
                                      llmq_error *err) {
    const int64_t n = module->shape.n, k = module->shape.k, most = 1 + VERIFIED / k;
    char tensor[MODEL_NAME_MAX + sizeof ".weight"];
    (void)snprintf(tensor, sizeof tensor, "%s.weight", name);
    const struct st_tensor *t = st_find(stored->tensors, tensor);
    uint64_t hash = HASH_INIT;
    if (!t || !t->coded || t->rank != 2 || t->shape[0] != (uint64_t)n || t->shape[1] != (uint64_t)k)
        return differs(module, err);
    float *rows = malloc((size_t)(most * k) * sizeof *rows);
    enum llmq_status status = rows ? LLMQ_OK : error_memory(err, module->name);
    for (int64_t row = 0; status == LLMQ_OK && row < n; row += most) {
        const int64_t part = min_i64(most, n - row);
        status = st_read_part_f32(stored->tensors, t, (uint64_t)(row * k), (size_t)(part * k), rows,
                                  err);
        for (int64_t r = 0; status == LLMQ_OK && r < part; r++)
            hash = hash_values(hash, rows + r * k, k);
    }
    free(rows);
    return status == LLMQ_OK && hash != expected ? differs(module, err) : status;
}

enum llmq_status output_verify_module(const struct model *stored, const struct plan_module *module,
                                      uint64_t expected, llmq_error *err) {
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    char name[MODEL_NAME_MAX]; /* a GGUF file does not keep the prefix that the plan's name has */
    if (module->at.node < 0)
        model_head_name(stored, name);
    else
        blocks_node_name(stored->blocks, module->at, "", name);
    if (!stored->layout)
        return verify_floats(stored, name, module, expected, err);
    LLMQ_TRY(model_load_qlinear(stored, name, module->shape.n, module->shape.k, &q, err));
    LLMQ_TRY(qlinear_check(&q, err));
    if (output_hash(&q) != expected || q.group_of)
        status = differs(module, err);
cleanup:
    qlinear_free(&q);
    return status;
}

/* Every module, as many at a time as the plan has memory for: what takes long, hashing and taking
 * codes apart, is serial. */
static enum llmq_status verify_modules(const struct model *stored, const struct plan *plan,
                                       const struct journal_blocks *blocks, const llmq_context *ctx,
                                       llmq_error *err) {
    const int count = plan->checkers > 0 ? plan->checkers : omp_get_max_threads();
    enum llmq_status status = LLMQ_OK;
#pragma omp parallel for schedule(dynamic) num_threads(count) default(none)                        \
    shared(stored, plan, blocks, ctx, err, status)
    for (int64_t i = 0; i < plan->module_count; i++) {
        llmq_error mine = {0};
        enum llmq_status found = interrupt_check(ctx, &mine);
        if (found == LLMQ_OK && plan->modules[i].fate != MODULE_PLAIN)
            found = output_verify_module(stored, &plan->modules[i], blocks->hashes[i], &mine);
        error_keep_first(&status, err, found, &mine);
    }
    return status;
}

enum llmq_status output_verify(const struct output *out, const struct plan *plan,
                               const struct journal_blocks *blocks, const llmq_context *ctx,
                               llmq_error *err) {
    struct model m = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(verify_written(out->partial_dir, out->as.family, err));
    LLMQ_TRY(model_open_by(out->partial_dir, &out->as, &m, err));
    LLMQ_TRY(verify_modules(&m, plan, blocks, ctx, err));
    for (int64_t b = 0; plan->folded_count > 0 && b < blocks->count; b++)
        LLMQ_TRY(block_fold_verify(&m, b, blocks->folded[b], err));
cleanup:
    model_close(&m);
    return status;
}
