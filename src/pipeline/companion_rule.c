/* SPDX-License-Identifier: Apache-2.0 */
/* See companion_rule.h. */
#define _GNU_SOURCE /* FNM_CASEFOLD */
#include "pipeline/companion_rule.h"

#include <fnmatch.h>
#include <stddef.h>
#include <string.h>

#include "formats/loaders/quant_config.h"
#include "pipeline/journal.h"
#include "pipeline/marker.h"

/* A .bin with another name than those below, and larger than this, is taken for weights. */
#define SMALL_BIN_BYTES ((uint64_t)1 << 20)

static const char *const weights[] = {
    /* safetensors and its indices, variants included */
    "*.safetensors",
    "*.safetensors.index*.json",
    /* PyTorch, also optimizer states and what training leaves beside them */
    "pytorch_model*",
    "diffusion_pytorch_model*",
    "*.bin.index*.json",
    "model*.bin",
    "*weights*.bin",
    "optimizer*.bin",
    "*.pt",
    "*.pth",
    "*.pt2",
    "*.pte",
    "*.ptl",
    "*.ckpt",
    "*.distcp",
    "consolidated*",
    /* adapters: transformers follows adapter_config.json to another base model */
    "adapter_model*",
    "adapter_config.json",
    /* TensorFlow, Flax, Rust */
    "*.h5",
    "*.hdf5",
    "*.h5.index.json",
    "*.msgpack",
    "*.msgpack.index.json",
    "*.pb",
    "*.tflite",
    "*.data-*-of-*",
    "*.ot",
    /* run times */
    "*.gguf",
    "ggml-*.bin",
    "*.ggml",
    "*.llamafile",
    "*.onnx",
    "*.onnx_data*",
    "*.onnx.data*",
    "*.ort",
    "openvino_*",
    "*.mlmodel",
    "*.engine",
    "*.nemo",
    "*.npz",
    "*.params",
};

static const char *const weight_folders[] = {
    "onnx",        "original", "coreml",       "gguf",         "ggml",        "openvino",
    "tflite",      "mlx",      "tensorrt",     "trt_engines",  "*.mlpackage", "*.mlmodelc",
    "saved_model", "flax",     "checkpoint-*", "global_step*",
};

static const char *const apart[] = {"*.py",  "*.jinja*", "*.png",  "*.jpg", "*.jpeg",
                                    "*.gif", "*.svg",    "*.webp", "*.pdf", "*.mp4"};

/* What says how the source is quantized, besides quant_config_files. */
static const char *const settings[] = {"hf_quant_config.json", "recipe.yaml"};

static const char *const private_names[] = {
    ".*",           "*.tmp",      "*.lock",
    "*.incomplete", "*.partial",  "*.replaced",
    "__pycache__",  "lost+found", "System Volume Information",
    "$RECYCLE.BIN"};

static bool among(const char *name, const char *const *patterns, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (fnmatch(patterns[i], name, FNM_CASEFOLD) == 0)
            return true;
    return false;
}

#define AMONG(name, patterns) among(name, patterns, sizeof(patterns) / sizeof(patterns)[0])

static bool states_quantization(const char *name) {
    for (size_t i = 0; quant_config_files[i]; i++)
        if (strcmp(quant_config_files[i], name) == 0)
            return true;
    return AMONG(name, settings);
}

enum companion_kind companion_kind_by_name(const char *name, bool top) {
    if (AMONG(name, private_names))
        return COMPANION_PRIVATE;
    if (states_quantization(name) || strcmp(name, JOURNAL_NAME) == 0 ||
        strcmp(name, JOURNAL_UNDO_NAME) == 0 || strcmp(name, MARKER_NAME) == 0 ||
        (top && strcmp(name, "config.json") == 0))
        return COMPANION_OURS;
    return AMONG(name, weights) ? COMPANION_WEIGHTS : COMPANION_TRAVELS;
}

enum companion_kind companion_kind(const char *name, bool top, uint64_t bytes) {
    enum companion_kind kind = companion_kind_by_name(name, top);
    if (kind == COMPANION_TRAVELS && bytes > SMALL_BIN_BYTES &&
        fnmatch("*.bin", name, FNM_CASEFOLD) == 0)
        return COMPANION_WEIGHTS;
    return kind;
}

bool companion_folder_of_weights(const char *name) {
    return AMONG(name, weight_folders);
}

bool companion_apart_from_weights(const char *name) {
    return AMONG(name, apart);
}
