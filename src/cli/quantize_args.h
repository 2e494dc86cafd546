/* SPDX-License-Identifier: Apache-2.0 */
/* What llmq gptq, llmq awq and llmq rtn are given: the same options, with other defaults. */
#ifndef LLMQ_CLI_QUANTIZE_ARGS_H
#define LLMQ_CLI_QUANTIZE_ARGS_H

#include "cli/calibration_args.h"
#include "cli/command.h"
#include "cli/recipe_args.h"
#include "llmq/quantize.h"

/* Fields of other types than llmq_quantize_options has are copied into it by quantize_args_options.
 */
struct quantize_args {
    struct common_args common;
    llmq_quantize_options options;
    struct group_size group;
    struct recipe_args recipe;
    struct calibration_args calib;
    struct special_args special;
    int select;
    int64_t seed; /* SEED_ABSENT, or as the user says */
    int bits;
    int quality;
    int act_order;              /* BY_QUALITY, or as the user says */
    struct range_choice search; /* likewise */
    struct correct_strength correct;
    int64_t descent, rounds;  /* likewise */
    int curvature;            /* likewise */
    int64_t curvature_tokens; /* likewise */
    int64_t restarts;         /* likewise */
    double token_weights;     /* likewise */
    int scales;
    int tune; /* BY_QUALITY, or as the user says */
    int source_quantized;
    int mtp;
    int format;
    int scheme; /* SCHEME_NONE, or as the user says */
    int compute;
    struct count_list ranks; /* to plan for */
    struct link_rate link;
    double gflops;
};

/* Their options, into a struct quantize_args; and those of them that other commands have too. */
extern const struct option_group quantize_groups[];
extern const struct option quantize_grid_options[], quantize_calibration_options[],
    quantize_method_options[], quantize_tuning_options[];

/* The defaults of a method. */
void quantize_args_init(struct quantize_args *a, enum llmq_method method);

/* What is asked about several ranks, into *question but for the room for answers; *out is that, or
 * NULL: nothing. LLMQ_E_USAGE. */
LLMQ_NODISCARD enum llmq_status quantize_args_ranks(const struct quantize_args *a,
                                                    llmq_ranks_question *question,
                                                    const llmq_ranks_question **out,
                                                    llmq_error *err);

/* What the library is to do; texts stay those of the arguments. */
llmq_quantize_options quantize_args_options(const struct quantize_args *a);

#endif
