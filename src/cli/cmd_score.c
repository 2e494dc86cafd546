/* SPDX-License-Identifier: Apache-2.0 */
/* llmq score: log-probabilities of a list of tokens. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/token_ids.h"
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

static void print_scores(const int32_t *ids, size_t count, const double *logprobs) {
    double sum = 0;
    printf("%10s %10s  %s\n", "position", "token", "log p(token | before)");
    for (size_t t = 0; t + 1 < count; t++) {
        printf("%10zu %10ld  %.6f\n", t + 1, (long)ids[t + 1], logprobs[t]);
        sum += logprobs[t];
    }
    printf("%10s %10s  %.6f\n", "mean", "", sum / (double)(count - 1));
}

static void score_init(void *args) {
    struct score_args *a = args;
    llmq_score_options_init(&a->options);
}

static enum llmq_status score_run(const void *args, const volatile sig_atomic_t *interrupt,
                                  llmq_error *err) {
    const struct score_args *a = args;
    size_t count = 0;
    int32_t *ids = NULL;
    double *logprobs = NULL;
    enum llmq_status status = token_ids_parse(a->ids, "--ids", &ids, &count, err);
    if (status == LLMQ_OK && count < 2)
        status = cli_fail(err, LLMQ_E_USAGE, "--ids: a single token has nothing to predict");
    if (status != LLMQ_OK)
        goto cleanup;
    logprobs = malloc(count * sizeof *logprobs);
    if (!logprobs) {
        status = cli_fail(err, LLMQ_E_MEMORY, "out of memory for %zu scores", count);
        goto cleanup;
    }
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
    .init = score_init,
    .run = score_run,
    .computes = computes_always,
};
