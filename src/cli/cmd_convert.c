/* SPDX-License-Identifier: Apache-2.0 */
/* llmq convert: a quantized checkpoint in another layout, or as plain weights again. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/next_steps.h"
#include "cli/progress.h"
#include "llmq/convert.h"

struct convert_args {
    struct common_args common;
    llmq_convert_options options;
    int format;
};

static const struct choice formats[] = {
    {"gptq", 0}, {"gptq_v2", 1}, {"awq", 2}, {"compressed-tensors", 3},
    {"gguf", 4}, {"onnx", 5},    {"f16", 6}, {"bf16", 7},
    {"f32", 8},  {NULL, 0},
};

#define FIELD(name) offsetof(struct convert_args, options.name)

static const struct option convert_options[] = {
    MODEL_OPTION(struct convert_args, options.model, "folder of the quantized checkpoint"),
    FAMILY_OPTION(struct convert_args, options.family),
    {.name = "format",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct convert_args, format),
     .value = "gptq|gptq_v2|awq|compressed-tensors|gguf|onnx|f16|bf16|f32",
     .help = "layout to convert to, without loss or not at all; f16, bf16 and f32 dequantize",
     .choices = formats,
     .required = true},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = FIELD(out),
     .value = "DIR",
     .help = "folder to write",
     .source = VALUE_FOLDER,
     .required = true},
    {.name = "force",
     .kind = OPTION_ON,
     .offset = FIELD(force),
     .help = "replace an existing result, or, without --resume, start an interrupted conversion "
             "over"},
    {.name = "resume",
     .kind = OPTION_ON,
     .offset = FIELD(resume),
     .help = "bring an interrupted conversion to its end: repeat it, give its result the name, or "
             "find that it is finished"},
    {.name = "shard-size",
     .kind = OPTION_SIZE,
     .offset = FIELD(shard_limit),
     .value = "SIZE",
     .help = "largest file of the result, as 900M or 5G",
     .min = 1},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", convert_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void convert_init(void *args) {
    struct convert_args *a = args;
    llmq_convert_options_init(&a->options);
    a->format = -1;
}

static void print_result(const llmq_convert_report *r, bool verbose) {
    char bytes[CONSOLE_TEXT], time[CONSOLE_TEXT], memory[CONSOLE_TEXT];
    printf("wrote %s: %s to %s, %s\n", CONSOLE_SHOWN(r->out), r->from, r->to,
           console_bytes(r->bytes, bytes));
    printf("  modules     %" PRId64 " converted, %" PRId64 " linears not quantized\n", r->modules,
           r->plain);
    printf("  tensors     %" PRId64 " copied, %zu left out\n", r->kept, r->dropped_count);
    for (size_t i = 0; verbose && i < r->dropped_count; i++)
        printf("              left out: %s\n", CONSOLE_SHOWN(r->dropped[i]));
    if (r->max_error > 0)
        printf("  rounding    at most %.3g, %.3g of a weight%s\n", r->max_error,
               r->max_relative_error, r->max_relative_error < 1 ? "" : ": the smallest became 0");
    else
        printf("  rounding    none: every weight is the same\n");
    printf("  time        %s, peak memory %s\n", console_seconds(r->seconds, time),
           console_bytes(r->peak_rss_bytes, memory));
}

static void tell_result(const struct convert_args *a, const llmq_convert_report *report) {
    const struct next_steps next = {
        .out = report->out, .model = a->options.model, .servings = report->servings};
    print_result(report, a->common.verbose);
    next_steps_print(&next, &a->common);
}

static enum llmq_status convert_run(const void *args, const volatile sig_atomic_t *interrupt,
                                    llmq_error *err) {
    const struct convert_args *a = args;
    llmq_convert_options options = a->options;
    options.format = formats[a->format].word;
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->common, interrupt);
    llmq_convert_report report = {0};
    enum llmq_status status = llmq_convert(&options, &ctx, &report, err);
    progress_end(&progress);
    if (status == LLMQ_OK && a->common.json)
        status = console_json(llmq_convert_json(&report), err);
    else if (status == LLMQ_OK && report.found_finished)
        console_finished(report.out);
    else if (status == LLMQ_OK)
        tell_result(a, &report);
    llmq_convert_report_free(&report);
    return status;
}

const struct command command_convert = {
    .name = "convert",
    .summary = "convert a quantized checkpoint to another layout, or dequantize it",
    .synopsis = "convert [--model] M --format F --out DIR [options]",
    .description =
        "Between layouts, codes, scales and zero points stay the same: every module is tried "
        "before anything is written, and what the target cannot hold is refused with the module's "
        "name and what would do. Formats f16, bf16 and f32 write a plain checkpoint instead and "
        "report the largest rounding of a weight.\n\n"
        "Reads what llmq, GPTQModel and AutoGPTQ, AutoAWQ, llm-compressor and AutoRound write. The "
        "result is read back before it gets its name; a run that fails leaves nothing behind.",
    .examples = {{"llmq convert --model demo-gptq-w4g128 --format compressed-tensors --out demo-ct",
                  "the same weights for another loader"},
                 {"llmq convert --model demo-gptq-w4g128 --format bf16 --out demo-bf16",
                  "plain weights again"}},
    .groups = groups,
    .args_size = sizeof(struct convert_args),
    .init = convert_init,
    .run = convert_run,
};
