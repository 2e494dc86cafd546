/* SPDX-License-Identifier: Apache-2.0 */
/* Near misses by the edit distance with transpositions of neighbours (Damerau 1964, in the
 * restricted form: no letter is edited twice). Three rows of the table suffice. */
#include "cli/suggest.h"

#include <stdbool.h>
#include <string.h>

enum { WORD_MAX = 32 }; /* longer words are not compared: no option is that long */

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min_size(replaced, 1 + min_size(above[j], row[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_size(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

void suggestion_offer(struct suggestion *s, const char *candidate) {
    size_t typed_len = strlen(s->typed), len = strlen(candidate);
    if (typed_len < 2 || typed_len > WORD_MAX || len > WORD_MAX)
        return;
    size_t distance = edit_distance(s->typed, typed_len, candidate, len);
    bool beginning = typed_len >= 3 && strncmp(s->typed, candidate, typed_len) == 0;
    size_t allowed = typed_len < 6 ? 1 : typed_len / 3;
    if (distance > allowed && !beginning)
        return;
    if (!s->best || distance < s->distance) {
        s->best = candidate;
        s->distance = distance;
    }
}
