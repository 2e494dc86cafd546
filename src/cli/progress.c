/* SPDX-License-Identifier: Apache-2.0 */
/* Progress on stderr: see progress.h.
 *
 * The library names the stage it is in ("block 3/32") and counts steps over the whole run. The bar
 * follows the steps, a line is printed when the stage changes. Time to go is extrapolated from all
 * the time spent up to the last step, once that is some seconds, and counts down between steps. */
#define _DEFAULT_SOURCE /* TIOCGWINSZ */
#include "cli/progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli/console.h"

enum { BAR_WIDTH = 24, LINE_MOST = 256, WIDTH_USUAL = 80 };

static const double draw_interval = 1.0 / 6; /* seconds between two drawings of the bar */
static const double estimate_after = 5;      /* seconds: what is measured before says little */

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

/* --- the bar ---------------------------------------------------------------------------------- */

/* Columns of the terminal. A line that fills the last one is wrapped by some. */
static size_t columns(void) {
    struct winsize size = {0};
    const char *named = getenv("COLUMNS");
    long width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
    if (width <= 0 && named)
        width = strtol(named, NULL, 10);
    return width > 1 ? (size_t)width - 1 : WIDTH_USUAL - 1;
}

/* Add a part, if there is room for all of it. */
static void add_part(char *out, size_t width, const char *part) {
    const size_t len = strlen(out), more = strlen(part);
    if (len + more <= width)
        memcpy(out + len, part, more + 1);
}

static void add_bar(char *out, size_t width, double fraction) {
    char bar[BAR_WIDTH + 4];
    const size_t filled = (size_t)(fraction * BAR_WIDTH);
    memset(bar, ' ', sizeof bar);
    memset(bar + 2, '=', filled);
    bar[1] = '[';
    bar[BAR_WIDTH + 2] = ']';
    bar[BAR_WIDTH + 3] = '\0';
    add_part(out, width, bar);
}

void progress_line(const struct progress *p, double elapsed, double still, uint64_t memory,
                   size_t width, char *out, size_t size) {
    const bool known = p->done >= 0 && p->done <= p->total && p->total > 0;
    const double fraction = known ? (double)p->done / (double)p->total : 0;
    const double spent = elapsed - still;
    char percent[16], left[64] = "", peak[64], text[64];
    width = width < size ? width : size - 1;
    (void)snprintf(percent, sizeof percent, " %3.0f %%", 100 * fraction);
    if (fraction > 0 && spent >= estimate_after) {
        const double rest = spent * (1 - fraction) / fraction - still;
        (void)snprintf(left, sizeof left, ", %s to go", llmq_duration(rest, text, sizeof text));
    }
    (void)snprintf(peak, sizeof peak, ", %s", console_bytes(memory, text));
    const size_t beside = strlen(percent) + strlen(left) + strlen(peak);
    (void)snprintf(out, width + 1, "%s", p->what);
    if (strlen(out) + BAR_WIDTH + 3 + beside <= width)
        add_bar(out, width, fraction);
    add_part(out, width, percent);
    add_part(out, width, left);
    add_part(out, width, peak);
}

static void draw_bar(struct progress *p) {
    const double time = now();
    char line[LINE_MOST];
    progress_line(p, time - p->start, time - p->stepped, peak_memory(), columns(), line,
                  sizeof line);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    p->drawn = true;
    p->last_draw = time;
}

static void clear_bar(struct progress *p) {
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

/* --- each second ------------------------------------------------------------------------------ */

/* The time in so many seconds, at most 1. */
static struct timespec later(double seconds) {
    enum { BILLION = 1000000000 };
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += (long)(seconds * BILLION) + 1000;
    t.tv_sec += t.tv_nsec / BILLION;
    t.tv_nsec %= BILLION;
    return t;
}

/* Draws the bar again when nothing else has for a second. */
static void *tick(void *argument) {
    struct progress *p = argument;
    pthread_mutex_lock(&p->lock);
    while (p->ticking) {
        const double age = now() - p->last_draw;
        const struct timespec until = later(p->drawn && age < 1 ? 1 - age : 1);
        pthread_cond_timedwait(&p->ended, &p->lock, &until);
        if (p->ticking && p->drawn && now() - p->last_draw >= 1)
            draw_bar(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are the main thread's. Where there is no room for a thread the bar stands still. */
static void start_ticking(struct progress *p) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&p->lock);
    p->ticking = pthread_create(&p->ticker, NULL, tick, p) == 0;
    pthread_mutex_unlock(&p->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- what the library tells ------------------------------------------------------------------- */

static void print_line(const struct progress *p) {
    char time[CONSOLE_TEXT], memory[CONSOLE_TEXT];
    fprintf(stderr, "%s (after %s, peak memory %s)\n", p->what,
            console_seconds(now() - p->start, time), console_bytes(peak_memory(), memory));
}

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    struct progress *p = user;
    pthread_mutex_lock(&p->lock);
    const bool new_stage = strncmp(p->what, what, sizeof p->what - 1) != 0;
    if (new_stage)
        llmq_printable(what, p->what, sizeof p->what);
    if (done != p->done || total != p->total || p->stepped <= 0)
        p->stepped = now();
    p->done = done;
    p->total = total;
    if (p->style == PROGRESS_LINES && new_stage)
        print_line(p);
    else if (p->style == PROGRESS_BAR && (!p->drawn || now() - p->last_draw >= draw_interval))
        draw_bar(p);
    pthread_mutex_unlock(&p->lock);
}

static void on_message(void *user, enum llmq_log_level level, const char *text) {
    struct progress *p = user;
    if (p->quiet || (level == LLMQ_LOG_DETAIL && !p->verbose))
        return;
    pthread_mutex_lock(&p->lock);
    clear_bar(p);
    fprintf(stderr, "llmq: %s%s\n", level == LLMQ_LOG_WARNING ? "warning: " : "", text);
    pthread_mutex_unlock(&p->lock);
}

llmq_context progress_begin(struct progress *p, const struct common_args *args,
                            const volatile sig_atomic_t *interrupt) {
    const char *term = getenv("TERM");
    bool can_draw = isatty(STDERR_FILENO) == 1 && term && strcmp(term, "dumb") != 0;
    *p = (struct progress){.quiet = args->quiet, .verbose = args->verbose, .start = now()};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->ended, NULL);
    if (args->quiet || args->no_progress)
        p->style = PROGRESS_NONE;
    else
        p->style = can_draw ? PROGRESS_BAR : PROGRESS_LINES;
    if (p->style == PROGRESS_BAR)
        start_ticking(p);
    return (llmq_context){
        .size = sizeof(llmq_context),
        .sink = {.user = p, .message = on_message, .progress = on_progress},
        .interrupt = interrupt,
        .threads = (int)args->threads,
    };
}

void progress_end(struct progress *p) {
    pthread_mutex_lock(&p->lock);
    const bool ticking = p->ticking;
    p->ticking = false;
    clear_bar(p);
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    if (ticking)
        pthread_join(p->ticker, NULL);
}
