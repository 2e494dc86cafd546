/* SPDX-License-Identifier: Apache-2.0 */
/* The text on its way through the tokenizer: pieces, each either text to be cut further or an
 * added token that is already an id. */
#ifndef LLMQ_TEXT_PIECES_H
#define LLMQ_TEXT_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "llmq/error.h"

#define PIECE_TEXT (-1) /* the id of a piece that is still text */

/* What is known of a piece of a text that is encoded in parts; 0 for one that is whole. */
enum piece_mark {
    PIECE_FRESH = 1, /* a text that begins where the piece does is cut alike from there on */
    PIECE_LOCAL = 2, /* and so is one that begins at any place in it */
    PIECE_OPEN = 4,  /* what follows the text may make another of it */
    PIECE_GROWS = 8, /* but only a longer one */
};

struct piece {
    size_t begin; /* in the list's text */
    size_t len;
    int32_t id;    /* PIECE_TEXT or a token id */
    bool at_start; /* begins where the input begins: Metaspace's "first" asks */
    unsigned marks;
};

/* A list owns the text its pieces lie in; the pieces are in order. Zero-initialise. */
struct piece_list {
    struct strbuf text;
    struct piece *items;
    size_t count;
    size_t cap;
    unsigned marks; /* of the pieces that are appended */
    bool unsettled; /* what follows the text may make other added tokens of its end */
};

/* Append a piece whose text is list->text from `begin` to its end; an empty one is left out. */
LLMQ_NODISCARD enum llmq_status piece_list_close(struct piece_list *list, size_t begin,
                                                 bool at_start, llmq_error *err);

/* Append a piece with a copy of `text`; an empty one is left out. */
LLMQ_NODISCARD enum llmq_status piece_list_add(struct piece_list *list, const char *text,
                                               size_t len, bool at_start, llmq_error *err);

/* Append a token. */
LLMQ_NODISCARD enum llmq_status piece_list_add_id(struct piece_list *list, int32_t id,
                                                  llmq_error *err);

void piece_list_free(struct piece_list *list);

#endif
