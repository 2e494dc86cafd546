/* SPDX-License-Identifier: Apache-2.0 */
/* See tiny_family.h. */
#include "gguf/tiny_family.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "graph/required.h"
#include "support.h"

enum { TENSORS_MOST = 256 };

struct list {
    char name[TENSORS_MOST][FAMILY_NAME_MAX];
    struct st_spec spec[TENSORS_MOST];
    size_t count;
};

static enum llmq_status add(void *context, const struct required *r, llmq_error *err) {
    struct list *l = context;
    (void)err;
    ck_assert_uint_lt(l->count, TENSORS_MOST);
    struct st_spec *s = &l->spec[l->count];
    memcpy(l->name[l->count], r->name, sizeof r->name);
    *s = (struct st_spec){l->name[l->count++], DTYPE_F32, r->rank, {0}};
    memcpy(s->shape, r->shape, (size_t)r->rank * sizeof *s->shape);
    return LLMQ_OK;
}

static void put_random(struct st_writer *w, const struct st_spec *s, uint64_t *state) {
    llmq_error err = {0};
    const bool norm = s->rank == 1 && strstr(s->name, "norm") && strstr(s->name, ".weight");
    const size_t k = s->rank > 1 ? (size_t)s->shape[s->rank - 1] : 1;
    const size_t count = (size_t)s->shape[0] * k;
    float *values = calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        const float u = (float)((double)(random_next(state) >> 40) * 0x1p-23 - 1.0);
        values[i] = s->rank == 1 ? 0.2f * u + (norm ? 1.0f : 0.0f) : u * sqrtf(6.0f / (float)k);
    }
    ck_assert_ok(st_writer_put(w, s->name, values, count * sizeof *values, &err), &err);
    free(values);
}

/* What must be in a folder that has nothing yet. */
static void list_tensors(const char *text, struct list *l) {
    llmq_error err = {0};
    struct json *json = NULL;
    struct model_config c;
    struct blocks *b = NULL;
    struct st_writer *w = NULL;
    struct st_set *nothing = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, &err), &err);
    ck_assert_ok(config_parse(json, &c, &err), &err);
    ck_assert_ok(blocks_create(&c, &b, &err), &err);
    ck_assert_ok(dir_make(scratch_path("nothing"), true, &err), &err);
    ck_assert_ok(st_writer_create(scratch_path("nothing"), NULL, 0, 1, &w, &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_file(scratch_path("nothing/model.safetensors"), &nothing, &err), &err);
    const struct required_of of = {b, nothing, NULL};
    ck_assert_ok(required_each(&of, add, l, &err), &err);
    st_close(&nothing);
    blocks_free(&b);
    config_free(&c);
    json_free(&json);
}

void tiny_family_write(const char *dir, const char *config, uint64_t seed) {
    static struct list list;
    llmq_error err = {0};
    struct st_writer *w = NULL;
    uint64_t state = seed;
    list.count = 0;
    list_tensors(config, &list);
    ck_assert_ok(dir_make(dir, true, &err), &err);
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(file_write_atomic(path, config, strlen(config), &err), &err);
    free(path);
    ck_assert_ok(st_writer_create(dir, list.spec, list.count, 1u << 30, &w, &err), &err);
    for (size_t i = 0; i < list.count; i++)
        put_random(w, &list.spec[i], &state);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
}
