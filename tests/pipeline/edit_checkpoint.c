/* SPDX-License-Identifier: Apache-2.0 */
/* See edit_checkpoint.h. */
#include "edit_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/loaders/layout_load.h"
#include "formats/loaders/model_folder.h"
#include "graph/model.h"
#include "support.h"

static llmq_error err;

void edit_read(const char *dir, struct edit *e) {
    struct st_set *set = NULL;
    memset(e, 0, sizeof *e);
    ck_assert_ok(st_open_dir(dir, &set, &err), &err);
    for (size_t i = 0; i < st_count(set); i++) {
        const struct st_tensor *t = st_at(set, i);
        ck_assert_uint_lt(e->count, EDIT_MAX_TENSORS);
        struct st_spec *s = &e->specs[e->count];
        *s = (struct st_spec){strdup(t->name), t->dtype, t->rank, {0}};
        memcpy(s->shape, t->shape, sizeof s->shape);
        e->bytes[e->count] = (size_t)t->nbytes;
        e->data[e->count] = malloc((size_t)t->nbytes);
        ck_assert_ok(st_read(set, t, 0, (size_t)t->nbytes, e->data[e->count], &err), &err);
        e->count++;
    }
    st_close(&set);
}

static bool is_container(const char *name) {
    const char *dot = strstr(name, ".safetensors");
    return dot != NULL;
}

void edit_write(const char *dir, struct edit *e, uint64_t shard_limit) {
    struct dir_list list = {0};
    struct st_writer *w = NULL;
    ck_assert_ok(dir_list_read(dir, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++) {
        char *path = path_join(dir, list.names[i], &err);
        if (is_container(list.names[i]))
            ck_assert_int_eq(remove(path), 0);
        free(path);
    }
    dir_list_free(&list);
    ck_assert_ok(st_writer_create(dir, e->specs, e->count, shard_limit, &w, &err), &err);
    for (size_t i = 0; i < e->count; i++)
        ck_assert_ok(st_writer_put(w, e->specs[i].name, e->data[i], e->bytes[i], &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    for (size_t i = 0; i < e->count; i++) {
        free((char *)(uintptr_t)e->specs[i].name);
        free(e->data[i]);
    }
    e->count = 0;
}

static size_t find(const struct edit *e, const char *name) {
    size_t i = 0;
    while (i < e->count && strcmp(e->specs[i].name, name) != 0)
        i++;
    return i;
}

void *edit_data(struct edit *e, const char *name, size_t *bytes) {
    const size_t i = find(e, name);
    ck_assert_msg(i < e->count, "no tensor %s", name);
    if (bytes)
        *bytes = e->bytes[i];
    return e->data[i];
}

void edit_remove(struct edit *e, const char *name) {
    const size_t i = find(e, name);
    ck_assert_msg(i < e->count, "no tensor %s", name);
    free((char *)(uintptr_t)e->specs[i].name);
    free(e->data[i]);
    e->count--;
    e->specs[i] = e->specs[e->count];
    e->data[i] = e->data[e->count];
    e->bytes[i] = e->bytes[e->count];
}

void edit_put(struct edit *e, const char *name, enum dtype dtype, uint64_t rows, uint64_t columns,
              const void *data) {
    uint64_t bytes = 0;
    if (find(e, name) < e->count)
        edit_remove(e, name);
    ck_assert_uint_lt(e->count, EDIT_MAX_TENSORS);
    ck_assert(dtype_bytes(dtype, (rows ? rows : 1) * columns, &bytes));
    const size_t i = e->count++;
    e->specs[i] = (struct st_spec){strdup(name), dtype, rows ? 2 : 1, {rows ? rows : columns}};
    e->specs[i].shape[1] = rows ? columns : 0;
    e->bytes[i] = (size_t)bytes;
    e->data[i] = malloc((size_t)bytes);
    memcpy(e->data[i], data, (size_t)bytes);
}

void edit_take(const char *dir, const char *name) {
    struct edit e;
    edit_read(dir, &e);
    edit_remove(&e, name);
    edit_write(dir, &e, 1u << 30);
}

void edit_add(const char *dir, const char *name, enum dtype dtype, uint64_t rows, uint64_t columns,
              uint16_t first) {
    struct edit e;
    uint16_t *data = calloc((size_t)((rows ? rows : 1) * columns), 8);
    data[0] = first;
    edit_read(dir, &e);
    edit_put(&e, name, dtype, rows, columns, data);
    edit_write(dir, &e, 1u << 30);
    free(data);
}

void edit_poke(const char *dir, const char *name, const void *value, size_t size) {
    struct edit e;
    edit_read(dir, &e);
    memcpy(edit_data(&e, name, NULL), value, size);
    edit_write(dir, &e, 1u << 30);
}

void edit_rename(const char *dir, const char *from, const char *to) {
    struct edit e;
    edit_read(dir, &e);
    for (size_t i = 0; i < e.count; i++) {
        const char *old = e.specs[i].name;
        char name[256];
        if (strncmp(old, from, strlen(from)) != 0)
            continue;
        (void)snprintf(name, sizeof name, "%s%s", to, old + strlen(from));
        free((char *)(uintptr_t)old);
        e.specs[i].name = strdup(name);
    }
    edit_write(dir, &e, 1u << 30);
}

void edit_widen(struct edit *e, const char *name) {
    const size_t i = find(e, name);
    ck_assert_msg(i < e->count, "no tensor %s", name);
    const bool index = e->specs[i].dtype == DTYPE_I32;
    const size_t count = e->bytes[i] / (dtype_bits(e->specs[i].dtype) / 8);
    const size_t bytes = count * (index ? sizeof(int64_t) : sizeof(float));
    void *wide = malloc(bytes);
    for (size_t j = 0; index && j < count; j++)
        ((int64_t *)wide)[j] = ((const int32_t *)e->data[i])[j];
    if (!index)
        dtype_to_f32(e->specs[i].dtype, e->data[i], count, wide);
    free(e->data[i]);
    e->data[i] = wide;
    e->bytes[i] = bytes;
    e->specs[i].dtype = index ? DTYPE_I64 : DTYPE_F32;
}

void edit_decode(const char *dir, const char *module, struct qlinear *q) {
    struct model m = {0};
    ck_assert_ok(model_open(dir, &m, &err), &err);
    ck_assert_ok(layout_load(m.tensors, m.layout, &m.layout_config, module, q, &err), &err);
    model_close(&m);
}

static void remove_parts(struct edit *e, const struct layout *layout, const char *module) {
    char name[256];
    for (int i = 0; layout->suffixes[i]; i++) {
        snprintf(name, sizeof name, "%s.%s", module, layout->suffixes[i]);
        if (find(e, name) < e->count)
            edit_remove(e, name);
    }
}

void edit_encode(struct edit *e, const struct layout *layout, const char *module,
                 const struct qlinear *q) {
    const struct quant_shape shape = {q->n, q->k, q->bits, q->group, q->sym};
    struct layout_tensor tensors[LAYOUT_MAX_TENSORS];
    void *data[LAYOUT_MAX_TENSORS] = {0};
    remove_parts(e, layout, module);
    const int count = layout->tensors(&shape, tensors);
    for (int i = 0; i < count; i++) {
        uint64_t bytes = 0;
        const struct layout_tensor *t = &tensors[i];
        ck_assert(dtype_bytes(t->dtype, t->shape[0] * (t->rank == 2 ? t->shape[1] : 1), &bytes));
        data[i] = malloc((size_t)bytes);
    }
    ck_assert_ok(layout->encode(q, data, &err), &err);
    for (int i = 0; i < count; i++) {
        char name[256];
        const struct layout_tensor *t = &tensors[i];
        snprintf(name, sizeof name, "%s.%s", module, t->suffix);
        edit_put(e, name, t->dtype, t->rank == 2 ? t->shape[0] : 0,
                 t->rank == 2 ? t->shape[1] : t->shape[0], data[i]);
        free(data[i]);
    }
}

void edit_make_plain(struct edit *e, const struct layout *layout, const char *module,
                     const struct qlinear *q) {
    const size_t count = (size_t)(q->n * q->k);
    char name[256];
    float *w = malloc(count * sizeof *w);
    uint16_t *stored = malloc(count * sizeof *stored);
    remove_parts(e, layout, module);
    qlinear_dequantize(q, 0, q->n, w);
    dtype_from_f32(DTYPE_BF16, w, count, stored);
    snprintf(name, sizeof name, "%s.weight", module);
    edit_put(e, name, DTYPE_BF16, (uint64_t)q->n, (uint64_t)q->k, stored);
    free(w);
    free(stored);
}

void edit_text(const char *dir, const char *file, const char *old, const char *text) {
    char *path = path_join(dir, file, &err), *content = NULL;
    size_t len = 0;
    struct strbuf b = {0};
    ck_assert_ok(file_read(path, 1 << 24, &content, &len, &err), &err);
    const char *at = strstr(content, old);
    ck_assert_msg(at != NULL, "%s lacks '%s'", file, old);
    ck_assert_msg(strstr(at + 1, old) == NULL, "%s has '%s' twice", file, old);
    strbuf_append(&b, content, (size_t)(at - content));
    strbuf_puts(&b, text);
    strbuf_puts(&b, at + strlen(old));
    ck_assert_ok(file_write_atomic(path, b.data, b.len, &err), &err);
    strbuf_free(&b);
    free(content);
    free(path);
}

void edit_tie(const char *dir) {
    edit_text(dir, "config.json", "\"my_key\": 1.50",
              "\"my_key\": 1.50, \"tie_word_embeddings\": true");
}

void edit_move_config(const char *dir, const char *file) {
    char *path = path_join(dir, "config.json", &err), *content = NULL, *edited = NULL;
    struct json *root = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 24, &content, &len, &err), &err);
    ck_assert_ok(json_parse(content, len, "config.json", &root, &err), &err);
    char *object = json_print(json_get(root, "quantization_config"), true);
    ck_assert_ok(json_text_remove(content, len, "quantization_config", &edited, &err), &err);
    ck_assert_ok(file_write_atomic(path, edited, strlen(edited), &err), &err);
    if (file) {
        char *beside = path_join(dir, file, &err);
        ck_assert_ok(file_write_atomic(beside, object, strlen(object), &err), &err);
        free(beside);
    }
    json_free(&root);
    free(object);
    free(content);
    free(edited);
    free(path);
}
