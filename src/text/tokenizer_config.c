/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_config.json: see tokenizer_config.h. */
#include "text/tokenizer_config.h"

#include <string.h>

#include "base/error.h"

/* Classes that put begin- and end-of-text tokens around texts by add_bos_token and add_eos_token,
 * with what their constructors take where the file is silent. Each calls update_post_processor at
 * the end of its constructor in src/transformers/models/<model>/tokenization_<model>_fast.py of
 * transformers 4.41 to 4.57; the base class PreTrainedTokenizerFast and all others there ignore the
 * flags (GPT2TokenizerFast refuses add_bos_token). transformers 5 drops both flags where there is a
 * tokenizer.json (PreTrainedTokenizerBase._from_pretrained), and so relies on its template. A name
 * in the file may end in "Fast" or not: both load the class listed here. */
static const struct tokenizer_class {
    const char *name;
    bool add_bos, add_eos;
    const char *bos, *eos;
} classes[] = {
    /* clang-format off */
    {"LlamaTokenizer",     true,  false, "<s>",           "</s>"},
    {"CodeLlamaTokenizer", true,  false, "<s>",           "</s>"},
    {"GemmaTokenizer",     true,  false, "<bos>",         "<eos>"},
    {"CohereTokenizer",    true,  false, "<BOS_TOKEN>",   "<|END_OF_TURN_TOKEN|>"},
    {"GPTNeoXTokenizer",   false, false, "<|endoftext|>", "<|endoftext|>"},
    /* clang-format on */
};

static const struct tokenizer_class *find_class(const char *name) {
    static const char fast[] = "Fast";
    size_t len = name ? strlen(name) : 0;
    if (len > sizeof fast - 1 && strcmp(name + len - (sizeof fast - 1), fast) == 0)
        len -= sizeof fast - 1;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strlen(classes[i].name) == len && strncmp(classes[i].name, name, len) == 0)
            return &classes[i];
    return NULL;
}

/* Absent: as the class has it. null is Python's None, which is false. */
static enum llmq_status read_flag(const struct json *document, const char *key, bool absent,
                                  bool *out, llmq_error *err) {
    const struct json *value = json_get(document, key);
    *out = value ? false : absent;
    if (json_type(value) != JSON_NULL && !json_as_bool(value, out))
        return error_set(err, LLMQ_E_INPUT, "'%s' must be true or false", key);
    return LLMQ_OK;
}

/* A token is a string, or an object with its "content"; null names none. */
static enum llmq_status read_token(const struct json *document, const char *key, const char *absent,
                                   const char **out, llmq_error *err) {
    const struct json *value = json_get(document, key);
    const char *content = json_string(json_get(value, "content"));
    *out = value ? (content ? content : json_string(value)) : absent;
    if (json_type(value) != JSON_NULL && !*out)
        return error_set(err, LLMQ_E_INPUT, "'%s' must be a string, or an object with 'content'",
                         key);
    return LLMQ_OK;
}

enum llmq_status tokenizer_config_read(const struct json *document, struct tokenizer_config *out,
                                       llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct tokenizer_class *class =
        find_class(json_string(json_get(document, "tokenizer_class")));
    *out = (struct tokenizer_config){.frames = class != NULL};
    LLMQ_TRY(read_token(document, "bos_token", class ? class->bos : NULL, &out->bos, err));
    LLMQ_TRY(read_token(document, "eos_token", class ? class->eos : NULL, &out->eos, err));
    if (class) {
        out->says_bos = json_get(document, "add_bos_token") != NULL;
        out->says_eos = json_get(document, "add_eos_token") != NULL;
        LLMQ_TRY(read_flag(document, "add_bos_token", class->add_bos, &out->add_bos, err));
        LLMQ_TRY(read_flag(document, "add_eos_token", class->add_eos, &out->add_eos, err));
    }
cleanup:
    return status;
}
