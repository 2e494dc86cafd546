/* Progress on stderr: see progress.h.
 *
 * The library names the stage it is in ("block 3/32") and counts steps over the whole run. The bar
 * follows the steps, a line is printed when the stage changes. Time to go is extrapolated from the
 * time spent. */
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli/console.h"

enum { BAR_WIDTH = 24 };

static const double draw_interval = 1.0 / 6; /* seconds between two drawings of the bar */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t peak_memory(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0)
        return 0;
    return (uint64_t)usage.ru_maxrss * 1024;
}

static void draw_bar(struct progress *p, int64_t done, int64_t total) {
    double fraction = done >= 0 && done <= total && total > 0 ? (double)done / (double)total : 0;
    char time[CONSOLE_TEXT], memory[CONSOLE_TEXT], bar[BAR_WIDTH + 1];
    size_t filled = (size_t)(fraction * BAR_WIDTH);
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '=', filled);
    bar[BAR_WIDTH] = '\0';
    double spent = now() - p->start;
    fprintf(stderr, "\r\033[K%s [%s] %3.0f %%", p->what, bar, 100 * fraction);
    if (fraction > 0)
        fprintf(stderr, ", %s to go", console_seconds(spent * (1 - fraction) / fraction, time));
    fprintf(stderr, ", %s", console_bytes(peak_memory(), memory));
    fflush(stderr);
    p->drawn = true;
}

static void print_line(const struct progress *p) {
    char time[CONSOLE_TEXT], memory[CONSOLE_TEXT];
    fprintf(stderr, "%s (after %s, peak memory %s)\n", p->what,
            console_seconds(now() - p->start, time), console_bytes(peak_memory(), memory));
}

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    struct progress *p = user;
    bool new_stage = strncmp(p->what, what, sizeof p->what - 1) != 0;
    if (new_stage)
        llmq_printable(what, p->what, sizeof p->what);
    if (p->style == PROGRESS_LINES && new_stage) {
        print_line(p);
    } else if (p->style == PROGRESS_BAR && (!p->drawn || now() - p->last_draw >= draw_interval)) {
        draw_bar(p, done, total);
        p->last_draw = now();
    }
}

static void on_message(void *user, enum llmq_log_level level, const char *text) {
    struct progress *p = user;
    if (p->quiet || (level == LLMQ_LOG_DETAIL && !p->verbose))
        return;
    progress_end(p);
    fprintf(stderr, "llmq: %s%s\n", level == LLMQ_LOG_WARNING ? "warning: " : "", text);
}

llmq_context progress_begin(struct progress *p, const struct common_args *args,
                            const volatile sig_atomic_t *interrupt) {
    const char *term = getenv("TERM");
    bool can_draw = isatty(STDERR_FILENO) == 1 && term && strcmp(term, "dumb") != 0;
    *p = (struct progress){.quiet = args->quiet, .verbose = args->verbose, .start = now()};
    if (args->quiet || args->no_progress)
        p->style = PROGRESS_NONE;
    else
        p->style = can_draw ? PROGRESS_BAR : PROGRESS_LINES;
    return (llmq_context){
        .sink = {.user = p, .message = on_message, .progress = on_progress},
        .interrupt = interrupt,
        .threads = (int)args->threads,
    };
}

void progress_end(struct progress *p) {
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}
