/* SPDX-License-Identifier: Apache-2.0 */
/* Names and kinds of the language's words: see schema.h. */
#include "models/schema.h"

#include <stddef.h>
#include <string.h>

const char *schema_value_name(enum value v) {
#define SCHEMA_NAME(name)   #name,
#define SCHEMA_SECOND(name) "2_" #name,
    static const char *const names[] = {SCHEMA_VALUES(SCHEMA_NAME) SCHEMA_VALUES(SCHEMA_SECOND)};
#undef SCHEMA_NAME
#undef SCHEMA_SECOND
    return names[v];
}

bool schema_is_second(enum value v) {
    return v > V_2_NONE;
}

enum value schema_first(enum value v) {
    return schema_is_second(v) ? (enum value)(v - V_2_NONE) : v;
}

const char *schema_op_name(enum op op) {
    static const char *const names[] = {
        [OP_END] = "end",
        [OP_SAME] = "same",
        [OP_NORM] = "norm",
        [OP_LINEAR] = "linear",
        [OP_SPLIT] = "split",
        [OP_JOIN] = "join",
        [OP_ROPE] = "rope",
        [OP_CLIP] = "clip",
        [OP_ATTENTION] = "attention",
        [OP_INDEX] = "index",
        [OP_DIFFER] = "differ",
        [OP_ACT] = "act",
        [OP_GLU] = "glu",
        [OP_ADD] = "add",
        [OP_SCALE] = "scale",
        [OP_SUM] = "sum",
        [OP_TOKEN] = "token",
        [OP_EMBEDDING] = "embedding",
        [OP_CONV] = "conv",
        [OP_SCAN] = "scan",
        [OP_DELTA] = "delta rule",
        [OP_LIGHTNING] = "lightning attention",
        [OP_SELECTIVE] = "selective scan",
        [OP_LRU] = "RG-LRU",
        [OP_ROUTER] = "router",
        [OP_EXPERTS] = "experts",
    };
    return names[op];
}

/* --- activations ------------------------------------------------------------------------------ */

/* The usual name of each comes first. transformers, activations.py (ACT2FN). */
static const struct {
    const char *name;
    enum act act;
} acts[] = {
    {"silu", ACT_SILU},
    {"swish", ACT_SILU},
    {"swiglu", ACT_SILU},
    {"SiLU", ACT_SILU},
    {"gelu", ACT_GELU},
    {"gelu_python", ACT_GELU},
    {"gelu_pytorch_tanh", ACT_GELU_TANH},
    {"gelu_new", ACT_GELU_TANH},
    {"gelu_fast", ACT_GELU_TANH},
    {"gelu_accurate", ACT_GELU_TANH},
    {"gelu_python_tanh", ACT_GELU_TANH},
    {"relu", ACT_RELU},
    {"relu2", ACT_RELU2},
    {"sigmoid", ACT_SIGMOID},
};

const char *schema_act_name(enum act act) {
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (acts[i].act == act)
            return acts[i].name;
    return "none";
}

enum act schema_act_find(const char *name) {
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (strcmp(acts[i].name, name) == 0)
            return acts[i].act;
    return ACT_OF_CONFIG;
}

/* --- norms ------------------------------------------------------------------------------------ */

bool norm_has_mean(enum norm norm) {
    return norm == NORM_LAYER || norm == NORM_LAYER1 || norm == NORM_LAYER_W ||
           norm == NORM_LAYER_BARE;
}

bool norm_has_weight(enum norm norm) {
    return norm != NORM_RMS_BARE && norm != NORM_LENGTH && norm != NORM_LAYER_BARE;
}

bool norm_has_bias(enum norm norm) {
    return norm == NORM_LAYER || norm == NORM_LAYER1;
}

bool norm_adds_one(enum norm norm) {
    return norm == NORM_RMS1 || norm == NORM_LAYER1;
}
