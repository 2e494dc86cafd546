/* SPDX-License-Identifier: Apache-2.0 */
/* A whole checkpoint: what is said of it, whether it opens, its plan, and its check. */
#include "graph/model.h"
#include "llmq/model.h"
#include "llmq/quantize.h"
#include "llmq/verify.h"
#include "tests/fuzz/fuzz.h"

static void inspect(void) {
    llmq_error err = {0};
    llmq_inspect_report report = {0};
    fuzz_check(llmq_inspect(fuzz_dir(), NULL, &report, &err), &err);
    llmq_inspect_report_free(&report);
}

static void verify(void) {
    llmq_error err = {0};
    llmq_verify_report report = {0};
    const llmq_context ctx = {.size = sizeof ctx, .threads = 1};
    const llmq_verify_options options = {.size = sizeof options, .model = fuzz_dir()};
    fuzz_check(llmq_verify(&options, &ctx, &report, &err), &err);
    llmq_verify_report_free(&report);
}

static void plan(void) {
    llmq_error err = {0};
    llmq_quantize_report report = {0};
    llmq_quantize_options options;
    const llmq_context ctx = {.size = sizeof ctx, .threads = 1};
    llmq_quantize_options_init(&options, LLMQ_METHOD_RTN);
    options.model = fuzz_dir();
    options.out = "/nowhere/llmq-fuzz";
    options.dry_run = true;
    const enum llmq_status status = llmq_quantize(&options, &ctx, &report, &err);
    if (status != LLMQ_E_IO)
        fuzz_check(status, &err);
    llmq_quantize_report_free(&report);
}

void fuzz_folder(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct model model = {0};
    fuzz_unfold(data, len);
    inspect();
    const enum llmq_status status = model_open(fuzz_dir(), &model, &err);
    fuzz_check(status, &err);
    model_close(&model);
    verify();
    plan();
}
