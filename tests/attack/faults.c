/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on demand: a library that is preloaded into llmq (LD_PRELOAD) and comes between it and the
 * system. What it does stands in the environment:
 *
 *     LLMQ_FAULT=kill:N           SIGKILL at the N-th call that changes a file or folder; of a
 *                                 write that is killed the first half is done
 *     LLMQ_FAULT=fail:CLASS:N:E   the N-th call of the class fails with errno E (a number)
 *     LLMQ_FAULT=from:CLASS:N:E   and so does every later one: a disk that is full stays full
 *     LLMQ_FAULT=eintr:N          every N-th call that may be interrupted by a signal is
 *     LLMQ_FAULT=short:N          no read or write moves more than N bytes
 *     LLMQ_FAULT_STEPS=1          folders cannot change places in one step (renameat2)
 *     LLMQ_FAULT_REPORT=FILE      at the end: lines "CLASS CALLS", "hit CALL" of the fault,
 *                                 "live N" blocks of memory that were not freed, "descriptors N"
 *                                 open */
#define _GNU_SOURCE
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- settings --------------------------------------------------------------------------------- */

static const char *const class_names[CLASSES] = {"malloc", "mmap",    "open",  "read", "write",
                                                 "fsync",  "rename",  "close", "stat", "mkdir",
                                                 "unlink", "reserve", "flock"};

enum mode { NOTHING, KILL, FAIL, FROM, EINTR_EACH, SHORT };

static enum mode mode;
static enum class failing;
static long which;    /* N */
static int number;    /* E */
static bool in_steps; /* no renameat2 */
static bool ready;    /* settings are read, and main has not returned */

static _Atomic long calls[CLASSES], changes, interruptible;
static char hit[64];

/* --- whose call is it? ------------------------------------------------------------------------ */

enum { RANGES_MOST = 256 };

static struct { uintptr_t begin, end; } foreign[RANGES_MOST];
static int foreign_count;
static uintptr_t zlib_begin, zlib_end; /* it reads regular files, which no signal interrupts */

static bool is_foreign(const char *line) {
    static const char *const names[] = {
        "/libc.so",     "/libc-",    "/libm.so",   "/ld-linux",    "/libgomp",
        "/libomp",      "/libblas",  "/liblapack", "/libopenblas", "/libgfortran",
        "/libquadmath", "/libgcc_s", "/libpthread"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strstr(line, names[i]))
            return true;
    return false;
}

static void read_maps(void) {
    static char text[1 << 17];
    size_t len = 0;
    ssize_t n = 0;
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    while (len < sizeof text - 1 &&
           (n = syscall(SYS_read, fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    syscall(SYS_close, fd);
    text[len] = '\0';
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        char *dash = NULL;
        *end = '\0';
        if (strstr(line, "/libz.so")) {
            const uintptr_t at = strtoul(line, &dash, 16);
            zlib_begin = zlib_begin ? zlib_begin : at;
            zlib_end = strtoul(dash + 1, NULL, 16);
        }
        if (!is_foreign(line) || foreign_count == RANGES_MOST)
            continue;
        foreign[foreign_count].begin = strtoul(line, &dash, 16);
        foreign[foreign_count++].end = strtoul(dash + 1, NULL, 16);
    }
}

bool counts(const void *caller) {
    const uintptr_t at = (uintptr_t)caller;
    if (!ready)
        return false;
    for (int i = 0; i < foreign_count; i++)
        if (at >= foreign[i].begin && at < foreign[i].end)
            return false;
    return true;
}

/* --- the report ------------------------------------------------------------------------------- */

static long open_descriptors(void) {
    long count = 0;
    for (int fd = 3; fd < 256; fd++)
        count += syscall(SYS_fcntl, fd, F_GETFD) >= 0;
    return count;
}

static void report(void) {
    static char text[4096];
    const char *path = getenv("LLMQ_FAULT_REPORT");
    int len = 0;
    if (!path)
        return;
    for (int i = 0; i < CLASSES; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%s %ld\n", class_names[i],
                        atomic_load(&calls[i]));
    len += snprintf(text + len, sizeof text - (size_t)len,
                    "changes %ld\nlive %ld\ndescriptors %ld\nhit %s\n", atomic_load(&changes),
                    blocks_alive(), open_descriptors(), hit);
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    (void)!syscall(SYS_write, fd, text, (size_t)len);
    syscall(SYS_close, fd);
}

static void read_fault(const char *text) {
    static const char *const modes[] = {[KILL] = "kill:",
                                        [FAIL] = "fail:",
                                        [FROM] = "from:",
                                        [EINTR_EACH] = "eintr:",
                                        [SHORT] = "short:"};
    for (int m = KILL; m <= SHORT; m++)
        if (strncmp(text, modes[m], strlen(modes[m])) == 0) {
            mode = (enum mode)m;
            text += strlen(modes[m]);
            break;
        }
    for (int i = 0; (mode == FAIL || mode == FROM) && i < CLASSES; i++)
        if (strncmp(text, class_names[i], strlen(class_names[i])) == 0 &&
            text[strlen(class_names[i])] == ':') {
            failing = (enum class)i;
            text += strlen(class_names[i]) + 1;
            break;
        }
    char *end = NULL;
    which = strtol(text, &end, 10);
    number = *end == ':' ? (int)strtol(end + 1, NULL, 10) : 0;
}

static void at_end(void) {
    ready = false;
    report();
}

/* The last constructor: before it nothing counts. */
__attribute__((constructor)) static void begin(void) {
    const char *fault = getenv("LLMQ_FAULT");
    in_steps = getenv("LLMQ_FAULT_STEPS") != NULL;
    read_maps();
    if (fault)
        read_fault(fault);
    atexit(at_end);
    ready = true;
}

/* --- deciding --------------------------------------------------------------------------------- */

static void note_hit(const char *name, long n) {
    if (!hit[0])
        (void)snprintf(hit, sizeof hit, "%s %ld", name, n);
}

/* Does this call fail? Sets errno. */
bool fails(enum class class, const char *name) {
    const long n = atomic_fetch_add(&calls[class], 1) + 1;
    if ((mode != FAIL && mode != FROM) || class != failing || n < which ||
        (mode == FAIL && n > which))
        return false;
    note_hit(name, n);
    errno = number;
    return true;
}

bool interrupted(const char *name) {
    const long n = atomic_fetch_add(&interruptible, 1) + 1;
    if (mode != EINTR_EACH || n % which != 0)
        return false;
    note_hit(name, n);
    errno = EINTR;
    return true;
}

/* A call that changes something: is it the one that is killed? */
bool is_last(void) {
    return atomic_fetch_add(&changes, 1) + 1 == which && mode == KILL;
}

void die(void) {
    kill((pid_t)syscall(SYS_getpid), SIGKILL);
}

void change(void) {
    if (is_last())
        die();
}

size_t at_most(size_t len) {
    return mode == SHORT && len > (size_t)which ? (size_t)which : len;
}

bool kills(void) {
    return mode == KILL;
}

bool exchange_is_possible(void) {
    return !in_steps;
}

bool is_zlib(const void *caller) {
    return (uintptr_t)caller >= zlib_begin && (uintptr_t)caller < zlib_end;
}
