/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the foundation: arenas, large blocks, hashes of what is in it. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/arena.h"
#include "base/cpu.h"
#include "base/hash.h"
#include "base/hugemem.h"
#include "support.h"

START_TEST(arena_aligns_counts_and_reuses) {
    llmq_error err = {0};
    struct arena *a = NULL;
    ck_assert_ok(arena_create("test", &a, &err), &err);
    char *first = arena_alloc(a, 3, 1, &err);
    float *second = arena_zalloc(a, 1000000, sizeof *second, &err);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(second);
    ck_assert_uint_eq((uintptr_t)first % 64, 0);
    ck_assert_uint_eq((uintptr_t)second % 64, 0);
    memset(first, 1, 3);
    ck_assert(second[0] == 0 && second[999999] == 0);
    size_t used = arena_used(a);
    ck_assert_uint_ge(used, 4000003);
    arena_reset(a);
    ck_assert_uint_eq(arena_used(a), 0);
    ck_assert_uint_eq(arena_peak(a), used);
    ck_assert_ptr_nonnull(arena_alloc(a, 10, 1, &err));
    ck_assert_str_eq(arena_strdup(a, "name", &err), "name");
    arena_free(&a);
    ck_assert_ptr_null(a);
    arena_free(&a);
}
END_TEST

START_TEST(arena_serves_the_next_block_from_one_chunk) {
    enum { PARTS = 3, BYTES = 3 << 20 };
    llmq_error err = {0};
    struct arena *a = NULL;
    char *parts[PARTS];
    ck_assert_ok(arena_create("test", &a, &err), &err);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PARTS; i++) {
            parts[i] = arena_alloc(a, BYTES, 1, &err);
            ck_assert_ptr_nonnull(parts[i]);
            memset(parts[i], i, BYTES);
        }
        for (int i = 1; round > 0 && i < PARTS; i++)
            ck_assert(parts[i] > parts[i - 1] && parts[i] - parts[i - 1] < BYTES + (1 << 16));
        arena_reset(a);
    }
    arena_free(&a);
}
END_TEST

START_TEST(huge_memory_is_aligned_and_all_there) {
    const size_t sizes[] = {0, 1, 4096, (2 << 20) - 1, (2 << 20) + 1, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *p = huge_malloc(sizes[i]);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        memset(p, 1, sizes[i]);
        free(p);
    }
    ck_assert_ptr_null(huge_malloc(SIZE_MAX));
}
END_TEST

START_TEST(hashes_of_arrays_see_every_byte) {
    unsigned char data[77] = {0}; /* two steps of all chains and some bytes */
    for (size_t len = 0; len <= sizeof data; len++) {
        const uint64_t before = hash_array(HASH_INIT, data, len);
        ck_assert_uint_eq(before, hash_array(HASH_INIT, data, len));
        for (size_t i = 0; i < len; i++) {
            data[i] = 0x80;
            ck_assert_uint_ne(before, hash_array(HASH_INIT, data, len));
            data[i] = 0;
        }
    }
}
END_TEST

START_TEST(hashes_of_arrays_see_pairs_of_signs) {
    unsigned char data[256] = {0};
    const uint64_t before = hash_array(HASH_INIT, data, sizeof data);
    for (size_t i = 3; i < sizeof data; i += 4)
        for (size_t j = i + 4; j < sizeof data; j += 4) {
            data[i] = data[j] = 0x80;
            ck_assert_uint_ne(before, hash_array(HASH_INIT, data, sizeof data));
            data[i] = data[j] = 0;
        }
}
END_TEST

/* Can it be told what is resident? Sanitizers keep memory of their own, and a system may give huge
 * pages that nobody wished for. */
static bool residence_tells(void) {
#ifdef __SANITIZE_ADDRESS__
    return false;
#else
    char line[64] = "";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    const bool read = f && fgets(line, sizeof line, f);
    if (f)
        fclose(f);
    return !(read && strstr(line, "[always]"));
#endif
}

/* A huge page is resident with its first byte: of what reaches into one it must not be. The sizes
 * are a little more than whole pages, and the arena's chunk twice that. */
START_TEST(large_memory_is_resident_as_far_as_it_is_used) {
    enum { SMALL = 1 << 20, BYTES = (4 << 20) + (64 << 10), SLACK = 3 << 19 };
    llmq_error err = {0};
    struct arena *a = NULL;
#ifdef M_PERTURB
    mallopt(M_PERTURB, 0); /* else all that is allocated is written to */
#endif
    ck_assert_ok(arena_create("test", &a, &err), &err);
    const uint64_t before = residence_tells() ? memory_resident() : 0;
    char *whole = huge_malloc(BYTES);
    ck_assert_ptr_nonnull(whole);
    memset(whole, 1, BYTES);
    if (before > 0) /* told by the system */
        ck_assert_uint_le(memory_resident(), before + BYTES + SLACK);
    char *first = arena_alloc(a, BYTES, 1, &err);
    char *second = arena_alloc(a, SMALL, 1, &err);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(second);
    memset(first, 1, BYTES);
    memset(second, 1, SMALL);
    if (before > 0)
        ck_assert_uint_le(memory_resident(), before + 2 * BYTES + SMALL + SLACK);
    arena_free(&a);
    free(whole);
}
END_TEST

START_TEST(arena_refuses_sizes_that_overflow) {
    llmq_error err = {0};
    struct arena *a = NULL;
    ck_assert_ok(arena_create("test", &a, &err), &err);
    ck_assert_ptr_null(arena_alloc(a, SIZE_MAX / 2, 4, &err));
    ck_assert_int_eq(err.code, LLMQ_E_MEMORY);
    ck_assert_ptr_null(arena_alloc(a, SIZE_MAX - 8, 1, &err));
    ck_assert_ptr_null(arena_alloc(a, SIZE_MAX / 4 * 3, 1, &err));
    ck_assert_int_eq(err.code, LLMQ_E_MEMORY);
    arena_free(&a);
}
END_TEST

int main(void) {
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("memory");
    tcase_add_test(t, arena_aligns_counts_and_reuses);
    tcase_add_test(t, arena_serves_the_next_block_from_one_chunk);
    tcase_add_test(t, huge_memory_is_aligned_and_all_there);
    tcase_add_test(t, hashes_of_arrays_see_every_byte);
    tcase_add_test(t, hashes_of_arrays_see_pairs_of_signs);
    tcase_add_test(t, large_memory_is_resident_as_far_as_it_is_used);
    tcase_add_test(t, arena_refuses_sizes_that_overflow);
    suite_add_tcase(s, t);
    return run_suite(s);
}
