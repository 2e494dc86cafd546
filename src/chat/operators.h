/* SPDX-License-Identifier: Apache-2.0 */
/* Python's operators on values. All take what is undefined for a fault, but == and "in". */
#ifndef LLMQ_CHAT_OPERATORS_H
#define LLMQ_CHAT_OPERATORS_H

#include "chat/rendering.h"

/* a op b for + - * / // % ** ~. */
struct jinja_value jinja_binary(struct jinja_run *run, struct jinja_text op,
                                const struct jinja_value *a, const struct jinja_value *b);

/* a op b for == != < <= > >= in, and "not in". */
bool jinja_compare(struct jinja_run *run, struct jinja_text op, const struct jinja_value *a,
                   const struct jinja_value *b);

/* -1, 0 or 1; fails for values without an order. */
int jinja_order(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b);

bool jinja_contains(struct jinja_run *run, const struct jinja_value *whole,
                    const struct jinja_value *part);

/* -v or +v. */
struct jinja_value jinja_sign(struct jinja_run *run, bool negative, const struct jinja_value *v);

/* object.name: a method, else a member; what is not there is undefined. */
struct jinja_value jinja_member(struct jinja_run *run, const struct jinja_value *object,
                                struct jinja_text name);

/* object[index]: an item, else as jinja_member. */
struct jinja_value jinja_at(struct jinja_run *run, const struct jinja_value *object,
                            const struct jinja_value *index);

/* object[begin:end:step]; NULL bounds are left out. */
struct jinja_value jinja_slice(struct jinja_run *run, const struct jinja_value *object,
                               const struct jinja_value *begin, const struct jinja_value *end,
                               const struct jinja_value *step);

#endif
