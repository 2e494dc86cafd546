/* The folder in which a result grows: see claim.h.
 *
 * The lock's file vanishes when a run ends, and another run may have opened it just before. So a
 * lock counts only while the file that is locked still has its name in the folder, and the folder
 * its own; otherwise everything is looked at once more. */
#define _DEFAULT_SOURCE /* flock */
#include "pipeline/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "pipeline/journal.h"
#include "pipeline/marker.h"

/* --- what is there ---------------------------------------------------------------------------- */

static bool has(int fd, const char *name) {
    struct stat st;
    return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
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
    struct dir_list list = {0};
    const char *fixed = dir_fixed(fd);
    if (fixed)
        return error_set(err, LLMQ_E_IO, "%s: %s", dir, fixed);
    enum llmq_status status = dir_list_read_at(fd, dir, &list, err);
    if (status != LLMQ_OK)
        return status;
    *state = list.count == 0 ? CLAIM_EMPTY : CLAIM_LEFT;
    dir_list_free(&list);
    if (*state == CLAIM_LEFT && !has(fd, MARKER_LOCK_NAME) && !has(fd, JOURNAL_NAME))
        return foreign(fd, dir, err);
    return LLMQ_OK;
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

enum llmq_status claim_look(const char *dir, enum claim_state *state, llmq_error *err) {
    const int fd = dir_open(dir);
    *state = CLAIM_ABSENT;
    if (fd < 0)
        return errno == ENOENT ? LLMQ_OK : cannot_open(dir, err);
    enum llmq_status status = look_inside(fd, dir, state, err);
    const int lock = openat(fd, MARKER_LOCK_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (status == LLMQ_OK && lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) != 0 &&
        errno == EWOULDBLOCK)
        *state = CLAIM_BUSY;
    if (lock >= 0)
        close(lock);
    close(fd);
    return status;
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
    c->lock = openat(c->folder, MARKER_LOCK_NAME, flags, 0666);
    if (c->lock < 0)
        return errno == ENOENT ? LLMQ_OK : error_output(err, "%s/" MARKER_LOCK_NAME, dir);
    if (flock(c->lock, LOCK_EX | LOCK_NB) != 0) {
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

enum llmq_status claim_take_result(const char *dir, struct claim *out, llmq_error *err) {
    return take(dir, true, out, err);
}

/* --- letting go ------------------------------------------------------------------------------- */

enum llmq_status claim_clear(const struct claim *c, const char *dir, llmq_error *err) {
    static const char *const keep[] = {MARKER_LOCK_NAME, NULL};
    return dir_clear(c->folder, dir, keep, err);
}

enum llmq_status claim_remove(struct claim *c, const char *dir, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(claim_clear(c, dir, err));
    if (unlinkat(c->folder, MARKER_LOCK_NAME, 0) != 0 && errno != ENOENT)
        LLMQ_TRY(error_output(err, "%s/" MARKER_LOCK_NAME ": cannot remove", dir));
    /* Not empty: the next run is in there already. */
    if (claim_is_at(c, dir) && rmdir(dir) != 0 && errno != ENOENT && errno != ENOTEMPTY &&
        errno != EEXIST)
        status = error_output(err, "%s: cannot remove the folder", dir);

cleanup:
    claim_release(c);
    return status;
}

enum llmq_status claim_finish(struct claim *c, const char *dir, llmq_error *err) {
    static const char *const names[] = {JOURNAL_NAME, MARKER_LOCK_NAME};
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < sizeof names / sizeof names[0]; i++)
        if (unlinkat(c->folder, names[i], 0) != 0 && errno != ENOENT)
            status = error_output(err, "%s/%s: cannot remove", dir, names[i]);
    claim_release(c);
    return status;
}

void claim_release(struct claim *c) {
    if (c->held)
        close_both(c);
}
