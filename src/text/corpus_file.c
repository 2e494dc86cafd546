/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of corpus files: see corpus_file.h.
 *
 * What is refused here would otherwise be tokenized as it is: the bytes of a compressed file, the
 * braces of JSON, the commas of a table. */
#include "text/corpus_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json_check.h"
#include "base/lfs.h"
#include "base/strbuf.h"
#include "llmq/printable.h"
#include "text/bytes.h"
#include "text/utf8.h"

#define CORPUS_MAX_FILE ((uint64_t)4 << 30)

/* Bytes in which an encoding shows, those that are read to begin with, and those from which on more
 * room is asked for. */
#define SAMPLE ((size_t)256)
#define HEAD   ((size_t)64 << 10)
#define LITTLE ((size_t)1 << 20)

static enum llmq_status refuse(const struct corpus_file *f, const char *what, llmq_error *err) {
    error_set(err, LLMQ_E_INPUT,
              "%s: %s: expected UTF-8 text, one {\"text\": ...} a line, or a JSON array of arrays "
              "of token ids",
              f->path, what);
    return LLMQ_E_INPUT;
}

/* --- what is no text -------------------------------------------------------------------------- */

static const struct signature {
    size_t offset;
    const char *bytes;
    size_t len;
    const char *what;
    const char *hint; /* with %s for the file; NULL: none */
    bool is_text;     /* such a file may be UTF-8 as a whole; otherwise a text may begin so */
} signatures[] = {
    /* clang-format off */
    {0, "PAR1", 4, "a Parquet file", "convert it: python3 -c 'import pandas, sys; "
        "pandas.read_parquet(sys.argv[1]).to_json(\"text.jsonl\", orient=\"records\", lines=True)' %s",
        false},
    {0, "ARROW1", 6, "an Arrow file", "convert it: python3 -c 'import pandas, sys; "
        "pandas.read_feather(sys.argv[1]).to_json(\"text.jsonl\", orient=\"records\", lines=True)' %s",
        false},
    {0, "\x1f\x8b", 2, "compressed with gzip twice", "unpack it: gzip -dc %s > text.gz", false},
    {0, "\x28\xb5\x2f\xfd", 4, "compressed with Zstandard", "unpack it: zstd -dc %s > text", false},
    {0, "\xfd" "7zXZ", 6, "compressed with xz", "unpack it: xz -dc %s > text", false},
    {0, "BZh", 3, "compressed with bzip2", "unpack it: bzip2 -dc %s > text", false},
    {0, "\x04\x22\x4d\x18", 4, "compressed with LZ4", "unpack it: lz4 -dc %s > text", true},
    {0, "PK\x03\x04", 4, "a zip archive", "unpack it: unzip %s", true},
    {0, "7z\xbc\xaf\x27\x1c", 6, "a 7z archive", "unpack it: 7z x %s", false},
    {257, "ustar", 5, "a tar archive", "unpack it: tar -xf %s", false},
    {0, "%PDF-", 5, "a PDF file", "take out its text: pdftotext %s", true},
    {0, "{\\rtf", 5, "an RTF file", NULL, true},
    {0, "SQLite format 3", 16, "an SQLite database", NULL, false},
    {0, "\x93NUMPY", 6, "a NumPy array", NULL, false},
    {0, "\x89HDF\r\n", 6, "an HDF5 file", NULL, false},
    {0, "GGUF", 4, "a GGUF model", NULL, false},
    {0, "\x7f" "ELF", 4, "a program", NULL, false},
    {0, "\x89PNG", 4, "an image", NULL, false},
    {0, "\xff\xd8\xff", 3, "an image", NULL, false},
    /* clang-format on */
};

/* Has the head of the file nothing of what all kinds of binary files hold, NUL and bytes out of
 * place? Where more follows, its last character may be cut. */
static bool is_text(const struct corpus_file *f) {
    const size_t cut = f->ended ? 0 : 3;
    return !memchr(f->text, '\0', f->len) && utf8_first_invalid(f->text, f->len) + cut >= f->len;
}

void corpus_file_hint(const struct corpus_file *file, const char *hint, llmq_error *err) {
    const char *place = strstr(hint, "%s");
    struct strbuf b = {0};
    strbuf_append(&b, hint, place ? (size_t)(place - hint) : strlen(hint));
    if (place) {
        char *path = llmq_shell_quoted(file->path);
        strbuf_puts(&b, path ? path : file->path);
        free(path);
        strbuf_puts(&b, place + 2);
    }
    if (strbuf_ok(&b))
        error_hint(err, "%s", b.data);
    strbuf_free(&b);
}

static enum llmq_status check_signature(const struct corpus_file *f, llmq_error *err) {
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const struct signature *s = &signatures[i];
        if (f->len < s->offset + s->len || memcmp(f->text + s->offset, s->bytes, s->len) != 0 ||
            (!s->is_text && is_text(f)))
            continue;
        enum llmq_status status = refuse(f, s->what, err);
        if (s->hint)
            corpus_file_hint(f, s->hint, err);
        return status;
    }
    return LLMQ_OK;
}

/* UTF-16 or UTF-32 with a mark, or without one where Latin letters leave the other bytes of each
 * unit 0. */
static const char *wide_encoding(const struct corpus_file *f) {
    const unsigned char *p = (const unsigned char *)f->text;
    const size_t n = f->len < SAMPLE ? f->len / 4 * 4 : SAMPLE;
    size_t zeros[4] = {0, 0, 0, 0}; /* by position in 4 bytes */
    if (f->len >= 4 && (memcmp(p, "\xff\xfe\0\0", 4) == 0 || memcmp(p, "\0\0\xfe\xff", 4) == 0))
        return "UTF-32";
    if (f->len >= 2 && (memcmp(p, "\xff\xfe", 2) == 0 || memcmp(p, "\xfe\xff", 2) == 0))
        return "UTF-16";
    for (size_t i = 0; i < n; i++)
        zeros[i % 4] += p[i] == 0;
    const size_t even = zeros[0] + zeros[2], odd = zeros[1] + zeros[3], few = n / 16;
    if (odd > n / 4 && even <= few)
        return "UTF-16LE";
    if (even > n / 4 && odd <= few)
        return "UTF-16BE";
    if (n > 0 && zeros[3] == n / 4 && zeros[2] + few >= n / 4 && zeros[0] <= few)
        return "UTF-32LE";
    if (n > 0 && zeros[0] == n / 4 && zeros[1] + few >= n / 4 && zeros[3] <= few)
        return "UTF-32BE";
    return NULL;
}

static enum llmq_status check_encoding(const struct corpus_file *f, llmq_error *err) {
    const char *wide = wide_encoding(f);
    if (!wide)
        return LLMQ_OK;
    error_set(err, LLMQ_E_INPUT, "%s: the text is %s: expected UTF-8", f->path, wide);
    char hint[64];
    (void)snprintf(hint, sizeof hint, "convert it: iconv -f %s -t UTF-8 %%s > text", wide);
    corpus_file_hint(f, hint, err);
    return LLMQ_E_INPUT;
}

/* --- the stream ------------------------------------------------------------------------------- */

static enum llmq_status refuse_byte(const struct corpus_file *f, const char *at, llmq_error *err) {
    const unsigned long long offset = f->passed + (uint64_t)(at - f->data);
    if (*at == '\0') {
        error_set(err, LLMQ_E_INPUT, "%s: byte %llu is NUL: expected UTF-8 text, found binary data",
                  f->path, offset);
        error_hint(err, "a text with stray NUL bytes is mended by tr -d '\\000'");
        return LLMQ_E_INPUT;
    }
    error_set(err, LLMQ_E_INPUT, "%s: the text is not UTF-8: byte %llu is 0x%02x", f->path, offset,
              (unsigned)(unsigned char)*at);
    /* Latin-1 has no visible characters from 0x80 to 0x9f; this one has its quotation marks there.
     */
    corpus_file_hint(f,
                     "convert it, if it is Latin-1 or Windows' Western encoding: "
                     "iconv -f WINDOWS-1252 -t UTF-8 %s > text",
                     err);
    return LLMQ_E_INPUT;
}

/* What was read is at hand as far as it is sound; a character may be cut, if more follows. */
static enum llmq_status accept_bytes(struct corpus_file *f, llmq_error *err) {
    const char *from = f->text + f->len;
    const size_t count = f->filled - (size_t)(from - f->data);
    const char *nul = memchr(from, '\0', count);
    if (nul)
        return refuse_byte(f, nul, err);
    const size_t sound = utf8_first_invalid(from, count);
    f->len += sound;
    return sound == count || (!f->ended && count - sound < 4) ? LLMQ_OK
                                                              : refuse_byte(f, from + sound, err);
}

/* Room for `wanted` bytes at hand and one more. */
static enum llmq_status make_room(struct corpus_file *f, size_t wanted, llmq_error *err) {
    const size_t before = (size_t)(f->text - f->data);
    if (f->room - before > wanted + 1)
        return LLMQ_OK;
    if (before > 0) {
        memmove(f->data, f->text, f->filled - before);
        f->filled -= before;
        f->passed += before;
        f->text = f->data;
    }
    if (f->room > wanted + 1)
        return LLMQ_OK;
    const size_t room = wanted + 2;
    if (room > LITTLE) { /* what is made of a line or of windows takes as much again */
        enum llmq_status status =
            reading_room(f->limits, f->path, 3 * (uint64_t)(room - f->room), err);
        if (status != LLMQ_OK)
            return status;
    }
    char *data = realloc(f->data, room);
    if (!data)
        return error_memory(err, "a file");
    f->data = data;
    f->text = data;
    f->room = room;
    return LLMQ_OK;
}

static enum llmq_status read_on(struct corpus_file *f, llmq_error *err) {
    size_t got = 0;
    enum llmq_status status =
        bytes_read(f->bytes, f->data + f->filled, f->room - f->filled - 1, &got, err);
    if (status != LLMQ_OK)
        return status;
    f->ended = got == 0;
    f->filled += got;
    f->data[f->filled] = '\0';
    if (f->passed + f->filled <= CORPUS_MAX_FILE)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT, "%s: more than %llu bytes, at most as many are accepted",
                     f->path, (unsigned long long)CORPUS_MAX_FILE);
}

enum llmq_status corpus_file_want(struct corpus_file *f, size_t wanted, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    while (status == LLMQ_OK && f->len < wanted && !f->ended) {
        status = make_room(f, f->len + f->len / 2 + HEAD, err);
        if (status == LLMQ_OK)
            status = read_on(f, err);
        if (status == LLMQ_OK)
            status = accept_bytes(f, err);
    }
    return status;
}

enum llmq_status corpus_file_line(struct corpus_file *f, size_t at, size_t *len, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t seen = at;
    const char *end = memchr(f->text + seen, '\n', f->len - seen);
    while (status == LLMQ_OK && !end && !f->ended) {
        seen = f->len;
        status = corpus_file_want(f, f->len + 1, err);
        end = memchr(f->text + seen, '\n', f->len - seen);
    }
    *len = end ? (size_t)(end - f->text) + 1 - at : f->len - at;
    return status;
}

void corpus_file_skip(struct corpus_file *f, size_t count) {
    f->text += count;
    f->len -= count;
}

/* The first bytes, of which nothing is accepted yet. */
static enum llmq_status read_head(struct corpus_file *f, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    f->text = f->data;
    f->len = f->filled = 0;
    f->passed = 0;
    f->ended = false;
    bytes_close(&f->bytes);
    LLMQ_TRY(bytes_open(f->path, &f->bytes, err));
    LLMQ_TRY(make_room(f, HEAD, err));
    while (f->filled < HEAD && !f->ended)
        LLMQ_TRY(read_on(f, err));
    if (f->filled >= 3 && memcmp(f->data, "\xef\xbb\xbf", 3) == 0)
        f->text += 3;
cleanup:
    return status;
}

enum llmq_status corpus_file_rewind(struct corpus_file *f, llmq_error *err) {
    enum llmq_status status = read_head(f, err);
    return status == LLMQ_OK ? accept_bytes(f, err) : status;
}

/* --- kinds of text ---------------------------------------------------------------------------- */

/* Does the name end in one of the suffixes, in whatever case? */
static bool is_named(const struct corpus_file *f, const char *const *suffixes) {
    const char *dot = strrchr(path_base(f->path), '.');
    for (; dot && *suffixes; suffixes++)
        if (strcasecmp(dot + 1, *suffixes) == 0)
            return true;
    return false;
}

static bool is_json(const char *text, size_t len) {
    struct json_scan scan;
    json_scan_init(&scan, text, len, JSON_MAX_DEPTH);
    scan.nonfinite = true;
    return json_check(&scan, NULL) == LLMQ_OK;
}

/* The first byte from *at on that is not blank, which is at hand then; '\0' where there is none. */
static enum llmq_status find_begin(struct corpus_file *f, size_t *at, char *first,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *first = '\0';
    while (status == LLMQ_OK && *first == '\0') {
        if (*at < f->len)
            *at += strspn(f->text + *at, " \t\r\n");
        if (*at < f->len)
            *first = f->text[*at];
        else if (f->ended)
            break;
        else
            status = corpus_file_want(f, f->len + 1, err);
    }
    return status;
}

/* The length of the line from `at` on, which is at hand then. */
static enum llmq_status find_end(struct corpus_file *f, size_t at, size_t *len, llmq_error *err) {
    enum llmq_status status = corpus_file_line(f, at, len, err);
    *len -= *len > 0 && f->text[at + *len - 1] == '\n';
    return status;
}

/* The first two lines that are not blank are each a JSON object or array, or the only one is an
 * object. */
static enum llmq_status holds_lines(struct corpus_file *f, bool *holds, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t at = 0, len = 0;
    char before = '\0', first = '\0';
    *holds = false;
    for (int n = 0; n < 2; n++, at += len) {
        LLMQ_TRY(find_begin(f, &at, &first, err));
        *holds = first == '\0' ? before == '{' : first == '{' || first == '[';
        if (first == '\0' || !*holds)
            break;
        LLMQ_TRY(find_end(f, at, &len, err));
        *holds = is_json(f->text + at, len);
        if (!*holds)
            break;
        before = first;
    }
cleanup:
    return status;
}

/* All of a file that may be one JSON object or array. */
static enum llmq_status want_document(struct corpus_file *f, bool named, llmq_error *err) {
    const char first = f->text[strspn(f->text, " \t\r\n")];
    const bool may_be = named || first == '{' || first == '[';
    return may_be ? corpus_file_want(f, SIZE_MAX, err) : LLMQ_OK;
}

/* The whole is one JSON object or array. */
static bool is_document(const struct corpus_file *f) {
    const char first = f->text[strspn(f->text, " \t\r\n")];
    return (first == '{' || first == '[') && is_json(f->text, f->len);
}

/* JSON that is neither lines nor windows goes as windows: the error says what there is. */
static enum llmq_status find_kind(struct corpus_file *f, llmq_error *err) {
    static const char *const lines[] = {"jsonl", "jsonlines", "ndjson", NULL};
    static const char *const json[] = {"json", NULL}, *const tables[] = {"csv", "tsv", NULL};
    if (is_named(f, tables)) {
        enum llmq_status status = refuse(f, "a table", err);
        corpus_file_hint(f,
                         "give its column of text: python3 -c 'import pandas, sys; "
                         "pandas.read_csv(sys.argv[1]).to_json(\"text.jsonl\", "
                         "orient=\"records\", lines=True)' %s",
                         err);
        return status;
    }
    bool has_lines = false;
    enum llmq_status status = holds_lines(f, &has_lines, err);
    f->kind = has_lines || is_named(f, lines) ? CORPUS_LINES : CORPUS_TEXT;
    if (status != LLMQ_OK || has_lines)
        return status;
    status = want_document(f, is_named(f, json), err);
    if (status == LLMQ_OK && (is_named(f, json) || is_document(f)))
        f->kind = CORPUS_WINDOWS;
    return status;
}

enum llmq_status corpus_file_open(const char *path, const struct reading *limits,
                                  struct corpus_file *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct corpus_file f = {.path = strdup(path), .limits = limits};
    if (!f.path)
        return error_memory(err, "a path");
    LLMQ_TRY(read_head(&f, err));
    f.len = f.filled - (size_t)(f.text - f.data);
    if (f.len == 0) {
        status = error_set(err, LLMQ_E_INPUT, "%s: the file is empty", path);
        goto cleanup;
    }
    if (f.ended && f.len <= LFS_MAX_POINTER)
        LLMQ_TRY(lfs_check(path, f.text, f.len, err));
    LLMQ_TRY(check_signature(&f, err));
    LLMQ_TRY(check_encoding(&f, err));
    f.len = 0;
    LLMQ_TRY(accept_bytes(&f, err));
    LLMQ_TRY(find_kind(&f, err));
    *out = f;
    f = (struct corpus_file){0};
cleanup:
    corpus_file_free(&f);
    return status;
}

void corpus_file_free(struct corpus_file *file) {
    free(file->path);
    free(file->data);
    bytes_close(&file->bytes);
    *file = (struct corpus_file){0};
}
