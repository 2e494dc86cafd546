/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders: whole-file reads, positioned reads and writes that finish or fail, and
 * replacement that is atomic and durable. Paths are plain C strings. */
#ifndef LLMQ_BASE_FILEIO_H
#define LLMQ_BASE_FILEIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* "dir/name" as a fresh string the caller frees; NULL (and LLMQ_E_MEMORY) when memory is short. */
char *path_join(const char *dir, const char *name, llmq_error *err);

/* The part after the last slash; points into `path`. */
const char *path_base(const char *path);

/* Cut slashes and "/." from the end of a path. */
void path_trim(char *path);

bool path_is_dir(const char *path);
bool path_is_file(const char *path); /* follows symlinks */

/* What a path leads to, links followed. */
enum path_kind { PATH_ABSENT, PATH_FILE, PATH_FOLDER, PATH_OTHER };

/* Look at a path. Only a name that is not there is PATH_ABSENT. One that is there and cannot be
 * looked at (a link to nothing, a folder that may not be entered, a failing disk) is an error that
 * names it: it may hold what the caller would otherwise do without. */
LLMQ_NODISCARD enum llmq_status path_look(const char *path, enum path_kind *kind, llmq_error *err);

/* Is there such a file? What is no regular file is LLMQ_E_INPUT; else as path_look. */
LLMQ_NODISCARD enum llmq_status file_exists(const char *path, bool *exists, llmq_error *err);

/* Read a whole file of at most `max` bytes. *data is NUL-terminated (the NUL is not counted in
 * *len) and the caller frees it. */
LLMQ_NODISCARD enum llmq_status file_read(const char *path, size_t max, char **data, size_t *len,
                                          llmq_error *err);

/* An open file for positioned access. */
struct file {
    int fd;
    uint64_t size; /* at opening */
    char *path;    /* owned; for messages */
};

/* What is no regular file is LLMQ_E_INPUT, and is not waited for. */
LLMQ_NODISCARD enum llmq_status file_open_read(const char *path, struct file *f, llmq_error *err);

/* Create a new file for writing, `size` bytes reserved on disk so that a full disk is reported
 * before work starts. A file or link that has the name gives it up: it is never written into, and
 * what a link leads to stays as it is. For folders of our own. */
LLMQ_NODISCARD enum llmq_status file_create(const char *path, uint64_t size, struct file *f,
                                            llmq_error *err);

/* Open an existing file for reading and writing. */
LLMQ_NODISCARD enum llmq_status file_open_update(const char *path, struct file *f, llmq_error *err);

/* All `len` bytes at `offset`, or an error: a short file is LLMQ_E_IO; one that was long enough
 * when it was opened is LLMQ_E_INPUT, it is being written to. Thread-safe. */
LLMQ_NODISCARD enum llmq_status file_pread(const struct file *f, void *buf, size_t len,
                                           uint64_t offset, llmq_error *err);
LLMQ_NODISCARD enum llmq_status file_pwrite(const struct file *f, const void *buf, size_t len,
                                            uint64_t offset, llmq_error *err);

/* Let the system begin to read what will be wanted soon, or to write what was just given to it, and
 * return at once: the disk then works while the processor does. Wishes: failing changes nothing. */
void file_read_ahead(const struct file *f, uint64_t offset, uint64_t len);
void file_write_out(const struct file *f, uint64_t offset, uint64_t len);

LLMQ_NODISCARD enum llmq_status file_sync(const struct file *f, llmq_error *err);

/* Close and report what the system says. The file is closed either way; closing twice is fine. */
enum llmq_status file_close(struct file *f, llmq_error *err);

/* Write a file so that readers see the old content or the new, never a part: temporary file in the
 * same folder, fsync, rename, fsync of the folder. */
LLMQ_NODISCARD enum llmq_status file_write_atomic(const char *path, const void *data, size_t len,
                                                  llmq_error *err);

/* Copy a file's content (symlinks followed) to a regular file, fsynced. */
LLMQ_NODISCARD enum llmq_status file_copy(const char *from, const char *to, llmq_error *err);

/* Create a folder; `exist_ok` accepts one that is there. */
LLMQ_NODISCARD enum llmq_status dir_make(const char *path, bool exist_ok, llmq_error *err);
/* A fresh folder for temporary files that may be large, in $TMPDIR, /var/tmp or /tmp; the caller
 * removes it and frees the path. `what` it is for, in the error. NULL after one. */
char *dir_temporary(const char *what, llmq_error *err);
LLMQ_NODISCARD enum llmq_status dir_sync(const char *path, llmq_error *err);

/* Remove a folder and everything in it. Absent is fine, also when parts of it vanish meanwhile.
 * Links are removed, never followed; one in place of the folder, or a file, is LLMQ_E_IO, and so is
 * a file system mounted inside, which stays. */
LLMQ_NODISCARD enum llmq_status dir_remove(const char *path, llmq_error *err);

/* The same for what is in the open folder `fd`, but for the names in `keep` (ends in NULL) at its
 * top. `path` names it in messages. */
LLMQ_NODISCARD enum llmq_status dir_clear(int fd, const char *path, const char *const *keep,
                                          llmq_error *err);

/* Open a folder itself, not one that a link leads to; -1 and errno as open(2). */
int dir_open(const char *path);

/* Why this folder, open as `fd`, can be neither renamed nor removed, whoever asks: something is
 * mounted there, or it is marked immutable. NULL: nothing of the kind. */
const char *dir_fixed(int fd);

/* fsync the folder that holds `path`. */
LLMQ_NODISCARD enum llmq_status path_sync_parent(const char *path, llmq_error *err);

/* Rename and fsync the parent folder. */
LLMQ_NODISCARD enum llmq_status path_rename(const char *from, const char *to, llmq_error *err);

/* Names (not paths) of the entries of a folder, sorted by byte order, without "." and "..".
 * Release with dir_list_free. */
struct dir_list {
    char **names;
    size_t count;
};
LLMQ_NODISCARD enum llmq_status dir_list_read(const char *path, struct dir_list *list,
                                              llmq_error *err);
LLMQ_NODISCARD enum llmq_status dir_list_read_at(int fd, const char *path, struct dir_list *list,
                                                 llmq_error *err);
void dir_list_free(struct dir_list *list);

#endif
