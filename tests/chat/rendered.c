/* SPDX-License-Identifier: Apache-2.0 */
/* See rendered.h. */
#include "chat/rendered.h"

#include <check.h>
#include <string.h>

#include "chat/format.h"
#include "chat/template.h"
#include "support.h"

enum llmq_status rendered(const char *template, const char *variables, char **text,
                          llmq_error *err) {
    struct jinja_template *t = NULL;
    struct jinja_run run;
    struct strbuf out = {0};
    enum llmq_status status = jinja_template_parse(template, strlen(template), &t, err);
    if (status != LLMQ_OK)
        return status;
    ck_assert_ok(jinja_begin(&run, err), err);
    const struct jinja_value all = jinja_from_json(&run, variables, strlen(variables));
    ck_assert_ok(run.status, err);
    jinja_define(&run, "bos_token", jinja_string("<s>", 3));
    jinja_define(&run, "eos_token", jinja_string("</s>", 4));
    for (size_t i = 0; i < all.dict->count; i++)
        jinja_define(&run, all.dict->pairs[i].key.text.at, all.dict->pairs[i].value);
    status = jinja_render(&run, t, &out);
    if (status == LLMQ_OK)
        *text = strbuf_take(&out);
    strbuf_free(&out);
    jinja_end(&run);
    jinja_template_free(&t);
    return status;
}
