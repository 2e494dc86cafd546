/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a recipe that an allocation made (llmq/sensitivity.h). */
#include <stdlib.h>
#include <string.h>

#include "api/output_file.h"
#include "llmq/model.h"
#include "llmq/sensitivity.h"

enum llmq_status llmq_allocation_check_place(const char *path, const char *model, llmq_error *err) {
    struct output_file place = OUTPUT_FILE_NONE;
    char *dir = NULL;
    enum llmq_status status = model ? llmq_model_resolve(model, &dir, err) : LLMQ_OK;
    if (status == LLMQ_OK)
        status = output_file_choose("out", path, dir, &place, err);
    output_file_free(&place);
    free(dir);
    return status;
}

enum llmq_status llmq_allocation_write(const llmq_allocation *a, const char *path,
                                       llmq_error *err) {
    struct output_file place = OUTPUT_FILE_NONE;
    enum llmq_status status = output_file_choose("out", path, NULL, &place, err);
    if (status == LLMQ_OK)
        status = output_file_begin(&place, err);
    if (status == LLMQ_OK)
        status = output_file_put(&place, a->recipe, strlen(a->recipe), err);
    if (status == LLMQ_OK)
        status = output_file_finish(&place, err);
    output_file_free(&place);
    return status;
}
