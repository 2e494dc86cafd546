/* SPDX-License-Identifier: Apache-2.0 */
/* llmq generate: text that a model writes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/read_file.h"
#include "llmq/generate.h"
#include "llmq/memory.h"
#include "llmq/model.h"

struct generate_args {
    struct common_args common;
    struct special_args special;
    const char *model, *family, *against;
    const char *prompt, *prompt_file, *system;
    bool chat, past_end;
    int64_t max_tokens, top_k, seed;
    double temperature, top_p;
    struct value_list stop;
    int activations;
    uint64_t max_mem;
};

static const struct option prompt_options[] = {
    MODEL_OPTION(struct generate_args, model, "folder of the checkpoint, original or quantized"),
    FAMILY_OPTION(struct generate_args, family),
    {.name = "prompt",
     .letter = 'p',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct generate_args, prompt),
     .value = "TEXT",
     .help = "the text to continue, or with --chat the user's message",
     .excludes = "prompt-file"},
    {.name = "prompt-file",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct generate_args, prompt_file),
     .value = "FILE",
     .help = "the same from a file, taken as it is; - is standard input",
     .source = VALUE_FILE},
    {.name = "chat",
     .kind = OPTION_ON,
     .offset = offsetof(struct generate_args, chat),
     .help = "let the model answer: its own chat template writes the conversation, with the "
             "beginning of an answer behind it"},
    {.name = "system",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct generate_args, system),
     .value = "TEXT",
     .help = "with --chat, the system's message before the user's"},
    SPECIAL_OPTIONS(struct generate_args, special),
    {.name = NULL},
};

static const struct option token_options[] = {
    {.name = "max-tokens",
     .kind = OPTION_INT,
     .offset = offsetof(struct generate_args, max_tokens),
     .value = "N",
     .help = "tokens to generate at most",
     .min = 1,
     .max = 1 << 24},
    {.name = "stop",
     .kind = OPTION_LIST,
     .offset = offsetof(struct generate_args, stop),
     .value = "TEXT",
     .help = "end before this text; may be repeated"},
    {.name = "past-end",
     .kind = OPTION_ON,
     .offset = offsetof(struct generate_args, past_end),
     .help = "go on where the model ends the text (eos_token_id of config.json and "
             "generation_config.json)"},
    {.name = "temperature",
     .kind = OPTION_REAL,
     .offset = offsetof(struct generate_args, temperature),
     .value = "T",
     .help = "draw tokens by their probabilities at this temperature; 0 takes the most likely one",
     .min = 0,
     .max = 100},
    {.name = "top-k",
     .kind = OPTION_INT,
     .offset = offsetof(struct generate_args, top_k),
     .value = "N",
     .help = "draw from the N most likely tokens",
     .absent = "all",
     .min = 1,
     .max = 1 << 24},
    {.name = "top-p",
     .kind = OPTION_REAL,
     .offset = offsetof(struct generate_args, top_p),
     .value = "P",
     .help = "draw from the fewest most likely tokens that have this probability together",
     .min = 1e-6,
     .max = 1},
    {.name = "seed",
     .kind = OPTION_INT,
     .offset = offsetof(struct generate_args, seed),
     .value = "N",
     .help = "what is drawn depends on it, and not on the number of threads",
     .min = 0,
     .max = 1e15},
    {.name = "activations",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct generate_args, activations),
     .value = "exact|int8",
     .help = "activations in products with packed weights: float32, or rounded to 8 bits, which is "
             "faster",
     .choices = activation_choices},
    {.name = "against",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct generate_args, against),
     .value = "ORIGINAL",
     .help = "let this model continue the prompt as well, and show where the two part: the most "
             "likely tokens alone, without a temperature",
     .source = VALUE_MODEL},
    {.name = "max-mem",
     .kind = OPTION_SIZE,
     .offset = offsetof(struct generate_args, max_mem),
     .value = "SIZE",
     .help = "memory to stay below, as 900M or 8G; all of the model's weights are in it",
     .absent = "80 % of the memory available",
     .min = 1},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Prompt", prompt_options},
    {"Tokens", token_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void generate_init(void *args) {
    struct generate_args *a = args;
    llmq_generate_options options;
    llmq_generate_options_init(&options);
    a->max_tokens = options.max_tokens;
    a->top_p = options.top_p;
}

/* --- the prompt ------------------------------------------------------------------------------- */

static enum llmq_status check(const struct generate_args *a, llmq_error *err) {
    if (!a->prompt && !a->prompt_file) {
        cli_fail(err, LLMQ_E_USAGE, "nothing to continue: neither --prompt nor --prompt-file");
        cli_hint(err, "for instance --prompt 'Once upon a time', or --prompt-file -");
        return LLMQ_E_USAGE;
    }
    if (a->system && !a->chat)
        return cli_fail(err, LLMQ_E_USAGE, "--system is part of a conversation: give --chat, too");
    if (a->chat && (a->special.none || a->special.bos))
        return cli_fail(err, LLMQ_E_USAGE,
                        "--chat: the model's template says which special tokens there are; leave "
                        "out --no-special and --bos");
    if (a->against && a->temperature > 0)
        return cli_fail(err, LLMQ_E_USAGE,
                        "--against compares the most likely tokens: leave out --temperature");
    return LLMQ_OK;
}

/* Ids of the prompt, to be released with llmq_free. */
static enum llmq_status read_prompt(const struct generate_args *a,
                                    const volatile sig_atomic_t *interrupt, int32_t **ids,
                                    size_t *count, llmq_error *err) {
    char *file = NULL;
    size_t len = a->prompt ? strlen(a->prompt) : 0;
    enum llmq_status status = LLMQ_OK;
    if (a->prompt_file)
        status = cli_read_file(a->prompt_file, interrupt, &file, &len, err);
    const char *text = file ? file : a->prompt;
    const llmq_message messages[2] = {{"system", a->system}, {"user", text}};
    if (status == LLMQ_OK && a->chat)
        status = llmq_chat_ids(a->model, messages + !a->system, a->system ? 2 : 1, ids, count, err);
    else if (status == LLMQ_OK)
        status = llmq_prompt_ids(a->model, text, len, (enum llmq_special)special_value(&a->special),
                                 ids, count, err);
    free(file);
    return status;
}

/* --- one model -------------------------------------------------------------------------------- */

struct display {
    struct progress progress;
    bool streams; /* text goes to stdout as it comes */
};

static void on_text(void *user, const char *text, size_t len) {
    struct display *d = user;
    if (!d->streams)
        return;
    progress_end(&d->progress);
    console_text(text, len);
    fflush(stdout);
}

static double rate(double tokens, double seconds) {
    return seconds > 0 ? tokens / seconds : 0;
}

static const char *end_says(enum llmq_generate_end end) {
    switch (end) {
    case LLMQ_END_CONTEXT:
        return "the model has no further positions";
    case LLMQ_END_TOKEN:
        return "the model ended it";
    case LLMQ_END_TEXT:
        return "ended by --stop";
    case LLMQ_END_LENGTH:
    case LLMQ_END_CALLER:
    default:
        return "ended by --max-tokens";
    }
}

static void print_rates(const llmq_generate_result *r) {
    char memory[CONSOLE_TEXT];
    fprintf(stderr,
            "llmq: prompt of %lld tokens, %.1f tokens/s; %zu generated, %.1f tokens/s; %s; peak "
            "memory %s\n",
            (long long)r->prompt_tokens, rate((double)r->prompt_tokens, r->prompt_seconds),
            r->count, rate(r->count > 1 ? (double)(r->count - 1) : 0, r->generate_seconds),
            end_says(r->end), console_bytes(r->peak_rss_bytes, memory));
}

static llmq_generate_options options_of(const struct generate_args *a, const char **stops) {
    llmq_generate_options o;
    llmq_generate_options_init(&o);
    o.model = a->model;
    o.family = a->family;
    o.max_tokens = a->max_tokens;
    o.temperature = a->temperature;
    o.top_k = a->top_k;
    o.top_p = a->top_p;
    o.seed = (uint64_t)a->seed;
    for (size_t i = 0; i < a->stop.count; i++)
        stops[i] = a->stop.values[i].text;
    o.stop = stops;
    o.stop_count = a->stop.count;
    o.past_end = a->past_end;
    o.activations = (enum llmq_activations)a->activations;
    o.max_mem = a->max_mem;
    return o;
}

static enum llmq_status run_one(const struct generate_args *a, const llmq_generate_options *options,
                                const int32_t *ids, size_t count, const llmq_context *ctx,
                                llmq_error *err) {
    llmq_generate_result result = {0};
    enum llmq_status status = llmq_generate(options, ids, count, ctx, &result, err);
    if (status == LLMQ_OK && a->common.json)
        status = console_json(llmq_generate_json(&result), err);
    else if (status == LLMQ_OK) {
        putchar('\n');
        fflush(stdout);
        if (!a->common.quiet)
            print_rates(&result);
    }
    llmq_generate_result_free(&result);
    return status;
}

/* --- two models ------------------------------------------------------------------------------- */

static void print_candidates(const struct generate_args *a, const char *says,
                             const llmq_candidate best[2]) {
    printf("  %-10s", says);
    for (int i = 0; i < 2; i++) {
        char *text = NULL;
        size_t len = 0;
        if (llmq_detokenize(a->model, &best[i].id, 1, false, &text, &len, NULL) == LLMQ_OK)
            printf("  '%s' (%ld) %.1f %%", CONSOLE_SHOWN(text), (long)best[i].id,
                   100 * best[i].probability);
        else
            printf("  (%ld) %.1f %%", (long)best[i].id, 100 * best[i].probability);
        llmq_free(text);
    }
    putchar('\n');
}

static void print_pair(const struct generate_args *a, const llmq_against_result *r) {
    const llmq_generate_result *const results[2] = {&r->model, &r->reference};
    const char *const names[2] = {a->model, a->against};
    for (int i = 0; i < 2; i++) {
        printf("%s:\n", CONSOLE_SHOWN(names[i]));
        console_text(results[i]->text, results[i]->text_len);
        printf("\n\n");
    }
    if (!r->parts) {
        printf("the same %zu tokens\n", r->model.count);
        return;
    }
    printf("they part at token %lld, counted from 0; the two most likely there:\n",
           (long long)r->index);
    print_candidates(a, "model", r->model_best);
    print_candidates(a, "original", r->reference_best);
}

static enum llmq_status run_two(const struct generate_args *a, const llmq_generate_options *options,
                                const int32_t *ids, size_t count, const llmq_context *ctx,
                                llmq_error *err) {
    llmq_against_result result = {0};
    enum llmq_status status = llmq_generate_against(options, ids, count, ctx, &result, err);
    struct display *d = options->user;
    progress_end(&d->progress);
    if (status == LLMQ_OK && a->common.json)
        status = console_json(llmq_against_json(&result), err);
    else if (status == LLMQ_OK)
        print_pair(a, &result);
    llmq_against_result_free(&result);
    return status;
}

static enum llmq_status generate_run(const void *args, const volatile sig_atomic_t *interrupt,
                                     llmq_error *err) {
    const struct generate_args *a = args;
    const char *stops[VALUES_MOST];
    int32_t *ids = NULL;
    size_t count = 0;
    struct display display = {.streams = !a->common.json && !a->against};
    enum llmq_status status = check(a, err);
    if (status == LLMQ_OK)
        status = read_prompt(a, interrupt, &ids, &count, err);
    if (status == LLMQ_OK) {
        const llmq_context ctx = progress_begin(&display.progress, &a->common, interrupt);
        llmq_generate_options options = options_of(a, stops);
        options.user = &display;
        options.text = on_text;
        options.against = a->against;
        status = a->against ? run_two(a, &options, ids, count, &ctx, err)
                            : run_one(a, &options, ids, count, &ctx, err);
        progress_end(&display.progress);
    }
    llmq_free(ids);
    return status;
}

const struct command command_generate = {
    .name = "generate",
    .summary = "continue a prompt, or answer a message, with a checkpoint",
    .synopsis = "generate [--model] M --prompt TEXT|--prompt-file FILE [--chat] [options]",
    .description =
        "Writes the text that the model continues the prompt with, as it comes; tokens per second "
        "are told on stderr. All weights are in memory, packed ones as they are, and what a token "
        "was computed for (keys and values of attention, states of recurrent mixers) is kept for "
        "those after it.\n\n"
        "With --against the original continues the prompt as well, and the first token at which "
        "the two differ is shown with what each of them thought likely there.",
    .examples = {{"llmq generate models/demo --prompt 'My fellow citizens' --max-tokens 40",
                  "the most likely continuation"},
                 {"llmq generate demo-gptq-w4g128 --prompt 'We ' --against models/demo",
                  "of a quantized model, beside the original's"}},
    .groups = groups,
    .args_size = sizeof(struct generate_args),
    .init = generate_init,
    .run = generate_run,
    .computes = computes_always,
};
