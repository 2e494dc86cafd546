/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's tensors in memory, to be changed and written back: how the suites make folders
 * that other tools would write, or that are wrong. */
#ifndef LLMQ_TESTS_EDIT_CHECKPOINT_H
#define LLMQ_TESTS_EDIT_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"

#define EDIT_MAX_TENSORS 256

struct edit {
    struct st_spec specs[EDIT_MAX_TENSORS];
    void *data[EDIT_MAX_TENSORS];
    size_t bytes[EDIT_MAX_TENSORS];
    size_t count;
};

/* Read all tensors of a folder; edit_write puts them back in place of its files and frees them. */
void edit_read(const char *dir, struct edit *e);
void edit_write(const char *dir, struct edit *e, uint64_t shard_limit);

/* Data of a tensor, which has to be there. */
void *edit_data(struct edit *e, const char *name, size_t *bytes);

/* Remove a tensor, which has to be there; add or replace one (rows 0: a vector). */
void edit_remove(struct edit *e, const char *name);
void edit_put(struct edit *e, const char *name, enum dtype dtype, uint64_t rows, uint64_t columns,
              const void *data);

/* The same of a folder's, where the one that is put holds zeros but for its `first` 16 bits. */
void edit_take(const char *dir, const char *name);
void edit_add(const char *dir, const char *name, enum dtype dtype, uint64_t rows, uint64_t columns,
              uint16_t first);

/* Overwrite the first bytes of a tensor. */
void edit_poke(const char *dir, const char *name, const void *value, size_t size);

/* Put `to` in place of the first `from` that names begin with. */
void edit_rename(const char *dir, const char *from, const char *to);

/* Change the type of a floating tensor to F32, of an I32 one to I64. */
void edit_widen(struct edit *e, const char *name);

/* Decode a module of the folder; the caller frees q. */
void edit_decode(const char *dir, const char *module, struct qlinear *q);

/* Replace a module's tensors by the encoding of q, or by the plain weight (BF16). */
void edit_encode(struct edit *e, const struct layout *layout, const char *module,
                 const struct qlinear *q);
void edit_make_plain(struct edit *e, const struct layout *layout, const char *module,
                     const struct qlinear *q);

/* Replace the one occurrence of `old` in a text file of the folder. */
void edit_text(const char *dir, const char *file, const char *old, const char *text);

/* Say in a tiny model's config that its head is its embedding. */
void edit_tie(const char *dir);

/* Take quantization_config out of config.json, into `file` when that is not NULL. */
void edit_move_config(const char *dir, const char *file);

#endif
