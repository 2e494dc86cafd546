/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several settings each of many items gets, so that all together stay within a size and
 * cost the least: the multiple-choice knapsack problem, solved exactly.
 *
 * Item by item the best ways to have used some size so far are kept: of two that end in the same
 * or a smaller size only the cheaper (Nemhauser & Ullmann, Management Science 15, 1969). A way is
 * given up when not even the problem's relaxation, in which the items to come may take fractions of
 * their settings (Zemel, Operations Research 28, 1980), makes it better than what is known. Items
 * that are alike, as the blocks of a model are, have few different sizes together. */
#ifndef LLMQ_QUANT_ALLOCATE_H
#define LLMQ_QUANT_ALLOCATE_H

#include <stdint.h>

#include "llmq/error.h"

struct allocate_choice {
    uint64_t size;
    double cost; /* finite */
};

struct allocate_item {
    const struct allocate_choice *choices;
    int count; /* 1 or more */
};

/* The sum of each item's smallest choice. */
uint64_t allocate_least(const struct allocate_item *items, int64_t count);

/* choice [count] = of each item the index of one of its choices, with the least sum of costs among
 * all whose sizes add up to at most `capacity`, and of equal costs the smaller. LLMQ_E_USAGE when
 * that is below allocate_least; LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status allocate(const struct allocate_item *items, int64_t count,
                                         uint64_t capacity, int *choice, llmq_error *err);

#endif
