/* SPDX-License-Identifier: Apache-2.0 */
/* At which value a key of config.json changes nothing. Not for use outside
 * models/config_neutral*.c.
 */
#ifndef LLMQ_MODELS_CONFIG_NEUTRAL_H
#define LLMQ_MODELS_CONFIG_NEUTRAL_H

#include <stdbool.h>

#include "models/family.h"

enum neutral {
    OFF,         /* false, 0, or empty */
    ONE,         /* 1, or a list of ones */
    ONE_AT_MOST, /* counts: 0 or 1 */
    /* what the model has: */
    ACTIVATION, /* the name of it */
    NORM,       /* a name of its kind */
    POSITIONS,  /* the same */
    WINDOW,     /* its size, or off */
    BASE,       /* of the rotary frequencies, if it has any */
    /* true or false: whether it has ... */
    ON,         /* (always) */
    ROTARY,     /* ... rotated queries and keys, */
    NEIGHBOURS, /* ... by pairs of neighbours, */
    HALVES,     /* ... or by the halves of a head, */
    ALIBI,      /* ... a bias by distance, */
    LEARNED,    /* ... learned positions, */
    PARALLEL,   /* ... attention and MLP side by side, */
    GATE,       /* ... a gated MLP, */
    RMS,        /* ... norms without a mean, */
    MEAN,       /* ... or with one, */
    PLUS_ONE,   /* ... that store their weight minus 1, */
    WEIGHT,     /* ... that have a weight, */
    NORM_BIAS,  /* ... that have a bias, */
    TIED_HEAD,  /* ... the embedding for its output head */
    /* a number: */
    ROTARY_PART, /* of a head, that is rotated */
    ROTARY_SIZE, /* the same in entries */
    HEAD_SIZE,
    HIDDEN,
    ATTENTION_SCALE, /* of the scores */
    QUERY_SCALAR,    /* what it is 1 / sqrt of */
    DEPTH_SCALE,     /* sqrt(layers): MiniCPM divides by that */
    ALIBI_MAX,       /* 8: the slopes are powers of 1/2 to that */
    NEUTRAL_COUNT
};

/* What the key has to be for the family, false: anything. `path` is the key with the objects that
 * it lies in. */
bool neutral_find(const char *path, const char *key, const struct family *family,
                  enum neutral *out);

#endif
