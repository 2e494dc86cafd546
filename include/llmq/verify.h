/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying a checkpoint: structure, the rules of those who load it, its contents, and its distance
 * from the original. */
#ifndef LLMQ_VERIFY_H
#define LLMQ_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmq_verify_options {
    size_t size;         /* of this struct, see llmq/llmq.h */
    const char *model;   /* folder or name, see llmq_model_resolve */
    const char *family;  /* read it as a model of this family; NULL: as its model_type says */
    const char *against; /* the original to compare with, or NULL */
} llmq_verify_options;

void llmq_verify_options_init_sized(llmq_verify_options *options, size_t size);
static inline void llmq_verify_options_init(llmq_verify_options *options) {
    llmq_verify_options_init_sized(options, sizeof *options);
}

/* A rule that does not hold. Texts are owned by the report; file, tensor and hint may be "". */
typedef struct llmq_finding {
    const char *rule; /* static, stable */
    char *file, *tensor, *message, *hint;
} llmq_finding;

typedef struct llmq_findings {
    llmq_finding *items;
    size_t count;
} llmq_findings;

/* What a serving stack makes of the checkpoint; all texts static, "" when there is none. */
typedef struct llmq_stack_report {
    const char *stack;
    bool known; /* false: not every module could be decoded, so that nobody can tell */
    bool loads; /* and computes what the checkpoint means */
    const char *kernel;
    const char *note;
    const char *rule; /* the rule that keeps it from loading, by not holding */
} llmq_stack_report;

/* A packed module. */
typedef struct llmq_verify_module {
    char *name;
    int64_t n, k;
    int bits; /* 0: it could not be decoded */
    int64_t group;
    bool sym;
    bool sequential;         /* groups in column order */
    int64_t tensor_parallel; /* largest power of two it can be split over, at most 64 */
    double error;            /* |W - W'|^2 / |W|^2 against the original; NaN: not compared */
} llmq_verify_module;

typedef struct llmq_verify_report {
    char *path;
    const char *format; /* static: the layout's name, "none" for a plain checkpoint */
    bool ok;            /* no violation */
    llmq_findings violations, warnings;
    llmq_stack_report *stacks; /* empty for a plain checkpoint */
    size_t stack_count;
    llmq_verify_module *modules;
    size_t module_count;
    int64_t tensors, shards, rules;
    uint64_t bytes;
    char *against;          /* resolved folder, or NULL */
    double error;           /* over all compared modules; NaN: none compared */
    int64_t equal, changed; /* other tensors that are those of the original, or not */
    int64_t folded;         /* vectors changed by scales that the linears behind them make up for */
    double seconds;
} llmq_verify_report;

/* Read and check the whole checkpoint. LLMQ_OK also when there are violations: see report->ok.
 * Other statuses mean that it could not be read: a folder that is no checkpoint, a malformed file,
 * a quantization llmq does not know. Nothing is written. Release the report with
 * llmq_verify_report_free (also after an error). */
LLMQ_NODISCARD enum llmq_status llmq_verify(const llmq_verify_options *options,
                                            const llmq_context *ctx, llmq_verify_report *report,
                                            llmq_error *err);
void llmq_verify_report_free(llmq_verify_report *report);

/* The rules by index: id, severity and what they ask for. False past the end. */
typedef struct llmq_rule_info {
    const char *id;
    bool violation; /* else a warning */
    const char *what;
} llmq_rule_info;
bool llmq_verify_rule_at(size_t index, llmq_rule_info *out);

/* The report as one JSON object, to be released with llmq_free; NULL when memory is short. */
char *llmq_verify_json(const llmq_verify_report *report);

#ifdef __cplusplus
}
#endif
#endif
