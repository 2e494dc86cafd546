/* SPDX-License-Identifier: Apache-2.0 */
/* What the suites share: a scratch folder, files made from byte strings, where data lies. */
#ifndef LLMQ_TESTS_SUPPORT_H
#define LLMQ_TESTS_SUPPORT_H

#include <check.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* The scratch folder of the running test; fixtures for tcase_add_checked_fixture. */
extern char scratch[256];
void scratch_setup(void);
void scratch_teardown(void);

/* Path of `name` in the scratch folder; valid until the next call but one. */
const char *scratch_path(const char *name);

/* Write a file into the scratch folder. */
void put_file(const char *name, const void *data, size_t len);

/* A safetensors file: the header's length, the header, then `data_len` bytes of data (zeros when
 * `data` is NULL). */
void put_safetensors(const char *name, const char *header, const void *data, size_t data_len);

/* Fail the test with the error's text unless status is LLMQ_OK. */
#define ck_assert_ok(status, err)                                                                  \
    do {                                                                                           \
        const enum llmq_status status_ = (status);                                                 \
        ck_assert_msg(status_ == LLMQ_OK, "%s: %s", llmq_status_name(status_), (err)->message);    \
    } while (0)

/* The status is `code`, the error says the same, and its message holds `part`. */
#define ck_assert_fails(status, code_wanted, part, err)                                            \
    do {                                                                                           \
        const enum llmq_status status_ = (status);                                                 \
        ck_assert_msg(status_ == (code_wanted), "expected %s, found %s: %s",                       \
                      llmq_status_name(code_wanted), llmq_status_name(status_), (err)->message);   \
        ck_assert_msg((err)->code == status_, "status and error differ");                          \
        ck_assert_msg(strstr((err)->message, (part)) != NULL, "message lacks '%s': %s", (part),    \
                      (err)->message);                                                             \
    } while (0)

/* "<source root>/<path>"; the caller frees. */
char *source_path(const char *path);

/* A path below the shared data folder ($LLMQ_SHARED, else ../shared beside the source tree), or
 * NULL when it is absent: then "SKIP: <path>" is printed and the test returns. The caller frees. */
char *shared_path(const char *path);

/* Repeatable random numbers; the seed of a suite is printed by its main. */
uint64_t random_next(uint64_t *state);

/* SHA-256 of `data` as 64 hexadecimal digits. */
void sha256_hex(const void *data, size_t len, char out[65]);

/* A Check main: run `suite` in this process, because OpenMP and fork do not mix. */
int run_suite(Suite *suite);

#endif
