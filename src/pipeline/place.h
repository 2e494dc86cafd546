/* SPDX-License-Identifier: Apache-2.0 */
/* May something be written there? The one place that knows which folders and files a command must
 * leave alone: what it reads, the texts and the model that come with llmq, the current folder and
 * the home folder. */
#ifndef LLMQ_PIPELINE_PLACE_H
#define LLMQ_PIPELINE_PLACE_H

#include <stddef.h>

#include "llmq/error.h"

/* What a command reads. */
struct place_inputs {
    const char *model; /* folder, or NULL */
    const char *text;  /* a file beside the model, or NULL */
};

/* May a file or folder be made, or be replaced, at `out`? LLMQ_E_USAGE when it is an input, holds
 * one or lies in the folder of a model, or is or holds the current or the home folder; LLMQ_E_IO
 * when the path cannot be followed. Places are compared by identity (base/location.h), and the
 * files of a model also count where their links lead. */
LLMQ_NODISCARD enum llmq_status place_check(const char *out, const struct place_inputs *inputs,
                                            llmq_error *err);

#endif
