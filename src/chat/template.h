/* SPDX-License-Identifier: Apache-2.0 */
/* Templates in the language of Jinja, as far as chat templates use it, with the meaning that
 * transformers gives them: trim_blocks and lstrip_blocks on, loop controls, {% generation %},
 * tojson without escapes for HTML, raise_exception and strftime_now.
 *
 * Not there, and refused by name and line: inheritance, includes and imports, recursive loops,
 * arguments from lists (*args), formatting by %, a few filters. */
#ifndef LLMQ_CHAT_TEMPLATE_H
#define LLMQ_CHAT_TEMPLATE_H

#include "chat/rendering.h"

struct jinja_template;

/* Parse UTF-8 text. LLMQ_E_INPUT with the line for what is no template, LLMQ_E_UNSUPPORTED with
 * line and construct for what llmq does not know. Release with jinja_template_free. */
LLMQ_NODISCARD enum llmq_status jinja_template_parse(const char *text, size_t len,
                                                     struct jinja_template **out, llmq_error *err);
void jinja_template_free(struct jinja_template **t);

/* A rendering: begun, given its variables with jinja_define, made with jinja_render as often as one
 * likes, ended. `run` is zeroed before jinja_begin. */
LLMQ_NODISCARD enum llmq_status jinja_begin(struct jinja_run *run, llmq_error *err);

/* Begin again, with nothing defined, in the memory that the rendering has. */
void jinja_restart(struct jinja_run *run, llmq_error *err);
void jinja_define(struct jinja_run *run, const char *name, struct jinja_value value);
void jinja_end(struct jinja_run *run);

/* Append what the template gives for the run's variables. LLMQ_E_INPUT with the line when it fails:
 * by its own raise_exception, by what is undefined, by taking too much (rendering.h);
 * LLMQ_E_UNSUPPORTED for a construct that is not known. */
LLMQ_NODISCARD enum llmq_status jinja_render(struct jinja_run *run, const struct jinja_template *t,
                                             struct strbuf *out);

#endif
