/* SPDX-License-Identifier: Apache-2.0 */
/* What the control groups that this process is in leave it, of memory and of processor time. */
#ifndef LLMQ_BASE_CGROUP_H
#define LLMQ_BASE_CGROUP_H

#include <stdint.h>

struct cgroup_limits {
    uint64_t memory; /* bytes that may still be taken; UINT64_MAX: no limit */
    int cores;       /* cores' worth of time, rounded up; 0: no limit */
};

/* The nearest limits of the groups that <root>/proc/self/cgroup names and of all those around them,
 * of version 1 and version 2, mounted where they usually are below <root>/sys/fs/cgroup. `root` is
 * "" but in tests. Of the memory in use what the kernel gives up first, cached files that nobody
 * asked for lately, counts as free. What cannot be read is no limit. */
void cgroup_read(const char *root, struct cgroup_limits *out);

#endif
