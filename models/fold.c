/* Folds: see fold.h. */
#include "models/fold.h"

#include <inttypes.h>

#include "base/error.h"

static const char *producer_name(const struct family *f, const struct family_fold *fold) {
    switch (fold->producer) {
    case FOLD_ATTENTION_NORM:
        return f->attention_norm;
    case FOLD_MLP_NORM:
        return f->mlp_norm;
    case FOLD_LINEAR:
        return f->linears[fold->linear].name;
    case FOLD_NONE:
    default:
        return "nothing";
    }
}

/* Does the data flow lead from the producer to the inputs of `stage`, scale and all? Attention is
 * a weighted mean of v, the gated product is linear in up; softmax and the gate's activation do not
 * pass a scale on, so q, k and gate produce nothing that could be folded. */
static bool feeds(const struct family_fold *fold, enum block_stage stage) {
    switch (fold->producer) {
    case FOLD_ATTENTION_NORM:
        return stage == STAGE_ATTENTION_IN;
    case FOLD_MLP_NORM:
        return stage == STAGE_MLP_IN;
    case FOLD_LINEAR:
        return (fold->linear == LINEAR_V && stage == STAGE_ATTENTION_OUT) ||
               (fold->linear == LINEAR_UP && stage == STAGE_MLP_OUT);
    case FOLD_NONE:
    default:
        return false;
    }
}

static enum llmq_status check_consumers(const struct family *f, enum block_stage stage,
                                        llmq_error *err) {
    const struct family_fold *fold = &f->folds[stage];
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++) {
        bool reads = f->linears[role].stage == stage;
        bool listed = fold->consumers & FOLD_ROLE(role);
        if (reads != listed)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "%s: folding %s: %s %s, but the family's table %s as a consumer",
                             f->name, producer_name(f, fold), f->linears[role].name,
                             reads ? "reads it" : "does not read it",
                             listed ? "lists it" : "does not list it");
    }
    return LLMQ_OK;
}

enum llmq_status fold_check(const struct model_config *c, enum block_stage stage, llmq_error *err) {
    const struct family *f = c->family;
    const struct family_fold *fold = &f->folds[stage];
    if (fold->producer == FOLD_NONE)
        return LLMQ_OK;
    if (!feeds(fold, stage))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "%s: folding %s: its scale does not reach the linears of stage %d",
                         f->name, producer_name(f, fold), (int)stage);
    enum llmq_status status = check_consumers(f, stage, err);
    if (status != LLMQ_OK)
        return status;
    int64_t channels = fold_channels(c, stage), share = c->heads / c->kv_heads;
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++) {
        int64_t n = 0, k = 0;
        config_linear_shape(c, role, &n, &k);
        int64_t columns = fold->map == FOLD_BY_HEAD ? channels * share : channels;
        if ((fold->consumers & FOLD_ROLE(role)) && k != columns)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "%s: folding %s: %" PRId64 " columns of %s expected, %" PRId64
                             " found",
                             f->name, producer_name(f, fold), columns, f->linears[role].name, k);
    }
    return LLMQ_OK;
}

int64_t fold_channels(const struct model_config *c, enum block_stage stage) {
    const struct family_fold *fold = &c->family->folds[stage];
    int64_t n = 0, k = 0;
    if (fold->producer != FOLD_LINEAR)
        return c->hidden;
    config_linear_shape(c, fold->linear, &n, &k);
    return n;
}

int64_t fold_channel(const struct model_config *c, enum block_stage stage, int64_t column) {
    if (c->family->folds[stage].map == FOLD_SAME)
        return column;
    int64_t head = column / c->head_dim, share = c->heads / c->kv_heads;
    return head / share * c->head_dim + column % c->head_dim;
}
