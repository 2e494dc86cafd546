/* SPDX-License-Identifier: Apache-2.0 */
/* See layout_modules.h. */
#include "layout_modules.h"

#include <stdlib.h>
#include <string.h>

static llmq_error err;

static struct quant_shape shape_of(const struct qlinear *q) {
    return (struct quant_shape){
        .n = q->n, .k = q->k, .bits = q->bits, .group = q->group, .sym = q->sym};
}

void make_room(const struct layout *layout, const struct qlinear *q, struct encoded *e) {
    const struct quant_shape shape = shape_of(q);
    memset(e, 0, sizeof *e);
    const int count = layout->tensors(&shape, e->tensors);
    ck_assert_int_le(count, LAYOUT_MAX_TENSORS);
    for (int i = 0; i < count; i++) {
        const struct layout_tensor *t = &e->tensors[i];
        uint64_t bytes = 0;
        ck_assert(dtype_bytes(t->dtype, t->shape[0] * (t->rank == 2 ? t->shape[1] : 1), &bytes));
        e->bytes[i] = malloc((size_t)bytes);
        ck_assert_ptr_nonnull(e->bytes[i]);
        memset(e->bytes[i], 0xA5, (size_t)bytes);
        e->data[i] = (struct layout_data){*t, e->bytes[i], bytes};
    }
}

void encode(const struct layout *layout, const struct qlinear *q, struct encoded *e) {
    const struct quant_shape shape = shape_of(q);
    ck_assert_ok(layout->accepts(&shape, &err), &err);
    make_room(layout, q, e);
    ck_assert_ok(layout->encode(q, e->bytes, &err), &err);
}

void encoded_free(struct encoded *e) {
    for (int i = 0; i < LAYOUT_MAX_TENSORS; i++)
        free(e->bytes[i]);
}

void random_module(const struct module_shape *shape, uint64_t *seed, struct qlinear *q) {
    const int m = 1 << shape->bits, zmin = shape->zmin;
    ck_assert_ok(qlinear_alloc(shape->n, shape->k, shape->bits, shape->group, q, &err), &err);
    q->sym = shape->sym;
    for (int64_t i = 0; i < q->n * q->k; i++)
        q->codes[i] = (uint8_t)(random_next(seed) % (uint64_t)m);
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        q->scales[i] = (float)(1 + random_next(seed) % 1023) / 65536.0f;
        q->zeros[i] =
            (uint8_t)(q->sym ? m / 2 : zmin + (int)(random_next(seed) % (uint64_t)(m - zmin)));
    }
}

void golden_module(int bits, bool sym, struct qlinear *q) {
    const int m = 1 << bits;
    ck_assert_ok(qlinear_alloc(64, 256, bits, 64, q, &err), &err);
    q->sym = sym;
    for (int n = 0; n < 64; n++) {
        for (int k = 0; k < 256; k++)
            q->codes[n * 256 + k] = (uint8_t)((7 * n + 13 * k + (n * k) % 5) % m);
        for (int g = 0; g < 4; g++) {
            q->scales[n * 4 + g] = (float)(1 + (n + 3 * g) % 127) / 8192.0f;
            q->zeros[n * 4 + g] = (uint8_t)(sym ? m / 2 : 1 + (3 * n + 5 * g) % (m - 1));
        }
    }
}

void tiny_module(struct qlinear *q) {
    ck_assert_ok(qlinear_alloc(8, 8, 4, -1, q, &err), &err);
    q->sym = false;
    for (int n = 0; n < 8; n++) {
        for (int k = 0; k < 8; k++)
            q->codes[n * 8 + k] = (uint8_t)((n + 2 * k) % 16);
        q->scales[n] = 1.0f;
        q->zeros[n] = (uint8_t)(n + 1);
    }
}

struct layout_config config_of(const struct layout *layout, const struct qlinear *q) {
    return (struct layout_config){.bits = q->bits,
                                  .group = q->group == q->k ? -1 : q->group,
                                  .sym = q->sym,
                                  .zeros_minus_one = layout == &layout_gptq};
}

void check_equal(const struct qlinear *a, const struct qlinear *b) {
    ck_assert_int_eq(a->n, b->n);
    ck_assert_int_eq(a->k, b->k);
    ck_assert_int_eq(a->bits, b->bits);
    ck_assert_int_eq(a->group, b->group);
    ck_assert_int_eq(a->groups, b->groups);
    ck_assert_int_eq(a->number, b->number);
    ck_assert(a->sym == b->sym);
    ck_assert_mem_eq(a->codes, b->codes, (size_t)(a->n * a->k));
    ck_assert_mem_eq(a->scales, b->scales, (size_t)(a->n * a->groups) * sizeof *a->scales);
    ck_assert_mem_eq(a->zeros, b->zeros, (size_t)(a->n * a->groups));
    ck_assert_ptr_null(a->group_of);
    ck_assert_ptr_null(b->group_of);
}

void check_decodes_to(const struct layout *layout, const struct layout_config *config,
                      const struct encoded *e, const struct qlinear *q) {
    struct qlinear back;
    ck_assert_ok(layout->decode(config, e->data, &back, &err), &err);
    check_equal(q, &back);
    qlinear_free(&back);
}

void check_survives(const struct layout *layout, const struct module_shape *shape, uint64_t *seed) {
    struct qlinear q;
    struct encoded e;
    random_module(shape, seed, &q);
    encode(layout, &q, &e);
    const struct layout_config config = config_of(layout, &q);
    check_decodes_to(layout, &config, &e, &q);
    qlinear_free(&q);
    encoded_free(&e);
}

void check_hash(const struct encoded *e, int tensor, const char *expected) {
    char found[65];
    sha256_hex(e->bytes[tensor], (size_t)e->data[tensor].nbytes, found);
    ck_assert_str_eq(found, expected);
}
