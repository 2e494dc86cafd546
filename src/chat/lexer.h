/* SPDX-License-Identifier: Apache-2.0 */
/* Template text to tokens, as Jinja reads it with trim_blocks and lstrip_blocks. */
#ifndef LLMQ_CHAT_LEXER_H
#define LLMQ_CHAT_LEXER_H

#include "chat/rendering.h"

enum jinja_token_type {
    JINJA_TOKEN_DATA,     /* text between tags, white space already taken off */
    JINJA_TOKEN_PRINT,    /* {{ */
    JINJA_TOKEN_PRINTED,  /* }} */
    JINJA_TOKEN_BLOCK,    /* {% */
    JINJA_TOKEN_BLOCKED,  /* %} */
    JINJA_TOKEN_NAME,     /* and keywords */
    JINJA_TOKEN_CONSTANT, /* a string or a number: `value` */
    JINJA_TOKEN_OPERATOR,
    JINJA_TOKEN_END,
};

struct jinja_token {
    enum jinja_token_type type;
    struct jinja_text text;
    struct jinja_value value;
    int line;
};

/* Cut a template into tokens, in the run's memory; the last one is JINJA_TOKEN_END. NULL when
 * something in it cannot be read (jinja_failed, with its line). */
struct jinja_token *jinja_lex(struct jinja_run *run, const char *text, size_t len);

#endif
