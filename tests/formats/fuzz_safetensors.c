/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzing the safetensors header parser.
 *
 * Built with clang -fsanitize=fuzzer -DLLMQ_LIBFUZZER it is a libFuzzer target. Otherwise it is a
 * program: with file names it replays them, without it mutates known headers for a bounded number
 * of rounds. Either way a header that parses has to satisfy what readers rely on. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/safetensors/safetensors_private.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "broken promise: %s\n", #condition);                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The tensors tile [header, end of file) in order. */
static void check_table(const struct st_table *table, const struct st_header_source *source) {
    uint64_t end = ST_LENGTH_BYTES + source->len;
    for (size_t i = 0; i < table->count; i++) {
        const struct st_tensor *t = &table->tensors[i];
        uint64_t bytes = 0;
        MUST(t->begin == end && t->rank >= 0 && t->rank <= ST_MAX_RANK);
        MUST(st_tensor_bytes(t->dtype, t->shape, t->rank, &bytes, NULL) == LLMQ_OK);
        MUST(bytes == t->nbytes && strlen(t->name) <= ST_MAX_NAME);
        MUST(st_table_find(table, t->name) == t);
        end += t->nbytes;
    }
    MUST(end == ST_LENGTH_BYTES + source->len + source->data_bytes);
}

/* What was parsed, written again, parses to the same tensors. */
static void check_rewrite(const struct st_table *table, const struct st_header_source *source) {
    struct strbuf header = {0};
    struct st_table copy = {0}, again = {0};
    for (size_t i = 0; i < table->count; i++) {
        struct st_tensor t = table->tensors[i];
        t.begin -= ST_LENGTH_BYTES + source->len;
        MUST(st_table_add(&copy, &t, strdup(t.name), NULL) == LLMQ_OK);
    }
    st_header_format(copy.tensors, copy.count, &header);
    MUST(strbuf_ok(&header));
    const struct st_header_source second = {
        .path = "again", .text = header.data, .len = header.len, .data_bytes = source->data_bytes};
    MUST(st_header_parse(&second, &again, NULL) == LLMQ_OK);
    MUST(again.count == table->count);
    for (size_t i = 0; i < again.count; i++)
        MUST(strcmp(again.tensors[i].name, table->tensors[i].name) == 0 &&
             again.tensors[i].nbytes == table->tensors[i].nbytes);
    st_table_free(&again);
    st_table_free(&copy);
    strbuf_free(&header);
}

/* Two bytes of data size, then the header. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    llmq_error err = {0};
    struct st_table table = {0};
    if (size < 2)
        return 0;
    /* A copy of the exact size, so that reading past the end is seen. */
    char *text = malloc(size - 2 ? size - 2 : 1);
    MUST(text);
    memcpy(text, data + 2, size - 2);
    const struct st_header_source source = {.path = "fuzz",
                                            .text = text,
                                            .len = size - 2,
                                            .data_bytes = (uint64_t)data[0] | (uint64_t)data[1]
                                                                                  << 8};
    const enum llmq_status status = st_header_parse(&source, &table, &err);
    if (status == LLMQ_OK) {
        check_table(&table, &source);
        check_rewrite(&table, &source);
    } else {
        MUST(err.code == status && err.message[0] != '\0');
        MUST(status == LLMQ_E_UNSUPPORTED ||
             (status >= LLMQ_E_ST_HEADER_UTF8 && status <= LLMQ_E_ST_DUPLICATE_TENSOR));
    }
    st_table_free(&table);
    free(text);
    return status == LLMQ_OK ? 1 : 0;
}

#ifndef LLMQ_LIBFUZZER

enum { ROUNDS = 150000, MOST = 1024 };

static const char *const headers[] = {
    "{}",
    "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"I32\",\"shape\":[1,2],"
    "\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[8,12]}}",
    "{\"x\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[0,2]},\"\\u00e9\\ud83d\\ude00\":"
    "{\"data_offsets\":[2,12],\"shape\":[],\"dtype\":\"U8\",\"more\":[[{}],null,true,-1.5e3]}}",
    "{\"z\":{\"dtype\":\"BOOL\",\"shape\":[2,0],\"data_offsets\":[0,0]},\"y\":{\"dtype\":"
    "\"F6_E2M3\",\"shape\":[4,4],\"data_offsets\":[0,12]}}",
};
enum { HEADERS = sizeof headers / sizeof headers[0] };

/* Pieces that mean something to the parser. */
static const char *const pieces[] = {"18446744073709551615",
                                     "18446744073709551616",
                                     "-1",
                                     "1e3",
                                     "0",
                                     "\"a\"",
                                     "\"b\"",
                                     "\\u0000",
                                     "\\ud800",
                                     "\"__metadata__\":null,",
                                     "{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "\"",
                                     "\xff",
                                     "\xed\xa0\x80",
                                     "F8_E4M3",
                                     "[0,8]",
                                     "[8,12]",
                                     "null",
                                     " \n"};
enum { PIECES = sizeof pieces / sizeof pieces[0] };

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Replace [at, at + drop) of `text` by `piece`; texts that grow too long are cut. */
static size_t splice(char *text, size_t len, size_t at, size_t drop, const char *piece) {
    char tail[MOST];
    const size_t n = strlen(piece), rest = len - at - drop;
    if (at + n + rest > MOST)
        return len;
    memcpy(tail, text + at + drop, rest);
    memcpy(text + at, piece, n);
    memcpy(text + at + n, tail, rest);
    return at + n + rest;
}

static size_t mutate(char *text, size_t len, uint64_t *state) {
    const size_t at = len ? next(state) % len : 0;
    const size_t drop = len ? next(state) % 4 % (len - at + 1) : 0;
    const char digit[2] = {(char)('0' + next(state) % 10), '\0'};
    const char byte[2] = {(char)(1 + next(state) % 255), '\0'};
    switch (next(state) % 5) {
    case 0:
        return splice(text, len, at, drop, pieces[next(state) % PIECES]);
    case 1:
        return splice(text, len, at, len ? 1 : 0, byte);
    case 2:
        return splice(text, len, at, drop, "");
    case 3: /* digits become other digits: sizes and offsets that nearly fit */
        return len && text[at] >= '0' && text[at] <= '9' ? splice(text, len, at, 1, digit) : len;
    default:
        return next(state) % 16 == 0 ? at : len; /* truncation, rarely */
    }
}

/* Number of rounds whose header was accepted. */
static int mutate_rounds(uint64_t seed) {
    int accepted = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char input[2 + MOST];
        const char *header = headers[next(&seed) % HEADERS];
        size_t len = strlen(header);
        memcpy(input + 2, header, len);
        for (uint64_t n = next(&seed) % 4; n > 0; n--)
            len = mutate(input + 2, len, &seed);
        input[0] = (char)(next(&seed) % 8 ? 12 : next(&seed) % 16);
        input[1] = 0;
        accepted += LLVMFuzzerTestOneInput((const uint8_t *)input, 2 + len);
    }
    return accepted;
}

static int replay(const char *path) {
    llmq_error err = {0};
    char *data = NULL;
    size_t len = 0;
    if (file_read(path, ST_MAX_HEADER, &data, &len, &err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    printf("%s: %s\n", path,
           LLVMFuzzerTestOneInput((const uint8_t *)data, len) ? "accepted" : "refused");
    free(data);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    const char *text = getenv("LLMQ_FUZZ_SEED");
    const uint64_t seed = text ? strtoull(text, NULL, 0) : 20260825;
    int status = EXIT_SUCCESS;
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]) != EXIT_SUCCESS)
            status = EXIT_FAILURE;
    if (argc > 1)
        return status;
    const int accepted = mutate_rounds(seed);
    printf("seed %" PRIu64 ": %d of %d mutated headers accepted\n", seed, accepted, (int)ROUNDS);
    /* Both outcomes have to occur, or the mutations test nothing. */
    return accepted > 0 && accepted < ROUNDS ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
