/* SPDX-License-Identifier: Apache-2.0 */
/* The filters, tests, methods and functions that templates may call, as tables. */
#ifndef LLMQ_CHAT_BUILTINS_H
#define LLMQ_CHAT_BUILTINS_H

#include "chat/rendering.h"

#define JINJA_MAX_ARGUMENTS 6

/* Arguments as they were given. */
struct jinja_arguments {
    const struct jinja_value *items; /* by place */
    size_t count;
    const struct jinja_pair *named;
    size_t named_count;
};

/* One call: `self` is the value that is filtered or tested, or the method's object. */
struct jinja_call {
    const struct jinja_builtin *builtin;
    const struct jinja_value *self;
    const struct jinja_value *args[JINJA_MAX_ARGUMENTS]; /* by parameter; NULL: not given */
    const struct jinja_arguments *all;
};

struct jinja_builtin {
    const char *name;
    /* Names of the parameters, with spaces between; "*": any arguments, read from `all`. Those
     * before ";" must be given. */
    const char *parameters;
    struct jinja_value (*run)(struct jinja_run *run, const struct jinja_call *call);
};

/* Tables end with a NULL name. */
extern const struct jinja_builtin jinja_filters_of_values[], jinja_filters_of_texts[],
    jinja_filters_of_lists[];
extern const struct jinja_builtin jinja_tests[];
extern const struct jinja_builtin jinja_functions[];
extern const struct jinja_builtin jinja_text_methods[], jinja_list_methods[], jinja_dict_methods[];
extern const struct jinja_builtin jinja_loop_methods[];

const struct jinja_builtin *jinja_find_in(const struct jinja_builtin *table,
                                          struct jinja_text name);
const struct jinja_builtin *jinja_find_filter(struct jinja_text name);

/* The argument for parameter number `index`, by place or by name; NULL: not given. */
const struct jinja_value *jinja_find_argument(const struct jinja_arguments *all, size_t index,
                                              struct jinja_text name);

/* Call a builtin with arguments; wrong ones fail. */
struct jinja_value jinja_call_builtin(struct jinja_run *run, const struct jinja_builtin *builtin,
                                      const struct jinja_value *self,
                                      const struct jinja_arguments *all);

/* The same by name, failing for one that there is not. */
struct jinja_value jinja_call_filter(struct jinja_run *run, struct jinja_text name,
                                     const struct jinja_value *self,
                                     const struct jinja_arguments *all);
bool jinja_call_test(struct jinja_run *run, struct jinja_text name, const struct jinja_value *self,
                     const struct jinja_arguments *all);

/* --- arguments by their types; each fails on a value of another ------------------------------- */

/* The text of `self`, or of an argument. */
struct jinja_text jinja_self_text(struct jinja_run *run, const struct jinja_call *call);
struct jinja_text jinja_arg_text(struct jinja_run *run, const struct jinja_call *call, int index);
int64_t jinja_arg_int(struct jinja_run *run, const struct jinja_call *call, int index,
                      int64_t absent);

/* What an argument puts before lines: a string, or so many spaces. */
struct jinja_text jinja_arg_indent(struct jinja_run *run, const struct jinja_call *call, int index,
                                   int64_t absent);
bool jinja_arg_truth(const struct jinja_call *call, int index);

/* Is an argument given, and not None? */
bool jinja_has(const struct jinja_call *call, int index);

/* Fail: the builtin cannot do that with such a value. */
struct jinja_value jinja_refuse(struct jinja_run *run, const struct jinja_call *call,
                                const struct jinja_value *v);

#endif
