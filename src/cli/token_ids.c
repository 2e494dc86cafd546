/* SPDX-License-Identifier: Apache-2.0 */
/* See token_ids.h. */
#include "cli/token_ids.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"

static const char *skip_space(const char *text) {
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* One id at *text, which moves behind it. False when there is none or it does not fit. */
static bool next_id(const char **text, int32_t *id) {
    const char *start = skip_space(*text);
    if (!isdigit((unsigned char)*start))
        return false;
    char *end = NULL;
    errno = 0;
    long long value = strtoll(start, &end, 10);
    if (errno != 0 || value > INT32_MAX)
        return false;
    *id = (int32_t)value;
    *text = skip_space(end);
    return true;
}

/* Ids into an array that has room for every number the text can hold. */
static enum llmq_status parse(const char *text, const char *what, int32_t *ids, size_t *count,
                              llmq_error *err) {
    const char *at = skip_space(text);
    bool bracket = *at == '[';
    at += bracket;
    *count = 0;
    bool more = true, good = true;
    while (good && more) {
        good = next_id(&at, &ids[*count]);
        *count += good;
        more = *at == ',';
        at += more;
    }
    if (bracket)
        good = good && *at++ == ']';
    if (!good || *skip_space(at)) {
        cli_fail(err, LLMQ_E_USAGE, "%s: not a list of token ids after %zu of them", what, *count);
        cli_hint(err, "expected 1,2,3 or [1,2,3], as 'llmq tokenize' prints them");
        return LLMQ_E_USAGE;
    }
    return LLMQ_OK;
}

enum llmq_status token_ids_parse(const char *text, const char *what, int32_t **ids, size_t *count,
                                 llmq_error *err) {
    /* Every id but the last is followed by a comma, so half the text's length is enough. */
    const size_t room = strlen(text) / 2 + 1;
    *ids = malloc(room * sizeof **ids);
    if (!*ids)
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for %zu token ids", room);
    return parse(text, what, *ids, count, err);
}
