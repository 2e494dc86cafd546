/* SPDX-License-Identifier: Apache-2.0 */
/* A finished result gets its name: see output.h.
 *
 * Nothing is ever removed to make room. rename(2) puts a folder in the place of nothing or of an
 * empty folder only, on every system; an old result changes places with the new one, and is removed
 * under the name that the new one had. */
#define _GNU_SOURCE /* renameat2 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "pipeline/output.h"

/* As rename(2), which itself never replaces a folder with something in it, but not over an empty
 * folder either where the system can tell. */
static int rename_new(const char *from, const char *to) {
#ifdef RENAME_NOREPLACE
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return -1;
#endif
    return rename(from, to);
}

char *output_aside(const struct output *out) {
    struct strbuf name = {0};
    strbuf_printf(&name, "%s.replaced", out->final_dir);
    return strbuf_take(&name);
}

/* Where two folders cannot change places in one step: the old one gives way to a name beside it,
 * and comes back if the new one cannot follow. Killed in between, both are whole, and output_settle
 * knows them. */
static int swap_in_steps(const char *fresh, const char *old, const char *aside) {
    struct stat st;
    if (!aside || lstat(aside, &st) == 0) {
        errno = aside ? EEXIST : ENOMEM;
        return -1;
    }
    if (rename(old, aside) != 0)
        return -1;
    if (rename_new(fresh, old) != 0) {
        const int number = errno;
        (void)rename(aside, old);
        errno = number;
        return -1;
    }
    return rename(aside, fresh);
}

static int swap(const struct output *out) {
    const char *fresh = out->partial_dir, *old = out->final_dir;
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, old, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return -1;
#endif
    char *aside = output_aside(out);
    const int rc = swap_in_steps(fresh, old, aside);
    const int number = errno;
    free(aside);
    errno = number;
    return rc;
}

static void hint_kept(const struct output *out, llmq_error *err) {
    if (!out->claim.held)
        error_hint(err, "the result is complete in %s: rename it yourself", out->partial_dir);
    else if (out->resumable)
        error_hint(err,
                   "the result is complete in %s: move %s away and repeat the command with "
                   "--resume; --force too, if it is a result of llmq",
                   out->partial_dir, out->final_dir);
    else
        error_hint(err, "move it away, or choose another --out");
}

/* Overlay file systems do not rename folders of a lower layer. The old result goes before the new
 * one takes its name; killed in between, the new one is whole and --resume ends the run. */
static enum llmq_status make_way(struct output *out, struct claim *old, llmq_error *err) {
    enum llmq_status status = claim_remove_result(old, out->final_dir, err);
    if (status == LLMQ_OK && rename_new(out->partial_dir, out->final_dir) != 0) {
        status = error_output(err, "%s: cannot rename to %s", out->partial_dir, out->final_dir);
        claim_release(&out->claim); /* the only one left: nothing may discard it */
    }
    return status;
}

/* Change places with the old result, which is locked meanwhile and must be what was looked at. */
static enum llmq_status replace(struct output *out, struct claim *old, llmq_error *err) {
    enum llmq_status status = claim_take_result(out->final_dir, old, err);
    if (status != LLMQ_OK && status != LLMQ_E_MEMORY) {
        status = LLMQ_E_IO; /* it is not the command that is wrong */
        if (err)
            err->code = status;
        hint_kept(out, err);
    }
    if (status != LLMQ_OK)
        return status;
    if (swap(out) != 0)
        status = errno == EXDEV ? make_way(out, old, err)
                                : error_output(err, "%s: cannot change places with %s",
                                               out->partial_dir, out->final_dir);
    else if (!claim_is_at(old, out->partial_dir)) {
        (void)swap(out);
        status =
            error_set(err, LLMQ_E_IO, "%s changed while it was being replaced", out->final_dir);
    }
    if (status != LLMQ_OK) {
        llmq_error unsaid = {0};
        hint_kept(out, err);
        (void)(old->held && claim_finish(old, out->final_dir, &unsaid) == LLMQ_OK);
    }
    return status;
}

/* Give the finished folder its name; `old` is what it replaced, if anything. */
static enum llmq_status put_in_place(struct output *out, struct claim *old, llmq_error *err) {
    /* An empty folder gives way where it was seen before, or force allows it. */
    const bool over_empty = out->was_empty || out->force;
    if ((over_empty ? rename : rename_new)(out->partial_dir, out->final_dir) == 0)
        return LLMQ_OK;
    if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
        return error_output(err, "%s: cannot rename to %s", out->partial_dir, out->final_dir);
    if (out->force)
        return replace(out, old, err);
    error_set(err, LLMQ_E_IO, "%s appeared while the result was being made, and is not replaced",
              out->final_dir);
    hint_kept(out, err);
    return LLMQ_E_IO;
}

/* The result has its name, whatever fails from here on: everything is tried, what failed first is
 * told. */
static enum llmq_status tidy_up(struct output *out, struct claim *old, llmq_error *err) {
    llmq_error mine = {0};
    enum llmq_status status = path_sync_parent(out->final_dir, err);
    enum llmq_status found = claim_finish(&out->claim, out->final_dir, &mine);
    error_keep_first(&status, err, found, &mine);
    if (old->held) {
        found = claim_remove(old, out->partial_dir, &mine);
        error_keep_first(&status, err, found, &mine);
    }
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s is complete, but", out->final_dir);
        error_hint(err, "repeat the command with --resume to tidy up");
    }
    return status;
}

enum llmq_status output_commit(struct output *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct claim old = {0};
    if (!claim_is_at(&out->claim, out->partial_dir))
        return error_set(err, LLMQ_E_IO, "%s was moved or replaced meanwhile", out->partial_dir);
    LLMQ_TRY(dir_sync(out->partial_dir, err));
    LLMQ_TRY(claim_drop_record(&out->claim, out->partial_dir, err));
    LLMQ_TRY(put_in_place(out, &old, err));
    LLMQ_TRY(tidy_up(out, &old, err));

cleanup:
    claim_release(&old);
    return status;
}
