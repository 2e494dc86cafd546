/* SPDX-License-Identifier: Apache-2.0 */
/* What was read of a set of tensors, as hashes of their stored bytes: a set that is watched notes
 * the hash of each tensor at the first reading of all of it, and refuses another content at a later
 * one. So a file that is written to while a run works is noticed where it matters, and a run that
 * goes on after an interruption is held to what was read before. */
#ifndef LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_WATCH_H
#define LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_WATCH_H

#include "formats/safetensors/safetensors.h"

/* Parts of a tensor that are hashed begin at multiples of this many bytes. */
#define ST_HASH_CHUNK ((size_t)1 << 18)

/* Begin to watch. st_read_f32 notes what it reads from then on; st_read does not. */
LLMQ_NODISCARD enum llmq_status st_watch(struct st_set *set, llmq_error *err);

/* Is the set watched? */
bool st_watched(const struct st_set *set);

/* Hash of `nbytes` bytes of a tensor that begin at byte `offset`, a multiple of ST_HASH_CHUNK. The
 * hashes of all parts add up to the tensor's. */
uint64_t st_hash_part(uint64_t offset, const void *data, size_t nbytes);

/* Note the hash of a tensor's content as read, or as an earlier run read it. LLMQ_E_INPUT names
 * tensor and file when another one was noted before. Thread-safe. Does nothing when not watched. */
LLMQ_NODISCARD enum llmq_status st_note(const struct st_set *set, const struct st_tensor *t,
                                        uint64_t hash, llmq_error *err);

/* What was noted, 0: nothing. */
uint64_t st_noted(const struct st_set *set, const struct st_tensor *t);

#endif
