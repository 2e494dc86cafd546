/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of templates evaluated. */
#ifndef LLMQ_CHAT_EVALUATE_H
#define LLMQ_CHAT_EVALUATE_H

#include "chat/builtins.h"
#include "chat/tree.h"

/* What an expression gives; NULL gives something undefined. */
struct jinja_value jinja_evaluate(struct jinja_run *run, const struct jinja_node *node);

/* Call a macro. */
struct jinja_value jinja_call_macro(struct jinja_run *run, const struct jinja_function *function,
                                    const struct jinja_arguments *all,
                                    const struct jinja_value *caller);

/* Call what a CALL node calls; `caller` is what its body may call, or NULL. */
struct jinja_value jinja_evaluate_call(struct jinja_run *run, const struct jinja_node *node,
                                       const struct jinja_value *caller);

/* How statements ended. */
enum jinja_flow { JINJA_FLOW_ON, JINJA_FLOW_BREAK, JINJA_FLOW_CONTINUE };

/* Run statements; what they print goes to run->out. */
enum jinja_flow jinja_execute(struct jinja_run *run, const struct jinja_node *statements);

#endif
