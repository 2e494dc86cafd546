/* SPDX-License-Identifier: Apache-2.0 */
/* The list of layouts, and which of them a checkpoint's config describes. */
#include "formats/layouts/layout.h"

#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/layouts/auto_round.h"

static const struct layout *const layouts[] = {&layout_gptq,
                                               &layout_gptq_v2,
                                               &layout_awq,
                                               &layout_compressed_tensors,
                                               &layout_gguf,
                                               &layout_onnx,
                                               &layout_float_quantized,
                                               &layout_fp8,
                                               &layout_mxfp4,
                                               &layout_nvfp4};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

const struct layout *layout_at(int index) {
    return index >= 0 && index < LAYOUTS ? layouts[index] : NULL;
}

const struct layout *layout_find(const char *name) {
    for (int i = 0; i < LAYOUTS; i++)
        if (strcmp(layouts[i]->name, name) == 0)
            return layouts[i];
    return NULL;
}

const char *layout_head(const struct layout_config *config) {
    return config->head ? config->head : "lm_head";
}

bool layout_quantizes_head(const struct layout_config *config, const struct layout_module *modules,
                           int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (strcmp(modules[i].name, layout_head(config)) == 0)
            return true;
    return false;
}

/* No other layout loads with asymmetric codes in as many servers as AWQ, which is 4 bits. */
const struct layout *layout_default(int bits, bool sym, bool uniform) {
    return bits == 4 && !sym && uniform ? &layout_awq : &layout_gptq;
}

const struct layout *layout_of_floats(const struct json *quantization_config) {
    for (int i = 0; i < LAYOUTS; i++)
        if (layouts[i]->number != NUMBER_INT && layouts[i]->config_matches(quantization_config))
            return layouts[i];
    return NULL;
}

/* The first of two keys that holds a string, or NULL. */
static const char *text_of(const struct json *config, const char *key, const char *other) {
    const char *text = json_string(json_get(config, key));
    return text ? text : json_string(json_get(config, other));
}

static enum llmq_status refuse_method(const struct json *config, llmq_error *err) {
    const char *method = text_of(config, "quant_method", "method");
    const char *format = text_of(config, "checkpoint_format",
                                 auto_round_config(config) ? "packing_format" : "format");
    struct strbuf names = {0};
    for (int i = 0; i < LAYOUTS; i++)
        if (layouts[i]->number == NUMBER_INT)
            strbuf_printf(&names, "%s%s", i == 0 ? "" : ", ", layouts[i]->name);
    error_set(err, LLMQ_E_UNSUPPORTED,
              "quantization_config: expected a layout that llmq reads, found %s%.60s%s%s%.60s%s",
              method ? "quant_method '" : "no quant_method", method ? method : "",
              method ? "'" : "", format ? " with format '" : "", format ? format : "",
              format ? "'" : "");
    error_hint(err,
               "llmq reads %s, and fp8 and mxfp4 to quantize them anew: of other kinds take the "
               "checkpoint that was quantized, in 16 or 32 bits, and quantize that",
               names.data ? names.data : layouts[0]->name);
    strbuf_free(&names);
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status layout_of_config(const struct json *quantization_config, const struct layout **out,
                                  llmq_error *err) {
    for (int i = 0; i < LAYOUTS; i++)
        if (layouts[i]->number == NUMBER_INT && layouts[i]->config_matches(quantization_config)) {
            *out = layouts[i];
            return LLMQ_OK;
        }
    *out = NULL;
    return refuse_method(quantization_config, err);
}
