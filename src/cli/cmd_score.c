/* llmq score: log-probabilities of a list of tokens. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/evaluate.h"

struct score_args {
    struct common_args common;
    llmq_score_options options;
    const char *ids;
};

static const struct option score_options[] = {
    MODEL_OPTION(struct score_args, options.model, "folder of the checkpoint"),
    FAMILY_OPTION(struct score_args, options.family),
    {.name = "ids",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct score_args, ids),
     .value = "1,2,3",
     .help = "token ids, at least two, as 1,2,3 or [1,2,3]",
     .required = true},
    {.name = "logits",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct score_args, options.logits),
     .value = "FILE",
     .help = "also write the logits there: safetensors, F32 tensor \"logits\" of [tokens, vocab]",
     .source = VALUE_FILE},
    MAX_MEM_OPTION(struct score_args, options.max_mem),
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", score_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static const char *skip_space(const char *text) {
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* One id at *text, which moves behind it. False when there is none or it does not fit. */
static bool next_id(const char **text, int32_t *id) {
    const char *start = skip_space(*text);
    if (!isdigit((unsigned char)*start))
        return false;
    char *end = NULL;
    errno = 0;
    long long value = strtoll(start, &end, 10);
    if (errno != 0 || value > INT32_MAX)
        return false;
    *id = (int32_t)value;
    *text = skip_space(end);
    return true;
}

/* Parse "1,2,3" or "[1,2,3]" into ids, which has room for every number the text can hold. */
static enum llmq_status parse_ids(const char *text, int32_t *ids, size_t *count, llmq_error *err) {
    const char *at = skip_space(text);
    bool bracket = *at == '[';
    at += bracket;
    *count = 0;
    bool more = true, good = true;
    while (good && more) {
        good = next_id(&at, &ids[*count]);
        *count += good;
        more = *at == ',';
        at += more;
    }
    if (bracket)
        good = good && *at++ == ']';
    if (!good || *skip_space(at)) {
        cli_fail(err, LLMQ_E_USAGE, "--ids: not a list of token ids after %zu of them", *count);
        cli_hint(err, "expected 1,2,3 or [1,2,3], as 'llmq tokenize' prints them");
        return LLMQ_E_USAGE;
    }
    if (*count < 2)
        return cli_fail(err, LLMQ_E_USAGE, "--ids: a single token has nothing to predict");
    return LLMQ_OK;
}

static void print_scores(const int32_t *ids, size_t count, const double *logprobs) {
    double sum = 0;
    printf("%10s %10s  %s\n", "position", "token", "log p(token | before)");
    for (size_t t = 0; t + 1 < count; t++) {
        printf("%10zu %10ld  %.6f\n", t + 1, (long)ids[t + 1], logprobs[t]);
        sum += logprobs[t];
    }
    printf("%10s %10s  %.6f\n", "mean", "", sum / (double)(count - 1));
}

static enum llmq_status score_run(const void *args, const volatile sig_atomic_t *interrupt,
                                  llmq_error *err) {
    const struct score_args *a = args;
    /* Every id but the last is followed by a comma, so half the text's length is enough. */
    size_t room = strlen(a->ids) / 2 + 1, count = 0;
    int32_t *ids = malloc(room * sizeof *ids);
    double *logprobs = malloc(room * sizeof *logprobs);
    enum llmq_status status = LLMQ_E_MEMORY;
    if (!ids || !logprobs) {
        cli_fail(err, LLMQ_E_MEMORY, "out of memory for %zu token ids", room);
        goto cleanup;
    }
    status = parse_ids(a->ids, ids, &count, err);
    if (status != LLMQ_OK)
        goto cleanup;
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->common, interrupt);
    status = llmq_score(&a->options, ids, count, &ctx, logprobs, err);
    progress_end(&progress);
    if (status != LLMQ_OK)
        goto cleanup;
    if (!a->common.json)
        print_scores(ids, count, logprobs);
    else
        status = console_json(llmq_score_json(ids, count, logprobs), err);
cleanup:
    free(ids);
    free(logprobs);
    return status;
}

const struct command command_score = {
    .name = "score",
    .summary = "log-probabilities of a list of tokens",
    .synopsis = "score [--model] M --ids 1,2,3 [--logits FILE] [options]",
    .description = "Runs the model over the tokens and prints the natural logarithm of the "
                   "probability it gives each token after those before it.",
    .examples = {{"llmq score --model models/demo --ids 0,17,300,5", "score four tokens"},
                 {"llmq score --model models/demo --ids \"$(llmq tokenize --model models/demo "
                  "--text words.txt)\"",
                  "score a file's tokens"}},
    .groups = groups,
    .args_size = sizeof(struct score_args),
    .run = score_run,
    .computes = computes_always,
};
