/* SPDX-License-Identifier: Apache-2.0 */
/* A failure as JSON: see llmq_error_json in llmq/error.h. */
#include "base/json.h"
#include "llmq/error.h"

char *llmq_error_json(const llmq_error *err) {
    struct json *document = json_new_object();
    struct json *error = json_new_object();
    json_add_string(error, "code", llmq_status_name(err->code));
    json_add_int64(error, "exit_code", llmq_exit_code(err->code));
    json_add_string(error, "message", err->message);
    if (err->hint[0])
        json_add_string(error, "hint", err->hint);
    json_add_int64(document, "schema", 1);
    json_add(document, "error", error);
    return json_print_and_free(document);
}
