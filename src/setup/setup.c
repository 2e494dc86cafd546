/* SPDX-License-Identifier: Apache-2.0 */
/* Common beginnings of commands, see setup.h. */
#include "setup/setup.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/int64.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "llmq/model.h"
#include "setup/blas_check.h"
#include "text/tokenizer.h"

#define DEFAULT_CONTEXT 2048

enum llmq_status setup_check_compute(enum llmq_compute compute, llmq_error *err) {
    const struct llmq_kernels *kernels = kernels_get();
    if (compute == LLMQ_COMPUTE_F32 || bf16_supported(kernels))
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "bf16 products take a CPU with AVX512_BF16; the instruction set in use is %s",
              kernels->name);
    error_hint(err, "--compute f32 runs everywhere");
    return LLMQ_E_UNSUPPORTED;
}

const char *setup_activations_name(enum llmq_activations activations) {
    return activations == LLMQ_ACTIVATIONS_INT8 ? "int8" : "exact";
}

const char *setup_compute_name(enum llmq_compute compute) {
    return compute == LLMQ_COMPUTE_BF16 ? "bf16" : "f32";
}

enum llmq_status setup_threads(const llmq_context *ctx, llmq_error *err) {
    enum llmq_status status = kernels_init(err);
    if (status != LLMQ_OK)
        return status;
    omp_set_num_threads(context_threads(ctx));
    omp_set_max_active_levels(1); /* tiles inside a parallel loop stay on its thread */
    return linalg_reserve_threads(context_threads(ctx), err);
}

enum llmq_status setup_compute(const llmq_context *ctx, llmq_error *err) {
    linalg_init();
    enum llmq_status status = setup_threads(ctx, err);
    if (status == LLMQ_OK)
        status = linalg_reserve(context_threads(ctx), err);
    return status == LLMQ_OK ? blas_require(err) : status;
}

int64_t setup_context(const struct model_config *config) {
    return min_i64(config->max_positions, DEFAULT_CONTEXT);
}

const char *setup_bundled_text(enum data_file which, llmq_error *err) {
    static const char *const hints[DATA_FILES] = {"give --calib FILE", "give --text FILE"};
    const char *path = data_file(which);
    bool there = false;
    if (file_exists(path, &there, err) != LLMQ_OK)
        return NULL;
    if (there)
        return path;
    error_set(err, LLMQ_E_NOT_FOUND, "the bundled text is not at %s", path);
    error_hint(err, "%s: text, .jsonl, or .json windows of token ids", hints[which]);
    return NULL;
}

/* Other forms that tokenizers come in, which transformers turns into tokenizer.json. */
static const char *const tokenizer_files[] = {"tokenizer.model", "spiece.model", "tekken.json",
                                              "vocab.json",      "vocab.txt",    "merges.txt",
                                              "qwen.tiktoken"};

static enum llmq_status no_tokenizer(const char *dir, llmq_error *err) {
    struct strbuf found = {0};
    for (size_t i = 0; i < sizeof tokenizer_files / sizeof tokenizer_files[0]; i++) {
        char *path = path_join(dir, tokenizer_files[i], NULL);
        if (path && path_is_file(path))
            strbuf_printf(&found, "%s%s", found.len ? ", " : "", tokenizer_files[i]);
        free(path);
    }
    error_set(err, LLMQ_E_NOT_FOUND, "%s: text is read with tokenizer.json, found %s", dir,
              found.len > 0 && strbuf_ok(&found) ? found.data : "no tokenizer");
    if (found.len > 0)
        error_hint(err,
                   "write it once: python3 -c \"from transformers import AutoTokenizer as T; "
                   "T.from_pretrained('%.120s').save_pretrained('%.120s')\"; or give windows of "
                   "token ids (.json)",
                   dir, dir);
    else
        error_hint(err, "copy the tokenizer's files of the original model into the folder, or "
                        "give windows of token ids (.json)");
    strbuf_free(&found);
    return LLMQ_E_NOT_FOUND;
}

enum llmq_status setup_tokenizer(const char *dir, struct tokenizer **tok, llmq_error *err) {
    bool there = false;
    char *path = path_join(dir, "tokenizer.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_exists(path, &there, err);
    if (status == LLMQ_OK)
        status = there ? tokenizer_open(dir, tok, err) : no_tokenizer(dir, err);
    free(path);
    return status;
}
