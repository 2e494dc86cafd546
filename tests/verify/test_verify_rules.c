/* SPDX-License-Identifier: Apache-2.0 */
/* Every rule of llmq verify, each with a checkpoint that breaks it: a good one with one thing
 * changed. */
#include <stdlib.h>
#include <string.h>

#include "bases.h"
#include "llmq/verify.h"
#include "seeded.h"
#include "support.h"
#include "verify/verify.h"

static const struct seeded_list *const lists[] = {&seeded_files, &seeded_config, &seeded_packed};
enum { LISTS = sizeof lists / sizeof lists[0] };

static bool is_violation(const char *rule) {
    llmq_rule_info info;
    for (size_t i = 0; llmq_verify_rule_at(i, &info); i++)
        if (strcmp(info.id, rule) == 0)
            return info.violation;
    ck_abort_msg("no rule %s", rule);
    return false;
}

static void found(const struct seeded *c) {
    char *dir = strdup(scratch_path("case"));
    llmq_verify_report r;
    base_copy(scratch_path(c->base), dir);
    if (c->seed)
        c->seed(dir);
    base_verify("case", c->against, &r);
    const bool violation = is_violation(c->rule);
    ck_assert_msg(base_lists(violation ? &r.violations : &r.warnings, c->rule, c->where),
                  "%s in %s: %s not found", c->where, c->base, c->rule);
    if (violation)
        ck_assert_msg(!r.ok, "%s in %s: %s, and yet ok", c->where, c->base, c->rule);
    for (size_t s = 0; s < r.stack_count; s++)
        ck_assert_msg(!r.stacks[s].loads || !verify_rule_concerns(c->rule, (int)s),
                      "%s in %s: %s, and yet %s loads it", c->where, c->base, c->rule,
                      r.stacks[s].stack);
    llmq_verify_report_free(&r);
    free(dir);
}

START_TEST(every_violation_is_found_by_its_rule) {
    for (size_t l = 0; l < LISTS; l++)
        for (size_t i = 0; i < lists[l]->count; i++)
            found(&lists[l]->rows[i]);
}
END_TEST

static bool has_case(const char *rule) {
    for (size_t l = 0; l < LISTS; l++)
        for (size_t i = 0; i < lists[l]->count; i++)
            if (strcmp(lists[l]->rows[i].rule, rule) == 0)
                return true;
    return false;
}

START_TEST(every_rule_has_a_case) {
    llmq_rule_info info;
    size_t i = 0;
    for (; llmq_verify_rule_at(i, &info); i++) {
        ck_assert_msg(has_case(info.id), "no case for rule %s", info.id);
        ck_assert_uint_gt(strlen(info.what), 10);
        ck_assert_msg(!info.violation || verify_rule_concerns(info.id, -1),
                      "whom does rule %s concern?", info.id);
        for (size_t j = 0; j < i; j++) {
            llmq_rule_info other;
            ck_assert(llmq_verify_rule_at(j, &other));
            ck_assert_msg(strcmp(other.id, info.id) != 0, "two rules %s", info.id);
        }
    }
    ck_assert_uint_ge(i, 40);
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify rules");
    TCase *t = tcase_create("rules");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, bases_setup, bases_teardown);
    tcase_add_test(t, every_violation_is_found_by_its_rule);
    tcase_add_test(t, every_rule_has_a_case);
    suite_add_tcase(s, t);
    return run_suite(s);
}
