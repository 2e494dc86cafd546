/* SPDX-License-Identifier: Apache-2.0 */
/* The file of logits: see logits.h. */
#include "api/logits.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"

static enum llmq_status write_rows(const struct output_file *place, const struct acts *logits,
                                   llmq_error *err) {
    const size_t bytes = (size_t)logits->width * sizeof(float);
    float *row = NULL, *buffer = malloc(bytes);
    enum llmq_status status = buffer ? LLMQ_OK : error_memory(err, "a row of logits");
    for (int64_t r = 0; r < logits->rows && status == LLMQ_OK; r++) {
        status = acts_load(logits, r, 1, buffer, &row, err);
        if (status == LLMQ_OK)
            status = output_file_put(place, row, bytes, err);
    }
    free(buffer);
    return status;
}

enum llmq_status logits_write(struct output_file *place, const struct acts *logits,
                              llmq_error *err) {
    const struct st_spec spec = {.name = "logits",
                                 .dtype = DTYPE_F32,
                                 .rank = 2,
                                 .shape = {(uint64_t)logits->rows, (uint64_t)logits->width}};
    enum llmq_status status = LLMQ_OK;
    struct strbuf head = {0};
    LLMQ_TRY(st_single_head(&spec, &head, err));
    LLMQ_TRY(output_file_begin(place, err));
    LLMQ_TRY(output_file_put(place, head.data, head.len, err));
    LLMQ_TRY(write_rows(place, logits, err));
    LLMQ_TRY(output_file_finish(place, err));
cleanup:
    strbuf_free(&head);
    return status;
}
