/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that reading tokenizers takes, held against the user's limit: see setup.h. */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fileio.h"
#include "setup/setup.h"

/* Bytes for each of tokenizer.json, measured on files of 2 to 9 MB: while it is read (7.0 to 8.4),
 * and afterwards. */
enum { TOKENIZER_TREE = 9, TOKENIZER_KEPT = 4 };

/* Every run takes more than this afterwards, and says how much. */
#define READING_LITTLE ((uint64_t)8 << 20)

/* 0 for what is not there: that is an error of another kind, and shows soon. */
static uint64_t tokenizer_size(const char *dir) {
    struct stat st;
    char *path = path_join(dir, "tokenizer.json", NULL);
    const bool there = path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return there ? (uint64_t)st.st_size : 0;
}

enum llmq_status setup_check_tokenizer(const char *dir, const struct reading *limits,
                                       bool once_more, llmq_error *err) {
    const uint64_t each = once_more ? TOKENIZER_TREE + TOKENIZER_KEPT : TOKENIZER_TREE;
    const uint64_t reading = tokenizer_size(dir) * each;
    return reading > READING_LITTLE ? reading_room(limits, "tokenizer.json", reading, err)
                                    : LLMQ_OK;
}
