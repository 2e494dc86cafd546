/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of a quantization: see quantize_report.h. */
#include "cli/quantize_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"
#include "llmq/memory.h"

/* Rows shown of a list that -v shows whole. */
enum { WORST_SHOWN = 5, EVENTS_SHOWN = 10 };

static const char *method_name(const llmq_quantize_options *o) {
    switch (o->method) {
    case LLMQ_METHOD_GPTQ:
        return o->awq ? "awq and gptq" : "gptq";
    case LLMQ_METHOD_AWQ:
        return "awq";
    case LLMQ_METHOD_RTN:
    default:
        return "rtn";
    }
}

static int name_width(const llmq_quantize_report *r) {
    size_t width = strlen("module");
    for (size_t i = 0; i < r->module_count; i++) {
        size_t len = strlen(r->modules[i].name);
        width = len > width ? len : width;
    }
    return width < 100 ? (int)width : 100;
}

static void print_group(int64_t group) {
    if (group <= 0)
        printf("%6s", group == 0 ? "-" : "row");
    else
        printf("%6" PRId64, group);
}

static void print_settings(const llmq_quantize_options *o, const llmq_quantize_report *r) {
    printf("%s, %d bits, ", method_name(o), o->bits);
    if (o->group_auto_fit)
        printf("groups of up to %" PRId64, o->group);
    else if (o->group == -1)
        printf("one group per row");
    else
        printf("groups of %" PRId64, o->group);
    printf(", %s, format %s\n", o->sym ? "symmetric" : "asymmetric", r->format);
}

static void print_passes(const char *name, int passes) {
    if (passes == LLMQ_BY_TOKENS)
        printf("%s auto, ", name);
    else
        printf("%s %d, ", name, passes);
}

/* What goes by the predictions, if anything does. */
static void print_refining(const llmq_quantize_options *o) {
    static const char *const curvatures[] = {"off", "on", "auto"};
    if (o->curvature == LLMQ_CURVATURE_OFF && o->restarts == 0 && !(o->token_weights > 0))
        return;
    printf(", curvature %s", curvatures[o->curvature]);
    if (o->curvature != LLMQ_CURVATURE_OFF && o->curvature_tokens > 0)
        printf(" by %" PRId64 " tokens", o->curvature_tokens);
    printf(", restarts %d, token weights ", o->restarts);
    if (o->token_weights >= 0)
        printf("%g", o->token_weights);
    else
        printf("auto");
}

/* The ingredients of a GPTQ run, as the options spell them. */
static void print_ingredients(const llmq_quantize_options *o) {
    static const char *const orders[] = {"none", "static", "group-aware"};
    static const char *const searches[] = {"minmax", "plain", "weighted", "percentile", "entropy"};
    static const char *const corrections[] = {"off", "auto", "fixed"};
    if (o->method == LLMQ_METHOD_RTN)
        return;
    printf("  method       ");
    if (o->method == LLMQ_METHOD_GPTQ) {
        printf("act-order %s, ", orders[o->act_order]);
        print_passes("descent", o->descent);
        print_passes("rounds", o->rounds);
    }
    printf("search %s", searches[o->search]);
    if (o->search == LLMQ_RANGE_PERCENTILE)
        printf(":%g", o->percentile);
    printf(", correct %s", corrections[o->correct.mode]);
    if (o->correct.mode == LLMQ_CORRECT_FIXED)
        printf(" %g,%g", o->correct.alpha, o->correct.beta);
    print_refining(o);
    printf("\n");
}

/* Files that there are while it runs, or were while it ran. */
static void print_on_disk(const llmq_quantize_report *r, const char *when) {
    char text[CONSOLE_TEXT];
    if (r->spill_bytes > 0)
        printf("  on disk      %s of activations while it %s\n",
               console_bytes(r->spill_bytes, text), when);
    if (r->gradient_bytes > 0)
        printf("  on disk      %s of gradients while it %s\n",
               console_bytes(r->gradient_bytes, text), when);
}

static void print_calibration(const llmq_quantize_report *r) {
    if (r->windows == 0)
        return;
    printf("  calibration  %" PRId64 " windows, %" PRId64 " tokens used, %" PRId64 " dropped",
           r->windows, r->tokens_used, r->tokens_dropped);
    if (r->held_tokens > 0)
        printf(", %" PRId64 " held back to judge by", r->held_tokens);
    printf("%s\n", r->compute == LLMQ_COMPUTE_BF16 ? ", computed in bf16" : "");
}

/* Packed in the source and kept, or plain and left so: there is no error of this run's. */
static bool is_kept(const llmq_module_report *m) {
    return strcmp(m->method, "kept") == 0;
}

static bool is_plain(const llmq_module_report *m) {
    return strcmp(m->method, "plain") == 0;
}

/* Of a run by gptq, and rounded to nearest after all. */
static bool fell_back(const llmq_module_report *m) {
    return m->fell_back;
}

static size_t count_if(const llmq_quantize_report *r, bool (*is)(const llmq_module_report *m)) {
    size_t count = 0;
    for (size_t i = 0; i < r->module_count; i++)
        count += is(&r->modules[i]);
    return count;
}

static size_t quantized_count(const llmq_quantize_report *r) {
    return r->module_count - count_if(r, is_kept) - count_if(r, is_plain);
}

/* The rules in full, as a file of them is written. */
static void print_recipe(const llmq_quantize_options *o) {
    char *text = o->recipe ? llmq_recipe_json(o->recipe) : NULL;
    if (text)
        printf("\nrecipe\n%s", text);
    llmq_free(text);
}

static void print_modules(const llmq_quantize_report *r) {
    const size_t kept = count_if(r, is_kept), plain = count_if(r, is_plain);
    printf("  modules      %zu in %" PRId64 " block%s", r->module_count, r->blocks,
           r->blocks == 1 ? "" : "s");
    if (kept > 0)
        printf(", %zu of them packed in the source and kept", kept);
    if (plain > 0)
        printf(", %zu of them left in 16 bits", plain);
    if (r->blocks_resumed > 0)
        printf(", %" PRId64 " taken over from the interrupted run", r->blocks_resumed);
    printf("\n");
}

static void print_kept(const llmq_quantize_report *r) {
    char bytes[CONSOLE_TEXT];
    printf("  kept as is   %zu tensor%s\n", r->kept_count, r->kept_count == 1 ? "" : "s");
    for (size_t i = 0; i < r->carried_count; i++)
        printf("               %" PRId64 " of them of %s, %s\n", r->carried[i].tensors,
               CONSOLE_SHOWN(r->carried[i].name), console_bytes(r->carried[i].bytes, bytes));
    for (size_t i = 0; i < r->rounded_count; i++)
        printf("  rounded      %s to %s\n", CONSOLE_SHOWN(r->rounded[i].name), r->rounded[i].type);
    if (r->dropped_count > 0)
        printf("  left out     %zu tensor%s that the result has no use for\n", r->dropped_count,
               r->dropped_count == 1 ? "" : "s");
}

/* What is planned for a module beside its shape; "" for what the whole run does. With rules not all
 * modules have the method of the run. */
static const char *planned(const llmq_quantize_options *o, const llmq_module_report *m) {
    return is_kept(m)    ? "kept as packed"
           : is_plain(m) ? "left as it is"
           : o->recipe   ? m->method
                         : "";
}

/* What modules become, beside what they are: settings that some of them share. */
static bool same_settings(const llmq_module_report *a, const llmq_module_report *b) {
    return a->bits == b->bits && a->group == b->group && strcmp(a->method, b->method) == 0;
}

/* How many modules have which settings, where not all have the same. */
static void print_settings_of_modules(const llmq_quantize_report *r) {
    enum { SHOWN = 4 };
    size_t kinds = 0;
    for (size_t i = 0; i < r->module_count; i++) {
        const llmq_module_report *m = &r->modules[i];
        size_t first = 0, count = 0;
        while (!same_settings(&r->modules[first], m))
            first++;
        for (size_t k = first; first == i && k < r->module_count; k++)
            count += same_settings(&r->modules[k], m);
        if (first < i || count == r->module_count)
            continue;
        if (kinds++ < SHOWN)
            printf("               %zu of %d bits%s\n", count, m->bits,
                   is_kept(m)    ? ", as packed"
                   : is_plain(m) ? ", as they are"
                                 : "");
    }
    if (kinds > SHOWN)
        printf("               and %zu more settings\n", kinds - SHOWN);
}

static void print_planned_modules(const llmq_quantize_options *o, const llmq_quantize_report *r) {
    const int width = name_width(r);
    printf("\n%-*s %7s %7s %4s %6s\n", width, "module", "out", "in", "bits", "group");
    for (size_t i = 0; i < r->module_count; i++) {
        const llmq_module_report *m = &r->modules[i];
        printf("%-*s %7" PRId64 " %7" PRId64 " %4d ", width, CONSOLE_SHOWN(m->name), m->n, m->k,
               m->bits);
        print_group(m->group);
        const char *plan = planned(o, m);
        printf("%s%s\n", *plan ? "  " : "", plan);
    }
    for (size_t i = 0; i < r->kept_count; i++)
        printf("%-*s kept as is\n", width, CONSOLE_SHOWN(r->kept[i]));
    for (size_t i = 0; i < r->folded_count; i++)
        printf("%-*s scaled by AWQ\n", width, CONSOLE_SHOWN(r->folded[i]));
    for (size_t i = 0; i < r->dropped_count; i++)
        printf("%-*s left out\n", width, CONSOLE_SHOWN(r->dropped[i]));
    print_recipe(o);
}

/* What each of several ranks takes, and all of them together. */
static void print_ranks(const llmq_quantize_options *o, const llmq_quantize_report *r) {
    const llmq_ranks_question *q = o->ranks;
    char ram[CONSOLE_TEXT], sent[CONSOLE_TEXT], all[CONSOLE_TEXT], time[CONSOLE_TEXT];
    if (!q)
        return;
    printf("\nby a model, with %g Gbit/s and %g us a message, %.4g Gflop/s in products:\n",
           q->bits / 1e9, q->latency * 1e6, q->gflops > 0 ? q->gflops : r->sgemm_gflops);
    printf("%5s %10s %10s %9s %6s %10s %10s %10s %11s %11s\n", "ranks", "memory", "time",
           "computing", "files", "exchanging", "efficiency", "messages", "from rank 0", "from all");
    for (size_t i = 0; i < q->count; i++) {
        const llmq_ranks_plan *p = &q->plans[i];
        const double part = p->seconds > 0 ? 100 / p->seconds : 0;
        printf("%5d %10s %10s %8.1f%% %5.1f%% %9.1f%% %9.1f%% %10" PRIu64 " %11s %11s\n", p->ranks,
               console_bytes(p->ram_bytes, ram), llmq_duration(p->seconds, time, sizeof time),
               part * p->compute_seconds, part * p->file_seconds, part * p->exchange_seconds,
               100 * p->efficiency, p->messages, console_bytes(p->bytes, sent),
               console_bytes(p->all_bytes, all));
    }
}

void quantize_report_plan(const llmq_quantize_options *o, const llmq_quantize_report *r,
                          bool verbose) {
    char text[CONSOLE_TEXT];
    print_settings(o, r);
    print_ingredients(o);
    printf("  model        %s\n", CONSOLE_SHOWN(r->model));
    printf("  would write  %s (%s)\n", CONSOLE_SHOWN(r->out),
           console_bytes(r->plan_disk_bytes, text));
    print_modules(r);
    print_settings_of_modules(r);
    print_kept(r);
    if (r->folded_count > 0)
        printf("  scaled       %zu tensors by AWQ\n", r->folded_count);
    print_calibration(r);
    printf("  memory       %s\n", console_bytes(r->plan_ram_bytes, text));
    print_on_disk(r, "runs");
    if (r->plan_tune_passes > 0)
        printf("  tuning       %.1f forward passes over the windows that it learns from\n",
               r->plan_tune_passes);
    if (r->plan_seconds > 0) {
        printf("  work         %s floating-point operations", console_count(r->plan_flops, text));
        printf(", about %s here\n", llmq_duration(r->plan_seconds, text, sizeof text));
    }
    if (r->plan_passes > 0)
        printf("  passes       as much as %.1f forth through the blocks\n", r->plan_passes);
    print_ranks(o, r);
    if (verbose)
        print_planned_modules(o, r);
    else
        printf("-v shows every module%s\n", o->recipe ? ", and the rules" : "");
}

static void print_module_header(int width) {
    printf("\n%-*s %7s %7s %8s %4s %6s %10s %10s %7s %5s %5s\n", width, "module", "out", "in",
           "method", "bits", "group", "error", "rtn error", "damp", "alpha", "beta");
}

static void print_module(const llmq_module_report *m, int width) {
    printf("%-*s %7" PRId64 " %7" PRId64 " %8s %4d ", width, CONSOLE_SHOWN(m->name), m->n, m->k,
           m->method, m->bits);
    print_group(m->group);
    printf(" %10.3e %10.3e %7.4g %5.2f %5.2f\n", m->error, m->rtn_error, m->damp, m->alpha,
           m->beta);
}

/* Largest error first, NaN before all; equals by name. */
static int by_error(const void *a, const void *b) {
    const llmq_module_report *left = a, *right = b;
    bool left_nan = left->error != left->error, right_nan = right->error != right->error;
    if (left_nan != right_nan)
        return left_nan ? -1 : 1;
    if (left->error != right->error && !left_nan)
        return left->error > right->error ? -1 : 1;
    return strcmp(left->name, right->name);
}

static void print_worst(const llmq_quantize_report *r) {
    llmq_module_report *sorted = calloc(r->module_count, sizeof *sorted);
    if (!sorted)
        return; /* a summary without its table is better than a run lost */
    for (size_t i = 0; i < r->module_count; i++)
        sorted[i] = r->modules[i]; /* names and events stay the report's */
    qsort(sorted, r->module_count, sizeof *sorted, by_error);
    size_t shown = r->module_count < WORST_SHOWN ? r->module_count : WORST_SHOWN;
    int width = name_width(r);
    print_module_header(width);
    for (size_t i = 0; i < shown; i++)
        print_module(&sorted[i], width);
    if (shown < r->module_count)
        printf("... the %zu with the largest error; -v shows all %zu\n", shown, r->module_count);
    free(sorted);
}

static void print_events(const llmq_quantize_report *r, bool verbose) {
    size_t events = 0;
    for (size_t i = 0; i < r->module_count; i++) {
        const llmq_module_report *m = &r->modules[i];
        if (!m->events || !m->events[0])
            continue;
        if (events++ == 0)
            printf("\nevents\n");
        if (verbose || events <= EVENTS_SHOWN)
            printf("  %s: %s\n", CONSOLE_SHOWN(m->name), CONSOLE_SHOWN(m->events));
    }
    if (!verbose && events > EVENTS_SHOWN)
        printf("  ... and %zu more; -v shows all\n", events - EVENTS_SHOWN);
}

static void print_fold(const llmq_quantize_report *r) {
    double most = 0;
    for (size_t i = 0; i < r->module_count; i++)
        most = r->modules[i].fold_error > most ? r->modules[i].fold_error : most;
    if (r->folded_count > 0)
        printf("  scaled       %zu tensors by AWQ; before rounding that changed the blocks' output "
               "by %.1e at most\n",
               r->folded_count, most);
}

static void print_errors(const llmq_quantize_report *r) {
    double error = 0, rtn = 0;
    for (size_t i = 0; i < r->module_count; i++) {
        error += r->modules[i].error;
        rtn += r->modules[i].rtn_error;
    }
    const size_t quantized = quantized_count(r), back = count_if(r, fell_back);
    const double count = quantized ? (double)quantized : 1;
    printf("  error        %.3e on average over modules, %.3e by rounding alone%s\n", error / count,
           rtn / count, r->tokens_used > 0 ? "; on calibration tokens held back" : "");
    if (back > 0)
        printf("  fell back    %zu of %zu modules: rounding to nearest was better\n", back,
               quantized);
}

static void print_tuning(const llmq_tuning *t) {
    if (t->held == 0)
        return;
    printf("  tuning       divergence from the original %.4f, %.4f before, on %" PRId64
           " windows held back%s\n",
           t->after, t->before, t->held, t->steps == 0 ? ": scales stay as they were" : "");
}

/* What the time went to, and how near each kind of work came to BLAS. */
static void print_work(const llmq_quantize_report *r) {
    const double peak = r->sgemm_gflops * 1e9;
    double flops = 0;
    printf("\n%-17s %9s %6s %10s %9s\n", "work", "seconds", "share", "GF/s", "of sgemm");
    for (size_t i = 0; i < r->work_count; i++) {
        const llmq_work *w = &r->work[i];
        printf("%-17s %9.2f %5.1f%%", w->name, w->seconds, 100 * w->seconds / r->seconds);
        if (w->flops > 0 && peak > 0)
            printf(" %10.1f %8.0f%%", w->flops * 1e-9 / w->seconds,
                   100 * w->flops / w->seconds / peak);
        printf("\n");
        flops += w->flops;
    }
    if (flops > 0 && peak > 0)
        printf("%.3g operations take %.2f s at the %.0f GF/s of sgemm here: the run took %.2f "
               "times that\n",
               flops, flops / peak, r->sgemm_gflops, r->seconds * peak / flops);
}

void quantize_report_result(const llmq_quantize_options *o, const llmq_quantize_report *r,
                            bool verbose) {
    char time[CONSOLE_TEXT], bytes[CONSOLE_TEXT];
    print_settings(o, r);
    print_ingredients(o);
    printf("  model        %s\n", CONSOLE_SHOWN(r->model));
    printf("  wrote        %s (%s)\n", CONSOLE_SHOWN(r->out),
           console_bytes(r->plan_disk_bytes, bytes));
    print_modules(r);
    print_kept(r);
    print_fold(r);
    print_calibration(r);
    print_errors(r);
    print_tuning(&r->tuning);
    print_on_disk(r, "ran");
    printf("  time         %s, peak memory %s\n", console_seconds(r->seconds, time),
           console_bytes(r->peak_rss_bytes, bytes));
    if (verbose) {
        int width = name_width(r);
        print_module_header(width);
        for (size_t i = 0; i < r->module_count; i++)
            print_module(&r->modules[i], width);
        print_work(r);
    } else {
        print_worst(r);
    }
    print_events(r, verbose);
}
