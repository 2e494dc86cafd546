/* SPDX-License-Identifier: Apache-2.0 */
/* llmq tokenize: text to token ids, and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/read_file.h"
#include "cli/token_ids.h"
#include "llmq/evaluate.h"
#include "llmq/memory.h"
#include "llmq/model.h"

struct tokenize_args {
    struct common_args common;
    const char *model;
    const char *text;
    const char *decode;
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
    {.name = "decode",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct tokenize_args, decode),
     .value = "IDS",
     .help = "print the text of these token ids, as 1,2,3 or [1,2,3]; - reads them from standard "
             "input; with --no-special special tokens are left out of it",
     .excludes = "text"},
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

static enum llmq_status encode(const struct tokenize_args *a,
                               const volatile sig_atomic_t *interrupt, llmq_error *err) {
    char *text = NULL;
    int32_t *ids = NULL;
    size_t len = 0, count = 0;
    enum llmq_status status = cli_read_file(a->text, interrupt, &text, &len, err);
    if (status == LLMQ_OK)
        status = llmq_tokenize(a->model, text, len, (enum llmq_special)special_value(&a->special),
                               &ids, &count, err);
    if (status == LLMQ_OK)
        status = console_json(llmq_ids_json(ids, count), err);
    free(text);
    llmq_free(ids);
    return status;
}

/* What reads the text gets no line end that it has not; a terminal does. */
static void print_text(const char *text, size_t len) {
    console_text(text, len);
    if (isatty(STDOUT_FILENO))
        putchar('\n');
}

static enum llmq_status decode(const struct tokenize_args *a,
                               const volatile sig_atomic_t *interrupt, llmq_error *err) {
    const bool from_stdin = strcmp(a->decode, "-") == 0;
    char *list = NULL, *text = NULL;
    int32_t *ids = NULL;
    size_t len = 0, count = 0;
    enum llmq_status status = LLMQ_OK;
    if (from_stdin)
        status = cli_read_file("-", interrupt, &list, &len, err);
    if (status == LLMQ_OK)
        status = token_ids_parse(from_stdin ? list : a->decode,
                                 from_stdin ? "standard input" : "--decode", &ids, &count, err);
    if (status == LLMQ_OK)
        status = llmq_detokenize(a->model, ids, count, a->special.none, &text, &len, err);
    if (status == LLMQ_OK && a->common.json)
        status = console_json(llmq_text_json(ids, count, text, len), err);
    else if (status == LLMQ_OK)
        print_text(text, len);
    free(list);
    llmq_free(text);
    free(ids);
    return status;
}

static enum llmq_status tokenize_run(const void *args, const volatile sig_atomic_t *interrupt,
                                     llmq_error *err) {
    const struct tokenize_args *a = args;
    return a->decode ? decode(a, interrupt, err) : encode(a, interrupt, err);
}

const struct command command_tokenize = {
    .name = "tokenize",
    .summary = "token ids of a text, or the text of token ids",
    .synopsis = "tokenize [--model] M [--text FILE|-|--decode IDS|-] [options]",
    .description =
        "Prints the ids of the model's tokens for the text as [1,2,3], with and without "
        "--json, exactly as the tokenizer gives them: what calibration and evaluation do "
        "beyond that (no second begin-of-text token, no empty texts) is not done.\n\n"
        "With --decode, the other way round: the text of ids, without a line end of its own.",
    .examples = {{"printf 'My fellow citizens' | llmq tokenize --model models/demo",
                  "ids of standard input"},
                 {"llmq tokenize --model models/demo --decode 17,300,5", "the text of three ids"}},
    .groups = groups,
    .args_size = sizeof(struct tokenize_args),
    .init = tokenize_init,
    .run = tokenize_run,
};
