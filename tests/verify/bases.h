/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints without a fault, in the scratch folder: what the suites of verify begin with. */
#ifndef LLMQ_TESTS_BASES_H
#define LLMQ_TESTS_BASES_H

#include <stdbool.h>

#include "llmq/quantize.h"
#include "llmq/verify.h"

/* Made of the folder "source": symmetric and asymmetric GPTQ, AWQ and compressed-tensors. */
struct base {
    const char *name, *format;
    bool sym;
};
enum { BASES = 4 };
extern const struct base bases[BASES];

/* Where other weights lie as [in, out]: GPT-2. */
extern const char base_turned[];

/* Whose scales are of blocks of 128 x 128: FP8. */
extern const char base_blocks[];

extern llmq_quantize_report base_report; /* of the first base */

/* Fixtures for tcase_add_checked_fixture. */
void bases_setup(void);
void bases_teardown(void);

/* Copy a folder, in place of what is there; a file within a folder. */
void base_copy(const char *from, const char *to);
void base_copy_file(const char *dir, const char *from, const char *to);

/* Write a file of the folder. */
void base_write(const char *dir, const char *name, const char *text);

/* Verify a folder of the scratch folder, against the source or by itself. */
void base_verify(const char *name, bool against, llmq_verify_report *r);

/* Is there a finding of the rule that mentions `where`? */
bool base_lists(const llmq_findings *list, const char *rule, const char *where);

#endif
