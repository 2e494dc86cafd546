/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that break rules of verify: a good one with one thing changed. */
#ifndef LLMQ_TESTS_SEEDED_H
#define LLMQ_TESTS_SEEDED_H

#include <stdbool.h>
#include <stddef.h>

struct seeded {
    const char *rule, *base;       /* see bases.h */
    void (*seed)(const char *dir); /* NULL: the base breaks it */
    const char *where;             /* part of the finding's file, tensor or message */
    bool against;                  /* the source */
};

struct seeded_list {
    const struct seeded *rows;
    size_t count;
};

extern const struct seeded_list seeded_files, seeded_config, seeded_packed;

#endif
