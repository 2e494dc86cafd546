/* See auto_round.h. Its bits, group_size and sym are spelled as in a GPTQ config; only the packing
 * format tells how the tensors lie. */
#include "formats/auto_round.h"

#include <string.h>

#include "formats/layout.h"

/* Packing formats by name, with the layout that reads them. */
static const struct {
    const char *packing, *layout;
} packings[] = {
    {"auto_round:auto_gptq", "gptq"},
    {"auto_round", "gptq_v2"},
    {"auto_round:gptqmodel", "gptq_v2"},
    {"auto_round:auto_awq", "awq"},
};

bool auto_round_config(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    return method && (strcmp(method, "auto-round") == 0 || strcmp(method, "auto_round") == 0);
}

bool auto_round_packs(const struct json *quantization_config, const char *name) {
    const char *packing = json_string(json_get(quantization_config, "packing_format"));
    if (!packing || !auto_round_config(quantization_config))
        return false;
    for (size_t i = 0; i < sizeof packings / sizeof packings[0]; i++)
        if (strcmp(packing, packings[i].packing) == 0)
            return strcmp(name, packings[i].layout) == 0;
    return false;
}
