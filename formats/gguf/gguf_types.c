/* SPDX-License-Identifier: Apache-2.0 */
/* The types of GGUF files by their numbers, and the suffix of names: see gguf_private.h. */
#include <string.h>

#include "base/error.h"
#include "formats/gguf/gguf_private.h"

/* clang-format off */
/* Number of a tensor type in the file, per dtype. */
static const struct {
    enum dtype dtype;
    int type;
} types[] = {
    {DTYPE_F32,  0},
    {DTYPE_F16,  1},
    {DTYPE_Q4_0, 2},
    {DTYPE_Q4_1, 3},
    {DTYPE_Q8_0, 8},
    {DTYPE_BF16, 30},
};
/* clang-format on */

int gguf_type_of(enum dtype t) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].dtype == t)
            return types[i].type;
    return -1;
}

bool gguf_dtype_of(uint32_t type, enum dtype *out) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if ((uint32_t)types[i].type == type) {
            *out = types[i].dtype;
            return true;
        }
    return false;
}

/* --- suffixes --------------------------------------------------------------------------------- */

#define WEIGHT "weight"

static char *with_suffix(const char *name, const char *from, const char *to) {
    struct strbuf b = {0};
    const char *dot = strrchr(name, '.');
    const bool other = dot && strcmp(dot + 1, from) == 0;
    strbuf_append(&b, name, other ? (size_t)(dot + 1 - name) : strlen(name));
    strbuf_puts(&b, other ? to : "");
    return strbuf_take(&b);
}

char *gguf_name_out(const char *name) {
    return with_suffix(name, GGUF_BLOCKS_SUFFIX, WEIGHT);
}

char *gguf_name_in(const char *name, enum dtype t) {
    return with_suffix(name, WEIGHT, dtype_block(t) > 1 ? GGUF_BLOCKS_SUFFIX : WEIGHT);
}
