/* SPDX-License-Identifier: Apache-2.0 */
/* See read_file.h. */
#include "cli/read_file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"

/* Read to the end of `stream` into memory the caller frees; a NUL is appended and not counted. */
static enum llmq_status read_stream(FILE *stream, const char *path, char **text, size_t *len,
                                    llmq_error *err) {
    size_t room = 1 << 16, used = 0;
    char *data = malloc(room);
    while (data) {
        used += fread(data + used, 1, room - used - 1, stream);
        if (used < room - 1)
            break;
        char *larger = room <= SIZE_MAX / 2 ? realloc(data, room * 2) : NULL;
        if (!larger)
            free(data);
        data = larger;
        room *= 2;
    }
    if (!data)
        return cli_fail(err, LLMQ_E_MEMORY, "%s: out of memory after %zu bytes", path, used);
    if (ferror(stream)) {
        free(data);
        return cli_fail_errno(err, path);
    }
    data[used] = '\0';
    *text = data;
    *len = used;
    return LLMQ_OK;
}

static enum llmq_status read_text(const char *path, char **text, size_t *len, llmq_error *err) {
    if (strcmp(path, "-") == 0)
        return read_stream(stdin, "standard input", text, len, err);
    FILE *file = fopen(path, "rb");
    if (!file)
        return cli_fail_errno(err, path);
    enum llmq_status status = read_stream(file, path, text, len, err);
    fclose(file);
    return status;
}

enum llmq_status cli_read_file(const char *path, const volatile sig_atomic_t *interrupt,
                               char **text, size_t *len, llmq_error *err) {
    enum llmq_status status = read_text(path, text, len, err);
    return status == LLMQ_E_IO && *interrupt ? cli_fail(err, LLMQ_E_INTERRUPTED, "interrupted")
                                             : status;
}
