/* SPDX-License-Identifier: Apache-2.0 */
/* llmq report: results against a reference, as a page to look at. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/memory.h"
#include "llmq/report.h"

struct report_args {
    struct text_args read;
    struct value_list models;
    const char *reference;
    const char *out;
    const char *family;
    uint64_t max_mem;
    bool csv;
};

static const struct option report_options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = offsetof(struct report_args, models),
     .value = "M",
     .help = "folder of a result, or a name to look up; may be given several times",
     .source = VALUE_MODEL,
     .required = true,
     .bare = true},
    {.name = "reference",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct report_args, reference),
     .value = "R",
     .help = "the checkpoint that they are compared with, usually the original, or a file from "
             "compare --save-reference",
     .source = VALUE_MODEL,
     .required = true},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct report_args, out),
     .value = "FILE",
     .help = "where the page goes; a name that ends in .svg takes a picture alone: of several "
             "results size against divergence, of one the errors of its modules",
     .absent = "report.html; with --json or --csv, none is written",
     .source = VALUE_FILE},
    FAMILY_OPTION(struct report_args, family),
    MAX_MEM_OPTION(struct report_args, max_mem),
    {.name = "csv",
     .kind = OPTION_ON,
     .offset = offsetof(struct report_args, csv),
     .help = "print the numbers as CSV: model, table, row, column, value",
     .excludes = "json"},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", report_options},
    {"Reading", text_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void report_init(void *args) {
    struct report_args *a = args;
    llmq_compare_options defaults;
    llmq_compare_options_init(&defaults);
    a->read.ctx = defaults.ctx;
    a->read.max_tokens = defaults.max_tokens;
    a->read.convention = (int)defaults.convention;
    a->read.activations = (int)defaults.activations;
    a->read.compute = (int)defaults.compute;
}

static llmq_compare_options compare_of(const struct report_args *a) {
    llmq_compare_options options;
    llmq_compare_options_init(&options);
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
    return options;
}

static enum llmq_status print_csv(const llmq_report *report, llmq_error *err) {
    char *text = llmq_report_csv(report);
    if (!text)
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for the report");
    fputs(text, stdout);
    llmq_free(text);
    return LLMQ_OK;
}

static enum llmq_status report_run(const void *args, const volatile sig_atomic_t *interrupt,
                                   llmq_error *err) {
    const struct report_args *a = args;
    const llmq_compare_options compare = compare_of(a);
    llmq_report_options options;
    llmq_report_options_init(&options);
    options.compare = &compare;
    options.out = a->out || a->csv || a->read.common.json ? a->out : "report.html";
    const char *models[VALUES_MOST];
    char bytes[CONSOLE_TEXT];
    llmq_report *report = NULL;
    for (size_t i = 0; i < a->models.count; i++)
        models[i] = a->models.values[i].text;
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->read.common, interrupt);
    enum llmq_status status =
        llmq_report_make(&options, models, a->models.count, &ctx, &report, err);
    progress_end(&progress);
    if (status == LLMQ_OK && a->read.common.json)
        status = console_json(llmq_report_json(report), err);
    else if (status == LLMQ_OK && a->csv)
        status = print_csv(report, err);
    else if (status == LLMQ_OK)
        printf("wrote %s (%s)\n", CONSOLE_SHOWN(options.out),
               console_bytes(llmq_report_bytes(report), bytes));
    llmq_report_free(&report);
    return status;
}

const struct command command_report = {
    .name = "report",
    .summary = "write a page that shows what quantization changed, and where",
    .synopsis = "report [--model] RESULT... --reference R [-o report.html] [options]",
    .description =
        "Compares results with a reference as llmq compare does and writes one HTML page with "
        "everything in it, which needs neither scripts nor a network: the figures of each, size "
        "against divergence, divergence by position and by token, how far each block has moved, "
        "the errors of all modules against rounding to nearest, where the run's time went, its "
        "options and events, and the tokens that moved most in their text, with what both models "
        "expected there. What only the run that made a result knows is read from the llmq.json in "
        "its folder.",
    .examples = {{"llmq report demo-gptq-w4g128 demo-rtn-w4g128 --reference models/demo",
                  "two results beside each other"},
                 {"llmq report demo-gptq-w4g128 --reference models/demo -o errors.svg",
                  "the picture of its modules"}},
    .groups = groups,
    .args_size = sizeof(struct report_args),
    .init = report_init,
    .run = report_run,
    .computes = computes_always,
};
