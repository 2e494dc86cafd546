/* SPDX-License-Identifier: Apache-2.0 */
/* A sound module as a layout stores it, for tests that change one thing and read it back. One at a
 * time, in globals: the set-up and teardown of Check's fixtures take no arguments. */
#ifndef LLMQ_TESTS_FORMATS_SOUND_MODULE_H
#define LLMQ_TESTS_FORMATS_SOUND_MODULE_H

#include "layout_modules.h"

extern struct sound_module {
    const struct layout *layout;
    struct qlinear module;
    struct encoded file; /* its tensors */
    struct layout_config config;
} sound;

/* A module by random_module and its tensors; for a fixture's set-up. */
void sound_create(const struct layout *layout, const struct module_shape *shape, uint64_t *seed);
/* A fixture's teardown. */
void sound_teardown(void);

/* The tensors decode to the module. */
void decodes_the_same(void);

/* Decoding the tensors is an error of the input that says `part`, and leaves nothing. */
void decode_refused(const char *part);

/* A tensor described in another way than its bytes and the other tensors want, and what the error
 * says. */
struct disagreement {
    int tensor;
    enum dtype dtype;
    uint64_t shape[2]; /* {n, 0}: one dimension */
    const char *part;
};

/* Each of them, alone, makes decoding refuse the tensors. */
void disagreements_refused(const struct disagreement *cases, size_t count);

/* Decode the tensors 40,000 times, most of them with something random in one of the first `tensors`
 * descriptions or in the contents of tensor `numbers`, which holds I64 (NO_NUMBERS: none), and half
 * of them with a random config. Whatever is accepted is a sound module. */
enum { NO_NUMBERS = -1 };
void random_descriptions_survived(int tensors, int numbers, uint64_t *seed);

#endif
