/* SPDX-License-Identifier: Apache-2.0 */
/* The bar on a terminal: whatever its width, it fits on one line. */
#include <stdio.h>
#include <string.h>

#include "cli/progress.h"
#include "llmq/printable.h"
#include "support.h"

static struct progress at(int64_t done, int64_t total) {
    struct progress p = {.done = done, .total = total};
    (void)snprintf(p.what, sizeof p.what, "block 17/32: experts");
    return p;
}

static const char *line(const struct progress *p, double elapsed, double still, size_t width) {
    static char out[256];
    progress_line(p, elapsed, still, 5u << 20, width, out, sizeof out);
    return out;
}

START_TEST(a_wide_terminal_shows_all) {
    const struct progress p = at(25, 100);
    ck_assert_str_eq(
        line(&p, 100, 0, 120),
        "block 17/32: experts [======                  ]  25 %, 5 min to go, 5.00 MiB");
    ck_assert_str_eq(
        line(&p, 100, 0, 76),
        "block 17/32: experts [======                  ]  25 %, 5 min to go, 5.00 MiB");
}
END_TEST

START_TEST(no_width_is_exceeded) {
    const struct progress p = at(25, 100);
    for (size_t width = 0; width < 130; width++)
        ck_assert_uint_le(strlen(line(&p, 100, 0, width)), width);
    ck_assert_str_eq(line(&p, 100, 0, 48), "block 17/32: experts  25 %, 5 min to go");
    ck_assert_str_eq(line(&p, 100, 0, 30), "block 17/32: experts  25 %");
    ck_assert_str_eq(line(&p, 100, 0, 10), "block 17/3");
}
END_TEST

/* No estimate of what little was measured; then it counts down where nothing moves, and never below
 * a second. */
START_TEST(estimates_are_of_what_was_measured) {
    const struct progress p = at(50, 100), none = at(0, 0), over = at(3, 2);
    ck_assert_ptr_null(strstr(line(&p, 3, 0, 100), "to go"));
    ck_assert_ptr_nonnull(strstr(line(&p, 60, 0, 100), "60 s to go"));
    ck_assert_ptr_nonnull(strstr(line(&p, 70, 10, 100), "50 s to go"));
    ck_assert_ptr_nonnull(strstr(line(&p, 300, 240, 100), ", 1 s to go"));
    ck_assert_ptr_null(strstr(line(&none, 60, 0, 100), "to go"));
    ck_assert_ptr_nonnull(strstr(line(&over, 60, 0, 100), "  0 %"));
}
END_TEST

START_TEST(estimates_have_one_unit) {
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {{0.2, "1 s"},     {42, "42 s"},      {99, "99 s"},    {120, "2 min"},
                {3599, "60 min"}, {7000, "1.9 h"},   {36000, "10 h"}, {400000, "4.6 days"},
                {1e12, "?"},      {(double)0, "1 s"}};
    char text[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_str_eq(llmq_duration(rows[i].seconds, text, sizeof text), rows[i].text);
}
END_TEST

int main(void) {
    Suite *s = suite_create("progress");
    TCase *t = tcase_create("progress");
    tcase_add_test(t, a_wide_terminal_shows_all);
    tcase_add_test(t, no_width_is_exceeded);
    tcase_add_test(t, estimates_are_of_what_was_measured);
    tcase_add_test(t, estimates_have_one_unit);
    suite_add_tcase(s, t);
    return run_suite(s);
}
