/* Faults on demand: a library that is preloaded into llmq (LD_PRELOAD) and comes between it and the
 * system. What it does stands in the environment:
 *
 *     LLMQ_FAULT=kill:N           SIGKILL at the N-th call that changes a file or folder; of a
 * write that is killed the first half is done LLMQ_FAULT=fail:CLASS:N:E   the N-th call of the
 * class fails with errno E (a number) LLMQ_FAULT=from:CLASS:N:E   and so does every later one: a
 * disk that is full stays full LLMQ_FAULT=eintr:N          every N-th call that may be interrupted
 * by a signal is LLMQ_FAULT=short:N          no read or write moves more than N bytes
 *     LLMQ_FAULT_STEPS=1          folders cannot change places in one step (renameat2)
 *     LLMQ_FAULT_REPORT=FILE      at the end: lines "CLASS CALLS", "hit CALL" of the fault, "live
 * N" blocks of memory that were not freed, "descriptors N" open
 *
 * Only calls of llmq and of its small libraries count: what BLAS, OpenMP, the C library and the
 * linker do for themselves is theirs. Everything below is a system call or an inner name of glibc,
 * since dlsym allocates; for 64-bit Linux. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* the names as they are, without and with 64 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT      __attribute__((visibility("default")))
#define ALIAS(name) __attribute__((visibility("default"), alias(name)))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

/* --- settings --------------------------------------------------------------------------------- */

enum class {
    MALLOC,
    MAP,
    OPEN,
    READ,
    WRITE,
    SYNC,
    RENAME,
    CLOSE,
    STAT,
    MAKE,
    REMOVE,
    RESERVE,
    LOCK,
    CLASSES
};

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

static bool counts(const void *caller) {
    const uintptr_t at = (uintptr_t)caller;
    if (!ready)
        return false;
    for (int i = 0; i < foreign_count; i++)
        if (at >= foreign[i].begin && at < foreign[i].end)
            return false;
    return true;
}

/* --- blocks of memory that live --------------------------------------------------------------- */

#define TABLE ((size_t)1 << 20)

static uintptr_t table[TABLE]; /* 0: free; 1: was freed */
static atomic_flag table_lock = ATOMIC_FLAG_INIT;
static long live;

static size_t slot_of(uintptr_t p) {
    return (size_t)((p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 44);
}

static void remember(const void *p) {
    while (atomic_flag_test_and_set(&table_lock))
        continue;
    size_t i = slot_of((uintptr_t)p), tries = 0;
    while (table[i] > 1 && tries++ < TABLE)
        i = (i + 1) % TABLE;
    table[i] = (uintptr_t)p;
    live++;
    atomic_flag_clear(&table_lock);
}

static void forget(const void *p) {
    while (atomic_flag_test_and_set(&table_lock))
        continue;
    size_t i = slot_of((uintptr_t)p), tries = 0;
    while (table[i] != 0 && table[i] != (uintptr_t)p && tries++ < TABLE)
        i = (i + 1) % TABLE;
    if (table[i] == (uintptr_t)p) {
        table[i] = 1;
        live--;
    }
    atomic_flag_clear(&table_lock);
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
                    "changes %ld\nlive %ld\ndescriptors %ld\nhit %s\n", atomic_load(&changes), live,
                    open_descriptors(), hit);
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
static bool fails(enum class class, const char *name) {
    const long n = atomic_fetch_add(&calls[class], 1) + 1;
    if ((mode != FAIL && mode != FROM) || class != failing || n < which ||
        (mode == FAIL && n > which))
        return false;
    note_hit(name, n);
    errno = number;
    return true;
}

static bool interrupted(const char *name) {
    const long n = atomic_fetch_add(&interruptible, 1) + 1;
    if (mode != EINTR_EACH || n % which != 0)
        return false;
    note_hit(name, n);
    errno = EINTR;
    return true;
}

/* A call that changes something: is it the one that is killed? */
static bool is_last(void) {
    return atomic_fetch_add(&changes, 1) + 1 == which && mode == KILL;
}

static void die(void) {
    kill((pid_t)syscall(SYS_getpid), SIGKILL);
}

static void change(void) {
    if (is_last())
        die();
}

static size_t at_most(size_t len) {
    return mode == SHORT && len > (size_t)which ? (size_t)which : len;
}

#define CALLER __builtin_return_address(0)

/* --- memory ----------------------------------------------------------------------------------- */

static void *kept(void *p, bool counted) {
    if (p && counted)
        remember(p);
    return p;
}

EXPORT void *malloc(size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "malloc"))
        return NULL;
    return kept(__libc_malloc(size), counted);
}

EXPORT void *calloc(size_t count, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "calloc"))
        return NULL;
    return kept(__libc_calloc(count, size), counted);
}

EXPORT void *realloc(void *old, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "realloc"))
        return NULL;
    void *p = __libc_realloc(old, size);
    if (p && old)
        forget(old);
    return kept(p, counted);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "aligned_alloc"))
        return NULL;
    return kept(__libc_memalign(alignment, size), counted);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
    const bool counted = counts(CALLER);
    if (counted && fails(MALLOC, "posix_memalign"))
        return ENOMEM;
    void *p = kept(__libc_memalign(alignment, size), counted);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

EXPORT char *strndup(const char *text, size_t most) {
    const bool counted = counts(CALLER);
    const size_t len = strnlen(text, most);
    if (counted && fails(MALLOC, "strndup"))
        return NULL;
    char *copy = kept(__libc_malloc(len + 1), counted);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

EXPORT char *strdup(const char *text) {
    const bool counted = counts(CALLER);
    const size_t len = strlen(text);
    if (counted && fails(MALLOC, "strdup"))
        return NULL;
    char *copy = kept(__libc_malloc(len + 1), counted);
    if (copy)
        memcpy(copy, text, len + 1);
    return copy;
}

EXPORT void free(void *p) {
    if (p)
        forget(p);
    __libc_free(p);
}

EXPORT void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset) {
    if (counts(CALLER) && fails(MAP, "mmap"))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}
void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset) ALIAS("mmap");

/* --- files ------------------------------------------------------------------------------------ */

static int open_at(int dir, const char *path, int flags, mode_t permissions, const void *caller) {
    if (counts(caller)) {
        if (fails(OPEN, "open") || interrupted("open"))
            return -1;
        if (flags & (O_CREAT | O_TRUNC))
            change();
    }
    return (int)syscall(SYS_openat, dir, path, flags, permissions);
}

static mode_t permissions_of(int flags, va_list more) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t permissions = permissions_of(flags, more);
    va_end(more);
    return open_at(AT_FDCWD, path, flags, permissions, CALLER);
}
int open64(const char *path, int flags, ...) ALIAS("open");

EXPORT int openat(int dir, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t permissions = permissions_of(flags, more);
    va_end(more);
    return open_at(dir, path, flags, permissions, CALLER);
}
int openat64(int dir, const char *path, int flags, ...) ALIAS("openat");

EXPORT ssize_t read(int fd, void *to, size_t len) {
    if (counts(CALLER)) {
        const uintptr_t at = (uintptr_t)CALLER;
        const bool patient = at >= zlib_begin && at < zlib_end;
        if (fails(READ, "read") || (!patient && interrupted("read")))
            return -1;
        len = at_most(len);
    }
    return syscall(SYS_read, fd, to, len);
}

EXPORT ssize_t pread(int fd, void *to, size_t len, off_t at) {
    if (counts(CALLER)) {
        if (fails(READ, "pread") || interrupted("pread"))
            return -1;
        len = at_most(len);
    }
    return syscall(SYS_pread64, fd, to, len, at);
}
ssize_t pread64(int fd, void *to, size_t len, off_t at) ALIAS("pread");

EXPORT ssize_t write(int fd, const void *from, size_t len) {
    if (counts(CALLER) && fd > STDERR_FILENO) {
        if (fails(WRITE, "write") || interrupted("write"))
            return -1;
        len = at_most(len);
        if (is_last()) {
            (void)!syscall(SYS_write, fd, from, len / 2);
            die();
        }
    }
    return syscall(SYS_write, fd, from, len);
}

EXPORT ssize_t pwrite(int fd, const void *from, size_t len, off_t at) {
    if (counts(CALLER)) {
        if (fails(WRITE, "pwrite") || interrupted("pwrite"))
            return -1;
        len = at_most(len);
        if (is_last()) {
            (void)!syscall(SYS_pwrite64, fd, from, len / 2, at);
            die();
        }
    }
    return syscall(SYS_pwrite64, fd, from, len, at);
}
ssize_t pwrite64(int fd, const void *from, size_t len, off_t at) ALIAS("pwrite");

/* Linux has closed the file also when it says that it was interrupted. */
EXPORT int close(int fd) {
    const bool counted = counts(CALLER) && fd > STDERR_FILENO;
    if (counted && mode == KILL)
        change();
    const int result = (int)syscall(SYS_close, fd);
    return counted && (fails(CLOSE, "close") || interrupted("close")) ? -1 : result;
}

EXPORT int fsync(int fd) {
    if (counts(CALLER)) {
        if (fails(SYNC, "fsync") || interrupted("fsync"))
            return -1;
        change();
    }
    return (int)syscall(SYS_fsync, fd);
}

EXPORT int ftruncate(int fd, off_t len) {
    if (counts(CALLER)) {
        if (fails(RESERVE, "ftruncate") || interrupted("ftruncate"))
            return -1;
        change();
    }
    return (int)syscall(SYS_ftruncate, fd, len);
}
int ftruncate64(int fd, off_t len) ALIAS("ftruncate");

EXPORT int posix_fallocate(int fd, off_t at, off_t len) {
    const int before = errno;
    if (counts(CALLER)) {
        if (fails(RESERVE, "posix_fallocate") || interrupted("posix_fallocate"))
            return errno;
        change();
    }
    int result = (int)syscall(SYS_fallocate, fd, 0, at, len) == 0 ? 0 : errno;
    if (result == EOPNOTSUPP)
        result = (int)syscall(SYS_ftruncate, fd, at + len) == 0 ? 0 : errno;
    errno = before;
    return result;
}
int posix_fallocate64(int fd, off_t at, off_t len) ALIAS("posix_fallocate");

EXPORT int flock(int fd, int operation) {
    if (counts(CALLER) && (fails(LOCK, "flock") || interrupted("flock")))
        return -1;
    return (int)syscall(SYS_flock, fd, operation);
}

/* --- names ------------------------------------------------------------------------------------ */

static int rename_at(int from_dir, const char *from, int to_dir, const char *to, unsigned flags,
                     const void *caller) {
    if (counts(caller)) {
        if (fails(RENAME, "rename"))
            return -1;
        if (in_steps && flags) {
            errno = EINVAL;
            return -1;
        }
        change();
    }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

EXPORT int rename(const char *from, const char *to) {
    return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0, CALLER);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return rename_at(from_dir, from, to_dir, to, 0, CALLER);
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return rename_at(from_dir, from, to_dir, to, flags, CALLER);
}

static int remove_at(int dir, const char *path, int flags, const void *caller) {
    if (counts(caller)) {
        if (fails(REMOVE, "unlink"))
            return -1;
        change();
    }
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

EXPORT int unlink(const char *path) {
    return remove_at(AT_FDCWD, path, 0, CALLER);
}

EXPORT int unlinkat(int dir, const char *path, int flags) {
    return remove_at(dir, path, flags, CALLER);
}

EXPORT int rmdir(const char *path) {
    return remove_at(AT_FDCWD, path, AT_REMOVEDIR, CALLER);
}

EXPORT int mkdir(const char *path, mode_t permissions) {
    if (counts(CALLER)) {
        if (fails(MAKE, "mkdir"))
            return -1;
        change();
    }
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, permissions);
}

EXPORT char *mkdtemp(char *name) {
    static long serial;
    if (counts(CALLER)) {
        if (fails(MAKE, "mkdtemp"))
            return NULL;
        change();
    }
    (void)snprintf(name + strlen(name) - 6, 7, "%06ld",
                   (syscall(SYS_getpid) * 10 + serial++) % 1000000);
    return syscall(SYS_mkdirat, AT_FDCWD, name, 0700) == 0 ? name : NULL;
}

static int stat_at(int dir, const char *path, struct stat *out, int flags, const void *caller) {
    if (counts(caller) && fails(STAT, "stat"))
        return -1;
    return (int)syscall(SYS_newfstatat, dir, path, out, flags);
}

EXPORT int stat(const char *path, struct stat *out) {
    return stat_at(AT_FDCWD, path, out, 0, CALLER);
}
int stat64(const char *path, struct stat64 *out);
EXPORT int stat64(const char *path, struct stat64 *out) {
    return stat_at(AT_FDCWD, path, (struct stat *)out, 0, CALLER);
}

EXPORT int lstat(const char *path, struct stat *out) {
    return stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW, CALLER);
}
EXPORT int lstat64(const char *path, struct stat64 *out) {
    return stat_at(AT_FDCWD, path, (struct stat *)out, AT_SYMLINK_NOFOLLOW, CALLER);
}

EXPORT int fstat(int fd, struct stat *out) {
    return stat_at(fd, "", out, AT_EMPTY_PATH, CALLER);
}
EXPORT int fstat64(int fd, struct stat64 *out) {
    return stat_at(fd, "", (struct stat *)out, AT_EMPTY_PATH, CALLER);
}

EXPORT int fstatat(int dir, const char *path, struct stat *out, int flags) {
    return stat_at(dir, path, out, flags, CALLER);
}
EXPORT int fstatat64(int dir, const char *path, struct stat64 *out, int flags) {
    return stat_at(dir, path, (struct stat *)out, flags, CALLER);
}

EXPORT int statx(int dir, const char *restrict path, int flags, unsigned mask,
                 struct statx *restrict out) {
    if (counts(CALLER) && fails(STAT, "statx"))
        return -1;
    return (int)syscall(SYS_statx, dir, path, flags, mask, out);
}
