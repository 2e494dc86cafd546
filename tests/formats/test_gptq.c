/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the GPTQ layouts: golden vectors of the format description, zero points of both versions,
 * round trips, and what is refused. */
#include "layout_modules.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llmq_error err;
static uint64_t seed = 20260823; /* printed by main */

/* --- golden vectors --------------------------------------------------------------------------- */

static const struct {
    int bits;
    const char *qweight, *zeros_v1_sym, *zeros_v2_sym, *zeros_v1_asym, *zeros_v2_asym;
} vectors[] = {
    {2, "24782f33f2113b6a29b19e5ed84d2859ae3f1d6f156b89d28c28173a6b8e2895",
     "3d9eae666b06b1a975071aca838b4bb5f27a8324eb2ddab0c8eccd71ceae6b50",
     "693e5f0f347a5d70acbb7baaab9beb988301b3e9588e32c73d7dcdfb7b2c4604",
     "0d6a472455fa3f39d397e8e51eb7f732d45f739e73394e8cc86bc1ed6440c19e",
     "51f2282d24fcb54b2cbcf3feefbbf10eb6305c2c9348683ff9480a09c886760e"},
    {3, "d50124ce6c9462189a9609109368b8acd7094572b2c2f47a18560b12db158668",
     "3279730a2290f3d22269afaed942820e3826da8f183a22f6ddcb9ed68a36dde0",
     "7c7fba8b76a09271f4642f99201da231fdb01e13d0163a2b705a0c94e7feb55c",
     "962de65cbde8f199632b6c2425efc569684f37316e20e7e20d94c408cacc250b",
     "381a2af105cc5adb9c541cb83bd10f9fc67f318297f7ceb7cceecfea76562fb4"},
    {4, "aac6f2bf9fd3608b104b1dbc1baf8c68420b766b3a642f04b280293f01b8bc81",
     "d84a714f014043714e26aea7c3dd985ebea526d49e754c71b3d4aef640402bbb",
     "078d4a4542bc9ad5e4ec69d4ed68fc49ca3cdd86b6f755462c5686f6ed6bd2a0",
     "76b7f732528019baa9bec94768d96d71df8ce763226ab83449c27d9bbc0532a5",
     "b772c0edce28cd629dee14169f6d93ed516a2a409bca1a8ad976a9a370bacc73"},
    {8, "d6947d502fe26ab489e403e86103438f6d973484d47389d05b0b19edef79c13f",
     "22527f13f62eb6f2d8cdc5800222cebe9fec473fbab698764198b94d0ab81a5f",
     "5a5f307aa9ce504d9235634f15cf382e8914c49fbd8dd4d4c47136c917886f7b",
     "39be8178be05e85494b41a672b6f2457ee1f15cd9d2b210ee2f88098ed1d045b",
     "aef129ceaacc7714f47e4d2bfdffdff597191de9daf5bc40c3aff149b6561077"},
};
static const char golden_scales[] =
    "c676a2b043db2fa9390739ab07411864de0bd47258c60a4f5a2ff61c72a8e7c1";

START_TEST(sha256_of_abc_is_the_published_one) {
    char hash[65];
    sha256_hex("abc", 3, hash);
    ck_assert_str_eq(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

START_TEST(golden_vectors_are_reproduced) {
    const char *const zeros[2][2] = {
        {vectors[_i].zeros_v1_asym, vectors[_i].zeros_v1_sym},
        {vectors[_i].zeros_v2_asym, vectors[_i].zeros_v2_sym},
    };
    for (int version = 0; version < 2; version++)
        for (int sym = 0; sym < 2; sym++) {
            const struct layout *layout = version ? &layout_gptq_v2 : &layout_gptq;
            struct qlinear q;
            struct encoded e;
            golden_module(vectors[_i].bits, sym, &q);
            encode(layout, &q, &e);
            check_hash(&e, QWEIGHT, vectors[_i].qweight);
            check_hash(&e, QZEROS, zeros[version][sym]);
            check_hash(&e, SCALES, golden_scales);
            for (int k = 0; k < 256; k++)
                ck_assert_int_eq(((const int32_t *)e.bytes[G_IDX])[k], k / 64);
            const struct layout_config config = config_of(layout, &q);
            check_decodes_to(layout, &config, &e, &q);
            qlinear_free(&q);
            encoded_free(&e);
        }
}
END_TEST

/* --- zero points ------------------------------------------------------------------------------ */

/* Encoded module whose qzeros words the test replaces. */
static void decode_with_zeros(const struct layout *layout, int bits, bool sym, uint32_t word,
                              struct qlinear *back) {
    struct qlinear q;
    struct encoded e;
    random_module(&(struct module_shape){32, 32, -1, bits, sym, 1}, &seed, &q);
    encode(layout, &q, &e);
    for (uint64_t i = 0; i < e.data[QZEROS].nbytes / 4; i++)
        ((uint32_t *)e.bytes[QZEROS])[i] = word;
    const struct layout_config config = config_of(layout, &q);
    ck_assert_ok(layout->decode(&config, e.data, back, &err), &err);
    qlinear_free(&q);
    encoded_free(&e);
}

/* z = 0,5,8,8,8,8,8,8 as the tools store it that subtract in each field. */
START_TEST(a_v1_zero_of_all_ones_wraps_in_its_field_alone) {
    static const uint8_t expected[8] = {0, 5, 8, 8, 8, 8, 8, 8};
    struct qlinear back;
    decode_with_zeros(&layout_gptq, 4, false, 0x7777774F, &back);
    ck_assert_mem_eq(back.zeros, expected, 8);
    ck_assert(!back.sym);
    qlinear_free(&back);
    decode_with_zeros(&layout_gptq_v2, 4, false, 0x88888850, &back);
    ck_assert_mem_eq(back.zeros, expected, 8);
    qlinear_free(&back);
}
END_TEST

START_TEST(zero_ranges_keep_v1_clear_of_its_ambiguity) {
    int zmin = -1, zmax = -1;
    layout_gptq.zero_range(4, &zmin, &zmax);
    ck_assert_int_eq(zmin, 1);
    ck_assert_int_eq(zmax, 15);
    layout_gptq_v2.zero_range(3, &zmin, &zmax);
    ck_assert_int_eq(zmin, 0);
    ck_assert_int_eq(zmax, 7);
}
END_TEST

START_TEST(a_symmetric_file_of_the_other_version_is_recognised) {
    const struct layout *const layouts[] = {&layout_gptq, &layout_gptq_v2};
    struct qlinear q, back;
    struct encoded e;
    random_module(&(struct module_shape){64, 64, 32, 4, true, 1}, &seed, &q);
    for (int i = 0; i < 2; i++) {
        struct layout_config config = config_of(layouts[i], &q);
        encode(layouts[i], &q, &e);
        config.zeros_minus_one = !config.zeros_minus_one;
        ck_assert_fails(layouts[i]->decode(&config, e.data, &back, &err), LLMQ_E_INPUT,
                        "expected zero points of 8", &err);
        ck_assert_ptr_nonnull(strstr(err.hint, layouts[i]->name));
        encoded_free(&e);
    }
    qlinear_free(&q);
}
END_TEST

/* --- round trips ------------------------------------------------------------------------------ */

START_TEST(random_modules_survive) {
    static const struct {
        int64_t n, k, group;
    } shapes[] = {{32, 32, -1},  {32, 64, 32},   {64, 288, 96},  {96, 288, -1},
                  {160, 96, 48}, {512, 128, 64}, {32, 1056, 33}, {544, 4096, 128}};
    static const int widths[] = {2, 3, 4, 8};
    const int bits = widths[_i];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int version = 0; version < 2; version++)
            for (int sym = 0; sym < 2; sym++) {
                const struct layout *layout = version ? &layout_gptq_v2 : &layout_gptq;
                const struct module_shape shape = {shapes[i].n, shapes[i].k, shapes[i].group,
                                                   bits,        sym,         !version};
                check_survives(layout, &shape, &seed);
            }
}
END_TEST

/* --- refusing to write ------------------------------------------------------------------------ */

static void refuse_shape(int64_t n, int64_t k, int bits, int64_t group, const char *part) {
    const struct quant_shape shape = {.n = n, .k = k, .bits = bits, .group = group, .sym = true};
    ck_assert_fails(layout_gptq.accepts(&shape, &err), LLMQ_E_UNSUPPORTED, part, &err);
}

START_TEST(shapes_that_do_not_pack_are_refused_with_what_would_do) {
    refuse_shape(64, 288, 4, 128, "group size 128 does not divide in_features 288");
    ck_assert_ptr_nonnull(strstr(err.message, "16, 32, 48, 96, 144, 288, -1"));
    refuse_shape(64, 100, 4, -1, "in_features 100 is not a multiple of 32");
    refuse_shape(65, 128, 4, 128, "out_features 65 is not a multiple of 32");
    refuse_shape(0, 128, 4, 128, "out_features 0");
    refuse_shape(64, 128, 5, 128, "found 5");
    refuse_shape(64, 128, 4, 0, "group size 0");
    refuse_shape(64, 128, 4, -2, "group size -2");
    refuse_shape(64, 128, 4, 256, "group size 256");
}
END_TEST

/* Encode a sound asymmetric module after `spoil` changed it. */
static void refuse_module(const struct layout *layout, void (*spoil)(struct qlinear *q),
                          const char *part) {
    struct qlinear q;
    struct encoded e;
    random_module(&(struct module_shape){32, 64, 32, 4, false, 1}, &seed, &q);
    make_room(layout, &q, &e);
    spoil(&q);
    ck_assert_fails(layout->encode(&q, e.bytes, &err), LLMQ_E_INPUT, part, &err);
    qlinear_free(&q);
    encoded_free(&e);
}

static void spoil_scale(struct qlinear *q) {
    q->scales[3] = 0.0123456f;
}
static void spoil_scale_zero(struct qlinear *q) {
    q->scales[3] = 0.0f;
}
static void spoil_scale_huge(struct qlinear *q) {
    q->scales[3] = 1e6f;
}
static void spoil_scale_nan(struct qlinear *q) {
    q->scales[3] = NAN;
}
static void spoil_zero(struct qlinear *q) {
    q->zeros[5] = 0;
}
static void spoil_zero_high(struct qlinear *q) {
    q->zeros[5] = 16;
}
static void spoil_sym(struct qlinear *q) {
    q->sym = true;
    memset(q->zeros, 8, 64);
    q->zeros[63] = 7;
}
static void spoil_order(struct qlinear *q) {
    q->group_of = calloc(64, sizeof *q->group_of);
}

START_TEST(modules_that_a_file_cannot_hold_are_refused) {
    refuse_module(&layout_gptq, spoil_scale, "row 1, group 1: expected a positive scale that F16");
    refuse_module(&layout_gptq, spoil_scale_zero, "row 1, group 1");
    refuse_module(&layout_gptq, spoil_scale_huge, "row 1, group 1");
    refuse_module(&layout_gptq, spoil_scale_nan, "row 1, group 1");
    refuse_module(&layout_gptq, spoil_zero, "row 2, group 1: expected a zero point from 1 to 15");
    refuse_module(&layout_gptq, spoil_zero_high, "found 16");
    refuse_module(&layout_gptq_v2, spoil_zero_high, "from 0 to 15, found 16");
    refuse_module(&layout_gptq, spoil_sym, "row 31, group 1: expected a zero point from 8 to 8");
    refuse_module(&layout_gptq, spoil_order, "column 32: expected group 1, found 0");
}
END_TEST

START_TEST(an_explicit_sequential_map_is_written) {
    struct qlinear q;
    struct encoded e;
    random_module(&(struct module_shape){32, 64, 32, 4, true, 1}, &seed, &q);
    q.group_of = calloc(64, sizeof *q.group_of);
    for (int k = 32; k < 64; k++)
        q.group_of[k] = 1;
    encode(&layout_gptq, &q, &e);
    ck_assert_int_eq(((const int32_t *)e.bytes[G_IDX])[32], 1);
    qlinear_free(&q);
    encoded_free(&e);
}
END_TEST

int main(void) {
    const int widths = sizeof vectors / sizeof vectors[0];
    Suite *suite = suite_create("gptq, writing");
    TCase *tests = tcase_create("writing");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, sha256_of_abc_is_the_published_one);
    tcase_add_loop_test(tests, golden_vectors_are_reproduced, 0, widths);
    tcase_add_test(tests, a_v1_zero_of_all_ones_wraps_in_its_field_alone);
    tcase_add_test(tests, zero_ranges_keep_v1_clear_of_its_ambiguity);
    tcase_add_test(tests, a_symmetric_file_of_the_other_version_is_recognised);
    tcase_add_loop_test(tests, random_modules_survive, 0, widths);
    tcase_add_test(tests, shapes_that_do_not_pack_are_refused_with_what_would_do);
    tcase_add_test(tests, modules_that_a_file_cannot_hold_are_refused);
    tcase_add_test(tests, an_explicit_sequential_map_is_written);
    suite_add_tcase(suite, tests);
    printf("seed %" PRIu64 "\n", seed);
    return run_suite(suite);
}
