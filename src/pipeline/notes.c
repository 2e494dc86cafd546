/* SPDX-License-Identifier: Apache-2.0 */
/* See notes.h. */
#include "pipeline/notes.h"

#include <inttypes.h>
#include <string.h>

#include "base/int64.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "formats/loaders/compat.h"
#include "graph/inventory.h"

/* Every command decodes such a source without being asked; a result holds none of its codes. */
static void note_encoding(const struct model *m, const llmq_context *ctx) {
    const struct encoding *e = m->encoded.encoding;
    const size_t count = encoding_count(m->tensors);
    if (e && count == 0)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: the config says %s, and no tensor is: the model is read as it is stored",
                    m->dir, e->name);
    if (!e || count == 0)
        return;
    log_message(ctx, LLMQ_LOG_INFO,
                "%s: %zu tensors are stored as %s (%s): they are decoded, and those that the "
                "result does not quantize become bf16%s",
                m->dir, count, e->name, e->description,
                m->encoded.activations ? "; that servers round activations of this checkpoint too "
                                         "is not computed"
                                       : "");
}

void notes_of_model(const struct model *m, const llmq_context *ctx) {
    const struct family *f = m->config.family;
    note_encoding(m, ctx);
    if (m->tying == TYING_DIFFERS)
        log_message(
            ctx, LLMQ_LOG_WARNING,
            "%s: tie_word_embeddings is true, but %s differs from the embedding: the stored "
            "head counts, as in current loaders (older ones drop it)",
            m->dir, f->head);
    if (m->tying == TYING_HEAD_ONLY)
        log_message(ctx, LLMQ_LOG_INFO, "%s: %s is stored alone and tied: it is read as %s too",
                    m->dir, f->head, f->embedding);
    if (!m->naming.usual)
        log_message(ctx, LLMQ_LOG_INFO, "%s: tensors named %s%s are read as those of a %s model",
                    m->dir, m->naming.prefix, *m->naming.prefix ? "..." : "without a prefix",
                    f->name);
    if (m->config.wrapper)
        log_message(ctx, LLMQ_LOG_INFO, "%s: the %s model inside, at %.*s*, is worked on", m->dir,
                    f->name, (int)family_trunk(f), f->embedding);
    if (m->config.forced)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: read as a model of the family %s, which config.json does not say: loaders "
                    "go by its model_type and architectures",
                    m->dir, f->name);
    if (m->config.own_code)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: config.json: auto_map names code of the checkpoint's own, which llmq does "
                    "not run: it computes %s",
                    m->dir, f->architectures[0]);
}

/* Every method takes the options of all, so that a script changes the method by a word; but the
 * user should know which of them do nothing. */
void notes_of_options(const llmq_quantize_options *o, const struct model *m,
                      const llmq_context *ctx) {
    static const char text[] = "rtn reads no text without --calib";
    static const char solve[] = "only gptq re-chooses codes";
    static const char factor[] = "columns are only ordered and damped by gptq and with --correct";
    llmq_quantize_options usual;
    llmq_quantize_options_init(&usual, o->method);
    const bool unread = o->method == LLMQ_METHOD_RTN && !o->calib;
    const bool rounds_only = o->method != LLMQ_METHOD_GPTQ;
    const bool unfactored = rounds_only && o->correct.mode == LLMQ_CORRECT_OFF;
    const struct {
        const char *why, *option;
        bool idle;
    } rows[] = {
        {"the source is not packed", "--source-quantized",
         !m->layout && o->source_quantized != usual.source_quantized},
        {text, "--samples", unread && o->samples != usual.samples},
        {text, "--seqlen", unread && o->seqlen != usual.seqlen},
        {text, "--seed", unread && o->seed_given},
        {text, "--bos", unread && o->special == LLMQ_SPECIAL_BOS},
        {text, "--no-special", unread && o->special == LLMQ_SPECIAL_NONE},
        {text, "--compute", unread && o->compute != usual.compute},
        {solve, "--descent", rounds_only && o->descent != usual.descent},
        {solve, "--rounds", rounds_only && o->rounds != usual.rounds},
        {solve, "--curvature", rounds_only && o->curvature != usual.curvature},
        {solve, "--curvature-tokens", rounds_only && o->curvature_tokens != usual.curvature_tokens},
        {solve, "--restarts", rounds_only && o->restarts > 0},
        {solve, "--token-weights", rounds_only && o->token_weights > 0},
        {factor, "--act-order", unfactored && o->act_order != usual.act_order},
        {text, "--expert-tokens", unread && o->expert_tokens != usual.expert_tokens},
        {factor, "--damp", unfactored && (o->damp < usual.damp || o->damp > usual.damp)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].idle)
            log_message(ctx, LLMQ_LOG_WARNING, "%s: %s changes nothing", rows[i].why,
                        rows[i].option);
}

/* Tokens for each input of a linear, below which more of them help much: the divergence of the demo
 * model's result falls from 2.6e-3 with 4 over 1.5e-3 with 32 to 1.2e-3 with 256. */
#define TOKENS_PER_INPUT 8

/* Is a module fitted to the moments of all tokens? */
static bool is_fitted(const struct plan_module *module) {
    return module->fate == MODULE_QUANTIZED && module->at.expert < 0 &&
           (module->manner.method == LLMQ_METHOD_GPTQ ||
            module->manner.correct.mode != LLMQ_CORRECT_OFF);
}

void notes_of_tokens(const struct plan *p, const struct calib_tokens *tokens,
                     const llmq_context *ctx) {
    const int64_t count = tokens->count ? calib_fitted_tokens(tokens) : 0;
    const struct plan_module *widest = NULL;
    int64_t modules = 0;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (!is_fitted(module) || count >= TOKENS_PER_INPUT * module->shape.k)
            continue;
        modules++;
        if (!widest || module->shape.k > widest->shape.k)
            widest = module;
    }
    if (!widest || count == 0)
        return;
    const int64_t length = count / (tokens->count - tokens->held);
    log_message(ctx, LLMQ_LOG_WARNING,
                "%" PRId64 " calibration tokens are fewer than %d for each input of %" PRId64
                " modules, the widest %s with %" PRId64
                " inputs: their codes fit what these tokens "
                "happen to be; better --samples %" PRId64 " of %" PRId64 " tokens",
                count, TOKENS_PER_INPUT, modules, widest->name, widest->shape.k,
                ceil_div(TOKENS_PER_INPUT * widest->shape.k, length), length);
}

/* A list of names of one use, as far as it is shown. */
struct group {
    size_t count;
    struct strbuf names;
};

enum { SHOWN_NAMES = 3 };

static void group_add(struct group *g, const char *name) {
    if (g->count++ < SHOWN_NAMES)
        strbuf_printf(&g->names, "%s%.160s", g->count > 1 ? ", " : "", name);
}

/* One message for each use, and an end to the groups. */
static void groups_log(struct group groups[USE_COUNT], const char *what, const llmq_context *ctx) {
    for (enum tensor_use use = 0; use < USE_COUNT; use++) {
        struct group *g = &groups[use];
        if (g->count > SHOWN_NAMES)
            strbuf_printf(&g->names, " and %zu more", g->count - SHOWN_NAMES);
        if (g->count > 0)
            log_message(ctx, LLMQ_LOG_WARNING, "%s: %zu tensor%s %s: %s", what, g->count,
                        g->count == 1 ? "" : "s", inventory_words(use),
                        strbuf_ok(&g->names) ? g->names.data : "");
        strbuf_free(&g->names);
    }
}

/* Buffers and idle biases change nothing; a cache in full precision computes otherwise than one in
 * 8 bits does. */
void notes_of_use(const struct model *m, const llmq_context *ctx) {
    struct group groups[USE_COUNT] = {0};
    for (size_t i = 0; i < st_count(m->tensors); i++) {
        const struct st_tensor *t = st_at(m->tensors, i);
        const enum tensor_use use = inventory_use(m->blocks, m->layout, t);
        if (use == USE_CACHE_SCALE || use == USE_EXTRA_LAYER || use == USE_OTHER)
            group_add(&groups[use], t->name);
    }
    groups_log(groups, "not applied", ctx);
}

/* Has an earlier one of the limits the same note? */
static bool is_told(const struct family_limit *limits, const struct family_limit *l) {
    for (const struct family_limit *e = limits; e < l; e++)
        if (strcmp(e->note, l->note) == 0)
            return true;
    return false;
}

/* What servers do with the model's own parts, once they are packed in this format. */
static void limits_log(const struct family *f, const char *format, const llmq_context *ctx) {
    for (const struct family_limit *l = f->limits; l && l->stack; l++) {
        struct strbuf stacks = {0};
        if (is_told(f->limits, l) || (l->except && strcmp(l->except, format) == 0))
            continue;
        for (const struct family_limit *same = l; same->stack; same++)
            if (strcmp(same->note, l->note) == 0)
                strbuf_printf(&stacks, "%s%s", stacks.len ? ", " : "", same->stack);
        if (strbuf_ok(&stacks))
            log_message(ctx, LLMQ_LOG_WARNING, "%s: %s", stacks.data, l->note);
        strbuf_free(&stacks);
    }
}

void notes_of_result(const struct model *m, const struct plan *p, uint64_t shard_limit,
                     const llmq_context *ctx) {
    struct group groups[USE_COUNT] = {0};
    for (size_t i = 0; i < p->dropped_count; i++) {
        const struct st_tensor *t = st_find(m->tensors, p->dropped[i]);
        const enum tensor_use use = t ? inventory_use(m->blocks, m->layout, t) : USE_PART;
        if (use != USE_PART) /* else a tied head, which the container does not hold twice */
            group_add(&groups[use], p->dropped[i]);
    }
    groups_log(groups, "left out", ctx);
    for (size_t i = 0; i < p->part_count; i++)
        log_message(ctx, LLMQ_LOG_INFO, "carried along: %" PRId64 " tensors of %s, %.2f MiB",
                    p->parts[i].tensors, p->parts[i].name, (double)p->parts[i].bytes / 0x1p20);
    if (p->layout && compat_has_fast_kernels(p->layout->name))
        limits_log(m->config.family, p->layout->name, ctx);
    if (m->layout_config.cache_scheme && !p->layout_config.cache_scheme)
        log_message(ctx, LLMQ_LOG_WARNING, "kv_cache_scheme of the source is left out: %s",
                    p->layout ? "the format has no place for it" : "plain checkpoints have none");
    if (p->gguf && shard_limit != PLAN_SHARD_LIMIT)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "a GGUF file is not split: --shard-size changes nothing");
    if (p->untied)
        log_message(ctx, LLMQ_LOG_INFO,
                    "the result's config.json says tie_word_embeddings false, so that every loader "
                    "takes the stored head");
}
