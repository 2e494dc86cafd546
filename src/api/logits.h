/* The file that llmq_score writes logits to. */
#ifndef LLMQ_API_LOGITS_H
#define LLMQ_API_LOGITS_H

#include <stdbool.h>
#include <sys/types.h>

#include "graph/acts.h"
#include "llmq/error.h"

/* Zero-initialise before use. */
struct logits_place {
    char *path;  /* links followed */
    bool stream; /* a pipe or a character device: written as it is */
    mode_t mode; /* of the file that is replaced; 0: there is none */
};

/* Choose the place and check it before anything is computed: a new file, a regular file that is
 * replaced (where a link leads to one, that one), a pipe or a character device. LLMQ_E_IO for a
 * folder, anything else that is there, and a folder that takes no files; LLMQ_E_USAGE for a place
 * that place.h guards and for this process's own output. Release with logits_free. */
LLMQ_NODISCARD enum llmq_status logits_choose(const char *path, const char *model_dir,
                                              struct logits_place *out, llmq_error *err);
void logits_free(struct logits_place *place);

/* Write F32 `logits` [tokens, vocab] as the safetensors tensor "logits". A regular file appears
 * whole or not at all; nothing else is removed or replaced. */
LLMQ_NODISCARD enum llmq_status logits_write(const struct logits_place *place,
                                             const struct acts *logits, llmq_error *err);

#endif
