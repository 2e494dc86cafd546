/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups, read below a folder made up for it: nested groups of both versions, containers
 * whose outside name leads nowhere, files that are not there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cgroup.h"
#include "base/cpu.h"
#include "support.h"

/* A file with a text, in folders made as needed. */
static void put(const char *path, const char *text) {
    char part[256];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        (void)mkdir(scratch_path(part), 0777);
    }
    put_file(path, text, strlen(text));
}

static struct cgroup_limits read_all(void) {
    struct cgroup_limits limits;
    cgroup_read(scratch, &limits);
    return limits;
}

START_TEST(without_groups_there_is_no_limit) {
    const struct cgroup_limits limits = read_all();
    ck_assert(limits.memory == UINT64_MAX && limits.cores == 0);
}
END_TEST

START_TEST(version_2_takes_the_nearest_of_nested_limits) {
    put("proc/self/cgroup", "0::/user.slice/job 7\n");
    put("sys/fs/cgroup/user.slice/job 7/memory.max", "max\n");
    put("sys/fs/cgroup/user.slice/job 7/memory.current", "1000000\n");
    put("sys/fs/cgroup/user.slice/job 7/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/user.slice/memory.max", "8000000\n");
    put("sys/fs/cgroup/user.slice/memory.current", "3000000\n");
    put("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n");
    ck_assert_uint_eq(read_all().memory, 5000000);
    ck_assert_int_eq(read_all().cores, 2);
    put("sys/fs/cgroup/user.slice/job 7/memory.max", "3000000\n");
    ck_assert_uint_eq(read_all().memory, 2000000);
    put("sys/fs/cgroup/user.slice/job 7/memory.high", "2500000\n");
    ck_assert_uint_eq(read_all().memory, 1500000);
    put("sys/fs/cgroup/user.slice/job 7/memory.stat",
        "anon 1\nactive_file 77\ninactive_file 400000\n");
    ck_assert_uint_eq(read_all().memory, 1900000);
    put("sys/fs/cgroup/user.slice/job 7/memory.current", "9000000\n");
    ck_assert_uint_eq(read_all().memory, 0);
}
END_TEST

START_TEST(version_1_has_a_hierarchy_for_each_controller) {
    put("proc/self/cgroup",
        "9:name=systemd:/x\n7:cpu,cpuacct:/pod/a\n4:memory:/pod/a\n2:cpuset:/\n");
    put("sys/fs/cgroup/memory/pod/a/memory.limit_in_bytes", "6000000\n");
    put("sys/fs/cgroup/memory/pod/a/memory.usage_in_bytes", "2000000\n");
    put("sys/fs/cgroup/memory/pod/a/memory.stat",
        "inactive_file 5\nhierarchical_memory_limit 6000000\ntotal_inactive_file 500000\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "9000000\n");
    put("sys/fs/cgroup/cpu,cpuacct/pod/a/cpu.cfs_quota_us", "300000\n");
    put("sys/fs/cgroup/cpu,cpuacct/pod/a/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(read_all().memory, 4500000);
    ck_assert_int_eq(read_all().cores, 3);
}
END_TEST

START_TEST(a_container_sees_its_own_root) {
    put("proc/self/cgroup", "4:memory:/docker/0123\n1:cpu:/docker/0123\n0::/../outside\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n");
    ck_assert_uint_eq(read_all().memory, 600000);
    put("sys/fs/cgroup/memory.max", "500000\n");
    put("sys/fs/cgroup/memory.current", "100000\n");
    put("sys/outside/memory.max", "1\n");
    ck_assert_uint_eq(read_all().memory, 400000);
}
END_TEST

START_TEST(what_makes_no_sense_is_no_limit) {
    put("proc/self/cgroup", "4:memory\n:::\n0:\ngarbage\n0::/a");
    put("sys/fs/cgroup/a/memory.max", "none\n");
    put("sys/fs/cgroup/a/memory.current", "");
    put("sys/fs/cgroup/a/cpu.max", "100000\n");
    put("sys/fs/cgroup/memory.max", "-5\n");
    put("sys/fs/cgroup/cpu.max", "100000 0\n");
    const struct cgroup_limits limits = read_all();
    ck_assert(limits.memory == UINT64_MAX && limits.cores == 0);
}
END_TEST

START_TEST(this_process_may_take_no_more_than_its_groups_leave) {
    struct cgroup_limits limits;
    cgroup_read("", &limits);
    if (limits.cores > 0)
        ck_assert_int_le(cpu_count(), limits.cores);
    if (limits.memory < UINT64_MAX / 2) /* it moves meanwhile */
        ck_assert_uint_le(memory_available() / 2, limits.memory);
}
END_TEST

int main(void) {
    Suite *s = suite_create("cgroup");
    TCase *c = tcase_create("groups");
    tcase_add_checked_fixture(c, scratch_setup, scratch_teardown);
    tcase_add_test(c, without_groups_there_is_no_limit);
    tcase_add_test(c, version_2_takes_the_nearest_of_nested_limits);
    tcase_add_test(c, version_1_has_a_hierarchy_for_each_controller);
    tcase_add_test(c, a_container_sees_its_own_root);
    tcase_add_test(c, what_makes_no_sense_is_no_limit);
    tcase_add_test(c, this_process_may_take_no_more_than_its_groups_leave);
    suite_add_tcase(s, c);
    return run_suite(s);
}
