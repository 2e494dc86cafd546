/* SPDX-License-Identifier: Apache-2.0 */
/* Measurements that several ranks share: see measure.h. */
#include <inttypes.h>
#include <string.h>

#include "api/measure.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "llmq/host.h"
#include "llmq/matmul.h"
#include "llmq/version.h"
#include "ranks/ranks.h"

bool measure_divides(void) {
    return llmq_ranks_count() > 1;
}

void measure_quiet(llmq_context *ctx) {
    if (llmq_ranks_own() > 0) /* of several ranks one speaks */
        ctx->sink = (llmq_sink){.user = NULL};
}

/* A model as its files are named and as long as they are; where it lies may differ. */
static void put_model(struct strbuf *text, const struct model *m) {
    for (int i = 0; i < st_shard_count(m->tensors); i++)
        strbuf_printf(text, "%s ", path_base(st_shard_path(m->tensors, i)));
    for (size_t i = 0; i < st_count(m->tensors); i++)
        strbuf_printf(text, "%s %" PRIu64 " ", st_at(m->tensors, i)->name,
                      st_stored_bytes(st_at(m->tensors, i)));
}

static void put_corpus(struct strbuf *text, const struct corpus *c) {
    uint64_t hash = hash_array(HASH_INIT, c->ids, (size_t)c->tokens_used * sizeof *c->ids);
    hash = hash_array(hash, c->offsets, (size_t)(c->count + 1) * sizeof *c->offsets);
    strbuf_printf(text, "%016" PRIx64, hash);
}

/* All ranks have the same before them. */
static enum llmq_status compare_ranks(const struct strbuf *text, const llmq_context *ctx,
                                      llmq_error *err) {
    int odd = -1;
    if (!strbuf_ok(text))
        return error_memory(err, "what ranks have before them");
    const enum llmq_status status = ranks_compare(text->data, &odd, ctx, err);
    if (status != LLMQ_OK || odd < 0)
        return status;
    error_set(err, LLMQ_E_INPUT,
              "rank %d has something else before it than rank 0: it differs in llmq's build, in "
              "the kernels, in the text or in the models' files",
              odd);
    error_hint(err, "all ranks need the same program, arguments and files, and processors of one "
                    "kind, or LLMQ_CPU and OPENBLAS_CORETYPE set to what all of them have");
    return LLMQ_E_INPUT;
}

enum llmq_status measure_ranks(const struct model *const *models, size_t count,
                               const struct corpus *corpus, const llmq_context *ctx,
                               llmq_error *err) {
    struct strbuf text = {0};
    if (!measure_divides())
        return LLMQ_OK;
    strbuf_printf(&text, "%s %016" PRIx64 " %s %s ", llmq_version(), llmq_build_id(),
                  llmq_cpu_name(), llmq_blas_name());
    for (size_t i = 0; i < count; i++)
        put_model(&text, models[i]);
    put_corpus(&text, corpus);
    const enum llmq_status status = compare_ranks(&text, ctx, err);
    strbuf_free(&text);
    return status;
}

void measure_ranks_note(const llmq_context *ctx) {
    const struct ranks_traffic t = ranks_traffic();
    if (measure_divides())
        log_message(ctx, LLMQ_LOG_DETAIL,
                    "%d ranks: %" PRIu64 " messages of %" PRIu64
                    " bytes sent by rank 0, %.3f s in exchanges",
                    llmq_ranks_count(), t.messages, t.bytes, t.seconds);
}
