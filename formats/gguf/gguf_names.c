/* What is called what in GGUF files: see gguf_private.h. The names are those of llama.cpp's
 * gguf-py/gguf/tensor_mapping.py for the tensors that Llama-shaped models have. */
#include "formats/gguf/gguf_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name {
    const char *hf, *gguf;
    enum gguf_rows rows;
};

/* clang-format off */
static const struct name model_names[] = {
    {"model.embed_tokens",       "token_embd",  GGUF_ROWS_IN_ORDER},
    {"model.norm",               "output_norm", GGUF_ROWS_IN_ORDER},
    {"lm_head",                  "output",      GGUF_ROWS_IN_ORDER},
    {NULL, NULL, GGUF_ROWS_IN_ORDER},
};

/* Within a block. */
static const struct name block_names[] = {
    {"input_layernorm",          "attn_norm",   GGUF_ROWS_IN_ORDER},
    {"self_attn.q_proj",         "attn_q",      GGUF_ROWS_OF_HEADS},
    {"self_attn.k_proj",         "attn_k",      GGUF_ROWS_OF_KV_HEADS},
    {"self_attn.v_proj",         "attn_v",      GGUF_ROWS_IN_ORDER},
    {"self_attn.o_proj",         "attn_output", GGUF_ROWS_IN_ORDER},
    {"self_attn.q_norm",         "attn_q_norm", GGUF_ROWS_IN_ORDER},
    {"self_attn.k_norm",         "attn_k_norm", GGUF_ROWS_IN_ORDER},
    {"post_attention_layernorm", "ffn_norm",    GGUF_ROWS_IN_ORDER},
    {"mlp.gate_proj",            "ffn_gate",    GGUF_ROWS_IN_ORDER},
    {"mlp.up_proj",              "ffn_up",      GGUF_ROWS_IN_ORDER},
    {"mlp.down_proj",            "ffn_down",    GGUF_ROWS_IN_ORDER},
    {NULL, NULL, GGUF_ROWS_IN_ORDER},
};

/* The architectures that llmq writes (models/family.h names a family's). */
static const struct {
    const char *name;
    bool interleaves;
} archs[] = {
    {"llama", true},
    {"qwen2", false},
    {"qwen3", false},
};

/* Number of a tensor type in the file, per dtype. */
static const struct {
    enum dtype dtype;
    int type;
} types[] = {
    {DTYPE_F32,  0},
    {DTYPE_F16,  1},
    {DTYPE_Q4_0, 2},
    {DTYPE_Q4_1, 3},
    {DTYPE_Q8_0, 8},
    {DTYPE_BF16, 30},
};
/* clang-format on */

int gguf_type_of(enum dtype t) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].dtype == t)
            return types[i].type;
    return -1;
}

bool gguf_dtype_of(uint32_t type, enum dtype *out) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if ((uint32_t)types[i].type == type) {
            *out = types[i].dtype;
            return true;
        }
    return false;
}

bool gguf_interleaves(const char *arch) {
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (strcmp(archs[i].name, arch) == 0)
            return archs[i].interleaves;
    return false;
}

/* "<prefix><number>.<stem>.<suffix>", or "<stem>.<suffix>" of the model itself. */
struct parts {
    const char *number; /* NULL outside blocks */
    int number_len;
    const char *stem;
    size_t stem_len;
    const char *suffix;
};

/* False: no name of that form. Numbers with leading zeros are none, so that names correspond one
 * to one. */
static bool split(const char *name, const char *prefix, struct parts *out) {
    const size_t len = strlen(prefix);
    *out = (struct parts){.stem = name};
    if (strncmp(name, prefix, len) == 0) {
        out->number = name + len;
        const size_t digits = strspn(out->number, "0123456789");
        if (digits == 0 || digits > 9 || (digits > 1 && out->number[0] == '0') ||
            out->number[digits] != '.')
            return false;
        out->number_len = (int)digits;
        out->stem = out->number + digits + 1;
    }
    const char *dot = strrchr(out->stem, '.');
    if (!dot)
        return false;
    out->stem_len = (size_t)(dot - out->stem);
    out->suffix = dot + 1;
    return true;
}

/* The entry of a stem, on the one side or the other, or NULL. */
static const struct name *find(const struct parts *p, bool gguf) {
    for (const struct name *n = p->number ? block_names : model_names; n->hf; n++) {
        const char *text = gguf ? n->gguf : n->hf;
        if (strlen(text) == p->stem_len && memcmp(text, p->stem, p->stem_len) == 0)
            return n;
    }
    return NULL;
}

bool gguf_name_of(const char *name, char out[GGUF_MAX_NAME + 1]) {
    struct parts p;
    const struct name *n = split(name, "model.layers.", &p) ? find(&p, false) : NULL;
    int len = -1;
    if (strcmp(name, GGUF_ROPE_FREQS) == 0) {
        len = snprintf(out, GGUF_MAX_NAME + 1, "%s", name);
    } else if (n) {
        const char *suffix = strcmp(p.suffix, GGUF_BLOCKS_SUFFIX) == 0 ? "weight" : p.suffix;
        if (strcmp(suffix, "weight") != 0 && strcmp(suffix, "bias") != 0)
            return false;
        len =
            snprintf(out, GGUF_MAX_NAME + 1, "%s%.*s%s%s.%s", p.number ? "blk." : "", p.number_len,
                     p.number ? p.number : "", p.number ? "." : "", n->gguf, suffix);
    }
    return len > 0 && len <= GGUF_MAX_NAME;
}

bool gguf_has_name(const char *name) {
    char unused[GGUF_MAX_NAME + 1];
    return gguf_name_of(name, unused);
}

char *gguf_name_back(const char *name, enum dtype t) {
    struct strbuf b = {0};
    struct parts p;
    const struct name *n = split(name, "blk.", &p) ? find(&p, true) : NULL;
    if (n && (strcmp(p.suffix, "weight") == 0 || strcmp(p.suffix, "bias") == 0)) {
        const bool blocks = dtype_block(t) > 1 && strcmp(p.suffix, "weight") == 0;
        strbuf_printf(&b, "%s%.*s%s%s.%s", p.number ? "model.layers." : "", p.number_len,
                      p.number ? p.number : "", p.number ? "." : "", n->hf,
                      blocks ? GGUF_BLOCKS_SUFFIX : p.suffix);
    } else {
        strbuf_puts(&b, name);
    }
    return strbuf_take(&b);
}

enum gguf_rows gguf_rows_of(const char *name) {
    struct parts p;
    const struct name *n = split(name, "model.layers.", &p) ? find(&p, false) : NULL;
    return n ? n->rows : GGUF_ROWS_IN_ORDER;
}
