/* SPDX-License-Identifier: Apache-2.0 */
/* llmq verify: does a checkpoint keep the rules of those who load it? */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "llmq/verify.h"

/* Findings of one rule that are shown without -v. */
enum { SHOWN_OF_A_RULE = 3 };

struct verify_args {
    struct common_args common;
    const char *model;
    const char *family;
    const char *against;
};

static const struct option verify_options[] = {
    MODEL_OPTION(struct verify_args, model, "folder of the checkpoint"),
    FAMILY_OPTION(struct verify_args, family),
    {.name = "against",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct verify_args, against),
     .value = "ORIGINAL",
     .help = "compare with the checkpoint it was made from: the error of every module, and whether "
             "everything else is the same",
     .absent = "no comparison",
     .source = VALUE_MODEL},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", verify_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

/* --- findings --------------------------------------------------------------------------------- */

/* How many findings of the same rule come before this one. */
static size_t before(const llmq_findings *list, size_t index) {
    size_t count = 0;
    for (size_t i = 0; i < index; i++)
        count += strcmp(list->items[i].rule, list->items[index].rule) == 0;
    return count;
}

static void print_finding(const llmq_finding *f) {
    printf("  %s: ", f->rule);
    if (*f->file)
        printf("%s: ", CONSOLE_SHOWN(f->file));
    if (*f->tensor)
        printf("%s: ", CONSOLE_SHOWN(f->tensor));
    printf("%s\n", CONSOLE_SHOWN(f->message));
    if (*f->hint)
        printf("    hint: %s\n", CONSOLE_SHOWN(f->hint));
}

static void print_findings(const char *title, const llmq_findings *list, bool all) {
    size_t hidden = 0;
    if (list->count == 0)
        return;
    printf("\n%s (%zu)\n", title, list->count);
    for (size_t i = 0; i < list->count; i++)
        if (all || before(list, i) < SHOWN_OF_A_RULE)
            print_finding(&list->items[i]);
        else
            hidden++;
    if (hidden > 0)
        printf("  ... %zu more of the same rules; -v shows all\n", hidden);
}

/* --- tables ----------------------------------------------------------------------------------- */

static void print_stacks(const llmq_verify_report *r) {
    if (r->stack_count == 0)
        return;
    printf("\n%-24s %-6s %s\n", "stack", "loads", "kernel");
    for (size_t i = 0; i < r->stack_count; i++) {
        const llmq_stack_report *s = &r->stacks[i];
        printf("%-24s %-6s %s%s%s%s\n", s->stack,
               !s->known  ? "?"
               : s->loads ? "yes"
                          : "no",
               CONSOLE_SHOWN(s->kernel), *s->kernel && *s->note ? "; " : "", CONSOLE_SHOWN(s->note),
               s->rule);
    }
}

/* "self_attn.q_proj" of model.layers.0.self_attn.q_proj. */
static const char *kind_of(const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        const size_t digits = strspn(dot + 1, "0123456789");
        if (digits > 0 && dot[1 + digits] == '.')
            return dot + 2 + digits;
    }
    return name;
}

static bool same_kind(const llmq_verify_module *a, const llmq_verify_module *b) {
    return a->n == b->n && a->k == b->k && a->bits == b->bits && a->group == b->group &&
           a->sym == b->sym && strcmp(kind_of(a->name), kind_of(b->name)) == 0;
}

/* One line for the modules that are like module `first`, the first of its kind. */
static void print_kind(const llmq_verify_report *r, size_t first) {
    const llmq_verify_module *m = &r->modules[first];
    size_t count = 0;
    double sum = 0, most = 0;
    for (size_t i = first; i < r->module_count; i++)
        if (same_kind(m, &r->modules[i])) {
            count++;
            sum += r->modules[i].error;
            most = r->modules[i].error > most ? r->modules[i].error : most;
        }
    printf("%-24s %6zu %7" PRId64 " %7" PRId64 " %4d %5" PRId64 " %-4s %3" PRId64,
           CONSOLE_SHOWN(kind_of(m->name)), count, m->n, m->k, m->bits, m->group,
           m->sym ? "sym" : "asym", m->tensor_parallel);
    if (!isnan(sum))
        printf("  %.3e %.3e", sum / (double)count, most);
    printf("\n");
}

static void print_modules(const llmq_verify_report *r) {
    if (r->module_count == 0)
        return;
    printf("\n%-24s %6s %7s %7s %4s %5s %-4s %3s%s\n", "modules", "count", "out", "in", "bits",
           "group", "grid", "TP", isnan(r->error) ? "" : "  mean error worst");
    for (size_t i = 0; i < r->module_count; i++) {
        size_t first = 0;
        while (!same_kind(&r->modules[first], &r->modules[i]))
            first++;
        if (first == i)
            print_kind(r, i);
    }
}

static void print_report(const llmq_verify_report *r, bool verbose) {
    char bytes[CONSOLE_TEXT], time[CONSOLE_TEXT];
    printf("%s %s: %" PRId64 " rules, %zu violation%s, %zu warning%s\n", r->ok ? "ok" : "FAILED",
           CONSOLE_SHOWN(r->path), r->rules, r->violations.count,
           r->violations.count == 1 ? "" : "s", r->warnings.count,
           r->warnings.count == 1 ? "" : "s");
    printf("  contents    format %s, %zu packed modules, %" PRId64 " tensors in %" PRId64
           " files, %s\n",
           CONSOLE_SHOWN(r->format), r->module_count, r->tensors, r->shards,
           console_bytes(r->bytes, bytes));
    if (r->against && !isnan(r->error))
        printf("  error       %.4e of the original's weights (squared), over all modules\n",
               r->error);
    if (r->against)
        printf("  unpacked    %" PRId64 " tensors equal the original's, %" PRId64
               " do not, %" PRId64 " carry scales that the linears make up for\n",
               r->equal, r->changed, r->folded);
    printf("  time        %s\n", console_seconds(r->seconds, time));
    print_findings("violations", &r->violations, verbose);
    print_findings("warnings", &r->warnings, verbose);
    print_stacks(r);
    print_modules(r);
}

static enum llmq_status verify_run(const void *args, const volatile sig_atomic_t *interrupt,
                                   llmq_error *err) {
    const struct verify_args *a = args;
    const llmq_verify_options options = {
        .size = sizeof options, .model = a->model, .family = a->family, .against = a->against};
    struct progress progress;
    llmq_context ctx = progress_begin(&progress, &a->common, interrupt);
    llmq_verify_report report = {0};
    enum llmq_status status = llmq_verify(&options, &ctx, &report, err);
    progress_end(&progress);
    if (status == LLMQ_OK && a->common.json)
        status = console_json(llmq_verify_json(&report), err);
    else if (status == LLMQ_OK)
        print_report(&report, a->common.verbose);
    if (status == LLMQ_OK && !report.ok)
        status = cli_fail(err, LLMQ_E_CHECK, "%s: %zu violation%s", report.path,
                          report.violations.count, report.violations.count == 1 ? "" : "s");
    llmq_verify_report_free(&report);
    return status;
}

const struct command command_verify = {
    .name = "verify",
    .summary = "check a checkpoint against the rules of those who load it",
    .synopsis = "verify [--model] M [--against ORIGINAL] [options]",
    .description =
        "Reads the whole checkpoint, decodes every packed module and checks rules: files and "
        "index, names, shapes and types of tensors, scales and zero points, the quantization "
        "settings and their copies, what serving stacks ask for. A result of llmq is held to its "
        "llmq.json, too, which has the size and the SHA-256 of every file. Violations are all "
        "listed and end with exit code 1; warnings are about what loads in some stacks only, and "
        "files that were added.\n\n"
        "Lists which stacks load the checkpoint with which kernel, and the largest tensor-parallel "
        "split (TP) that keeps the groups of each kind of module whole. With --against, the error "
        "of every module is |W - W'|^2 / |W|^2, and everything that is not packed has to equal the "
        "original. Scales that AWQ moved between linears and what feeds them are found, checked "
        "and "
        "undone first.",
    .examples = {{"llmq verify demo-gptq-w4g128", "rules and stacks"},
                 {"llmq verify demo-gptq-w4g128 --against models/demo", "and the distance from the "
                                                                        "original"}},
    .groups = groups,
    .args_size = sizeof(struct verify_args),
    .run = verify_run,
};
