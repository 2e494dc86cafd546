/* SPDX-License-Identifier: Apache-2.0 */
/* A model's chat template: found where transformers looks for it, with the special tokens that it
 * may write. */
#ifndef LLMQ_TEXT_CHAT_TEMPLATE_H
#define LLMQ_TEXT_CHAT_TEMPLATE_H

#include <stdbool.h>

#include "base/strbuf.h"
#include "chat/template.h"
#include "llmq/error.h"

struct chat_template;

/* Read what a model folder has: chat_template.jinja, else "chat_template" of tokenizer_config.json
 * (a string, or an array of {"name", "template"}), else that of chat_template.json; and beside it
 * the ones in additional_chat_templates/, named as their files. A folder without any is fine: then
 * chat_template_write fails. Nothing is parsed before it is used. */
LLMQ_NODISCARD enum llmq_status chat_template_open(const char *dir, struct chat_template **out,
                                                   llmq_error *err);
void chat_template_free(struct chat_template **t);

/* A rendering to fill, begun again: its memory is the template's. */
struct jinja_run *chat_template_begin(struct chat_template *t, llmq_error *err);

/* Append the conversation that the rendering has as "messages", as the template writes it, the way
 * tokenizer.apply_chat_template does: the template named tool_use where "tools" are given and there
 * is one, else the default; no beginning of an answer behind it. LLMQ_E_INPUT: the model has no
 * template (the hint says what to do), or the template fails; LLMQ_E_UNSUPPORTED: a construct that
 * llmq does not know, by name and line. */
LLMQ_NODISCARD enum llmq_status chat_template_write(struct chat_template *t, struct strbuf *out,
                                                    llmq_error *err);

#endif
