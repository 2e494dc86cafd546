/* SPDX-License-Identifier: Apache-2.0 */
/* Configs as rows of a table: what is accepted, what is refused and with which words. */
#ifndef LLMQ_TESTS_MODELS_CONFIG_ROWS_H
#define LLMQ_TESTS_MODELS_CONFIG_ROWS_H

#include "models/config.h"
#include "support.h"

/* Parse {"model_type": type, members}. Release with config_free. */
enum llmq_status parse_members(const char *type, const char *members, struct model_config *c,
                               llmq_error *err);

/* Accepted, or refused with a part of the message. */
struct row {
    const char *type, *members, *part;
    enum llmq_status status;
};

#define GOOD          NULL, LLMQ_OK
#define REFUSED(part) part, LLMQ_E_UNSUPPORTED
#define WRONG(part)   part, LLMQ_E_INPUT

void check_rows(const struct row *rows, size_t count);
#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof(rows)[0])

/* Of a config that is accepted: the traits of a layer, a size, a number. */
trait_set traits_of(const char *type, const char *members, int64_t layer);
int64_t dim_of(const char *type, const char *members, enum dim dim);
double number_of(const char *type, const char *members, enum number number);

#endif
