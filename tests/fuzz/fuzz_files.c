/* SPDX-License-Identifier: Apache-2.0 */
/* Files for fuzz targets: see fuzz.h. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "tests/fuzz/fuzz.h"

enum { PATH_LEN = 512, NAME_LEN = 64, FILES_MOST = 12 };

static char dir[PATH_LEN];

static void remove_dir(void) {
    (void)!dir_remove(dir, NULL);
}

const char *fuzz_dir(void) {
    if (dir[0])
        return dir;
    const char *place = getenv("TMPDIR");
    if (!place)
        place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(dir, sizeof dir, "%s/llmq-fuzz-XXXXXX", place);
    MUST(mkdtemp(dir));
    atexit(remove_dir);
    return dir;
}

/* The path of a file there, valid until the next call. */
static const char *fuzz_path(const char *name) {
    static char path[PATH_LEN + NAME_LEN];
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    return path;
}

const char *fuzz_put(const char *name, const void *data, size_t len) {
    const char *path = fuzz_path(name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0);
    for (size_t done = 0; done < len;) {
        const ssize_t n = write(fd, (const char *)data + done, len - done);
        MUST(n > 0);
        done += (size_t)n;
    }
    close(fd);
    return path;
}

void fuzz_clear(void) {
    struct dir_list list;
    MUST(dir_list_read(fuzz_dir(), &list, NULL) == LLMQ_OK);
    for (size_t i = 0; i < list.count; i++)
        (void)unlink(fuzz_path(list.names[i]));
    dir_list_free(&list);
}

/* A name that cannot lead out of the folder. */
static int is_plain(const char *name) {
    return *name && name[0] != '.' && !strchr(name, '/');
}

void fuzz_unfold(const uint8_t *data, size_t len) {
    fuzz_clear();
    for (int files = 0; len > 0 && files < FILES_MOST; files++) {
        char head[NAME_LEN + 16] = "", name[NAME_LEN] = "";
        unsigned long long bytes = 0;
        const uint8_t *end = memchr(data, '\n', len);
        const size_t line = end ? (size_t)(end - data) : len;
        memcpy(head, data, line < sizeof head - 1 ? line : sizeof head - 1);
        data += end ? line + 1 : line;
        len -= end ? line + 1 : line;
        if (sscanf(head, "%63s %llu", name, &bytes) != 2 || !is_plain(name))
            return;
        const size_t take = bytes < len ? (size_t)bytes : len;
        fuzz_put(name, data, take);
        data += take;
        len -= take;
    }
}

void fuzz_check(enum llmq_status status, const llmq_error *err) {
    if (status == LLMQ_OK)
        return;
    MUST(err->code == status && err->message[0] != '\0');
    if (status == LLMQ_E_IO || status == LLMQ_E_INTERRUPTED || status == LLMQ_E_CHECK) {
        fprintf(stderr, "%s: %s\n", llmq_status_name(status), err->message);
        abort();
    }
}
