/* SPDX-License-Identifier: Apache-2.0 */
/* The list of families: see family.h. */
#include "models/family.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/families/tables.h"

/* clang-format off */
static const struct family *const families[] = {
    &family_afmoe,
    &family_apertus,
    &family_arcee,
    &family_axk1,
    &family_bailing_moe,
    &family_bailing_moe_v2,
    &family_bitnet,
    &family_bamba,
    &family_bloom,
    &family_chatglm,
    &family_codegen,
    &family_cohere,
    &family_cohere2,
    &family_cohere2_moe,
    &family_cwm,
    &family_dbrx,
    &family_deepseek,
    &family_deepseek_v2,
    &family_deepseek_v3,
    &family_deepseek_v32,
    &family_diffllama,
    &family_doge,
    &family_dots1,
    &family_ernie4_5,
    &family_ernie4_5_moe,
    &family_exaone,
    &family_exaone4,
    &family_exaone_moe,
    &family_falcon,
    &family_falcon_h1,
    &family_falcon_mamba,
    &family_flex_olmo,
    &family_gemma,
    &family_gemma2,
    &family_gemma3,
    &family_gemma4,
    &family_glm,
    &family_glm4,
    &family_glm4_moe,
    &family_glm4_moe_lite,
    &family_glm4v_moe_text,
    &family_glm4v_text,
    &family_glm_moe_dsa,
    &family_gpt2,
    &family_gpt_bigcode,
    &family_gpt_neo,
    &family_gpt_neox,
    &family_gpt_oss,
    &family_gptj,
    &family_granite,
    &family_granite_swa,
    &family_granitemoe,
    &family_granitemoehybrid,
    &family_helium,
    &family_hunyuan_v1_dense,
    &family_hunyuan_v1_moe,
    &family_hy_v3,
    &family_hyperclovax,
    &family_internlm2,
    &family_internlm3,
    &family_jais2,
    &family_jamba,
    &family_laguna,
    &family_lfm2,
    &family_lfm2_moe,
    &family_llama,
    &family_llama4_text,
    &family_longcat_flash,
    &family_mamba,
    &family_mellum,
    &family_mimo,
    &family_mimo_v2_flash,
    &family_minicpm,
    &family_minicpm3,
    &family_mamba2,
    &family_minimax,
    &family_minimax_m2,
    &family_minimax_m3_vl_text,
    &family_ministral,
    &family_ministral3,
    &family_mistral,
    &family_mistral4,
    &family_mixtral,
    &family_mpt,
    &family_muse_glimmer_text,
    &family_nanochat,
    &family_nemotron,
    &family_nemotron_h,
    &family_olmo,
    &family_olmo2,
    &family_olmo3,
    &family_olmo_hybrid,
    &family_olmoe,
    &family_opt,
    &family_persimmon,
    &family_phi,
    &family_phi3,
    &family_qwen,
    &family_qwen2,
    &family_qwen2_5_vl_text,
    &family_qwen2_moe,
    &family_qwen3,
    &family_qwen3_moe,
    &family_qwen3_vl_moe_text,
    &family_qwen3_vl_text,
    &family_recurrent_gemma,
    &family_qwen3_next,
    &family_qwen3_5,
    &family_qwen3_5_moe,
    &family_seed_oss,
    &family_smollm3,
    &family_solar_open,
    &family_stablelm,
    &family_starcoder2,
    &family_vaultgemma,
    &family_xglm,
    &family_youtu,
    &family_zamba2,
};
/* clang-format on */

const struct family *family_at(int index) {
    int count = (int)(sizeof families / sizeof families[0]);
    return index >= 0 && index < count ? families[index] : NULL;
}

const struct family *family_find(const char *model_type) {
    for (int i = 0; family_at(i); i++)
        for (int t = 0; families[i]->model_types[t]; t++)
            if (strcmp(families[i]->model_types[t], model_type) == 0)
                return families[i];
    return NULL;
}

/* --- keys ------------------------------------------------------------------------------------- */

/* Is `key` the first part of one of the alternatives of "a|b.c"? */
static bool names_key(const char *keys, const char *key) {
    const size_t len = strlen(key);
    while (keys) {
        if (strncmp(keys, key, len) == 0 && (keys[len] == '\0' || strchr("|.[", keys[len])))
            return true;
        keys = strchr(keys, '|');
        keys = keys ? keys + 1 : NULL;
    }
    return false;
}

bool family_reads(const struct family *f, const char *key) {
    /* where the base of the rotation is a setting, so is its scaling: config_rope.c */
    if (strcmp(key, "rope_scaling") == 0 || strcmp(key, "rope_parameters") == 0)
        return family_setting(f, SET_NUMBER, NUM_THETA) != NULL;
    for (const struct setting *s = f->settings; s->set; s++)
        if (names_key(s->key, key))
            return true;
    for (const struct layer_rule *r = f->rules; r && r->rule; r++)
        if (names_key(r->key, key) || names_key(r->offset, key))
            return true;
    return names_key(f->act_key, key);
}

bool family_ignores(const struct family *f, const char *key) {
    for (int i = 0; f->ignored_keys && f->ignored_keys[i]; i++)
        if (strcmp(f->ignored_keys[i], key) == 0)
            return true;
    return false;
}

bool family_reads_members(const struct family *f, const char *key) {
    const size_t len = strlen(key);
    for (const struct setting *s = f->settings; s->set; s++)
        for (const char *keys = s->key; keys;
             keys = strchr(keys, '|') ? strchr(keys, '|') + 1 : NULL)
            if (strncmp(keys, key, len) == 0 && keys[len] == '.')
                return true;
    return false;
}

bool family_rotates(const struct family *f) {
    for (const struct node *row = f->rows; row->op != OP_END; row++)
        if (row->op == OP_ROPE)
            return true;
    return false;
}

const struct setting *family_setting(const struct family *f, int set, uint64_t what) {
    for (const struct setting *s = f->settings; s->set; s++)
        if ((int)s->set == set && s->what == what && s->key)
            return s;
    return NULL;
}

/* --- names ------------------------------------------------------------------------------------ */

#define BLOCK_NUMBER "%lld"

/* What the names of the tensors of layers that predict further tokens begin with, where these are
 * blocks and have a prefix of their own; else NULL. */
static const char *draft_prefix(const struct family *f) {
    return f->draft_from > 0 ? f->draft->prefix : NULL;
}

bool family_is_apart(const struct family *f, int64_t block) {
    return draft_prefix(f) && block >= f->draft_from;
}

const char *family_block_name(const struct family *f, int64_t block, const char *name,
                              const char *suffix, char buf[FAMILY_NAME_MAX]) {
    const bool apart = family_is_apart(f, block);
    const char *prefix = apart ? draft_prefix(f) : f->block_prefix;
    /* The prefix is a constant of the family's table with one BLOCK_NUMBER. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(buf, FAMILY_NAME_MAX, prefix, (long long)(block - (apart ? f->draft_from : 0)));
#pragma GCC diagnostic pop
    const size_t used = strlen(buf);
    (void)snprintf(buf + used, FAMILY_NAME_MAX - used, "%s%s", name, suffix);
    return buf;
}

bool family_numbered(const char *prefix, const char *name, int64_t *number, const char **rest) {
    const size_t before = (size_t)(strstr(prefix, BLOCK_NUMBER) - prefix);
    const char *after = prefix + before + strlen(BLOCK_NUMBER);
    if (strncmp(name, prefix, before) != 0)
        return false;
    const char *digits = name + before;
    const size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 9 || strncmp(digits + count, after, strlen(after)) != 0)
        return false;
    *number = strtol(digits, NULL, 10);
    *rest = digits + count + strlen(after);
    return true;
}

bool family_block_of(const struct family *f, const char *name, int64_t *block, const char **rest) {
    const int64_t beyond_all = 1 << 30; /* whatever layers are counted among the blocks */
    const char *apart = draft_prefix(f);
    if (family_numbered(f->block_prefix, name, block, rest)) {
        *block += apart && *block >= f->draft_from ? beyond_all : 0;
        return true;
    }
    if (!apart || !family_numbered(apart, name, block, rest))
        return false;
    *block += f->draft_from;
    return true;
}

size_t family_trunk(const struct family *f) {
    size_t trunk = 0;
    for (size_t i = 0; f->embedding[i] && f->embedding[i] == f->block_prefix[i]; i++)
        if (f->embedding[i] == '.')
            trunk = i + 1;
    return trunk;
}

const char *family_first_module(const struct family *f) {
    const struct node *plain = NULL;
    for (const struct node *row = f->rows; row->op != OP_END; row++) {
        if (!row->name || row->when)
            continue;
        if (!row->unless)
            return row->name;
        plain = plain ? plain : row;
    }
    assert(plain);
    return plain->name;
}

trait_set family_bias_trait(const struct family *f, const char *module, size_t len) {
    for (const struct node *row = f->rows; row->op != OP_END; row++)
        if (row->name && strlen(row->name) == len && strncmp(row->name, module, len) == 0)
            return row->bias;
    return 0;
}
