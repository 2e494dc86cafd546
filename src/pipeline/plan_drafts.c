/* SPDX-License-Identifier: Apache-2.0 */
/* What layers that predict further tokens take when they are calibrated: see plan.h. */
#include "base/int64.h"
#include "graph/batch.h"
#include "graph/drafting.h"
#include "pipeline/plan.h"

double plan_draft_flops(const struct model *m, const struct plan *p,
                        const struct calib_tokens *tokens) {
    const double T = tokens ? (double)tokens->offsets[tokens->count] : 0;
    const double hidden = (double)m->config.hidden;
    return (double)m->config.drafts * (p->paired ? 2 : 1) * 4 * hidden * hidden * T;
}

uint64_t plan_draft_bytes(const struct model *m, const struct plan *p,
                          const struct calib_tokens *tokens, uint64_t *peak) {
    const struct plan_module *head = plan_head(p);
    const int64_t rows = batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    const int64_t all = tokens->offsets[tokens->count], hidden = m->config.hidden;
    if (m->config.drafts == 0)
        return 0;
    *peak = max_u64(*peak, drafting_bytes(m, rows) + (uint64_t)all * sizeof(int32_t));
    if (!head || head->fate != MODULE_QUANTIZED)
        return 0;
    *peak = max_u64(*peak, calib_head_bytes(m, tokens));
    return (uint64_t)(hidden * (hidden + calib_held_most(tokens))) * sizeof(float);
}
