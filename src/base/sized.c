/* SPDX-License-Identifier: Apache-2.0 */
/* See sized.h. */
#include "base/sized.h"

#include <string.h>

#include "base/error.h"

/* No such struct will ever be so large: what claims to be was not initialised. */
#define SIZE_MOST 4096

static enum llmq_status refuse_size(const char *name, size_t given, size_t size, llmq_error *err) {
    error_set(err, LLMQ_E_USAGE, "%s: its size is %zu, expected %zu as of this version", name,
              given, size);
    error_hint(err, "initialise it with %s_init, or set its first member to its sizeof", name);
    return LLMQ_E_USAGE;
}

/* The first byte in [begin, end) that is not zero, or end. */
static size_t first_set(const void *bytes, size_t begin, size_t end) {
    const unsigned char *at = bytes;
    while (begin < end && at[begin] == 0)
        begin++;
    return begin;
}

enum llmq_status sized_read(const char *name, const void *given, void *own, size_t size,
                            llmq_error *err) {
    size_t theirs = 0;
    if (!given)
        return error_set(err, LLMQ_E_USAGE, "%s: expected a pointer to one, found NULL", name);
    memcpy(&theirs, given, sizeof theirs);
    /* The size of a struct is a multiple of its alignment: no member is there by half. */
    if (theirs <= sizeof theirs || theirs > SIZE_MOST || theirs % sizeof theirs != 0)
        return refuse_size(name, theirs, size, err);
    const size_t set = first_set(given, size, theirs);
    if (set < theirs) {
        error_set(err, LLMQ_E_USAGE,
                  "%s: byte %zu of %zu is set, a member that this version of the library does not "
                  "have: its own is of %zu bytes",
                  name, set, theirs, size);
        error_hint(err, "run the program with the version of libllmq that it was compiled for, or "
                        "a later one");
        return LLMQ_E_USAGE;
    }
    memcpy(own, given, theirs < size ? theirs : size);
    memcpy(own, &size, sizeof size);
    return LLMQ_OK;
}

void sized_write(const void *own, size_t size, void *out, size_t out_size) {
    memset(out, 0, out_size);
    memcpy(out, own, out_size < size ? out_size : size);
    if (out_size >= sizeof out_size)
        memcpy(out, &out_size, sizeof out_size);
}
