/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of shapes that the families do not have yet, for the suites of what is derived from rows.
 */
#ifndef LLMQ_TESTS_MODELS_SHAPES_H
#define LLMQ_TESTS_MODELS_SHAPES_H

#include "models/schema.h"

/* What they can be read with. */
extern const struct facts shape_facts;

/* Attention and MLP side by side on one norm, as in Phi 2. */
extern const struct node shape_parallel[];

/* The same, each on a norm of its own, as in GPT-NeoX. */
extern const struct node shape_two_norms[];

/* Queries, keys and values in one linear, key-value head by key-value head, as in GPTBigCode. */
extern const struct node shape_fused[];

/* Queries, keys and values that are never quantized, as in Llama 4. */
extern const struct node shape_plain[];

/* A norm between a branch and the stream, as in Gemma 2. */
extern const struct node shape_post_norm[];

/* Queries, keys and values through bottlenecks, as in DeepSeek V3; T_Q_LORA: the queries too. */
extern const struct node shape_latent[];

/* A convolution between two products, as in LFM2; T_MLP_BIAS: with a bias. */
extern const struct node shape_convolved[];

/* A scan behind a convolution, as in Mamba-2; T_CLIP: without a norm behind its gate. */
extern const struct node shape_scanned[];

/* A delta rule whose value heads share those of keys, as in Qwen3-Next without its convolution;
 * T_CLIP: without the norm of its heads. */
extern const struct node shape_delta[];

/* Lightning attention, whose stream goes on as what was normed, times a factor, as in MiniMax. */
extern const struct node shape_fading[];

/* One of its experts, from V_E. */
extern const struct node shape_expert[];

/* Routed experts beside one that every token passes, behind a switch, as in Qwen2-MoE. */
extern const struct node shape_experts[];

#endif
