/* SPDX-License-Identifier: Apache-2.0 */
/* See calibration_args.h. */
#include "cli/calibration_args.h"

#include <stdio.h>

#include "cli/console.h"
#include "llmq/printable.h"

void calibration_apply(struct calibration_args *args, llmq_quantize_options *options) {
    const size_t count = args->files.count;
    for (size_t i = 1; i < count; i++)
        args->more[i - 1] = args->files.values[i].text;
    options->calib = count > 0 ? args->files.values[0].text : NULL;
    options->calib_more = count > 1 ? args->more : NULL;
    options->calib_field = args->field;
}

/* Text over several lines; what a terminal would obey, or not show, is escaped. */
static void print_text(const char *text) {
    uint32_t code = 0;
    bool valid = false, visible = false;
    for (size_t len; (len = llmq_character(text, &code, &valid, &visible)) > 0; text += len) {
        if (visible || code == '\n' || code == '\t')
            fwrite(text, 1, len, stdout);
        else
            printf("\\u%04x", (unsigned)code);
    }
}

static void print_windows(const llmq_windows *windows) {
    for (int64_t i = 0; i < windows->count; i++) {
        printf("--- window %lld of %lld, %lld tokens ---\n", (long long)i + 1,
               (long long)windows->total, (long long)windows->windows[i].tokens);
        print_text(windows->windows[i].text);
        puts("");
    }
}

enum llmq_status calibration_show(const struct calibration_args *args,
                                  const llmq_quantize_options *options, bool json,
                                  const llmq_context *ctx, llmq_error *err) {
    llmq_windows windows = {0};
    enum llmq_status status = llmq_calibration_windows(options, args->show, ctx, &windows, err);
    if (status == LLMQ_OK && json)
        status = console_json(llmq_windows_json(&windows), err);
    else if (status == LLMQ_OK)
        print_windows(&windows);
    llmq_windows_free(&windows);
    return status;
}
