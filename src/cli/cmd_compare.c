/* llmq compare: how far a checkpoint's predictions are from another's. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/evaluate.h"

struct compare_args {
    struct text_args read;
    const char *model;
    const char *reference;
    const char *family;
    uint64_t max_mem;
    double max_kl; /* below 0: no limit */
};

static const struct option compare_options[] = {
    MODEL_OPTION(struct compare_args, model, "folder of the checkpoint to judge"),
    {.name = "reference",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct compare_args, reference),
     .value = "R",
     .help = "the checkpoint to judge it by, usually the original; its tokenizer reads the text",
     .source = VALUE_FOLDER,
     .required = true},
    FAMILY_OPTION(struct compare_args, family),
    MAX_MEM_OPTION(struct compare_args, max_mem),
    {.name = "max-kl",
     .kind = OPTION_REAL,
     .offset = offsetof(struct compare_args, max_kl),
     .value = "X",
     .help = "exit with 1 when the mean KL divergence is above X nats",
     .absent = "no limit",
     .min = 0,
     .max = 1e300},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", compare_options},
    {"Reading", text_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void compare_init(void *args) {
    struct compare_args *a = args;
    llmq_compare_options defaults;
    llmq_compare_options_init(&defaults);
    a->read.ctx = defaults.ctx;
    a->read.max_tokens = defaults.max_tokens;
    a->read.convention = (int)defaults.convention;
    a->read.activations = (int)defaults.activations;
    a->read.compute = (int)defaults.compute;
    a->max_kl = -1;
}

static void print_worst(const llmq_compare_result *r) {
    printf("  worst       window  position   token  nats\n");
    for (size_t i = 0; i < r->worst_count; i++) {
        const llmq_divergent_token *t = &r->worst[i];
        printf("              %6lld %9lld %7ld  %.4f\n", (long long)t->window,
               (long long)t->position, (long)t->token, t->kl);
    }
}

/* Every block's output beside the reference's. */
static void print_blocks(const llmq_compare_result *r) {
    printf("  block     error       mean (reference)         spread (reference)      range "
           "(reference)\n");
    for (int64_t i = 0; i < r->block_count; i++) {
        const llmq_block_output *m = &r->blocks[i].model, *o = &r->blocks[i].reference;
        printf("  %5lld  %8.2e  %9.2e (%9.2e)  %8.2e (%8.2e)  %.3g ... %.3g (%.3g ... %.3g)",
               (long long)i, r->blocks[i].error, m->mean, o->mean, m->spread, o->spread, m->least,
               m->most, o->least, o->most);
        if (m->nan + m->infinite > 0)
            printf("  NaN %lld, infinite %lld", (long long)m->nan, (long long)m->infinite);
        printf("\n");
    }
}

/* Where most was lost on the way. */
static void print_drift(const llmq_compare_result *r) {
    int64_t worst = 0;
    for (int64_t i = 1; i < r->block_count; i++)
        if (r->blocks[i].error > r->blocks[worst].error)
            worst = i;
    if (r->block_count > 0)
        printf("  drift       %.2e of a block's output at most, of block %lld's\n",
               r->blocks[worst].error, (long long)worst);
}

static void print_result(const llmq_compare_result *r, bool verbose) {
    char memory[CONSOLE_TEXT], time[CONSOLE_TEXT];
    printf("KL divergence from the reference %.6f ± %.6f nats per token\n", r->kl_mean,
           r->kl_stderr);
    printf("  median      %.6f, 99th percentile %.6f\n", r->kl_median, r->kl_p99);
    printf("  same top-1  %.2f %% of tokens\n", 100 * r->top1_agreement);
    printf("  nll         %+.6f ± %.6f nats per token\n", r->delta_nll, r->delta_nll_stderr);
    printf("  perplexity  %.4f, reference %.4f\n", r->ppl, r->ppl_reference);
    print_worst(r);
    print_drift(r);
    if (verbose)
        print_blocks(r);
    printf("  convention  %s\n", r->convention == LLMQ_CONVENTION_GPTQ ? "gptq" : "llamacpp");
    if (r->activations == LLMQ_ACTIVATIONS_INT8)
        printf("  activations int8\n");
    if (r->compute == LLMQ_COMPUTE_BF16)
        printf("  compute     bf16\n");
    printf("  tokens      %lld in %lld windows of up to %lld\n", (long long)r->tokens,
           (long long)r->windows, (long long)r->ctx);
    printf("  time        %s, peak memory %s\n", console_seconds(r->seconds, time),
           console_bytes(r->peak_rss_bytes, memory));
}

static enum llmq_status check_limit(const struct compare_args *a, const llmq_compare_result *r,
                                    llmq_error *err) {
    /* Written so that a NaN does not pass. */
    if (a->max_kl < 0 || r->kl_mean <= a->max_kl)
        return LLMQ_OK;
    return cli_fail(err, LLMQ_E_CHECK, "mean KL divergence %.6g is above the limit %g", r->kl_mean,
                    a->max_kl);
}

static enum llmq_status compare_run(const void *args, const volatile sig_atomic_t *interrupt,
                                    llmq_error *err) {
    const struct compare_args *a = args;
    llmq_compare_options options;
    llmq_compare_options_init(&options);
    options.model = a->model;
    options.reference = a->reference;
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

    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->read.common, interrupt);
    llmq_compare_result result = {0};
    enum llmq_status status = llmq_compare(&options, &ctx, &result, err);
    progress_end(&progress);
    if (status == LLMQ_OK && a->read.common.json)
        status = console_json(llmq_compare_json(&result), err);
    else if (status == LLMQ_OK)
        print_result(&result, a->read.common.verbose);
    if (status == LLMQ_OK)
        status = check_limit(a, &result, err);
    llmq_compare_result_free(&result);
    return status;
}

const struct command command_compare = {
    .name = "compare",
    .summary = "measure how far a checkpoint's predictions are from those of another",
    .synopsis = "compare [--model] M --reference R [--text FILE] [options]",
    .description =
        "Runs both checkpoints over the same windows, block by block, and compares their "
        "predictions of every token: the KL divergence from the reference to the model in nats "
        "(mean, median, 99th percentile and the worst tokens), how often both find the same token "
        "most likely, and the difference of their negative log-likelihoods with the standard error "
        "of the paired difference. --json and -v list what every block puts out, range, mean, "
        "spread and values that are NaN or infinite, beside the reference's, and how far it has "
        "moved.\n\n"
        "Packed weights are multiplied as they are. --activations and --compute are about the "
        "checkpoint to judge: the reference is computed in float32 always. Both checkpoints need "
        "the same vocabulary.",
    .examples = {{"llmq compare --model demo-gptq-w4g128 --reference models/demo",
                  "what quantization changed"},
                 {"llmq compare --model demo-gptq-w4g128 --reference models/demo --max-kl 0.05",
                  "as a check with a limit"}},
    .groups = groups,
    .args_size = sizeof(struct compare_args),
    .init = compare_init,
    .run = compare_run,
    .computes = computes_always,
};
