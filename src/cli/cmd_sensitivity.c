/* SPDX-License-Identifier: Apache-2.0 */
/* llmq sensitivity: what quantizing each part of a model costs, and a recipe for a size. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/quantize_args.h"
#include "llmq/sensitivity.h"

/* The run's options come first, at the offsets of their tables. */
struct sensitivity_args {
    struct quantize_args run;
    const char *table, *candidates, *out;
    int method, estimate;
    int64_t windows;
    double target_bits;
    uint64_t target_size;
};

static const struct choice methods[] = {
    {"gptq", LLMQ_METHOD_GPTQ}, {"rtn", LLMQ_METHOD_RTN}, {NULL, 0}};

static const struct choice estimates[] = {{"curvature", LLMQ_ESTIMATE_CURVATURE},
                                          {"hessian", LLMQ_ESTIMATE_HESSIAN},
                                          {"block", LLMQ_ESTIMATE_BLOCK},
                                          {"kl", LLMQ_ESTIMATE_KL},
                                          {NULL, 0}};

#define RUN(name) offsetof(struct sensitivity_args, run.options.name)

static const struct option sensitivity_options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_TEXT,
     .offset = RUN(model),
     .value = "M",
     .help = "folder of the checkpoint, or a name to look up",
     .source = VALUE_MODEL,
     .bare = true},
    FAMILY_OPTION(struct sensitivity_args, run.options.family),
    {.name = "table",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct sensitivity_args, table),
     .value = "FILE",
     .help = "instead of measuring a model, what --json printed of it: to choose settings for "
             "another size",
     .source = VALUE_FILE},
    {.name = "method",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct sensitivity_args, method),
     .value = "gptq|rtn",
     .help = "how the run chooses codes that will take the recipe; give its other options too",
     .choices = methods},
    {.name = "candidates",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct sensitivity_args, candidates),
     .value = "BITS[:GROUP],...",
     .help = "settings to choose from, in groups as --group has them or of their own, as in "
             "3:64,4:64,4:32; modules that one does not fit go without it",
     .absent = "2,3,4,8, as far as the format holds them"},
    {.name = "estimate",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct sensitivity_args, estimate),
     .value = "curvature|hessian|block|kl",
     .help = "what a setting costs: the divergence of the predictions by their curvature, from one "
             "pass back through the model; the error of the module's output, or of its block's; or "
             "the divergence measured, which runs the rest of the model for every module and "
             "setting",
     .choices = estimates},
    {.name = "windows",
     .kind = OPTION_INT,
     .offset = offsetof(struct sensitivity_args, windows),
     .value = "N",
     .help = "calibration windows that are measured on, and not calibrated on",
     .absent = "as many as have 16384 tokens, with block and kl 4096; at most a quarter",
     .min = 1,
     .max = 1e9},
    {.name = "target-bits",
     .kind = OPTION_REAL,
     .offset = offsetof(struct sensitivity_args, target_bits),
     .value = "X",
     .help = "choose settings that cost least in all with up to X bits for each weight of the "
             "linears, scales and zero points included",
     .absent = "nothing is chosen",
     .min = 1,
     .max = 32,
     .excludes = "target-size"},
    {.name = "target-size",
     .kind = OPTION_SIZE,
     .offset = offsetof(struct sensitivity_args, target_size),
     .value = "SIZE",
     .help = "the same for up to so many bytes of all tensors of the result, as 900M or 4G",
     .absent = "nothing is chosen",
     .min = 1},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct sensitivity_args, out),
     .value = "FILE",
     .help = "file for the recipe of these settings, which --recipe takes",
     .absent = "it is printed",
     .source = VALUE_FILE},
    {.name = "dry-run",
     .kind = OPTION_ON,
     .offset = RUN(dry_run),
     .help = "print what there is to measure and what that takes"},
    MAX_MEM_OPTION(struct sensitivity_args, run.options.max_mem),
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", sensitivity_options},
    {"Grid", quantize_grid_options},
    {"Calibration", quantize_calibration_options},
    {"Method", quantize_method_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void sensitivity_init(void *args) {
    struct sensitivity_args *a = args;
    quantize_args_init(&a->run, LLMQ_METHOD_GPTQ);
    a->method = LLMQ_METHOD_GPTQ;
    a->estimate = LLMQ_ESTIMATE_CURVATURE;
}

/* --- what is asked for ------------------------------------------------------------------------ */

/* "4", "3:64", "8:-1" up to a comma or the end, behind which *text is then. */
static bool read_candidate(const char **text, llmq_precision *out) {
    char *end = NULL;
    const long bits = strtol(*text, &end, 10);
    bool whole = end > *text && bits > 0 && bits <= 16;
    out->bits = whole ? (int)bits : 0;
    if (whole && *end == ':') {
        const char *group = end + 1;
        out->group = strtoll(group, &end, 10);
        whole = end > group && (out->group > 0 || out->group == -1);
    }
    *text = *end == ',' ? end + 1 : end;
    return whole && (*end == '\0' || (*end == ',' && end[1]));
}

static enum llmq_status read_candidates(const char *text, llmq_precision *list, size_t *count,
                                        llmq_error *err) {
    const char *at = text;
    for (*count = 0; *at; ++*count) {
        if (*count == LLMQ_CANDIDATES_MOST)
            return cli_fail(err, LLMQ_E_USAGE, "--candidates: more than %d", LLMQ_CANDIDATES_MOST);
        list[*count] = (llmq_precision){0};
        if (!read_candidate(&at, &list[*count])) {
            cli_fail(err, LLMQ_E_USAGE, "--candidates: '%s' is no list of BITS or BITS:GROUP",
                     text);
            cli_hint(err, "as in --candidates 2,3,4,8 or --candidates 3:64,4:64,4:32");
            return LLMQ_E_USAGE;
        }
    }
    return LLMQ_OK;
}

static enum llmq_status check_args(const struct sensitivity_args *a, llmq_error *err) {
    const bool target = a->target_bits > 0 || a->target_size > 0;
    if (!a->table == !a->run.options.model)
        return cli_fail(err, LLMQ_E_USAGE,
                        "give --model M, or --table FILE of an earlier "
                        "measurement; one of them");
    if (a->table && (a->candidates || a->windows || a->run.options.dry_run))
        return cli_fail(err, LLMQ_E_USAGE,
                        "--table: everything is measured; --candidates, --windows and --dry-run "
                        "change nothing of it");
    if (a->out && !target)
        return cli_fail(err, LLMQ_E_USAGE, "--out: a recipe is for --target-bits or --target-size");
    if (target && a->run.options.dry_run)
        return cli_fail(err, LLMQ_E_USAGE,
                        "--dry-run measures nothing that a recipe could be "
                        "made of");
    return a->out ? llmq_allocation_check_place(a->out, a->run.options.model, err) : LLMQ_OK;
}

static enum llmq_status measure(const struct sensitivity_args *a, const llmq_recipe *recipe,
                                const llmq_context *ctx, llmq_sensitivity *out, llmq_error *err) {
    struct quantize_args run = a->run;
    llmq_sensitivity_options options;
    llmq_quantize_options defaults, quantize;
    llmq_precision candidates[LLMQ_CANDIDATES_MOST];
    const enum llmq_method method = (enum llmq_method)a->method;
    llmq_sensitivity_options_init(&options);
    llmq_quantize_options_init(&defaults, method);
    run.options.method = method;
    run.options.act_order = defaults.act_order;
    run.options.search = defaults.search;
    run.options.correct = defaults.correct;
    run.options.descent = defaults.descent;
    run.options.rounds = defaults.rounds;
    quantize = quantize_args_options(&run);
    quantize.recipe = recipe;
    calibration_apply(&run.calib, &quantize);
    options.quantize = &quantize;
    options.estimate = (enum llmq_estimate)a->estimate;
    options.windows = a->windows;
    if (a->candidates) {
        options.candidates = candidates;
        enum llmq_status status =
            read_candidates(a->candidates, candidates, &options.candidate_count, err);
        if (status != LLMQ_OK)
            return status;
    }
    if (run.calib.show > 0)
        return calibration_show(&run.calib, &quantize, a->run.common.json, ctx, err);
    return llmq_sensitivity_measure(&options, ctx, out, err);
}

/* --- tables ----------------------------------------------------------------------------------- */

static int name_width(const llmq_sensitivity *s) {
    size_t width = 0;
    for (size_t p = 0; p < s->part_count; p++) {
        const size_t len = strlen(s->parts[p].modules[0]);
        width = len > width ? len : width;
    }
    return width < 90 ? (int)width + 6 : 96;
}

static void print_part(const llmq_part_settings *p, const int *chosen, int width) {
    char name[CONSOLE_LINE + 16];
    if (p->module_count > 1)
        snprintf(name, sizeof name, "%s +%zu", CONSOLE_SHOWN(p->modules[0]), p->module_count - 1);
    else
        snprintf(name, sizeof name, "%s", CONSOLE_SHOWN(p->modules[0]));
    printf("  %-*s %9" PRId64, width, name, p->weights);
    for (size_t i = 0; i < p->setting_count; i++) {
        const llmq_setting *setting = &p->settings[i];
        char label[CONSOLE_TEXT];
        if (setting->group > 0)
            snprintf(label, sizeof label, "%d:%" PRId64, setting->bits, setting->group);
        else
            snprintf(label, sizeof label, "%d:row", setting->bits);
        printf("  %c%s", chosen && *chosen == (int)i ? '*' : ' ', label);
        if (isfinite(setting->cost))
            printf(" %-8.3g", setting->cost);
    }
    printf("\n");
}

static void print_table(const llmq_sensitivity *s, const llmq_allocation *a) {
    const int width = name_width(s);
    const char *unit = s->estimate == LLMQ_ESTIMATE_HESSIAN ? "of the output's square"
                       : s->estimate == LLMQ_ESTIMATE_BLOCK ? "of the square of what the block adds"
                                                            : "nats per token";
    printf("sensitivity by %s, %s, format %s\n", llmq_estimate_name(s->estimate), unit, s->format);
    printf("  model        %s\n", CONSOLE_SHOWN(s->model));
    printf("  parts        %zu, %" PRId64 " weights\n", s->part_count, s->weights);
    printf("  measured on  %" PRId64 " windows, %" PRId64 " tokens; calibrated on %" PRId64
           " windows\n\n",
           s->windows, s->tokens, s->calib_windows);
    printf("  %-*s %9s   bits:group cost\n", width, "part", "weights");
    for (size_t p = 0; p < s->part_count; p++)
        print_part(&s->parts[p], a ? &a->chosen[p] : NULL, width);
}

static void print_plan(const llmq_sensitivity *s) {
    char memory[CONSOLE_TEXT], spilled[CONSOLE_TEXT];
    printf("\n  passes       %.1f through the model on the windows measured%s\n", s->passes,
           s->calib_windows ? ", 1 on those calibrated, and rounding" : "");
    printf("  memory       about %s, %s of activations in files\n",
           console_bytes(s->plan_ram_bytes, memory), console_bytes(s->spill_bytes, spilled));
}

static void print_result(const llmq_sensitivity *s) {
    char memory[CONSOLE_TEXT], time[CONSOLE_TEXT];
    printf("\n  time         %s, peak memory %s\n", console_seconds(s->seconds, time),
           console_bytes(s->peak_rss_bytes, memory));
}

static void print_allocation(const struct sensitivity_args *a, const llmq_allocation *chosen) {
    char bytes[CONSOLE_TEXT];
    printf("\n  chosen (*)   %.4f bits per weight, %s of tensors, cost %.4g\n", chosen->bits,
           console_bytes(chosen->bytes, bytes), chosen->cost);
    if (a->out)
        printf("  recipe       %s\n", CONSOLE_SHOWN(a->out));
    else
        printf("\nrecipe\n%s", chosen->recipe);
}

static enum llmq_status show(const struct sensitivity_args *a, const llmq_sensitivity *s,
                             const llmq_allocation *chosen, llmq_error *err) {
    if (a->run.common.json)
        return console_json(llmq_sensitivity_json(s, chosen), err);
    print_table(s, chosen);
    if (a->run.options.dry_run)
        print_plan(s);
    else if (!a->table)
        print_result(s);
    if (chosen)
        print_allocation(a, chosen);
    return LLMQ_OK;
}

/* --- the command ------------------------------------------------------------------------------ */

static enum llmq_status choose_and_show(const struct sensitivity_args *a, const llmq_sensitivity *s,
                                        llmq_error *err) {
    const llmq_target target = {a->target_bits, a->target_size};
    const bool wanted = target.bits > 0 || target.bytes > 0;
    llmq_allocation chosen = {0};
    enum llmq_status status =
        wanted ? llmq_sensitivity_allocate(s, &target, &chosen, err) : LLMQ_OK;
    if (status == LLMQ_OK && a->out)
        status = llmq_allocation_write(&chosen, a->out, err);
    if (status == LLMQ_OK)
        status = show(a, s, wanted ? &chosen : NULL, err);
    llmq_allocation_free(&chosen);
    return status;
}

static enum llmq_status measure_and_show(const struct sensitivity_args *a,
                                         const volatile sig_atomic_t *interrupt, llmq_error *err) {
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->run.common, interrupt);
    llmq_recipe *recipe = NULL;
    llmq_sensitivity s = {0};
    enum llmq_status status = recipe_make(&a->run.recipe, &recipe, err);
    if (status == LLMQ_OK)
        status = measure(a, recipe, &ctx, &s, err);
    progress_end(&progress);
    if (status == LLMQ_OK && a->run.calib.show == 0)
        status = choose_and_show(a, &s, err);
    llmq_sensitivity_free(&s);
    llmq_recipe_free(&recipe);
    return status;
}

static enum llmq_status sensitivity_run(const void *args, const volatile sig_atomic_t *interrupt,
                                        llmq_error *err) {
    const struct sensitivity_args *a = args;
    llmq_sensitivity s = {0};
    enum llmq_status status = check_args(a, err);
    if (status != LLMQ_OK || !a->table)
        return status == LLMQ_OK ? measure_and_show(a, interrupt, err) : status;
    status = llmq_sensitivity_read(a->table, &s, err);
    if (status == LLMQ_OK)
        status = choose_and_show(a, &s, err);
    llmq_sensitivity_free(&s);
    return status;
}

static bool sensitivity_computes(const void *args) {
    const struct sensitivity_args *a = args;
    return !a->table;
}

const struct command command_sensitivity = {
    .name = "sensitivity",
    .summary = "measure what quantizing each module costs, and choose bits for a size",
    .synopsis = "sensitivity --model M [--target-bits X] [--out RECIPE] [options]",
    .description =
        "Quantizes each linear of the decoder blocks by itself, with every candidate setting, and "
        "tells how far the model's predictions move from the original's; linears that serving "
        "stacks keep in one layer go together. The model stays as it is.\n\n"
        "With --target-bits or --target-size settings are chosen for all of them so that the sum "
        "of their costs is the least there is within that size, and written as a recipe, which "
        "gptq and rtn take with --recipe. The options for grid, calibration and method are those "
        "of that run.",
    .examples =
        {{"llmq sensitivity --model models/demo --target-bits 3.5 --out recipe.json",
          "then: llmq gptq --model models/demo --recipe recipe.json"},
         {"llmq sensitivity --model org/name --candidates 3:128,4:128,4:32 --target-size 4G",
          "the best 4 GiB of three settings"}},
    .groups = groups,
    .args_size = sizeof(struct sensitivity_args),
    .init = sensitivity_init,
    .run = sensitivity_run,
    .computes = sensitivity_computes,
};
