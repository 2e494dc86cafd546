/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the ONNX layout; see onnx.c. Not for use outside formats/layouts/onnx*.c.
 */
#ifndef LLMQ_FORMATS_LAYOUTS_ONNX_H
#define LLMQ_FORMATS_LAYOUTS_ONNX_H

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"

/* Tensors of a module, in file order: data[] of encode and decode. */
enum onnx_tensor { ONNX_B, ONNX_SCALES, ONNX_ATTRIBUTES, ONNX_ZERO_POINTS, ONNX_TENSORS };
extern const char *const onnx_suffixes[ONNX_TENSORS + 1];

/* How a module's columns fall into blocks. */
struct onnx_blocks {
    int64_t size;       /* columns per block: a power of two that divides the group */
    int64_t count;      /* blocks per row */
    int64_t bytes;      /* of a block's codes */
    int64_t zero_bytes; /* of a row's zero points */
};
struct onnx_blocks onnx_blocks_of(const struct quant_shape *shape);

/* vtable entry of onnx_model.c. */
enum llmq_status onnx_write_models(const char *dir, const struct st_set *tensors,
                                   const struct layout_module *modules, int64_t count,
                                   llmq_error *err);

#endif
