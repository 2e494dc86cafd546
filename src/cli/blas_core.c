/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels BLAS runs on: see blas_core.h. */
#include "cli/blas_core.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/console.h"
#include "llmq/host.h"

/* Half of the multiply-add rate, as llmq_host_check has it. */
#define GOOD 0.5

/* Worth starting again for. */
#define BETTER 1.1

#define CORE      "OPENBLAS_CORETYPE"
#define SELF      "/proc/self/exe"
#define MOST_TEXT 64

extern char **environ;

enum llmq_status blas_core_print(llmq_error *err) {
    llmq_host_report host;
    enum llmq_status status = llmq_host_check(&host, err);
    if (status == LLMQ_OK)
        printf("%.4f\n", host.blas_efficiency);
    return status;
}

/* Start this program with its output going to `fd`; its process, or -1. */
static pid_t spawn_measurement(int fd) {
    char *argv[] = {(char[]){"llmq"}, (char[]){BLAS_CORE_OPTION}, NULL};
    posix_spawn_file_actions_t files;
    pid_t child = -1;
    if (posix_spawn_file_actions_init(&files) != 0)
        return -1;
    if (posix_spawn_file_actions_adddup2(&files, fd, STDOUT_FILENO) != 0 ||
        posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
        posix_spawn(&child, SELF, &files, NULL, argv, environ) != 0)
        child = -1;
    posix_spawn_file_actions_destroy(&files);
    return child;
}

/* Efficiency in a process that starts with the environment as it is now; 0: none was measured. */
static double measure_elsewhere(void) {
    char text[MOST_TEXT] = "";
    int ends[2], state = 0;
    if (pipe(ends) != 0)
        return 0;
    pid_t child = spawn_measurement(ends[1]);
    close(ends[1]);
    ssize_t got = 0;
    do
        got = child > 0 ? read(ends[0], text, sizeof text - 1) : 0;
    while (got < 0 && errno == EINTR);
    close(ends[0]);
    pid_t ended = child;
    while (child > 0 && (ended = waitpid(child, &state, 0)) < 0 && errno == EINTR)
        continue;
    if (ended != child || state != 0)
        got = 0;
    return got > 0 ? strtod(text, NULL) : 0;
}

static void tell(const char *core, double efficiency) {
    fprintf(stderr, "llmq: BLAS on %s kernels reaches %.0f %% of this processor\n", core,
            100 * efficiency);
}

/* The first of the other kernels that is good, else the best; NULL: none gives right results. So
 * the choice is the same on a busy machine. Leaves OPENBLAS_CORETYPE as it found it: unset. */
static const char *best_core(const char *const *core, bool verbose, double *efficiency) {
    const char *best = NULL;
    *efficiency = 0;
    for (; *core && *efficiency < GOOD; core++) {
        if (setenv(CORE, *core, 1) != 0)
            break;
        double found = measure_elsewhere();
        if (verbose)
            tell(*core, found);
        if (found > *efficiency) {
            *efficiency = found;
            best = *core;
        }
    }
    unsetenv(CORE);
    return best;
}

/* *always: try the other kernels in any case. */
static enum llmq_status read_wish(bool *always, llmq_error *err) {
    const char *wish = getenv("LLMQ_BLAS_CORE");
    *always = wish && strcmp(wish, "measure") == 0;
    if (*always || !wish || !*wish)
        return LLMQ_OK;
    cli_fail(err, LLMQ_E_USAGE, "LLMQ_BLAS_CORE=%s: the only value is measure", wish);
    cli_hint(err, "to choose kernels yourself, set OPENBLAS_CORETYPE");
    return LLMQ_E_USAGE;
}

enum llmq_status blas_core_choose(char **argv, bool verbose, llmq_error *err) {
    llmq_host_report host;
    double found = 0;
    bool always = false;
    enum llmq_status status = read_wish(&always, err);
    if (status == LLMQ_OK)
        status = llmq_host_check(&host, err);
    if (status != LLMQ_OK)
        return status;
    const double now = host.blas_efficiency;
    if (!getenv(CORE) && (now < GOOD || always)) {
        if (verbose)
            tell("OpenBLAS' choice of", now);
        const char *core = best_core(host.blas_cores, verbose, &found);
        if (core && found > BETTER * now && setenv(CORE, core, 1) == 0) {
            if (verbose)
                fprintf(stderr, "llmq: starting again with " CORE "=%s\n", core);
            execv(SELF, argv);
            unsetenv(
                CORE); /* could not: go on with what there is; the library refuses wrong ones */
        }
    }
    return LLMQ_OK;
}
