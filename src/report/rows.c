/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of a report as CSV: model, table, row, column, value. */
#include <stdio.h>

#include "report/markup.h"
#include "report/report.h"

struct writer {
    struct strbuf b;
    const char *model, *table;
};

static void put_row(struct writer *w, const char *row, const char *column, double value) {
    markup_field(&w->b, w->model);
    strbuf_printf(&w->b, ",%s,", w->table);
    markup_field(&w->b, row);
    strbuf_printf(&w->b, ",%s,", column);
    if (value == value)
        strbuf_printf(&w->b, "%.17g", value);
    strbuf_puts(&w->b, "\r\n");
}

static void put_figures(struct writer *w, const llmq_compare_result *f) {
    const struct figure {
        const char *name;
        double value;
    } figures[] = {{"bytes", (double)f->bytes},
                   {"reference_bytes", (double)f->reference_bytes},
                   {"kl_mean", f->kl_mean},
                   {"kl_stderr", f->kl_stderr},
                   {"kl_sampling_error", f->kl_sampling_error},
                   {"kl_median", f->kl_median},
                   {"kl_p90", f->kl_p90},
                   {"kl_p99", f->kl_p99},
                   {"kl_p999", f->kl_p999},
                   {"kl_max", f->kl_max},
                   {"kl_reverse_mean", f->kl_reverse_mean},
                   {"kl_reverse_stderr", f->kl_reverse_stderr},
                   {"top1_agreement", f->top1_agreement},
                   {"delta_nll", f->delta_nll},
                   {"delta_nll_stderr", f->delta_nll_stderr},
                   {"delta_nll_p_value", f->delta_nll_p_value},
                   {"delta_p_mean", f->delta_p.mean},
                   {"delta_p_rms", f->delta_p.rms},
                   {"delta_p_p01", f->delta_p.p01},
                   {"delta_p_p05", f->delta_p.p05},
                   {"delta_p_median", f->delta_p.median},
                   {"delta_p_p95", f->delta_p.p95},
                   {"delta_p_p99", f->delta_p.p99},
                   {"ppl", f->ppl},
                   {"ppl_reference", f->ppl_reference},
                   {"tokens", (double)f->tokens},
                   {"windows", (double)f->windows},
                   {"ctx", (double)f->ctx}};
    w->table = "figures";
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        put_row(w, "", figures[i].name, figures[i].value);
}

static void put_lists(struct writer *w, const llmq_compare_result *f) {
    char row[64];
    w->table = "histogram";
    for (int i = 0; i < LLMQ_COMPARE_BINS; i++) {
        (void)snprintf(row, sizeof row, "%d", i);
        put_row(w, row, "tokens", (double)f->histogram[i]);
    }
    w->table = "positions";
    for (int i = 0; i < LLMQ_COMPARE_STRETCHES && f->stretches[i].first > 0; i++) {
        (void)snprintf(row, sizeof row, "%lld-%lld", (long long)f->stretches[i].first,
                       (long long)f->stretches[i].last);
        put_row(w, row, "kl", f->stretches[i].kl);
    }
    w->table = "blocks";
    for (int64_t i = 0; i < f->block_count; i++) {
        (void)snprintf(row, sizeof row, "%lld", (long long)i);
        put_row(w, row, "error", f->blocks[i].error);
    }
    w->table = "worst";
    for (size_t i = 0; i < f->worst_count; i++) {
        (void)snprintf(row, sizeof row, "%lld:%lld", (long long)f->worst[i].window,
                       (long long)f->worst[i].position);
        put_row(w, row, "kl", f->worst[i].kl);
    }
}

static void put_members(struct writer *w, const struct json *list, const char *const *columns) {
    for (const struct json *m = json_first(list); m; m = json_next(m))
        for (const char *const *c = columns; *c; c++) {
            double value = 0;
            if (json_as_double(json_get(m, *c), &value))
                put_row(w, json_string(json_get(m, "name")), *c, value);
        }
}

char *report_csv(const struct report *r) {
    static const char *const of_modules[] = {"error", "rtn_error", "bits", "group", NULL};
    static const char *const of_work[] = {"seconds", "flops", NULL};
    struct writer w = {0};
    strbuf_puts(&w.b, "model,table,row,column,value\r\n");
    for (size_t i = 0; i < r->count; i++) {
        w.model = r->results[i].name;
        put_figures(&w, r->results[i].figures);
        put_lists(&w, r->results[i].figures);
        w.table = "modules";
        put_members(&w, json_get(r->results[i].made, "modules"), of_modules);
        w.table = "work";
        put_members(&w, json_get(json_get(r->results[i].made, "run"), "work"), of_work);
    }
    return strbuf_take(&w.b);
}
