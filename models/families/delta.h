/* SPDX-License-Identifier: Apache-2.0 */
/* What the families with gated delta rules share: rows, and settings of their sizes. */
#ifndef LLMQ_MODELS_FAMILIES_DELTA_H
#define LLMQ_MODELS_FAMILIES_DELTA_H

#include "models/families/tables.h"

/* clang-format off */
/* From Q, K, V behind their convolutions to SCAN: keys and queries of length 1 (an epsilon that no
 * key says), the rule, whose decays and time steps are the module's A_log and dt_bias. */
#define DELTA_ROWS(module)                                                                           \
    {NORM(Q_UNIT, Q, NULL), .norm = NORM_LENGTH, .eps = 1e-6, .groups = DIM_DELTA_KEY_HEADS,         \
     .when = T_RECURRENT},                                                                           \
    {NORM(K_UNIT, K, NULL), .norm = NORM_LENGTH, .eps = 1e-6, .groups = DIM_DELTA_KEY_HEADS,         \
     .when = T_RECURRENT},                                                                           \
    {DELTA(SCAN, Q_UNIT, K_UNIT, V, BETA, FADE, module), .when = T_RECURRENT}

#define DELTA_SIZES(key_heads, value_heads, key, value)                   \
    DIM(CONV, "linear_conv_kernel_dim", 4),                               \
    DIM(DELTA_KEY_HEADS, "linear_num_key_heads", key_heads),              \
    DIM(DELTA_VALUE_HEADS, "linear_num_value_heads", value_heads),        \
    DIM(DELTA_KEY, "linear_key_head_dim", key),                           \
    DIM(DELTA_VALUE, "linear_value_head_dim", value)
/* clang-format on */

#endif
