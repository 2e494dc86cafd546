/* SPDX-License-Identifier: Apache-2.0 */
/* See reference_file.h. */
#include "api/reference_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/measure.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"

#define FORMAT  "llmq-reference"
#define VERSION "1"

/* How the header of such a file begins, behind its length. */
static const char beginning[] = "{\"__metadata__\":{\"format\":\"" FORMAT "\"";

/* The tensors in the order in which they lie in the file. */
struct part {
    const char *name;
    enum dtype dtype;
    const void *data;
    uint64_t count;
};
enum { PARTS = 6 };

static void list_parts(const struct reference_file *f, uint64_t byte_count,
                       struct part parts[PARTS]) {
    const uint64_t tokens = (uint64_t)f->kept.tokens;
    const struct part list[PARTS] = {
        {"offsets", DTYPE_I64, f->corpus.offsets, (uint64_t)f->corpus.count + 1},
        {"logprobs", DTYPE_F32, f->kept.logprobs, tokens},
        {"tails", DTYPE_F32, f->kept.tails, tokens},
        {"tops", DTYPE_I32, f->kept.tops, tokens},
        {"ids", DTYPE_I32, f->corpus.ids, tokens},
        {"entries", DTYPE_U8, f->kept.bytes, byte_count},
    };
    memcpy(parts, list, sizeof list);
}

static size_t part_bytes(const struct part *p) {
    return (size_t)p->count * dtype_bits(p->dtype) / 8;
}

/* Tells a file that changed on its way. */
static uint64_t hash_of(const struct part parts[PARTS]) {
    uint64_t hash = HASH_INIT;
    for (int i = 0; i < PARTS; i++)
        hash = hash_array(hash, parts[i].data, part_bytes(&parts[i]));
    return hash;
}

uint64_t reference_vocabulary(const struct tokenizer *tok) {
    const int32_t size = tokenizer_vocab_size(tok);
    uint64_t hash = HASH_INIT;
    for (int32_t id = 0; id < size; id++) {
        const char *text = tokenizer_token(tok, id);
        hash = hash_word(hash, tokenizer_token_length(tok, id));
        hash = hash_bytes(hash, text ? text : "", tokenizer_token_length(tok, id));
    }
    return hash ? hash : 1;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_hex(struct json *o, const char *key, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    json_add_string(o, key, text);
}

static void add_number(struct json *o, const char *key, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    json_add_string(o, key, text);
}

/* Metadata of safetensors files are strings. */
static struct json *metadata_of(const struct reference_file *f, const struct part *parts) {
    struct json *o = json_new_object();
    json_add_string(o, "format", FORMAT);
    json_add_string(o, "version", VERSION);
    json_add_string(o, "model", f->model);
    add_number(o, "model_bytes", f->model_bytes);
    add_number(o, "vocab", (uint64_t)f->kept.vocab);
    add_number(o, "density", KEPT_DENSITY);
    add_hex(o, "vocabulary", f->vocabulary);
    json_add_string(o, "convention", measure_convention_name(f->convention));
    add_hex(o, "hash", hash_of(parts));
    return o;
}

static enum llmq_status write_head(const struct reference_file *f, const struct part *parts,
                                   struct strbuf *head, llmq_error *err) {
    struct json *root = json_new_object();
    uint64_t at = 0;
    json_add(root, "__metadata__", metadata_of(f, parts));
    for (int i = 0; i < PARTS; i++) {
        struct json *o = json_new_object(), *shape = json_new_array(), *where = json_new_array();
        json_add_int64(shape, NULL, (int64_t)parts[i].count);
        json_add_int64(where, NULL, (int64_t)at);
        at += part_bytes(&parts[i]);
        json_add_int64(where, NULL, (int64_t)at);
        json_add_string(o, "dtype", dtype_name(parts[i].dtype));
        json_add(o, "shape", shape);
        json_add(o, "data_offsets", where);
        json_add(root, parts[i].name, o);
    }
    char *text = json_print(root, false);
    json_free(&root);
    if (!text)
        return error_memory(err, "a reference's header");
    const size_t len = strlen(text), padded = (len + 7) / 8 * 8;
    const uint64_t length = padded;
    strbuf_append(head, (const char *)&length, sizeof length);
    strbuf_printf(head, "%-*s", (int)padded, text);
    free(text);
    return strbuf_ok(head) ? LLMQ_OK : error_memory(err, "a reference's header");
}

enum llmq_status reference_file_write(struct output_file *place, const struct reference_file *f,
                                      llmq_error *err) {
    struct part parts[PARTS];
    struct strbuf head = {0};
    enum llmq_status status = LLMQ_OK;
    list_parts(f, f->kept.begins[f->kept.tokens], parts);
    LLMQ_TRY(write_head(f, parts, &head, err));
    LLMQ_TRY(output_file_begin(place, err));
    LLMQ_TRY(output_file_put(place, head.data, head.len, err));
    for (int i = 0; i < PARTS; i++)
        LLMQ_TRY(output_file_put(place, parts[i].data, part_bytes(&parts[i]), err));
    LLMQ_TRY(output_file_finish(place, err));
cleanup:
    strbuf_free(&head);
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */

enum llmq_status reference_file_look(const char *path, bool *is, llmq_error *err) {
    char bytes[sizeof(uint64_t) + sizeof beginning - 1];
    enum path_kind kind = PATH_ABSENT;
    struct file f = {.fd = -1};
    enum llmq_status status = LLMQ_OK;
    *is = false;
    LLMQ_TRY(path_look(path, &kind, err));
    if (kind != PATH_FILE)
        return LLMQ_OK;
    LLMQ_TRY(file_open_read(path, &f, err));
    if (f.size < sizeof bytes)
        goto cleanup;
    LLMQ_TRY(file_pread(&f, bytes, sizeof bytes, 0, err));
    *is = memcmp(bytes + sizeof(uint64_t), beginning, sizeof beginning - 1) == 0;
cleanup:
    (void)file_close(&f, NULL);
    return status;
}

/* A number of the metadata; false when it is none, or not in [least, most]. */
static bool metadata_number(const struct st_set *set, const char *key, int base, uint64_t most,
                            uint64_t *out) {
    const char *text = st_metadata(set, key);
    char *end = NULL;
    errno = 0;
    *out = text && *text ? strtoull(text, &end, base) : 0;
    return text && *text && *text != '-' && !*end && errno == 0 && *out <= most;
}

/* All but the model's name, which is there. */
static bool read_metadata(const struct st_set *set, struct reference_file *out, uint64_t *hash) {
    const char *model = st_metadata(set, "model"), *way = st_metadata(set, "convention");
    const char *llamacpp = measure_convention_name(LLMQ_CONVENTION_LLAMACPP);
    uint64_t vocab = 0, density = 0;
    if (!model || !way || !metadata_number(set, "vocab", 10, INT32_MAX, &vocab) || vocab == 0 ||
        !metadata_number(set, "model_bytes", 10, INT64_MAX, &out->model_bytes) ||
        !metadata_number(set, "density", 10, KEPT_DENSITY, &density) || density != KEPT_DENSITY ||
        !metadata_number(set, "vocabulary", 16, UINT64_MAX, &out->vocabulary) ||
        !metadata_number(set, "hash", 16, UINT64_MAX, hash))
        return false;
    out->kept.vocab = (int64_t)vocab;
    out->convention = strcmp(way, llamacpp) == 0 ? LLMQ_CONVENTION_LLAMACPP : LLMQ_CONVENTION_GPTQ;
    return true;
}

/* `count` 0: as many elements as there are, at least one. */
static enum llmq_status read_part(const struct st_set *set, struct part *p, struct arena *arena,
                                  llmq_error *err) {
    const struct st_tensor *t = st_find(set, p->name);
    if (!t || t->dtype != p->dtype || t->rank != 1 || t->shape[0] == 0 ||
        (p->count && t->shape[0] != p->count))
        return error_set(err, LLMQ_E_INPUT, "its tensor %s is missing, or not of that size",
                         p->name);
    void *data = arena_alloc(arena, (size_t)t->nbytes, 1, err);
    if (!data)
        return LLMQ_E_MEMORY;
    p->count = t->shape[0];
    p->data = data;
    return st_read(set, t, 0, (size_t)t->nbytes, data, err);
}

/* A copy that is freed by itself; NULL when memory is short. */
static void *own_copy(const struct part *p) {
    void *copy = malloc(part_bytes(p));
    return copy ? memcpy(copy, p->data, part_bytes(p)) : NULL;
}

static void *of_arena(const struct part *p) {
    return (void *)(uintptr_t)p->data;
}

static enum llmq_status read_parts(const struct st_set *set, struct reference_file *f,
                                   uint64_t hash, uint64_t *byte_count, llmq_error *err) {
    struct part parts[PARTS];
    enum llmq_status status = LLMQ_OK;
    list_parts(f, 0, parts);
    for (int i = 0; i < PARTS; i++) {
        const bool more_of_tokens = i > 1 && i < PARTS - 1;
        parts[i].count = more_of_tokens ? parts[1].count : 0;
        LLMQ_TRY(read_part(set, &parts[i], f->kept.arena, err));
    }
    if (hash_of(parts) != hash)
        return error_set(err, LLMQ_E_INPUT, "it is damaged: its content is not what was written");
    f->kept.logprobs = of_arena(&parts[1]);
    f->kept.tails = of_arena(&parts[2]);
    f->kept.tops = of_arena(&parts[3]);
    f->kept.bytes = of_arena(&parts[5]);
    f->kept.tokens = f->corpus.tokens_used = (int64_t)parts[1].count;
    f->corpus.offsets = own_copy(&parts[0]);
    f->corpus.ids = own_copy(&parts[4]);
    f->corpus.count = (int64_t)parts[0].count - 1;
    f->corpus.bos = -1;
    *byte_count = parts[5].count;
    if (!f->corpus.offsets || !f->corpus.ids)
        return error_memory(err, "a kept reference's windows");
cleanup:
    return status;
}

/* Windows of two tokens at least, one after the other. */
static enum llmq_status check_windows(struct reference_file *f, llmq_error *err) {
    struct corpus *c = &f->corpus;
    bool sound = c->count > 0 && c->offsets[0] == 0 && c->offsets[c->count] == c->tokens_used;
    for (int64_t w = 0; sound && w < c->count; w++) {
        sound = c->offsets[w] >= 0 && c->offsets[w] <= c->tokens_used - 2 &&
                c->offsets[w + 1] >= c->offsets[w] + 2 && c->offsets[w + 1] <= c->tokens_used;
        if (sound && c->offsets[w + 1] - c->offsets[w] > c->max_len)
            c->max_len = c->offsets[w + 1] - c->offsets[w];
    }
    for (int64_t t = 0; sound && t < c->tokens_used; t++)
        sound = c->ids[t] >= 0 && c->ids[t] < f->kept.vocab;
    return sound ? LLMQ_OK : error_set(err, LLMQ_E_INPUT, "its windows of tokens are none");
}

enum llmq_status reference_file_read(const char *path, struct reference_file *out,
                                     llmq_error *err) {
    struct st_set *set = NULL;
    uint64_t hash = 0, byte_count = 0;
    enum llmq_status status = LLMQ_OK;
    *out = (struct reference_file){0};
    status = st_open_file(path, &set, err);
    if (status != LLMQ_OK)
        return status;
    const char *version = st_metadata(set, "version");
    if (!version || strcmp(version, VERSION) != 0)
        LLMQ_TRY(error_set(err, LLMQ_E_UNSUPPORTED,
                           "expected version " VERSION " of kept references, found %s",
                           version ? version : "none"));
    LLMQ_TRY(arena_create("a kept reference", &out->kept.arena, err));
    if (!read_metadata(set, out, &hash))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT, "its metadata are not those of a kept reference"));
    out->model = strdup(st_metadata(set, "model"));
    if (!out->model)
        LLMQ_TRY(error_memory(err, "a kept reference"));
    LLMQ_TRY(read_parts(set, out, hash, &byte_count, err));
    LLMQ_TRY(check_windows(out, err));
    LLMQ_TRY(kept_check(&out->kept, byte_count, &out->corpus, err));
cleanup:
    st_close(&set);
    if (status != LLMQ_OK)
        status = error_prefix(err, status, "%s", path);
    if (status == LLMQ_E_INPUT || status == LLMQ_E_UNSUPPORTED)
        error_hint(err, "make it again with llmq compare --save-reference");
    return status;
}

void reference_file_free(struct reference_file *f) {
    kept_free(&f->kept);
    corpus_free(&f->corpus);
    free(f->model);
    *f = (struct reference_file){0};
}
