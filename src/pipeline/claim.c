/* SPDX-License-Identifier: Apache-2.0 */
/* The folder in which a result grows: see claim.h.
 *
 * The lock's file vanishes when a run ends, and another run may have opened it just before. So a
 * lock counts only while the file that is locked still has its name in the folder, and the folder
 * its own; otherwise everything is looked at once more. */
#define _DEFAULT_SOURCE /* flock */
#include "pipeline/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/retry.h"
#include "pipeline/journal.h"
#include "pipeline/marker.h"

/* --- what is there ---------------------------------------------------------------------------- */

/* Is it there, a file? A folder that cannot be looked into tells nothing. */
static enum llmq_status look_for(int fd, const char *dir, const char *name, bool *there,
                                 llmq_error *err) {
    struct stat st;
    const bool found = fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    *there = found && S_ISREG(st.st_mode);
    return found || errno == ENOENT ? LLMQ_OK : error_errno(err, "%s/%s", dir, name);
}

/* None of our files is in it. */
static enum llmq_status foreign(int fd, const char *dir, llmq_error *err) {
    enum llmq_status status = marker_check(fd, dir, err); /* says what is in there */
    if (status == LLMQ_OK)
        status = error_set(err, LLMQ_E_USAGE, "%s is not replaced: it is a finished result", dir);
    error_hint(err, "the result grows under this name: move what is there away, or choose another "
                    "--out");
    return status;
}

/* What an open folder is. */
static enum llmq_status look_inside(int fd, const char *dir, enum claim_state *state,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct dir_list list = {0};
    bool recorded = false, locked = false;
    const char *fixed = dir_fixed(fd);
    if (fixed)
        return error_set(err, LLMQ_E_IO, "%s: %s", dir, fixed);
    LLMQ_TRY(dir_list_read_at(fd, dir, &list, err));
    LLMQ_TRY(look_for(fd, dir, JOURNAL_NAME, &recorded, err));
    LLMQ_TRY(look_for(fd, dir, MARKER_LOCK_NAME, &locked, err));
    *state = list.count == 0    ? CLAIM_EMPTY
             : recorded         ? CLAIM_RECORDED
             : marker_whole(fd) ? CLAIM_COMPLETE
                                : CLAIM_BEGUN;
    if (list.count > 0 && !recorded && !locked)
        status = foreign(fd, dir, err);
cleanup:
    dir_list_free(&list);
    return status;
}

enum llmq_status claim_look_held(const struct claim *c, const char *dir, enum claim_state *state,
                                 llmq_error *err) {
    enum llmq_status status = look_inside(c->folder, dir, state, err);
    if (status == LLMQ_OK && *state == CLAIM_BEGUN) { /* nothing but our lock? */
        struct dir_list list = {0};
        status = dir_list_read_at(c->folder, dir, &list, err);
        *state = list.count > 1 ? CLAIM_BEGUN : CLAIM_EMPTY;
        dir_list_free(&list);
    }
    return status;
}

static enum llmq_status cannot_open(const char *dir, llmq_error *err) {
    if (errno == ELOOP || errno == ENOTDIR) {
        error_set(err, LLMQ_E_IO, "%s, where the result grows, is not a folder", dir);
        error_hint(err, "move it away, or choose another --out");
        return LLMQ_E_IO;
    }
    return error_output(err, "%s", dir);
}

enum llmq_status claim_busy(const char *dir, llmq_error *err) {
    error_set(err, LLMQ_E_IO, "%s: another process is writing here", dir);
    error_hint(err, "wait for it to end, or choose another --out");
    return LLMQ_E_IO;
}

/* The lock's file of an open folder, to read; -1 and errno as open(2). */
static int open_lock(int fd) {
    int lock = -1;
    RETRY(lock, openat(fd, MARKER_LOCK_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    return lock;
}

/* The same of a folder by its name. */
static int open_lock_in(const char *dir) {
    const int fd = dir_open(dir);
    const int lock = fd < 0 ? -1 : open_lock(fd);
    if (fd >= 0)
        close(fd);
    return lock;
}

static int take_flock(int fd, int kind) {
    int rc = 0;
    RETRY(rc, flock(fd, kind | LOCK_NB));
    return rc;
}

enum llmq_status claim_look(const char *dir, enum claim_state *state, llmq_error *err) {
    const int fd = dir_open(dir);
    *state = CLAIM_ABSENT;
    if (fd < 0)
        return errno == ENOENT ? LLMQ_OK : cannot_open(dir, err);
    enum llmq_status status = look_inside(fd, dir, state, err);
    const int lock = open_lock(fd);
    if (status == LLMQ_OK && lock >= 0 && take_flock(lock, LOCK_SH) != 0 && errno == EWOULDBLOCK)
        *state = CLAIM_BUSY;
    if (lock >= 0)
        close(lock);
    close(fd);
    return status;
}

bool claim_was_held(const char *dir) {
    const int lock = open_lock_in(dir);
    const bool free = lock >= 0 && take_flock(lock, LOCK_SH) == 0;
    if (lock >= 0)
        close(lock);
    return free;
}

/* --- taking ----------------------------------------------------------------------------------- */

static bool same_file(int fd, const char *path, int at, int flags) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(at, path, &b, flags) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

bool claim_is_at(const struct claim *c, const char *dir) {
    return same_file(c->folder, dir, AT_FDCWD, AT_SYMLINK_NOFOLLOW);
}

/* Lock the folder that is open in `c`; c->held stays false when it was let go of meanwhile. */
static enum llmq_status lock(struct claim *c, const char *dir, llmq_error *err) {
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    RETRY(c->lock, openat(c->folder, MARKER_LOCK_NAME, flags, 0666));
    if (c->lock < 0)
        return errno == ENOENT ? LLMQ_OK : error_output(err, "%s/" MARKER_LOCK_NAME, dir);
    if (take_flock(c->lock, LOCK_EX) != 0) {
        if (errno == EWOULDBLOCK)
            return claim_busy(dir, err);
        error_output(err, "%s/" MARKER_LOCK_NAME ": cannot lock", dir);
        error_hint(err, "choose --out on a file system that has locks");
        return LLMQ_E_IO;
    }
    c->held =
        same_file(c->lock, MARKER_LOCK_NAME, c->folder, AT_SYMLINK_NOFOLLOW) && claim_is_at(c, dir);
    return LLMQ_OK;
}

static void close_both(struct claim *c) {
    if (c->lock >= 0)
        close(c->lock);
    if (c->folder >= 0)
        close(c->folder);
    *c = (struct claim){0};
}

/* One attempt: open, look, lock. */
static enum llmq_status try_take(const char *dir, bool result, struct claim *c, llmq_error *err) {
    enum claim_state state;
    enum llmq_status status = LLMQ_OK;
    *c = (struct claim){.folder = -1, .lock = -1};
    if (!result)
        LLMQ_TRY(dir_make(dir, true, err));
    c->folder = dir_open(dir);
    if (c->folder < 0)
        LLMQ_TRY(cannot_open(dir, err));
    LLMQ_TRY(result ? marker_check(c->folder, dir, err) : look_inside(c->folder, dir, &state, err));
    LLMQ_TRY(lock(c, dir, err));

cleanup:
    if (!c->held)
        close_both(c);
    return status;
}

static enum llmq_status take(const char *dir, bool result, struct claim *out, llmq_error *err) {
    enum { ATTEMPTS = 20 };
    *out = (struct claim){0};
    for (int i = 0; i < ATTEMPTS && !out->held; i++) {
        enum llmq_status status = try_take(dir, result, out, err);
        if (status != LLMQ_OK)
            return status;
    }
    return out->held ? LLMQ_OK : claim_busy(dir, err);
}

enum llmq_status claim_take(const char *dir, struct claim *out, llmq_error *err) {
    return take(dir, false, out, err);
}

/* What an earlier run was allowed says nothing of this one. */
enum llmq_status claim_take_result(const char *dir, struct claim *out, llmq_error *err) {
    enum llmq_status status = take(dir, true, out, err);
    int rc = 0;
    if (status == LLMQ_OK)
        RETRY(rc, ftruncate(out->lock, 0));
    if (rc == 0)
        return status;
    status = error_output(err, "%s/" MARKER_LOCK_NAME ": cannot write", dir);
    claim_release(out);
    return status;
}

/* --- what the run may do ---------------------------------------------------------------------- */

#define REPLACES "replaces\n"

enum llmq_status claim_allow_replacing(const struct claim *c, const char *dir, llmq_error *err) {
    ssize_t n = 0;
    RETRY(n, pwrite(c->lock, REPLACES, strlen(REPLACES), 0));
    return n == (ssize_t)strlen(REPLACES)
               ? LLMQ_OK
               : error_output(err, "%s/" MARKER_LOCK_NAME ": cannot write", dir);
}

bool claim_replaces(const char *dir) {
    char text[sizeof REPLACES] = "";
    const int lock = open_lock_in(dir);
    ssize_t n = 0;
    if (lock < 0)
        return false;
    RETRY(n, read(lock, text, sizeof text - 1));
    close(lock);
    return n == (ssize_t)strlen(REPLACES) && memcmp(text, REPLACES, strlen(REPLACES)) == 0;
}

/* --- letting go ------------------------------------------------------------------------------- */

/* Remove a file of ours that may be gone. */
static enum llmq_status drop(const struct claim *c, const char *name, const char *dir,
                             llmq_error *err) {
    if (unlinkat(c->folder, name, 0) != 0 && errno != ENOENT)
        return error_output(err, "%s/%s: cannot remove", dir, name);
    return LLMQ_OK;
}

enum llmq_status claim_clear(const struct claim *c, const char *dir, llmq_error *err) {
    static const char *const keep[] = {MARKER_LOCK_NAME, NULL};
    /* First what says that something is in here to go on from. */
    enum llmq_status status = drop(c, JOURNAL_NAME, dir, err);
    if (status == LLMQ_OK)
        status = drop(c, MARKER_NAME, dir, err);
    return status == LLMQ_OK ? dir_clear(c->folder, dir, keep, err) : status;
}

/* Remove the empty folder, and release it. */
static enum llmq_status remove_emptied(struct claim *c, const char *dir, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    /* Not empty: the next run is in there already. */
    if (claim_is_at(c, dir) && rmdir(dir) != 0 && errno != ENOENT && errno != ENOTEMPTY &&
        errno != EEXIST)
        status = error_output(err, "%s: cannot remove the folder", dir);
    claim_release(c);
    return status;
}

enum llmq_status claim_remove(struct claim *c, const char *dir, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(claim_clear(c, dir, err));
    LLMQ_TRY(drop(c, MARKER_LOCK_NAME, dir, err));
    return remove_emptied(c, dir, err);

cleanup:
    claim_release(c);
    return status;
}

enum llmq_status claim_remove_result(struct claim *c, const char *dir, llmq_error *err) {
    static const char *const keep[] = {MARKER_LOCK_NAME, MARKER_NAME, NULL};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(dir_clear(c->folder, dir, keep, err));
    LLMQ_TRY(drop(c, MARKER_LOCK_NAME, dir, err));
    LLMQ_TRY(drop(c, MARKER_NAME, dir, err));
    return remove_emptied(c, dir, err);

cleanup:
    claim_release(c);
    return status;
}

/* Without a journal nobody asks for what belongs to it. */
enum llmq_status claim_drop_record(const struct claim *c, const char *dir, llmq_error *err) {
    const enum llmq_status status = drop(c, JOURNAL_NAME, dir, err);
    return status == LLMQ_OK ? drop(c, JOURNAL_UNDO_NAME, dir, err) : status;
}

enum llmq_status claim_finish(struct claim *c, const char *dir, llmq_error *err) {
    enum llmq_status status = claim_drop_record(c, dir, err);
    if (status == LLMQ_OK)
        status = drop(c, MARKER_LOCK_NAME, dir, err);
    claim_release(c);
    return status;
}

enum llmq_status claim_tidy(const char *dir, llmq_error *err) {
    struct claim c = {.folder = dir_open(dir), .lock = -1};
    bool locked = false, recorded = false;
    if (c.folder < 0)
        return error_output(err, "%s", dir);
    enum llmq_status status = look_for(c.folder, dir, MARKER_LOCK_NAME, &locked, err);
    if (status == LLMQ_OK)
        status = look_for(c.folder, dir, JOURNAL_NAME, &recorded, err);
    if (status == LLMQ_OK && (locked || recorded))
        status = lock(&c, dir, err);
    if (!c.held) {
        close_both(&c);
        return status;
    }
    return claim_finish(&c, dir, err);
}

void claim_release(struct claim *c) {
    if (c->held)
        close_both(c);
}
