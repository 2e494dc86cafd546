/* SPDX-License-Identifier: Apache-2.0 */
/* Special tokens around a text. */
#ifndef LLMQ_SPECIAL_H
#define LLMQ_SPECIAL_H

#ifdef __cplusplus
extern "C" {
#endif

/* What is put around every text before it is cut into windows. Special tokens that are written out
 * in the text are recognised always.
 * NONE   nothing
 * MODEL  what the model's tokenizer puts there (begin of text and the like): the template of
 *        tokenizer.json; without one, add_bos_token and add_eos_token of tokenizer_config.json for
 *        the classes of tokenizers that act on them
 * BOS    the same, and the begin-of-text token also where the tokenizer puts nothing before a
 *        text; bos_token of tokenizer_config.json names it */
enum llmq_special { LLMQ_SPECIAL_NONE, LLMQ_SPECIAL_MODEL, LLMQ_SPECIAL_BOS };

#ifdef __cplusplus
}
#endif
#endif
