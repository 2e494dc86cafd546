/* SPDX-License-Identifier: Apache-2.0 */
/* llmq compare: how far a checkpoint's predictions are from another's. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/evaluate.h"

struct compare_args {
    struct text_args read;
    struct value_list models;
    const char *reference;
    const char *save_reference;
    const char *family;
    uint64_t max_mem;
    double max_kl; /* below 0: no limit */
};

static const struct option compare_options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = offsetof(struct compare_args, models),
     .value = "M",
     .help = "folder of the checkpoint to judge, or a name to look up; may be given several times: "
             "the reference runs once",
     .source = VALUE_MODEL,
     .bare = true},
    {.name = "reference",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct compare_args, reference),
     .value = "R",
     .help =
         "the checkpoint to judge it by, usually the original; its tokenizer reads the text. Or "
         "a file from --save-reference, which holds the text",
     .source = VALUE_MODEL,
     .required = true},
    {.name = "save-reference",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct compare_args, save_reference),
     .value = "FILE",
     .help = "keep the reference's predictions of the text in a file, to compare with later: a "
             "sample of each, some hundred bytes per token",
     .source = VALUE_FILE},
    FAMILY_OPTION(struct compare_args, family),
    MAX_MEM_OPTION(struct compare_args, max_mem),
    {.name = "max-kl",
     .kind = OPTION_REAL,
     .offset = offsetof(struct compare_args, max_kl),
     .value = "X",
     .help = "exit with 1 when the mean KL divergence of one is above X nats",
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

/* What both expected, most likely first. */
static void print_likely(const char *who, const llmq_likely_token *list, size_t count) {
    printf("              %s", who);
    for (size_t i = 0; i < count; i++)
        if (list[i].text)
            printf("%s '%s' %.2f", i ? "," : "", CONSOLE_SHOWN(list[i].text), list[i].p);
        else
            printf("%s %ld %.2f", i ? "," : "", (long)list[i].token, list[i].p);
    printf("\n");
}

static void print_worst(const llmq_compare_result *r, bool verbose) {
    printf("  worst       window  position   token  nats    text\n");
    for (size_t i = 0; i < r->worst_count; i++) {
        const llmq_divergent_token *t = &r->worst[i];
        const llmq_token_context *context = &r->contexts[i];
        printf("              %6lld %9lld %7ld  %-7.4f", (long long)t->window,
               (long long)t->position, (long)t->token, t->kl);
        if (context->text)
            printf(" ...%s[%s]", CONSOLE_SHOWN(context->before), CONSOLE_SHOWN(context->text));
        printf("\n");
        if (!verbose)
            continue;
        print_likely("model    ", context->model, context->model_count);
        print_likely("reference", context->reference, context->reference_count);
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

/* Significance of the paired difference, where there is more than one window. */
static void print_nll(const llmq_compare_result *r) {
    printf("  nll         %+.6f ± %.6f nats per token", r->delta_nll, r->delta_nll_stderr);
    if (r->delta_nll_p_value == r->delta_nll_p_value)
        printf(", p = %.2g", r->delta_nll_p_value);
    printf("\n");
}

static void print_figures(const llmq_compare_result *r) {
    printf("KL divergence from the reference %.6f ± %.6f nats per token\n", r->kl_mean,
           r->kl_stderr);
    if (r->kept)
        printf("  kept        the reference is a sample: ± %.6f more\n", r->kl_sampling_error);
    printf("  median      %.6f, 90th percentile %.6f, 99th %.6f, 99.9th %.6f, largest %.4f\n",
           r->kl_median, r->kl_p90, r->kl_p99, r->kl_p999, r->kl_max);
    if (!r->kept)
        printf("  reverse     %.6f ± %.6f from the model to the reference\n", r->kl_reverse_mean,
               r->kl_reverse_stderr);
    printf("  same top-1  %.2f %% of tokens\n", 100 * r->top1_agreement);
    printf("  probability %+.3f %% of the right token on average, %.3f %% rms; quantiles 1 %%: "
           "%+.2f, 5 %%: %+.2f, median: %+.2f, 95 %%: %+.2f, 99 %%: %+.2f\n",
           100 * r->delta_p.mean, 100 * r->delta_p.rms, 100 * r->delta_p.p01, 100 * r->delta_p.p05,
           100 * r->delta_p.median, 100 * r->delta_p.p95, 100 * r->delta_p.p99);
    print_nll(r);
    printf("  perplexity  %.4f, reference %.4f\n", r->ppl, r->ppl_reference);
}

static void print_conditions(const llmq_compare_result *r) {
    char memory[CONSOLE_TEXT], time[CONSOLE_TEXT];
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

static void print_result(const llmq_compare_result *r, bool verbose) {
    print_figures(r);
    print_worst(r, verbose);
    print_drift(r);
    if (verbose)
        print_blocks(r);
    print_conditions(r);
}

/* Several: a line each, in the order given. */
static void print_table(const llmq_compare_result *results, size_t count) {
    char bytes[CONSOLE_TEXT];
    printf("%10s %10s %10s %10s %10s %10s %10s %8s %10s %8s %10s  model\n", "size", "KL mean", "±",
           "- first", "±", "median", "99th", "top-1", "nll", "p", "ppl");
    for (size_t i = 0; i < count; i++) {
        const llmq_compare_result *r = &results[i];
        printf(
            "%10s %10.6f %10.6f %+10.6f %10.6f %10.6f %10.6f %6.2f %% %+10.6f %8.2g %10.4f  %s\n",
            console_bytes(r->bytes, bytes), r->kl_mean, r->kl_stderr, r->kl_beside_first,
            r->kl_beside_first_stderr, r->kl_median, r->kl_p99, 100 * r->top1_agreement,
            r->delta_nll, r->delta_nll_p_value, r->ppl, CONSOLE_SHOWN(r->model));
    }
    printf("%10s %103s %10.4f  %s\n", console_bytes(results->reference_bytes, bytes), "",
           results->ppl_reference, CONSOLE_SHOWN(results->reference));
    print_conditions(&results[count - 1]);
}

static enum llmq_status show(const struct compare_args *a, const llmq_compare_result *results,
                             llmq_error *err) {
    const size_t count = a->models.count;
    if (a->read.common.json)
        return console_json(
            count == 1 ? llmq_compare_json(results) : llmq_compare_all_json(results, count), err);
    for (size_t i = 0; a->read.common.verbose && count > 1 && i < count; i++) {
        printf("%s\n", CONSOLE_SHOWN(results[i].model));
        print_result(&results[i], true);
    }
    if (count == 1)
        print_result(results, a->read.common.verbose);
    else if (count > 1)
        print_table(results, count);
    return LLMQ_OK;
}

static enum llmq_status check_limit(const struct compare_args *a, const llmq_compare_result *r,
                                    llmq_error *err) {
    /* Written so that a NaN does not pass. */
    if (a->max_kl < 0 || r->kl_mean <= a->max_kl)
        return LLMQ_OK;
    if (a->models.count > 1)
        return cli_fail(err, LLMQ_E_CHECK, "%s: mean KL divergence %.6g is above the limit %g",
                        r->model, r->kl_mean, a->max_kl);
    return cli_fail(err, LLMQ_E_CHECK, "mean KL divergence %.6g is above the limit %g", r->kl_mean,
                    a->max_kl);
}

static llmq_compare_options options_of(const struct compare_args *a) {
    llmq_compare_options options;
    llmq_compare_options_init(&options);
    options.reference = a->reference;
    options.save_reference = a->save_reference;
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
    return options;
}

static enum llmq_status compare_with(const struct compare_args *a, llmq_compare_result *results,
                                     const volatile sig_atomic_t *interrupt, llmq_error *err) {
    const llmq_compare_options options = options_of(a);
    const size_t count = a->models.count;
    const char *models[VALUES_MOST];
    for (size_t i = 0; i < count; i++)
        models[i] = a->models.values[i].text;
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->read.common, interrupt);
    enum llmq_status status = llmq_compare_all(&options, models, count, &ctx, results, err);
    progress_end(&progress);
    if (status == LLMQ_OK)
        status = show(a, results, err);
    for (size_t i = 0; i < count && status == LLMQ_OK; i++)
        status = check_limit(a, &results[i], err);
    for (size_t i = 0; i < count; i++)
        llmq_compare_result_free(&results[i]);
    return status;
}

static enum llmq_status compare_run(const void *args, const volatile sig_atomic_t *interrupt,
                                    llmq_error *err) {
    const struct compare_args *a = args;
    if (a->models.count == 0 && !a->save_reference) {
        cli_fail(err, LLMQ_E_USAGE, "compare needs --model M");
        cli_hint(err, "'llmq compare --help' explains it");
        return LLMQ_E_USAGE;
    }
    llmq_compare_result *results = calloc(a->models.count + 1, sizeof *results);
    if (!results)
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for %zu results", a->models.count);
    enum llmq_status status = compare_with(a, results, interrupt, err);
    free(results);
    return status;
}

const struct command command_compare = {
    .name = "compare",
    .summary = "measure how far checkpoints' predictions are from those of another",
    .synopsis = "compare [--model] M... --reference R [--text FILE] [options]",
    .description =
        "Runs the reference and each checkpoint over the same windows, block by block, and "
        "compares their predictions of every token: the KL divergence from the reference to the "
        "model in nats (mean, quantiles and the worst tokens in their text) and back, how often "
        "both find the same token most likely, how the probability of the right token changed, "
        "and the difference of their negative log-likelihoods with the standard error of the "
        "paired difference and the p-value of its two-sided t test over windows. --json and -v "
        "list what every block puts out, range, mean, spread and values that are NaN or infinite, "
        "beside the reference's, how far it has moved, and what both expected in place of the "
        "worst tokens. Several checkpoints: a line, or an element of a JSON array, for each, "
        "with the difference of its mean divergence from the first one's; both read the same "
        "windows, so that the error of this difference is smaller than those of the means.\n\n"
        "--save-reference keeps a sample of each of the reference's predictions, and the windows, "
        "in a file that later takes the place of --reference: the mean divergence from it is right "
        "on average, and the error that sampling adds is stated. The way back and the blocks are "
        "not known from it.\n\n"
        "Packed weights are multiplied as they are. --activations and --compute are about the "
        "checkpoints to judge: the reference is computed in float32 always. All need the same "
        "vocabulary.",
    .examples = {{"llmq compare demo-gptq-w4g128 --reference models/demo --save-reference demo.ref",
                  "what quantization changed, and the reference kept"},
                 {"llmq compare demo-gptq-w4g128 --reference demo.ref --max-kl 0.05",
                  "as a check with a limit, later"}},
    .groups = groups,
    .args_size = sizeof(struct compare_args),
    .init = compare_init,
    .run = compare_run,
    .computes = computes_always,
    .ranks = true,
};
