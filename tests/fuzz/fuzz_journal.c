/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of a run over the demo model, behind the line that says whose it is. */
#include <string.h>

#include "base/datadir.h"
#include "formats/safetensors/safetensors_watch.h"
#include "graph/model.h"
#include "pipeline/journal.h"
#include "pipeline/output.h"
#include "tests/fuzz/fuzz.h"

#define IDENTITY "{\"build\":\"1\"}"

static struct model model;

static void close_model(void) {
    model_close(&model);
}

static void put_journal(const uint8_t *data, size_t len) {
    static const char first[] = IDENTITY "\n";
    const size_t head = sizeof first - 1;
    char *text = malloc(head + len + 1);
    MUST(text);
    memcpy(text, first, head);
    memcpy(text + head, data, len);
    fuzz_put(JOURNAL_NAME, text, head + len);
    free(text);
}

void fuzz_journal(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct json *identity = NULL;
    struct journal *journal = NULL;
    llmq_quantize_report report = {0};
    if (!model.dir) {
        MUST(model_open(data_dir(), &model, &err) == LLMQ_OK);
        atexit(close_model);
    }
    struct journal_blocks blocks = {
        .count = model.config.blocks,
        .hashes = calloc((size_t)blocks_linear_count(model.blocks), sizeof *blocks.hashes),
        .folded = calloc((size_t)model.config.blocks, sizeof *blocks.folded),
        .source = &model};
    MUST(blocks.hashes && blocks.folded && st_watch(model.tensors, &err) == LLMQ_OK);
    MUST(json_parse(IDENTITY, sizeof IDENTITY - 1, "identity", &identity, &err) == LLMQ_OK);
    put_journal(data, len);
    const enum llmq_status status =
        journal_resume(fuzz_dir(), identity, &blocks, &report, &journal, &err);
    fuzz_check(status, &err);
    MUST(blocks.done >= 0 && blocks.done <= blocks.count);
    MUST((status == LLMQ_OK) == (journal != NULL));
    journal_close(&journal);
    json_free(&identity);
    llmq_quantize_report_free(&report);
    free(blocks.hashes);
    free(blocks.folded);
}
