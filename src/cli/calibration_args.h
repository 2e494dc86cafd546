/* SPDX-License-Identifier: Apache-2.0 */
/* The options that say what to calibrate on: --calib, --calib-field and --show-calib. */
#ifndef LLMQ_CLI_CALIBRATION_ARGS_H
#define LLMQ_CLI_CALIBRATION_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "llmq/quantize.h"

struct calibration_args {
    struct value_list files;
    const char *field;
    int64_t show;                  /* windows to print; 0: none */
    const char *more[VALUES_MOST]; /* for calibration_apply */
};

/* Rows of an option table for a struct calibration_args at `member` of a command's arguments. */
#define CALIBRATION_OPTIONS(type, member)                                                          \
    {.name = "calib",                                                                              \
     .kind = OPTION_LIST,                                                                          \
     .offset = offsetof(type, member.files),                                                       \
     .value = "FILE[:WEIGHT]",                                                                     \
     .help = "what to calibrate on: a text file, .jsonl of {\"text\": ...} or of conversations, "  \
             "which the model's chat template writes ({\"messages\": [...]}, ShareGPT's "          \
             "{\"conversations\": [...]}, instruction and output, prompt and completion, "         \
             "question and answer), or .json windows of token ids; gzip's are unpacked. May be "   \
             "repeated: the files share the windows by weight. rtn weighs the errors it reports "  \
             "with it, and takes it for --search weighted and --correct",                          \
     .absent = "gptq, awq: the English text bundled with llmq; rtn: none",                         \
     .source = VALUE_FILE},                                                                        \
        {.name = "calib-field",                                                                    \
         .kind = OPTION_TEXT,                                                                      \
         .offset = offsetof(type, member.field),                                                   \
         .value = "NAME",                                                                          \
         .help = "the member of .jsonl lines that holds the text, or a list of messages",          \
         .absent = "text; where there is none, the conversation"},                                 \
    {                                                                                              \
        .name = "show-calib", .kind = OPTION_INT, .offset = offsetof(type, member.show),           \
        .value = "N",                                                                              \
        .help = "print the first N windows as text, special tokens written out, and stop",         \
        .absent = "none", .min = 1, .max = 1e9                                                     \
    }

/* Put what is given into the options of a run, which then point into `args`. */
void calibration_apply(struct calibration_args *args, llmq_quantize_options *options);

/* Print the first windows of such a run, as JSON or for people, instead of running it. */
LLMQ_NODISCARD enum llmq_status calibration_show(const struct calibration_args *args,
                                                 const llmq_quantize_options *options, bool json,
                                                 const llmq_context *ctx, llmq_error *err);

#endif
