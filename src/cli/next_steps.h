/* SPDX-License-Identifier: Apache-2.0 */
/* What can be done with a result now, as commands that a shell takes as they are printed. */
#ifndef LLMQ_CLI_NEXT_STEPS_H
#define LLMQ_CLI_NEXT_STEPS_H

#include <stdbool.h>

#include "cli/command.h"
#include "llmq/serving.h"

struct next_steps {
    const char *out;        /* the result's folder */
    const char *model;      /* what it was made of, as the user calls it */
    bool measured;          /* is how far it is from that worth measuring? */
    llmq_servings servings; /* a view */
};

/* Print them on stdout, unless the user wants it quiet. */
void next_steps_print(const struct next_steps *next, const struct common_args *args);

#endif
