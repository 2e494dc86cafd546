/* SPDX-License-Identifier: Apache-2.0 */
/* Quantize a model from within a program, with progress and a way to stop.
 *
 *     cc quantize.c $(pkg-config --cflags --libs llmq) -o quantize
 *     ./quantize MODEL OUT [CALIBRATION-TEXT]
 *
 * Ctrl-C stops it soon; started again it goes on where it was. */
#include <signal.h>
#include <stdio.h>

#include <llmq/quantize.h>

static volatile sig_atomic_t stop;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    stop = 1;
}

static void show_progress(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    printf("%3d %% %s\n", (int)(100 * done / (total > 0 ? total : 1)), what);
}

static void show_message(void *user, enum llmq_log_level level, const char *text) {
    (void)user;
    if (level == LLMQ_LOG_WARNING)
        fprintf(stderr, "warning: %s\n", text);
}

/* The module that came out worst. */
static void show_worst(const llmq_quantize_report *report) {
    const llmq_module_report *worst = NULL;
    for (size_t i = 0; i < report->module_count; i++)
        if (!worst || report->modules[i].error > worst->error)
            worst = &report->modules[i];
    if (worst)
        printf("%s: %zu modules; worst %s, error %.2g (rounded to nearest %.2g)\n", report->out,
               report->module_count, worst->name, worst->error, worst->rtn_error);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL OUT [CALIBRATION-TEXT]\n", argv[0]);
        return llmq_exit_code(LLMQ_E_USAGE);
    }
    llmq_context context;
    llmq_context_init(&context);
    context.sink.message = show_message;
    context.sink.progress = show_progress;
    context.interrupt = &stop;
    llmq_quantize_options options;
    llmq_quantize_options_init(&options, LLMQ_METHOD_GPTQ);
    options.model = argv[1];
    options.out = argv[2];
    options.calib = argc > 3 ? argv[3] : NULL;
    options.samples = 16; /* windows to calibrate on: few, to be quick */
    options.group = 32;
    options.resume = true; /* where nothing was begun it begins */
    signal(SIGINT, on_interrupt);

    llmq_quantize_report report;
    llmq_error error = {0};
    const enum llmq_status status = llmq_quantize(&options, &context, &report, &error);
    if (status == LLMQ_OK)
        show_worst(&report);
    else
        fprintf(stderr, "%s\n%s%s\n", error.message, error.hint[0] ? "hint: " : "", error.hint);
    llmq_quantize_report_free(&report);
    return llmq_exit_code(status);
}
