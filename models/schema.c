/* Names of the language's words: see schema.h. */
#include "models/schema.h"

const char *schema_value_name(enum value v) {
#define SCHEMA_NAME(name) #name,
    static const char *const names[] = {SCHEMA_VALUES(SCHEMA_NAME)};
#undef SCHEMA_NAME
    return names[v];
}

const char *schema_op_name(enum op op) {
    static const char *const names[] = {
        [OP_END] = "end",         [OP_NORM] = "norm",
        [OP_LINEAR] = "linear",   [OP_SPLIT] = "split",
        [OP_JOIN] = "join",       [OP_ROPE] = "rope",
        [OP_CLIP] = "clip",       [OP_ATTENTION] = "attention",
        [OP_ACT] = "act",         [OP_GLU] = "glu",
        [OP_ADD] = "add",         [OP_ROUTER] = "router",
        [OP_EXPERTS] = "experts",
    };
    return names[op];
}
