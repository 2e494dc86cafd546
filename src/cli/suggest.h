/* Near misses: the word somebody probably meant. */
#ifndef LLMQ_CLI_SUGGEST_H
#define LLMQ_CLI_SUGGEST_H

#include <stddef.h>

/* Remembers the closest of the candidates it is shown. Zero-initialise, then set `typed`. */
struct suggestion {
    const char *typed;
    const char *best; /* NULL until a candidate was close enough */
    size_t distance;
};

/* Consider one candidate. Close enough means: one edit, in longer words one in three letters (an
 * edit inserts, removes or replaces a letter or swaps two neighbours), or `typed` is three or more
 * letters of its beginning. */
void suggestion_offer(struct suggestion *s, const char *candidate);

#endif
