/* SPDX-License-Identifier: Apache-2.0 */
/* Modules and their encoded tensors, for the suites of the layouts. */
#ifndef LLMQ_TESTS_FORMATS_LAYOUT_MODULES_H
#define LLMQ_TESTS_FORMATS_LAYOUT_MODULES_H

#include "formats/layouts/layout.h"
#include "support.h"

/* Positions of a GPTQ module's tensors. */
enum { QWEIGHT, QZEROS, SCALES, G_IDX, TENSORS };

/* A module's encoded tensors: `bytes` is owned, `data` is what decode takes. */
struct encoded {
    struct layout_tensor tensors[LAYOUT_MAX_TENSORS];
    struct layout_data data[LAYOUT_MAX_TENSORS];
    void *bytes[LAYOUT_MAX_TENSORS];
};

/* Buffers for a module, filled with a pattern, since encode has to write every byte. */
void make_room(const struct layout *layout, const struct qlinear *q, struct encoded *e);

/* Encode a module that the layout accepts. */
void encode(const struct layout *layout, const struct qlinear *q, struct encoded *e);
void encoded_free(struct encoded *e);

/* Codes, scales that F16 holds, and zeros from zmin on (2^(bits-1) when symmetric), all from
 * *seed. The caller frees q. */
struct module_shape {
    int64_t n, k, group;
    int bits;
    bool sym;
    int zmin;
};
void random_module(const struct module_shape *shape, uint64_t *seed, struct qlinear *q);

/* The module of the golden vectors: N = 64, K = 256, groups of 64. The caller frees q. */
void golden_module(int bits, bool sym, struct qlinear *q);

/* The 8 x 8 matrix of the description's examples: codes (n + 2k) mod 16, zero points n + 1, scales
 * of one. The caller frees q. */
void tiny_module(struct qlinear *q);

/* The tensor's bytes have this SHA-256. */
void check_hash(const struct encoded *e, int tensor, const char *expected);

/* The config of a checkpoint whose modules are all like q. */
struct layout_config config_of(const struct layout *layout, const struct qlinear *q);

/* Equal in every field; neither has a group map. */
void check_equal(const struct qlinear *a, const struct qlinear *b);

/* The tensors decode, with that config, to q. */
void check_decodes_to(const struct layout *layout, const struct layout_config *config,
                      const struct encoded *e, const struct qlinear *q);

/* A module of that shape is the same after it was encoded and decoded. */
void check_survives(const struct layout *layout, const struct module_shape *shape, uint64_t *seed);

#endif
