/* SPDX-License-Identifier: Apache-2.0 */
/* Every file of the corpora through its target: inputs that were found to do harm, and seeds. With
 * arguments TARGET FILE... those files. */
#include <string.h>

#include "base/fileio.h"
#include "tests/fuzz/fuzz.h"

static const struct {
    const char *name;
    void (*run)(const uint8_t *data, size_t len);
} targets[] = {
    {"config", fuzz_config},
    {"corpus", fuzz_corpus},
    {"folder", fuzz_folder},
    {"gguf", fuzz_gguf},
    {"index", fuzz_index},
    {"journal", fuzz_journal},
    {"quantization", fuzz_quantization},
    {"recipe", fuzz_recipe},
    {"record", fuzz_record},
    {"reference", fuzz_reference},
    {"template", fuzz_template},
    {"tokenizer", fuzz_tokenizer},
};

enum { TARGETS = sizeof targets / sizeof targets[0], FILE_MOST = 1 << 24 };

static int replay_file(int target, const char *path) {
    llmq_error err = {0};
    char *data = NULL;
    size_t len = 0;
    if (file_read(path, FILE_MOST, &data, &len, &err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 0;
    }
    fuzz_clear();
    targets[target].run((const uint8_t *)data, len);
    free(data);
    return 1;
}

/* Number of files; a target without any is a mistake. */
static int replay_corpus(int target, const char *root) {
    struct dir_list list;
    int files = 0;
    char *dir = path_join(root, targets[target].name, NULL);
    MUST(dir && dir_list_read(dir, &list, NULL) == LLMQ_OK && list.count > 0);
    for (size_t i = 0; i < list.count; i++) {
        char *path = path_join(dir, list.names[i], NULL);
        MUST(path && replay_file(target, path));
        files++;
        free(path);
    }
    dir_list_free(&list);
    free(dir);
    return files;
}

int main(int argc, char **argv) {
    const char *source = getenv("LLMQ_SOURCE_ROOT");
    int files = 0;
    for (int t = 0; argc > 2 && t < TARGETS; t++)
        for (int i = 2; strcmp(argv[1], targets[t].name) == 0 && i < argc; i++)
            files += replay_file(t, argv[i]);
    if (argc > 2)
        return files == argc - 2 ? EXIT_SUCCESS : EXIT_FAILURE;
    char *root = path_join(source ? source : ".", "tests/fuzz/corpus", NULL);
    MUST(root);
    for (int t = 0; t < TARGETS; t++)
        files += replay_corpus(t, root);
    free(root);
    printf("100%%: Checks: %d, Failures: 0, Errors: 0\n", files);
    return EXIT_SUCCESS;
}
