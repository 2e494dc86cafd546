/* SPDX-License-Identifier: Apache-2.0 */
/* Who loads what: serving stacks by layout, bits, group size and symmetry, as data. */
#ifndef LLMQ_FORMATS_LOADERS_COMPAT_H
#define LLMQ_FORMATS_LOADERS_COMPAT_H

#include <stdbool.h>
#include <stdint.h>

/* A linear of a block; one of a mixture's experts, which stacks keep together in one layer; the
 * output head. */
enum compat_role { COMPAT_LINEAR, COMPAT_EXPERT, COMPAT_HEAD };

/* What stacks ask of the modules of a checkpoint. */
struct compat_case {
    const char *layout;
    int bits;
    int64_t group; /* -1: one group per row */
    bool sym;
    bool sequential; /* groups in column order */
    enum compat_role role;
};

/* The stacks, in the order to list them. */
enum compat_stack {
    COMPAT_VLLM,
    COMPAT_VLLM_OLD, /* before mid-2026 */
    COMPAT_SGLANG,
    COMPAT_TRANSFORMERS,
    COMPAT_TGI,
    COMPAT_TENSORRT,
    COMPAT_LLAMA_CPP,
    COMPAT_ONNX_RUNTIME,
    COMPAT_STACKS,
};

enum compat_verdict { COMPAT_REFUSES, COMPAT_CAVEAT, COMPAT_LOADS };

struct compat_answer {
    enum compat_verdict verdict;
    const char *kernel; /* "" when it refuses */
    const char *note;   /* "" when there is nothing to say */
};

/* The name of a stack; NULL past the end. */
const char *compat_stack_at(int index);

/* Is it one of the servers that most people mean when they say that a checkpoint loads? */
bool compat_stack_is_common(int index);

/* What the stack of that index does with such modules. */
struct compat_answer compat_find(int stack, const struct compat_case *c);

/* Has any of those servers fast kernels for the layout at all? */
bool compat_has_fast_kernels(const char *layout);

/* Shapes that the fast kernels (Marlin) take without padding: multiples of these. */
enum { COMPAT_N_UNIT = 64, COMPAT_K_UNIT = 128 };

/* Group sizes those kernels have: 32, 64, 128 and -1. */
bool compat_group_is_common(int64_t group);

/* The largest power of two, up to 64, that a linear [n, k] can be split over: the groups stay whole
 * when its columns are divided, N_UNIT divides the parts when its rows are. */
int64_t compat_tensor_parallel(bool splits_columns, int64_t n, int64_t k, int64_t group);

#endif
