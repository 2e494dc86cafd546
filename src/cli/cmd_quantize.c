/* SPDX-License-Identifier: Apache-2.0 */
/* llmq gptq, llmq awq and llmq rtn: a checkpoint in, a quantized checkpoint out. All take the same
 * options, so that a script changes the method by changing one word. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/next_steps.h"
#include "cli/progress.h"
#include "cli/quantize_args.h"
#include "cli/quantize_report.h"
#include "llmq/quantize.h"

static void gptq_init(void *args) {
    quantize_args_init(args, LLMQ_METHOD_GPTQ);
}

static void awq_init(void *args) {
    quantize_args_init(args, LLMQ_METHOD_AWQ);
}

static void rtn_init(void *args) {
    quantize_args_init(args, LLMQ_METHOD_RTN);
}

static void tell_result(const struct quantize_args *a, const llmq_quantize_options *options,
                        const llmq_quantize_report *report) {
    const struct next_steps next = {.out = report->out,
                                    .model = options->model,
                                    .measured = true,
                                    .servings = report->servings};
    quantize_report_result(options, report, a->common.verbose);
    next_steps_print(&next, &a->common);
}

static enum llmq_status quantize_with(const struct quantize_args *a, const llmq_recipe *recipe,
                                      const volatile sig_atomic_t *interrupt, llmq_error *err) {
    llmq_quantize_options options = quantize_args_options(a);
    struct calibration_args calib = a->calib;
    llmq_ranks_plan plans[COUNTS_MOST] = {{0}};
    llmq_ranks_question ranks = {.plans = plans};
    const enum llmq_status asked = quantize_args_ranks(a, &ranks, &options.ranks, err);
    if (asked != LLMQ_OK)
        return asked;
    options.recipe = recipe;
    calibration_apply(&calib, &options);
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->common, interrupt);
    llmq_quantize_report report = {0};
    if (options.method != LLMQ_METHOD_GPTQ && a->quality != LLMQ_QUALITY_BALANCED)
        ctx.sink.message(ctx.sink.user, LLMQ_LOG_WARNING,
                         "--quality is gptq's: it changes nothing");
    const bool show = calib.show > 0;
    enum llmq_status status = show ? calibration_show(&calib, &options, a->common.json, &ctx, err)
                                   : llmq_quantize(&options, &ctx, &report, err);
    progress_end(&progress);
    if (show)
        return status;
    if (status == LLMQ_OK && a->common.json)
        status = console_json(llmq_quantize_ranks_json(&report, options.ranks), err);
    else if (status == LLMQ_OK && options.dry_run)
        quantize_report_plan(&options, &report, a->common.verbose);
    else if (status == LLMQ_OK && report.found_finished)
        console_finished(report.out);
    else if (status == LLMQ_OK)
        tell_result(a, &options, &report);
    llmq_quantize_report_free(&report);
    return status;
}

static enum llmq_status quantize_run(const void *args, const volatile sig_atomic_t *interrupt,
                                     llmq_error *err) {
    const struct quantize_args *a = args;
    llmq_recipe *recipe = NULL;
    enum llmq_status status = recipe_make(&a->recipe, &recipe, err);
    if (status == LLMQ_OK)
        status = quantize_with(a, recipe, interrupt, err);
    llmq_recipe_free(&recipe);
    return status;
}

/* Runs that calibrate do, dry ones too: the plan measures how fast products are. */
static bool quantize_computes(const void *args) {
    const struct quantize_args *a = args;
    return a->calib.files.count > 0 || a->options.method != LLMQ_METHOD_RTN ||
           recipe_given(&a->recipe);
}

static bool quantize_resumable(const void *args) {
    const struct quantize_args *a = args;
    return !a->options.dry_run;
}

const struct command command_gptq = {
    .name = "gptq",
    .summary = "quantize with GPTQ: calibrated, each rounding error repaired by later columns",
    .synopsis = "gptq [--model] M [--calib FILE] [--out DIR] [options]",
    .description =
        "Quantizes every linear layer of the decoder blocks to packed integers and writes a "
        "checkpoint that serving stacks load. Norms and, unless a rule says otherwise, the "
        "embedding and the output head are copied as they are; GGUF files have these two in "
        "Q8_0.\n\n"
        "Memory depends on one decoder block and the calibration's activations, not on the number "
        "of blocks. The result appears whole or not at all; an interrupted run is continued with "
        "--resume. No module ends up worse than by rounding to nearest, and everything out of the "
        "ordinary is listed in the result.",
    .examples = {{"llmq gptq --model models/demo --calib models/demo/calibration.txt",
                  "4 bits, groups of 128"},
                 {"llmq gptq --model org/name --calib text.jsonl --asym --act-order static "
                  "--dry-run",
                  "print the plan for a model in the Hugging Face cache"}},
    .groups = quantize_groups,
    .args_size = sizeof(struct quantize_args),
    .init = gptq_init,
    .run = quantize_run,
    .computes = quantize_computes,
    .ranks = true,
    .resumable = quantize_resumable,
};

const struct command command_awq = {
    .name = "awq",
    .summary = "quantize with AWQ: activations scaled so that rounding to nearest costs least",
    .synopsis = "awq [--model] M [--calib FILE] [--out DIR] [options]",
    .description =
        "Like gptq, in the same formats and with the same options, but the weights are rounded to "
        "the nearest grid point after each input channel was given the scale with which that "
        "costs least, found with the calibration inputs. The scales go into the norms and the "
        "linear layers before, so the model computes the same; that is checked in every block. Of "
        "the method's options, those marked gptq have no effect.",
    .examples = {{"llmq awq --model models/demo --calib models/demo/calibration.txt",
                  "4 bits, groups of 128, asymmetric"},
                 {"llmq awq --model org/name --calib text.jsonl --sym --group 64",
                  "symmetric, groups of 64"}},
    .groups = quantize_groups,
    .args_size = sizeof(struct quantize_args),
    .init = awq_init,
    .run = quantize_run,
    .computes = quantize_computes,
    .ranks = true,
    .resumable = quantize_resumable,
};

const struct command command_rtn = {
    .name = "rtn",
    .summary = "quantize by rounding to the nearest grid point: no calibration, the baseline",
    .synopsis = "rtn [--model] M [--out DIR] [options]",
    .description =
        "Like gptq, in the same formats and with the same options, but every weight is rounded to "
        "the nearest point of its group's grid. Needs no calibration and takes seconds; it is what "
        "gptq is compared with. It uses calibration to choose a code only with --search weighted "
        "or --correct.",
    .examples = {{"llmq rtn --model models/demo", "4 bits, groups of 128"},
                 {"llmq rtn --model models/demo --bits 8 --group -1 --out demo-w8",
                  "8 bits, one scale per row"}},
    .groups = quantize_groups,
    .args_size = sizeof(struct quantize_args),
    .init = rtn_init,
    .run = quantize_run,
    .computes = quantize_computes,
    .ranks = true,
    .resumable = quantize_resumable,
};
