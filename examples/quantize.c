/* SPDX-License-Identifier: Apache-2.0 */
/* Quantize a model from within a program, with progress and two ways to stop.
 *
 *     cc quantize.c $(pkg-config --cflags --libs llmq) -o quantize
 *     ./quantize MODEL OUT [CALIBRATION-TEXT [STOP-AT-PERCENT]]
 *
 * Ctrl-C stops it soon, and so does a callback that asks for it, here when so much is done. Started
 * again it goes on where it was. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llmq/llmq.h>

static volatile sig_atomic_t stop;

/* What the callbacks know. */
struct job {
    double stop_at; /* percent; above 100: never */
};

static void on_interrupt(int signal_number) {
    (void)signal_number;
    stop = 1;
}

static void show_progress(void *user, const char *what, int64_t done, int64_t total) {
    const struct job *job = user;
    const double percent = 100 * (double)done / (double)(total > 0 ? total : 1);
    printf("%3.0f %% %s\n", percent, what);
    if (strncmp(what, "block", 5) == 0 && percent >= job->stop_at) /* not the gradients before */
        stop = 1;
}

static void show_message(void *user, enum llmq_log_level level, const char *text) {
    (void)user;
    if (level == LLMQ_LOG_WARNING)
        fprintf(stderr, "warning: %s\n", text);
}

/* A program cannot change any more which kernels BLAS was started with. */
static enum llmq_status show_advice(llmq_error *error) {
    llmq_host_report host;
    const enum llmq_status status = llmq_host_check(&host, error);
    for (size_t i = 0; status == LLMQ_OK && i < host.advice_count; i++)
        fprintf(stderr, "start this program with %s=%s: %s\n", host.advice[i].variable,
                host.advice[i].value, host.advice[i].why);
    return status;
}

/* The module that came out worst. */
static void show_worst(const llmq_quantize_report *report) {
    const llmq_module_report *worst = NULL;
    for (size_t i = 0; i < report->module_count; i++)
        if (!worst || report->modules[i].error > worst->error)
            worst = &report->modules[i];
    if (worst)
        printf("%s: %zu modules, %d blocks from an earlier run; worst %s, error %.2g (rounded to "
               "nearest %.2g)\n",
               report->out, report->module_count, (int)report->blocks_resumed, worst->name,
               worst->error, worst->rtn_error);
}

static enum llmq_status quantize(int argc, char **argv, llmq_error *error) {
    struct job job = {argc > 4 ? atof(argv[4]) : 101};
    llmq_context context;
    llmq_quantize_options options;
    llmq_quantize_report report;

    llmq_context_init(&context);
    context.sink.user = &job;
    context.sink.message = show_message;
    context.sink.progress = show_progress;
    context.interrupt = &stop;

    llmq_quantize_options_init(&options, LLMQ_METHOD_GPTQ);
    options.model = argv[1];
    options.out = argv[2];
    options.calib = argc > 3 ? argv[3] : NULL;
    options.samples = 16; /* windows to calibrate on: few, to be quick */
    options.group = 32;
    options.resume = true; /* where nothing was begun it begins */

    const enum llmq_status status = llmq_quantize(&options, &context, &report, error);
    if (status == LLMQ_OK)
        show_worst(&report);
    llmq_quantize_report_free(&report);
    return status;
}

int main(int argc, char **argv) {
    llmq_error error = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL OUT [CALIBRATION-TEXT [STOP-AT-PERCENT]]\n", argv[0]);
        return llmq_exit_code(LLMQ_E_USAGE);
    }
    signal(SIGINT, on_interrupt);
    enum llmq_status status = show_advice(&error);
    if (status == LLMQ_OK)
        status = quantize(argc, argv, &error);
    if (status != LLMQ_OK)
        fprintf(stderr, "%s\n%s%s\n", error.message, error.hint[0] ? "hint: " : "", error.hint);
    return llmq_exit_code(status);
}
