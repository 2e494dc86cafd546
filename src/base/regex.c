/* SPDX-License-Identifier: Apache-2.0 */
/* See regex.h. PCRE2 agrees with Python's `re` on everything that can match a name: what differs
 * are newlines and Unicode classes. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Steps for one name. Expressions that people write take hundreds; those made to take forever end
 * here, after some milliseconds. */
#define MATCH_STEPS 200000

/* KiB of backtracking state, likewise. */
#define MATCH_HEAP 8192

/* Bytes of an expression: those that list every layer of a model are some KiB. */
#define EXPRESSION_MOST ((size_t)1 << 16)

struct regex {
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *data;
};

static enum llmq_status refuse(const char *expression, int code, PCRE2_SIZE offset,
                               llmq_error *err) {
    PCRE2_UCHAR why[160] = {0};
    if (code == PCRE2_ERROR_NOMEMORY)
        return error_memory(err, "a regular expression");
    pcre2_get_error_message(code, why, sizeof why);
    return error_set(err, LLMQ_E_INPUT, "regular expression '%.200s': %s (at byte %zu)", expression,
                     (const char *)why, (size_t)offset);
}

enum llmq_status regex_compile(const char *expression, enum regex_start start, struct regex **out,
                               llmq_error *err) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    const size_t len = strlen(expression);
    *out = NULL;
    if (len > EXPRESSION_MOST)
        return error_set(err, LLMQ_E_INPUT,
                         "regular expression '%.60s...': expected at most %zu bytes, found %zu",
                         expression, EXPRESSION_MOST, len);
    if (strstr(expression, "\xc0\x80")) /* as json.h has it */
        return error_set(err, LLMQ_E_INPUT,
                         "regular expression '%.200s': U+0000 is in no name it could match",
                         expression);
    struct regex *r = calloc(1, sizeof *r);
    if (!r)
        return error_memory(err, "a regular expression");
    r->code = pcre2_compile((PCRE2_SPTR)expression, len,
                            PCRE2_UTF | (start == REGEX_AT_START ? PCRE2_ANCHORED : 0), &code,
                            &offset, NULL);
    if (!r->code) {
        regex_free(&r);
        return refuse(expression, code, offset, err);
    }
    r->limits = pcre2_match_context_create(NULL);
    r->data = pcre2_match_data_create(1, NULL);
    if (!r->limits || !r->data) {
        regex_free(&r);
        return error_memory(err, "a regular expression");
    }
    pcre2_set_match_limit(r->limits, MATCH_STEPS);
    pcre2_set_heap_limit(r->limits, MATCH_HEAP);
    *out = r;
    return LLMQ_OK;
}

void regex_free(struct regex **r) {
    if (*r) {
        pcre2_code_free((*r)->code);
        pcre2_match_context_free((*r)->limits);
        pcre2_match_data_free((*r)->data);
        free(*r);
    }
    *r = NULL;
}

enum llmq_status regex_matches(const struct regex *r, const char *name, bool *matches,
                               llmq_error *err) {
    const int code = pcre2_match(r->code, (PCRE2_SPTR)name, strlen(name), 0, 0, r->data, r->limits);
    PCRE2_UCHAR why[160] = {0};
    *matches = code >= 0;
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH)
        return LLMQ_OK;
    if (code == PCRE2_ERROR_NOMEMORY)
        return error_memory(err, "matching a name");
    pcre2_get_error_message(code, why, sizeof why);
    return error_set(err, LLMQ_E_UNSUPPORTED, "gives up on the name '%.120s': %s", name,
                     (const char *)why);
}
