/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the GGUF container: the complete example of the format description and every rule that a
 * reader has to insist on. */
#include <string.h>

#include "formats/gguf/gguf_private.h"
#include "support.h"

static llmq_error err;

/* --- bytes of a file -------------------------------------------------------------------------- */

static unsigned char bytes[1024];
static size_t length;

static void add(const void *data, size_t len) {
    ck_assert_uint_le(length + len, sizeof bytes);
    memcpy(bytes + length, data, len);
    length += len;
}

static void u32(uint32_t value) {
    add(&value, sizeof value);
}

static void u64(uint64_t value) {
    add(&value, sizeof value);
}

static void text(const char *value) {
    u64(strlen(value));
    add(value, strlen(value));
}

static void begin(uint64_t tensors, uint64_t pairs) {
    length = 0;
    add("GGUF", 4);
    u32(3);
    u64(tensors);
    u64(pairs);
}

static void string_pair(const char *key, const char *value) {
    text(key);
    u32(GGUF_STRING);
    text(value);
}

static void u32_pair(const char *key, uint32_t value) {
    text(key);
    u32(GGUF_UINT32);
    u32(value);
}

/* A tensor's info with two dimensions, the fastest first. */
static void info(const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset) {
    text(name);
    u32(2);
    u64(ne0);
    u64(ne1);
    u32(type);
    u64(offset);
}

static void pad(size_t alignment, size_t data) {
    static const unsigned char zeros[512];
    add(zeros, (alignment - length % alignment) % alignment);
    add(zeros, data);
}

/* Open what was put together. */
static enum llmq_status open_bytes(struct st_set **set) {
    put_file("x.gguf", bytes, length);
    return gguf_open_file(scratch_path("x.gguf"), set, &err);
}

static void refused(enum llmq_status status, const char *part) {
    struct st_set *set = NULL;
    ck_assert_fails(open_bytes(&set), status, part, &err);
    ck_assert_ptr_null(set);
}

/* --- the example ------------------------------------------------------------------------------ */

/* 160 bytes: general.architecture is llama, one tensor `a` of 32 elements in a block of Q4_0. */
static void example(void) {
    static const unsigned char block[18] = {0x00, 0x38, 0x80, 0x80, 0x91, 0x91, 0xa2, 0xa2, 0xb3,
                                            0xb3, 0xc4, 0xc4, 0xd5, 0xd5, 0xe6, 0xe6, 0xf7, 0xf7};
    begin(1, 1);
    string_pair("general.architecture", "llama");
    text("a");
    u32(1);
    u64(32);
    u32(2);
    u64(0);
    pad(32, 0);
    ck_assert_uint_eq(length, 0x80);
    add(block, sizeof block);
    pad(32, 0);
}

START_TEST(the_example_is_read) {
    struct st_set *set = NULL;
    unsigned char block[18];
    example();
    ck_assert_uint_eq(length, 160);
    ck_assert_ok(open_bytes(&set), &err);
    ck_assert_uint_eq(st_count(set), 1);
    const struct st_tensor *t = st_find(set, "a");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->dtype, DTYPE_Q4_0);
    ck_assert_int_eq(t->rank, 1);
    ck_assert_uint_eq(t->shape[0], 32);
    ck_assert_uint_eq(t->begin, 0x80);
    ck_assert_ok(st_read(set, t, 0, sizeof block, block, &err), &err);
    ck_assert_mem_eq(block, bytes + 0x80, sizeof block);
    st_close(&set);
}
END_TEST

/* Every beginning of the file is refused, with a message and without a crash. */
START_TEST(cut_files_are_refused) {
    struct st_set *set = NULL;
    example();
    for (size_t cut = 0; cut < 160; cut++) {
        length = cut;
        ck_assert_int_eq(open_bytes(&set), LLMQ_E_INPUT);
    }
}
END_TEST

/* --- rules ------------------------------------------------------------------------------------ */

START_TEST(the_front_is_checked) {
    struct st_set *set = NULL;
    example();
    bytes[0] = 'g';
    refused(LLMQ_E_INPUT, "begins with GGUF");
    example();
    bytes[4] = 1;
    refused(LLMQ_E_UNSUPPORTED, "version 2 or 3 of GGUF, found 1");
    bytes[4] = 4;
    refused(LLMQ_E_UNSUPPORTED, "version 2 or 3 of GGUF, found 4");
    bytes[4] = 2;
    ck_assert_ok(open_bytes(&set), &err);
    st_close(&set);
    example();
    memset(bytes + 8, 0xff, 8);
    refused(LLMQ_E_INPUT, "expected fewer tensors in 160 bytes, found a count of -1");
    example();
    bytes[18] = 1;
    refused(LLMQ_E_INPUT, "expected fewer metadata pairs in 160 bytes, found a count of 65537");
}
END_TEST

START_TEST(metadata_is_checked) {
    begin(0, 1);
    string_pair("", "x");
    refused(LLMQ_E_INPUT, "a metadata key at byte 32: expected 1 to 65535 bytes, found 0");
    begin(0, 1);
    u64(UINT64_C(1) << 62);
    pad(32, 32);
    refused(LLMQ_E_INPUT, "expected a string of at most 2^30 bytes");
    begin(0, 1);
    u64(1000);
    pad(32, 32);
    refused(LLMQ_E_INPUT, "a metadata key at byte 32: expected 1000 bytes, found the end");
    begin(0, 1);
    string_pair("\xff\xfe", "x");
    refused(LLMQ_E_INPUT, "expected UTF-8 without NUL");
    begin(0, 1);
    text("k");
    u32(13);
    pad(32, 32);
    refused(LLMQ_E_INPUT, "key 'k': expected a value type below 13, found 13");
    begin(0, 1);
    text("k");
    u32(GGUF_STRING);
    u64(UINT64_C(1) << 40);
    refused(LLMQ_E_INPUT, "k at byte 45: expected a string of at most 2^30");
    begin(0, 2);
    u32_pair("same", 1);
    u32_pair("same", 2);
    refused(LLMQ_E_INPUT, "key 'same': expected it once, found it twice");
    begin(0, 1);
    text("flag");
    u32(GGUF_BOOL);
    add("\x02", 1);
    refused(LLMQ_E_INPUT, "key 'flag': expected a BOOL of 0 or 1, found 2");
    begin(0, 1);
    string_pair("general.architecture", "");
    refused(LLMQ_E_INPUT, "general.architecture at byte");
    begin(0, 1);
    u32_pair("general.architecture", 1);
    refused(LLMQ_E_INPUT, "key 'general.architecture': expected a value of type 8, found type 4");
}
END_TEST

/* An array of `count` elements of a type under key "a". */
static void array(uint32_t type, uint64_t count) {
    begin(0, 1);
    text("a");
    u32(GGUF_ARRAY);
    u32(type);
    u64(count);
}

START_TEST(arrays_are_checked) {
    struct st_set *set = NULL;
    array(GGUF_ARRAY, 1);
    refused(LLMQ_E_INPUT, "key 'a': expected no array within an array");
    array(99, 1);
    refused(LLMQ_E_INPUT, "key 'a': expected a value type below 13, found 99");
    array(GGUF_UINT8, UINT64_C(1) << 31);
    refused(LLMQ_E_INPUT, "key 'a': expected an array of at most 2^30 elements");
    array(GGUF_FLOAT64, 3);
    u64(0);
    refused(LLMQ_E_INPUT, "expected 24 bytes, found the end of the file after 8");
    array(GGUF_STRING, 2);
    text("one");
    refused(LLMQ_E_INPUT, "a at byte 60: expected 8 bytes");
    array(GGUF_BOOL, 2);
    add("\x01\x07", 2);
    refused(LLMQ_E_INPUT, "expected a BOOL of 0 or 1, found 7");
    array(GGUF_STRING, 2);
    text("one");
    text("");
    ck_assert_ok(open_bytes(&set), &err);
    st_close(&set);
}
END_TEST

START_TEST(alignment_is_checked_and_obeyed) {
    struct st_set *set = NULL;
    static const uint32_t bad[] = {0, 3, 48};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin(0, 1);
        u32_pair("general.alignment", bad[i]);
        refused(LLMQ_E_INPUT, "key 'general.alignment': expected a power of two");
    }
    begin(0, 1);
    text("general.alignment");
    u32(GGUF_UINT64);
    u64(32);
    refused(LLMQ_E_INPUT, "key 'general.alignment': expected a value of type 4, found type 10");
    begin(2, 1);
    u32_pair("general.alignment", 8);
    info("a", 1, 1, 0, 0);
    info("b", 1, 1, 0, 8);
    pad(8, 16);
    ck_assert_ok(open_bytes(&set), &err);
    ck_assert_uint_eq(st_find(set, "b")->begin, length - 8);
    st_close(&set);
}
END_TEST

/* A file whose only tensor has this info. */
static void one_tensor(uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset) {
    begin(1, 0);
    info("t", ne0, ne1, type, offset);
    pad(32, 128);
}

START_TEST(tensors_are_checked) {
    char name[80];
    memset(name, 'n', sizeof name);
    name[64] = '\0';
    begin(1, 0);
    info(name, 32, 1, 0, 0);
    pad(32, 128);
    refused(LLMQ_E_INPUT, "a tensor's name at byte 32: expected 1 to 63 bytes, found 64");
    static const uint32_t ranks[] = {0, 5, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        begin(1, 0);
        text("t");
        u32(ranks[i]);
        pad(32, 64);
        refused(LLMQ_E_INPUT, "tensor 't': expected 1 to 4 dimensions, found");
    }
    one_tensor(0, 1, 0, 0);
    refused(LLMQ_E_INPUT, "tensor 't': expected positive dimensions, found 0");
    one_tensor(32, UINT64_MAX, 0, 0);
    refused(LLMQ_E_INPUT, "tensor 't': expected positive dimensions, found -1");
    one_tensor(UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0);
    refused(LLMQ_E_INPUT, "tensor 't': expected fewer than 2^63 elements");
    one_tensor(UINT64_C(1) << 30, UINT64_C(1) << 30, 0, 0);
    refused(LLMQ_E_INPUT, "tensor 't': expected a size below 2^64 bits");
    one_tensor(32, 1, 4, 0);
    refused(LLMQ_E_UNSUPPORTED, "tensor 't': expected F32, F16, BF16, Q4_0, Q4_1 or Q8_0");
    one_tensor(48, 1, 2, 0);
    refused(LLMQ_E_INPUT, "tensor 't': expected rows of whole blocks of 32 elements for Q4_0");
    one_tensor(32, 1, 0, 32);
    refused(LLMQ_E_INPUT, "tensor 't': expected its data at offset 0");
    one_tensor(16, 1, 0, 0);
    refused(LLMQ_E_INPUT, "expected 64 bytes of data from byte");
    one_tensor(33, 1, 0, 0);
    refused(LLMQ_E_INPUT, "expected 160 bytes of data from byte");
}
END_TEST

START_TEST(tensors_lie_one_after_another_and_once) {
    begin(2, 0);
    info("a", 8, 1, 0, 0);
    info("b", 8, 1, 0, 64);
    pad(32, 96);
    refused(LLMQ_E_INPUT, "tensor 'b': expected its data at offset 32, after the tensor before it");
    begin(2, 0);
    info("a", 8, 1, 0, 0);
    info("a", 8, 1, 0, 32);
    pad(32, 64);
    refused(LLMQ_E_INPUT, "tensor 'a': expected it once, found it twice");
}
END_TEST

START_TEST(sets_tell_the_architecture_and_blocks_from_weights) {
    struct st_set *set = NULL;
    begin(3, 1);
    string_pair("general.architecture", "gemma2");
    info("blk.0.attn_q.weight", 32, 1, 2, 0);
    info("blk.0.attn_q.bias", 32, 1, 0, 32);
    info("blk.0.attn_k.weight", 32, 1, 0, 160);
    pad(32, 288);
    ck_assert_ok(open_bytes(&set), &err);
    ck_assert_str_eq(st_metadata(set, GGUF_KEY_ARCH), "gemma2");
    ck_assert_ptr_nonnull(st_find(set, "blk.0.attn_q.blocks"));
    ck_assert_ptr_nonnull(st_find(set, "blk.0.attn_q.bias"));
    ck_assert_ptr_nonnull(st_find(set, "blk.0.attn_k.weight"));
    st_close(&set);
}
END_TEST

/* What views ask of a tensor that it cannot be. */
START_TEST(views_fit_their_tensor) {
    static const struct {
        struct st_view view;
        const char *part;
    } cases[] = {
        {{.name = "x", .heads = 3}, "tensor 'a': expected 3 heads of an even width, found 8 rows"},
        {{.name = "x", .part = 0, .parts = 4}, "expected a first dimension of 4, one for each"},
        {{.name = "x", .part = 8, .parts = 8}, "expected a first dimension of 8"},
        {{.name = "x", .tensor = 1, .plus_one = true}, "tensor 'b': expected F32, found F16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct st_set *set = NULL;
        begin(2, 0);
        info("a", 8, 8, 0, 0);
        info("b", 16, 1, 1, 256);
        pad(32, 288);
        ck_assert_ok(open_bytes(&set), &err);
        ck_assert_fails(st_view_as(set, &cases[i].view, 1, &err), LLMQ_E_INPUT, cases[i].part,
                        &err);
        st_close(&set);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("gguf file");
    TCase *t = tcase_create("container");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, the_example_is_read);
    tcase_add_test(t, cut_files_are_refused);
    tcase_add_test(t, the_front_is_checked);
    tcase_add_test(t, metadata_is_checked);
    tcase_add_test(t, arrays_are_checked);
    tcase_add_test(t, alignment_is_checked_and_obeyed);
    tcase_add_test(t, tensors_are_checked);
    tcase_add_test(t, tensors_lie_one_after_another_and_once);
    tcase_add_test(t, sets_tell_the_architecture_and_blocks_from_weights);
    tcase_add_test(t, views_fit_their_tensor);
    suite_add_tcase(s, t);
    return run_suite(s);
}
