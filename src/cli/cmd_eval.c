/* SPDX-License-Identifier: Apache-2.0 */
/* llmq eval: perplexity of a checkpoint, original or quantized. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/evaluate.h"

struct eval_args {
    struct text_args read;
    const char *model;
    const char *family;
    uint64_t max_mem;
    bool dequantize;
    double max_ppl;
};

static const struct option eval_options[] = {
    MODEL_OPTION(struct eval_args, model, "folder of the checkpoint"),
    FAMILY_OPTION(struct eval_args, family),
    MAX_MEM_OPTION(struct eval_args, max_mem),
    {.name = "dequantize",
     .kind = OPTION_ON,
     .offset = offsetof(struct eval_args, dequantize),
     .help =
         "expand packed weights to float32 instead of multiplying with them packed: slower, a "
         "check of the packed kernels, and what --compute bf16 takes of a quantized checkpoint"},
    {.name = "max-ppl",
     .kind = OPTION_REAL,
     .offset = offsetof(struct eval_args, max_ppl),
     .value = "X",
     .help = "exit with 1 when the perplexity is above X",
     .absent = "no limit",
     .min = 1,
     .max = 1e300},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", eval_options},
    {"Reading", text_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void eval_init(void *args) {
    struct eval_args *a = args;
    llmq_eval_options defaults;
    llmq_eval_options_init(&defaults);
    a->read.ctx = defaults.ctx;
    a->read.max_tokens = defaults.max_tokens;
    a->read.convention = (int)defaults.convention;
    a->read.activations = (int)defaults.activations;
    a->read.compute = (int)defaults.compute;
    a->dequantize = defaults.dequantize;
}

static void print_result(const llmq_eval_result *r) {
    char memory[CONSOLE_TEXT], time[CONSOLE_TEXT];
    bool gptq = r->convention == LLMQ_CONVENTION_GPTQ;
    /* To first order, the error of exp(nll) is exp(nll) times the error of nll. */
    printf("perplexity %.4f ± %.4f\n", r->ppl, r->ppl * r->nll_stderr);
    printf("  nll         %.6f ± %.6f nats per token\n", r->nll, r->nll_stderr);
    printf("  convention  %s: %s\n", gptq ? "gptq" : "llamacpp",
           gptq ? "every token of a window but the first" : "the second half of each window");
    if (r->activations == LLMQ_ACTIVATIONS_INT8)
        printf("  activations int8\n");
    if (r->compute == LLMQ_COMPUTE_BF16)
        printf("  compute     bf16\n");
    printf("  tokens      %lld in %lld windows of up to %lld\n", (long long)r->tokens,
           (long long)r->windows, (long long)r->ctx);
    printf("  time        %s, peak memory %s\n", console_seconds(r->seconds, time),
           console_bytes(r->peak_rss_bytes, memory));
}

static enum llmq_status check_limit(const struct eval_args *a, const llmq_eval_result *r,
                                    llmq_error *err) {
    /* Written so that a NaN does not pass. */
    if (a->max_ppl == 0.0 || r->ppl <= a->max_ppl)
        return LLMQ_OK;
    return cli_fail(err, LLMQ_E_CHECK, "perplexity %.4f is above the limit %g", r->ppl, a->max_ppl);
}

static enum llmq_status eval_run(const void *args, const volatile sig_atomic_t *interrupt,
                                 llmq_error *err) {
    const struct eval_args *a = args;
    llmq_eval_options options;
    llmq_eval_options_init(&options);
    options.model = a->model;
    options.family = a->family;
    options.max_mem = a->max_mem;
    options.text = a->read.text;
    options.text_field = a->read.text_field;
    options.ctx = a->read.ctx;
    options.max_tokens = a->read.max_tokens;
    options.special = (enum llmq_special)special_value(&a->read.special);
    options.convention = (enum llmq_convention)a->read.convention;
    options.activations = (enum llmq_activations)a->read.activations;
    options.compute = (enum llmq_compute)a->read.compute;
    options.dequantize = a->dequantize;

    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->read.common, interrupt);
    llmq_eval_result result = {0};
    enum llmq_status status = llmq_eval(&options, &ctx, &result, err);
    progress_end(&progress);
    if (status != LLMQ_OK)
        return status;
    if (!a->read.common.json)
        print_result(&result);
    else
        status = console_json(llmq_eval_json(&result), err);
    return status == LLMQ_OK ? check_limit(a, &result, err) : status;
}

const struct command command_eval = {
    .name = "eval",
    .summary = "measure the perplexity of a checkpoint, original or quantized",
    .synopsis = "eval [--model] M [--text FILE] [options]",
    .description =
        "Reads the text in windows, runs the model over them block by block, and prints the "
        "perplexity with its standard error. Every weight is read once, one decoder block is in "
        "memory at a time, and packed weights are multiplied as they are.\n\n"
        "Compare two checkpoints only on the same text, window and convention.",
    .examples = {{"llmq eval --model models/demo --text models/demo/eval.txt",
                  "perplexity of the original"},
                 {"llmq eval --model demo-gptq-w4g128 --text models/demo/eval.txt --max-ppl 45",
                  "of the quantized one, as a check with a limit"}},
    .groups = groups,
    .args_size = sizeof(struct eval_args),
    .init = eval_init,
    .run = eval_run,
    .computes = computes_always,
    .ranks = true,
};
