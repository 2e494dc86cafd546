/* See companions.h. */
#include "pipeline/companions.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/fileio.h"

/* Files that travel with a model besides config.json and weights. Old weights, their index and
 * other frameworks' files must not: loaders would pick them up. */
static const char *const companions[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "image_processor*.json",
    "*.py",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
    "README.md",
};

/* Folders whose files travel too. */
static const char *const companion_dirs[] = {"chat_templates"};

static bool is_companion(const char *name) {
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++)
        if (fnmatch(companions[i], name, 0) == 0)
            return true;
    return false;
}

/* Copy the files of `from` to `to`; with `all` every regular file, else only companions. */
static enum llmq_status copy_files(const char *from, const char *to, bool all, llmq_error *err) {
    struct dir_list list = {0};
    enum llmq_status status = dir_list_read(from, &list, err);
    for (size_t i = 0; status == LLMQ_OK && i < list.count; i++) {
        if (!all && !is_companion(list.names[i]))
            continue;
        char *source = path_join(from, list.names[i], err);
        char *target = path_join(to, list.names[i], err);
        if (!source || !target)
            status = LLMQ_E_MEMORY;
        else if (path_is_file(source))
            status = file_copy(source, target, err);
        free(source);
        free(target);
    }
    dir_list_free(&list);
    return status;
}

enum llmq_status companions_copy(const char *from, const char *to, llmq_error *err) {
    enum llmq_status status = copy_files(from, to, false, err);
    for (size_t i = 0; status == LLMQ_OK && i < sizeof companion_dirs / sizeof companion_dirs[0];
         i++) {
        char *source = path_join(from, companion_dirs[i], err);
        char *target = path_join(to, companion_dirs[i], err);
        if (!source || !target)
            status = LLMQ_E_MEMORY;
        else if (path_is_dir(source)) {
            status = dir_make(target, true, err);
            if (status == LLMQ_OK)
                status = copy_files(source, target, true, err);
        }
        free(source);
        free(target);
    }
    return status;
}
