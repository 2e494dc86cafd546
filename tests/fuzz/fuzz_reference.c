/* SPDX-License-Identifier: Apache-2.0 */
/* Kept references: a file of any bytes, and one whose sums are right and whose windows, figures and
 * entries are any. What is read as one can be compared with. */
#include <string.h>

#include "api/reference_file.h"
#include "base/fileio.h"
#include "llmq/evaluate.h"
#include "tests/fuzz/fuzz.h"

enum { VOCAB = 128, WINDOWS_MOST = 4, LENGTH_MOST = 8, TOKENS_MOST = WINDOWS_MOST * LENGTH_MOST };

static void compare(const char *path) {
    llmq_error err = {0};
    llmq_compare_result result = {0};
    llmq_compare_options options;
    const llmq_context ctx = {.size = sizeof ctx, .threads = 1};
    const char *source = getenv("LLMQ_SOURCE_ROOT");
    char *model = path_join(source ? source : ".", "tests/golden/llama-base", NULL);
    MUST(model);
    llmq_compare_options_init(&options);
    options.model = model;
    options.reference = path;
    const enum llmq_status status = llmq_compare(&options, &ctx, &result, &err);
    fuzz_check(status, &err);
    if (status == LLMQ_OK)
        llmq_compare_result_free(&result);
    free(model);
}

static void read_back(const char *path) {
    llmq_error err = {0};
    struct reference_file file = {0};
    const enum llmq_status status = reference_file_read(path, &file, &err);
    fuzz_check(status, &err);
    for (int64_t t = 0; status == LLMQ_OK && t < file.kept.tokens; t++) {
        struct candidates candidates;
        kept_candidates(&file.kept, t, &candidates);
    }
    const bool fits = status == LLMQ_OK && file.kept.vocab == VOCAB && file.vocabulary == 0;
    reference_file_free(&file);
    if (fits)
        compare(path);
}

/* --- a file with sums that are right ---------------------------------------------------------- */

/* The next `size` bytes, zeros behind the end. */
struct source {
    const uint8_t *data;
    size_t len;
};

static void take(struct source *s, void *to, size_t size) {
    const size_t have = size < s->len ? size : s->len;
    memset(to, 0, size);
    memcpy(to, s->data, have);
    s->data += have;
    s->len -= have;
}

static int take_below(struct source *s, int most) {
    uint8_t byte = 0;
    take(s, &byte, 1);
    return byte % most;
}

static void write_file(const char *path, const struct reference_file *file) {
    llmq_error err = {0};
    struct output_file place = OUTPUT_FILE_NONE;
    MUST(output_file_choose("save-reference", path, NULL, &place, &err) == LLMQ_OK);
    MUST(reference_file_write(&place, file, &err) == LLMQ_OK);
    output_file_free(&place);
}

static void build(struct source s, const char *path) {
    int64_t offsets[WINDOWS_MOST + 1] = {0};
    int32_t ids[TOKENS_MOST] = {0}, tops[TOKENS_MOST] = {0};
    float logprobs[TOKENS_MOST] = {0}, tails[TOKENS_MOST] = {0};
    uint64_t begins[TOKENS_MOST + 1] = {0};
    char model[] = "m";
    const int windows = 1 + take_below(&s, WINDOWS_MOST);
    for (int w = 0; w < windows; w++)
        offsets[w + 1] = offsets[w] + 1 + take_below(&s, LENGTH_MOST);
    const size_t tokens = (size_t)offsets[windows];
    for (size_t t = 0; t < tokens; t++) {
        ids[t] = take_below(&s, VOCAB + 1);
        tops[t] = take_below(&s, VOCAB + 1);
        take(&s, &logprobs[t], sizeof logprobs[t]);
        take(&s, &tails[t], sizeof tails[t]);
    }
    unsigned char none = 0;
    begins[tokens] = s.len > 0 ? s.len : 1;
    const struct reference_file file = {
        .kept = {.tokens = (int64_t)tokens,
                 .vocab = VOCAB,
                 .tops = tops,
                 .logprobs = logprobs,
                 .tails = tails,
                 .begins = begins,
                 .bytes = s.len > 0 ? (unsigned char *)(uintptr_t)s.data : &none},
        .corpus = {.ids = ids,
                   .offsets = offsets,
                   .count = windows,
                   .tokens_used = offsets[windows]},
        .model = model,
        .model_bytes = 1};
    write_file(path, &file);
}

void fuzz_reference(const uint8_t *data, size_t len) {
    char *path = path_join(fuzz_dir(), "kept", NULL);
    MUST(path);
    fuzz_put("kept", data, len);
    read_back(path);
    build((struct source){data, len}, path);
    read_back(path);
    free(path);
}
