/* SPDX-License-Identifier: Apache-2.0 */
/* How fast tokenizers load and encode, on one thread.
 *
 *     bench_tokenizer tokenizer.json text...     seconds to load, megabytes a second for each text
 *
 * Without arguments: the shared tokenizers and texts, where they are. Fastest of five runs; time is
 * processor time, so that other work on the machine does not count. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/fileio.h"
#include "text/tokenizer.h"

#define RUNS 5

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Noreturn void fail(const llmq_error *err) {
    fprintf(stderr, "bench_tokenizer: %s\n", err->message);
    exit(1);
}

static void bench_text(const struct tokenizer *tok, const char *path) {
    llmq_error err = {0};
    char *text = NULL;
    size_t len = 0, count = 0;
    double best = 0;
    if (file_read(path, (size_t)1 << 30, &text, &len, &err) != LLMQ_OK)
        fail(&err);
    for (int run = 0; run < RUNS; run++) {
        struct id_list ids = {0};
        double start = seconds();
        if (tokenizer_encode(tok, text, len, true, &ids, &err) != LLMQ_OK)
            fail(&err);
        double rate = (double)len / (seconds() - start) / 1e6;
        best = rate > best ? rate : best;
        count = ids.count;
        id_list_free(&ids);
    }
    printf("  %-28s %9zu tokens %8.2f MB/s\n", path_base(path), count, best);
    free(text);
}

static void bench_tokenizer(const char *path, const char *const *texts, int count) {
    llmq_error err = {0};
    struct tokenizer *tok = NULL;
    double start = seconds();
    if (tokenizer_load(path, &tok, &err) != LLMQ_OK)
        fail(&err);
    printf("%s: loaded in %.3f s\n", path, seconds() - start);
    for (int i = 0; i < count; i++)
        bench_text(tok, texts[i]);
    tokenizer_free(&tok);
}

static void bench_shared(void) {
    static const char *const tokenizers[] = {
        "tokenizers/gpt2",   "tokenizers/llama3",      "tokenizers/qwen2_5",
        "models/stories15M", "models/minimind2-small",
    };
    static const char *const texts[] = {"text/wiki.test.raw", "text/moby_dick.txt"};
    const char *shared = getenv("LLMQ_SHARED"), *root = getenv("LLMQ_SOURCE_ROOT");
    char folder[512], tokenizer[1024], paths[2][1024];
    snprintf(folder, sizeof folder, "%s%s",
             shared ? shared
             : root ? root
                    : ".",
             shared ? "" : "/../shared");
    for (size_t i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, texts[i]);
    const char *const both[] = {paths[0], paths[1]};
    for (size_t i = 0; i < sizeof tokenizers / sizeof tokenizers[0]; i++) {
        snprintf(tokenizer, sizeof tokenizer, "%s/%s/tokenizer.json", folder, tokenizers[i]);
        if (path_is_file(tokenizer))
            bench_tokenizer(tokenizer, both, 2);
        else
            printf("SKIP: %s is absent\n", tokenizer);
    }
}

int main(int argc, char **argv) {
    if (argc > 1)
        bench_tokenizer(argv[1], (const char *const *)argv + 2, argc - 2);
    else
        bench_shared();
    return 0;
}
