/* SPDX-License-Identifier: Apache-2.0 */
/* The ONNX models beside the tensors of the ONNX layout, read back with a reader of their own:
 * what they say of the operator, and that their constants are the bytes of the tensors. */
#include "layout_modules.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"

static llmq_error err;

/* A module and its tensors. */
static struct qlinear sound;
static struct encoded file;

static void setup(void) {
    uint64_t seed = 20261125;
    scratch_setup();
    random_module(&(struct module_shape){8, 192, 96, 4, false, 0}, &seed, &sound);
    encode(&layout_onnx, &sound, &file);
}

static void teardown(void) {
    qlinear_free(&sound);
    encoded_free(&file);
    scratch_teardown();
}

/* --- reading messages ------------------------------------------------------------------------- */

/* A message's bytes, or the value of an integer field. */
struct value {
    const uint8_t *bytes;
    size_t len;
    uint64_t number;
};

static uint64_t read_varint(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        ck_assert(*at < end);
        ck_assert_int_lt(shift, 64);
        const uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
}

/* The `index`-th value of a field; the test fails unless the message has it and is well formed. */
static struct value get(struct value message, unsigned field, int index) {
    const uint8_t *at = message.bytes, *end = at + message.len;
    while (at < end) {
        const uint64_t key = read_varint(&at, end);
        struct value v = {.number = read_varint(&at, end)};
        ck_assert(key % 8 == 0 || key % 8 == 2);
        if (key % 8 == 2) {
            ck_assert_uint_le(v.number, (uint64_t)(end - at));
            v.bytes = at;
            v.len = (size_t)v.number;
            at += v.len;
        }
        if (key / 8 == field && index-- == 0)
            return v;
    }
    ck_abort_msg("field %u is absent", field);
    return (struct value){0};
}

static void assert_text(struct value v, const char *expected) {
    ck_assert_uint_eq(v.len, strlen(expected));
    ck_assert_mem_eq(v.bytes, expected, v.len);
}

/* --- the parts of a model --------------------------------------------------------------------- */

/* external_data: keys and values in order. */
static void assert_entry(struct value tensor, int index, const char *key, const char *expected) {
    const struct value entry = get(tensor, 13, index);
    assert_text(get(entry, 1, 0), key);
    assert_text(get(entry, 2, 0), expected);
}

/* Initializer `index` of a graph names the bytes that the safetensors header gives `name`. */
static void assert_initializer(struct value graph, int index, const struct st_tensor *t,
                               const char *location, const int64_t *dims, int rank) {
    const struct value tensor = get(graph, 5, index);
    char number[32];
    for (int i = 0; i < rank; i++)
        ck_assert_uint_eq(get(tensor, 1, i).number, (uint64_t)dims[i]);
    ck_assert_uint_eq(get(tensor, 2, 0).number, t->dtype == DTYPE_F32 ? 1 : 2);
    assert_text(get(tensor, 8, 0), t->name);
    assert_entry(tensor, 0, "location", location);
    snprintf(number, sizeof number, "%" PRIu64, t->begin);
    assert_entry(tensor, 1, "offset", number);
    snprintf(number, sizeof number, "%" PRIu64, t->nbytes);
    assert_entry(tensor, 2, "length", number);
    ck_assert_uint_eq(get(tensor, 14, 0).number, 1);
    assert_text(get(get(graph, 1, 0), 1, 1 + index), t->name); /* input of the node */
}

static void assert_attribute(struct value node, int index, const char *name, uint64_t expected) {
    const struct value attribute = get(node, 5, index);
    assert_text(get(attribute, 1, 0), name);
    ck_assert_uint_eq(get(attribute, 3, 0).number, expected);
    ck_assert_uint_eq(get(attribute, 20, 0).number, 2);
}

/* float32 [rows, columns]. */
static void assert_value(struct value graph, unsigned field, const char *name, uint64_t columns) {
    const struct value v = get(graph, field, 0), tensor = get(get(v, 2, 0), 1, 0);
    assert_text(get(v, 1, 0), name);
    ck_assert_uint_eq(get(tensor, 1, 0).number, 1);
    assert_text(get(get(get(tensor, 2, 0), 1, 0), 2, 0), "rows");
    ck_assert_uint_eq(get(get(get(tensor, 2, 0), 1, 1), 1, 0).number, columns);
}

/* --- a checkpoint ----------------------------------------------------------------------------- */

static const char *const module_names[] = {"a.q_proj", "a.k_proj"};

/* Both modules are `sound`, in files of at most `limit` bytes. */
static struct st_set *write_checkpoint(uint64_t limit) {
    struct st_spec specs[8];
    char names[8][32];
    struct st_writer *w = NULL;
    struct st_set *tensors = NULL;
    for (int i = 0; i < 8; i++) {
        const struct layout_tensor *t = &file.tensors[i % 4];
        snprintf(names[i], sizeof names[i], "%s.%s", module_names[i / 4], t->suffix);
        specs[i] = (struct st_spec){names[i], t->dtype, t->rank, {t->shape[0], t->shape[1]}};
    }
    ck_assert_ok(st_writer_create(scratch, specs, 8, limit, &w, &err), &err);
    for (int i = 0; i < 8; i++)
        ck_assert_ok(
            st_writer_put(w, names[i], file.bytes[i % 4], (size_t)file.data[i % 4].nbytes, &err),
            &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &tensors, &err), &err);
    return tensors;
}

static const struct st_tensor *find(const struct st_set *tensors, const char *module,
                                    const char *suffix) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", module, suffix);
    return st_find(tensors, name);
}

static void check_model(const struct st_set *tensors, const char *module) {
    char name[64], *data = NULL;
    size_t len = 0;
    snprintf(name, sizeof name, "%s.onnx", module);
    ck_assert_ok(file_read(scratch_path(name), 1 << 20, &data, &len, &err), &err);
    const struct value model = {.bytes = (const uint8_t *)data, .len = len};
    const struct value graph = get(model, 7, 0), node = get(graph, 1, 0);
    const char *const suffixes[] = {"B", "scales", "zero_points"};
    const int64_t dims[3][3] = {{8, 6, 16}, {8, 6, 0}, {8, 3, 0}};
    for (int i = 0; i < 3; i++) {
        const struct st_tensor *t = find(tensors, module, suffixes[i]);
        assert_initializer(graph, i, t, path_base(st_shard_path(tensors, t->shard)), dims[i],
                           i == 0 ? 3 : 2);
    }
    assert_text(get(graph, 2, 0), module);
    assert_text(get(node, 4, 0), "MatMulNBits");
    assert_text(get(node, 7, 0), "com.microsoft");
    assert_attribute(node, 0, "K", 192);
    assert_attribute(node, 1, "N", 8);
    assert_attribute(node, 2, "bits", 4);
    assert_attribute(node, 3, "block_size", 32);
    assert_attribute(node, 4, "accuracy_level", 1);
    assert_value(graph, 11, "A", 192);
    assert_value(graph, 12, "Y", 8);
    assert_text(get(get(model, 8, 1), 1, 0), "com.microsoft");
    ck_assert_uint_eq(get(get(model, 8, 1), 2, 0).number, 1);
    free(data);
}

START_TEST(models_point_at_the_bytes_of_their_tensors) {
    const uint64_t limits[] = {UINT64_MAX, 900}; /* one file, then several */
    for (int i = 0; i < 2; i++) {
        struct st_set *tensors = write_checkpoint(limits[i]);
        struct layout_module modules[2];
        for (int m = 0; m < 2; m++)
            modules[m] = (struct layout_module){
                module_names[m], {.n = 8, .k = 192, .bits = 4, .group = 96, .sym = false}};
        ck_assert_ok(layout_onnx.write_beside(scratch, tensors, modules, 2, &err), &err);
        for (int m = 0; m < 2; m++)
            check_model(tensors, module_names[m]);
        ck_assert_int_eq(st_shard_count(tensors) > 1, i);
        modules[1].name = "a.v_proj";
        ck_assert_fails(layout_onnx.write_beside(scratch, tensors, modules, 2, &err), LLMQ_E_INPUT,
                        "a.v_proj: expected its tensors", &err);
        st_close(&tensors);
        if (i == 0)
            ck_assert_int_eq(remove(scratch_path("model.safetensors")), 0);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("onnx model");
    TCase *tests = tcase_create("models");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, models_point_at_the_bytes_of_their_tensors);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
