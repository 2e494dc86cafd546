/* SPDX-License-Identifier: Apache-2.0 */
/* Which ids of a stream are kept: as many from its begin on as may be, or those of chosen windows.
 */
#ifndef LLMQ_TEXT_CORPUS_KEEP_H
#define LLMQ_TEXT_CORPUS_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "text/corpus_choice.h"
#include "text/reading.h"
#include "text/tokenizer.h"

struct id_keeper {
    const struct id_windows *windows; /* NULL: the first `most` ids are kept */
    int64_t most;
    const struct reading *limits; /* without room for them none is kept any more */
    int64_t seen;                 /* ids so far */
    int64_t next;                 /* of the windows */
    struct id_list ids;           /* what is kept; the caller frees it */
};

/* Take the ids of `from`, the next ones of the stream, out of it. */
LLMQ_NODISCARD enum llmq_status id_keeper_take(struct id_keeper *k, struct id_list *from,
                                               llmq_error *err);

/* Are all windows there, so that nothing more is needed? */
bool id_keeper_done(const struct id_keeper *k);

#endif
