/* SPDX-License-Identifier: Apache-2.0 */
/* From a model folder to the set of its tensors, whichever container holds them. */
#ifndef LLMQ_FORMATS_LOADERS_MODEL_FOLDER_H
#define LLMQ_FORMATS_LOADERS_MODEL_FOLDER_H

#include "formats/safetensors/safetensors.h"

/* Open a model folder: model.safetensors, or model.safetensors.index.json and the shards it names
 * (plain names, each present, each tensor exactly where the map says; total_size is not checked),
 * or model.gguf, or a whole set of numbered shards without an index, or the only .safetensors file
 * there is. LLMQ_E_INPUT when the folder holds two checkpoints, model.safetensors and an index of
 * other files; LLMQ_E_NOT_FOUND when it holds none of these: the message says what it holds
 * instead, the hint what helps. */
LLMQ_NODISCARD enum llmq_status st_open_dir(const char *dir, struct st_set **out, llmq_error *err);

/* Open every *.safetensors file of a folder, whatever its index says: for a folder that st_open_dir
 * refused. LLMQ_E_NOT_FOUND when there is none. */
LLMQ_NODISCARD enum llmq_status st_open_files(const char *dir, struct st_set **out,
                                              llmq_error *err);

/* Open a folder that has neither model.safetensors nor an index nor model.gguf: a whole set of
 * numbered shards, or the only .safetensors file. LLMQ_E_NOT_FOUND says what is there instead. */
LLMQ_NODISCARD enum llmq_status st_open_unnamed(const char *dir, struct st_set **out,
                                                llmq_error *err);

#endif
