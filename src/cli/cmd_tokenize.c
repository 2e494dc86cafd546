/* llmq tokenize: text to token ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "llmq/evaluate.h"
#include "llmq/model.h"

struct tokenize_args {
    struct common_args common;
    const char *model;
    const char *text;
    struct special_args special;
};

static const struct option tokenize_options[] = {
    MODEL_OPTION(struct tokenize_args, model, "folder with tokenizer.json"),
    {.name = "text",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct tokenize_args, text),
     .value = "FILE",
     .help = "UTF-8 text to read, taken as it is; - is standard input",
     .source = VALUE_FILE},
    SPECIAL_OPTIONS(struct tokenize_args, special),
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", tokenize_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void tokenize_init(void *args) {
    struct tokenize_args *a = args;
    a->text = "-";
}

/* Read to the end of `stream` into memory the caller frees; a NUL is appended and not counted. */
static enum llmq_status read_stream(FILE *stream, const char *path, char **text, size_t *len,
                                    llmq_error *err) {
    size_t room = 1 << 16, used = 0;
    char *data = malloc(room);
    while (data) {
        used += fread(data + used, 1, room - used - 1, stream);
        if (used < room - 1)
            break;
        char *larger = room <= SIZE_MAX / 2 ? realloc(data, room * 2) : NULL;
        if (!larger)
            free(data);
        data = larger;
        room *= 2;
    }
    if (!data)
        return cli_fail(err, LLMQ_E_MEMORY, "%s: out of memory after %zu bytes", path, used);
    if (ferror(stream)) {
        free(data);
        return cli_fail_errno(err, path);
    }
    data[used] = '\0';
    *text = data;
    *len = used;
    return LLMQ_OK;
}

static enum llmq_status read_text(const char *path, char **text, size_t *len, llmq_error *err) {
    if (strcmp(path, "-") == 0)
        return read_stream(stdin, "standard input", text, len, err);
    FILE *file = fopen(path, "rb");
    if (!file)
        return cli_fail_errno(err, path);
    enum llmq_status status = read_stream(file, path, text, len, err);
    fclose(file);
    return status;
}

static enum llmq_status tokenize_run(const void *args, const volatile sig_atomic_t *interrupt,
                                     llmq_error *err) {
    const struct tokenize_args *a = args;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t len = 0, count = 0;
    enum llmq_status status = read_text(a->text, &text, &len, err);
    if (status == LLMQ_E_IO && *interrupt) /* Ctrl-C while waiting for input */
        status = cli_fail(err, LLMQ_E_INTERRUPTED, "interrupted");
    if (status == LLMQ_OK)
        status = llmq_tokenize(a->model, text, len, (enum llmq_special)special_value(&a->special),
                               &ids, &count, err);
    if (status == LLMQ_OK)
        status = console_json(llmq_ids_json(ids, count), err);
    free(text);
    free(ids);
    return status;
}

const struct command command_tokenize = {
    .name = "tokenize",
    .summary = "token ids of a text",
    .synopsis = "tokenize [--model] M [--text FILE|-] [options]",
    .description =
        "Prints the ids of the model's tokens for the text as [1,2,3], with and without "
        "--json, exactly as the tokenizer gives them: what calibration and evaluation do "
        "beyond that (no second begin-of-text token, no empty texts) is not done.",
    .examples = {{"printf 'My fellow citizens' | llmq tokenize --model models/demo",
                  "ids of standard input"},
                 {"llmq tokenize --model models/demo --text words.txt --no-special",
                  "of a file, without special tokens"}},
    .groups = groups,
    .args_size = sizeof(struct tokenize_args),
    .init = tokenize_init,
    .run = tokenize_run,
};
