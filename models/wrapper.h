/* SPDX-License-Identifier: Apache-2.0 */
/* Models of text inside of others: config.json is the whole's, its text_config the model's, and
 * beside the model's tensors lie those of towers for pictures or sound and of what joins them. The
 * whole's config and names stay; only the blocks of the model of text are worked on. */
#ifndef LLMQ_MODELS_WRAPPER_H
#define LLMQ_MODELS_WRAPPER_H

struct wrapper {
    const char *model_type;           /* of config.json; NULL: the list is at its end */
    const char *const *architectures; /* what it may call the class, NULL-terminated */
    const char *text; /* model_type of the model of text where it has no name of its own: its keys
                       * are among the whole's, or text_config has none; NULL: it has one */
};

/* models/families/wrappers.c */
extern const struct wrapper wrappers[];

/* What config.json may call the part that describes the model of text, the usual name first;
 * NULL-terminated. */
extern const char *const wrapper_text_keys[];

/* One that no list has, of a config that is read as a family that the user names. */
extern const struct wrapper wrapper_unlisted;

/* The wrapper of a model_type; NULL: it is none. */
const struct wrapper *wrapper_find(const char *model_type);

/* What the names of the tensors of a model of text begin with inside of a wrapper, in place of the
 * family's "model.": NULL-terminated. Loaders know these and no others. */
extern const char *const wrapper_prefixes[];

#endif
