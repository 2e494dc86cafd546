/* Memory that reading texts takes, held against the user's limit: see setup.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "setup/setup.h"

/* Bytes for each of a file, measured on tokenizers of 2 to 9 MB and texts of 4 to 24 MB: of
 * tokenizer.json while it is read (7.0 to 8.2 as a tree) and afterwards, and of a text with its
 * pieces and ids (8.3 to 11; more the shorter its words are). */
enum { TOKENIZER_TREE = 9, TOKENIZER_KEPT = 4, TEXT = 16 };

/* Every run takes more than this afterwards, and says how much. */
#define READING_LITTLE ((uint64_t)8 << 20)

/* 0 for what is not there: that is an error of another kind, and shows soon. */
static uint64_t size_of(const char *dir, const char *name) {
    struct stat st;
    char *path = dir ? path_join(dir, name, NULL) : NULL;
    const char *file = path ? path : name;
    const uint64_t size = stat(file, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    free(path);
    return size;
}

/* Reading `what` takes so many bytes beside what there is. */
static enum llmq_status check(const char *what, uint64_t reading, uint64_t max_mem, uint64_t later,
                              llmq_error *err) {
    if (max_mem == 0 || reading <= READING_LITTLE)
        return LLMQ_OK;
    const uint64_t needed = memory_resident() + reading;
    if (needed <= max_mem)
        return LLMQ_OK;
    error_set(err, LLMQ_E_MEMORY,
              "--max-mem %" PRIu64 " bytes: reading %s takes about %" PRIu64 " bytes", max_mem,
              what, needed);
    const uint64_t enough = needed > later ? needed : later;
    /* what is resident differs by some pages from one start to the next */
    error_hint(err, "give at least --max-mem %" PRIu64 "M", (enough >> 20) + 2);
    return LLMQ_E_MEMORY;
}

enum llmq_status setup_check_reading(const char *dir, const char *path, uint64_t max_mem,
                                     uint64_t later, llmq_error *err) {
    const uint64_t tokenizer = size_of(dir, "tokenizer.json");
    const uint64_t tree = tokenizer * TOKENIZER_TREE;
    const uint64_t text = tokenizer * TOKENIZER_KEPT + size_of(NULL, path) * TEXT;
    return check(path, tree > text ? tree : text, max_mem, later, err);
}

enum llmq_status setup_check_export(const char *dir, uint64_t max_mem, llmq_error *err) {
    const uint64_t tokenizer = size_of(dir, "tokenizer.json"); /* once more beside what it became */
    return check("tokenizer.json", tokenizer * (TOKENIZER_TREE + TOKENIZER_KEPT), max_mem, 0, err);
}
