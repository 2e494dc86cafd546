/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint, module by module: what its linears are, and their weights, packed or plain. */
#ifndef LLMQ_CHECKPOINT_H
#define LLMQ_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/codes.h"
#include "llmq/error.h"
#include "llmq/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An open checkpoint. Nothing changes it: it may be read from many threads at once. */
typedef struct llmq_checkpoint llmq_checkpoint;

/* Open the model `model` (see llmq_model_resolve) as one of `family`; NULL: as its model_type says.
 * Configs and headers are read and checked, every tensor that the family needs is there; weights
 * are read when they are asked for, from files that stay open. Errors as of llmq_model_resolve;
 * LLMQ_E_INPUT and LLMQ_E_UNSUPPORTED name the file, the tensor or the key. Release with
 * llmq_checkpoint_close. */
LLMQ_NODISCARD enum llmq_status llmq_checkpoint_open(const char *model, const char *family,
                                                     llmq_checkpoint **out, llmq_error *err);

/* Releases and sets *checkpoint to NULL; accepts a pointer to NULL. */
void llmq_checkpoint_close(llmq_checkpoint **checkpoint);

/* Its folder, its family, and how many blocks it has. */
const char *llmq_checkpoint_path(const llmq_checkpoint *checkpoint);
const char *llmq_checkpoint_family(const llmq_checkpoint *checkpoint);
int64_t llmq_checkpoint_blocks(const llmq_checkpoint *checkpoint);

/* A linear: y = x * W^T, W [rows, columns]. Experts' linears are modules of their own, also where
 * a file has all of them in one tensor. */
typedef struct llmq_module {
    const char *name;   /* "model.layers.0.mlp.experts.17.up_proj" */
    int64_t block;      /* from 0; -1: the output head */
    int64_t expert;     /* of the block, from 0; -1: of none */
    int64_t rows;       /* output features */
    int64_t columns;    /* input features */
    bool packed;        /* stored as integer codes, else as numbers */
    const char *format; /* static: "gptq", "awq", ...; "none" of plain numbers; "fp8", "mxfp4" and
                           the like of small floats with scales, which are read as numbers */
    const char *dtype;  /* static: element type of the tensor with codes or numbers, "I32" */
    int bits;           /* of a code or number */
    int64_t group;      /* packed: columns per group, -1: one group per row; else 0 */
    bool sym;           /* packed: zero points are in the middle */
    uint64_t bytes;     /* of its tensors in the files; of a stack of experts, its part */
} llmq_module;

/* Module `index` of the checkpoint, block by block in the order of computing, the output head last;
 * NULL past the end. It and its name live as long as the checkpoint. */
const llmq_module *llmq_checkpoint_module(const llmq_checkpoint *checkpoint, size_t index);

/* The module by that name; NULL: none has it. */
const llmq_module *llmq_checkpoint_find(const llmq_checkpoint *checkpoint, const char *name);

/* Weights of a module of this checkpoint. LLMQ_E_USAGE where it is not packed (codes and load) or
 * not one of its modules; LLMQ_E_INPUT for tensors that do not hold what they should, naming them;
 * LLMQ_E_IO; LLMQ_E_MEMORY.
 * codes   integer codes, scales and zero points; release with llmq_codes_free
 * load    the same for products; release with llmq_qmat_free
 * decode  as float32, packed or not: out [rows, columns] */
LLMQ_NODISCARD enum llmq_status llmq_checkpoint_codes(const llmq_checkpoint *checkpoint,
                                                      const llmq_module *module, llmq_codes *out,
                                                      llmq_error *err);
LLMQ_NODISCARD enum llmq_status llmq_checkpoint_load(const llmq_checkpoint *checkpoint,
                                                     const llmq_module *module, llmq_qmat **out,
                                                     llmq_error *err);
LLMQ_NODISCARD enum llmq_status llmq_checkpoint_decode(const llmq_checkpoint *checkpoint,
                                                       const llmq_module *module, float *out,
                                                       llmq_error *err);

#ifdef __cplusplus
}
#endif
#endif
