/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzing the GGUF reader: a program that mutates a known file for a bounded number of rounds. A
 * file that is accepted has to satisfy what readers rely on. Arguments are files to replay. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "formats/gguf/gguf_file.h"
#include "formats/safetensors/safetensors.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "broken promise: %s\n", #condition);                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { ROUNDS = 50000, MOST = 4096 };

/* Tensors lie in the file in order, can be read whole and are found by name. */
static void check_set(const struct st_set *set, uint64_t size) {
    static unsigned char data[1 << 16];
    uint64_t end = 0;
    for (size_t i = 0; i < st_count(set); i++) {
        const struct st_tensor *t = st_at(set, i);
        MUST(t->begin >= end && t->begin + t->nbytes <= size && t->nbytes <= sizeof data);
        MUST(st_find(set, t->name) == t);
        MUST(st_read(set, t, 0, (size_t)t->nbytes, data, NULL) == LLMQ_OK);
        end = t->begin + t->nbytes;
    }
}

static bool try_file(const char *path, uint64_t size) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    const enum llmq_status status = gguf_open_file(path, &set, &err);
    if (status == LLMQ_OK)
        check_set(set, size);
    else
        MUST(set == NULL && err.code == status && err.message[0] != '\0' &&
             (status == LLMQ_E_INPUT || status == LLMQ_E_UNSUPPORTED));
    st_close(&set);
    return status == LLMQ_OK;
}

/* A file with every kind of value and tensor. */
static size_t make_seed(const char *dir, unsigned char *out) {
    static const struct st_spec specs[] = {
        {"e.weight", DTYPE_F16, 2, {5, 8}}, {"q.blocks", DTYPE_Q4_0, 2, {8, 32}},
        {"k.bias", DTYPE_F32, 1, {4}},      {"up.blocks", DTYPE_Q8_0, 2, {2, 64}},
        {"norm.weight", DTYPE_F32, 1, {8}},
    };
    static const struct gguf_place places[] = {
        {.name = "token_embd.weight"},
        {.name = "blk.0.attn_q.blocks", .heads = 2},
        {.name = "blk.0.attn_k.bias", .heads = 1},
        {.name = "blk.0.ffn_up_exps.blocks", .parts = 1},
        {.name = "output_norm.weight", .plus_one = true},
    };
    struct gguf_metadata m = {0};
    struct st_writer *w = NULL;
    char *data = NULL, *path = path_join(dir, GGUF_FILE_NAME, NULL);
    size_t len = 0;
    gguf_metadata_begin(&m, "llama");
    gguf_put_u32(&m, "general.alignment", 32);
    gguf_put_bool(&m, "flag", true);
    gguf_put_f32(&m, ".eps", 1e-5);
    gguf_put_strings(&m, "tokens", (const char *const[]){"a", "b", ""}, 3);
    gguf_put_i32s(&m, "kinds", (const int32_t[]){1, 2, 3}, 3);
    const struct gguf_plan plan = {specs, places, sizeof specs / sizeof specs[0], &m};
    MUST(gguf_writer_create(dir, &plan, &w, NULL) == LLMQ_OK);
    st_writer_abort(&w);
    gguf_metadata_free(&m);
    MUST(file_read(path, MOST, &data, &len, NULL) == LLMQ_OK);
    memcpy(out, data, len);
    free(data);
    free(path);
    return len;
}

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Numbers near the edges, single bytes and bits, moved ranges, and cuts. */
static size_t mutate(unsigned char *bytes, size_t len, uint64_t *state) {
    static const uint64_t numbers[] = {0,          1,
                                       2,          3,
                                       30,         31,
                                       32,         33,
                                       63,         64,
                                       INT32_MAX,  UINT32_MAX,
                                       INT64_MAX,  (uint64_t)INT64_MAX + 1,
                                       UINT64_MAX, UINT64_MAX - 31};
    const uint64_t number = numbers[next(state) % (sizeof numbers / sizeof numbers[0])];
    const size_t at = next(state) % len, width = next(state) % 2 ? 8 : 4;
    switch (next(state) % 6) {
    case 0:
        memcpy(bytes + at, &number, at + width <= len ? width : len - at);
        return len;
    case 1:
        bytes[at] = (unsigned char)next(state);
        return len;
    case 2:
        bytes[at] ^= (unsigned char)(1 << next(state) % 8);
        return len;
    case 3:
        bytes[at] = (unsigned char)(bytes[at] + 1);
        return len;
    case 4: { /* a range over another place */
        const size_t to = next(state) % len, most = len - (at > to ? at : to);
        memmove(bytes + to, bytes + at, next(state) % 32 % (most + 1));
        return len;
    }
    default:
        return next(state) % 8 == 0 ? at + 1 : len;
    }
}

static int mutate_rounds(const char *dir, uint64_t state) {
    unsigned char seed[MOST], bytes[MOST];
    const size_t seed_len = make_seed(dir, seed);
    char *path = path_join(dir, "mutated.gguf", NULL);
    int accepted = 0;
    FILE *f = fopen(path, "wb");
    MUST(f);
    for (int round = 0; round < ROUNDS; round++) {
        size_t len = seed_len;
        memcpy(bytes, seed, len);
        for (uint64_t n = next(&state) % 3 + 1; n > 0; n--)
            len = mutate(bytes, len, &state);
        rewind(f);
        MUST(fwrite(bytes, 1, len, f) == len && fflush(f) == 0);
        MUST(ftruncate(fileno(f), (off_t)len) == 0);
        accepted += try_file(path, len);
    }
    MUST(fclose(f) == 0);
    free(path);
    return accepted;
}

int main(int argc, char **argv) {
    const char *text = getenv("LLMQ_FUZZ_SEED");
    const uint64_t seed = text ? strtoull(text, NULL, 0) : 20261124;
    char dir[] = "/tmp/fuzz_gguf-XXXXXX";
    for (int i = 1; i < argc; i++)
        printf("%s: %s\n", argv[i], try_file(argv[i], UINT64_MAX) ? "accepted" : "refused");
    if (argc > 1)
        return EXIT_SUCCESS;
    MUST(mkdtemp(dir));
    const int accepted = mutate_rounds(dir, seed);
    MUST(dir_remove(dir, NULL) == LLMQ_OK);
    printf("seed %" PRIu64 ": %d of %d mutated files accepted\n", seed, accepted, (int)ROUNDS);
    /* Both outcomes have to occur, or the mutations test nothing. */
    return accepted > 0 && accepted < ROUNDS ? EXIT_SUCCESS : EXIT_FAILURE;
}
