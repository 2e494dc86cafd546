/* SPDX-License-Identifier: Apache-2.0 */
/* The page of a report: see report.h. What all results share first, then each of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/charts.h"
#include "report/grid.h"
#include "report/markup.h"
#include "report/page.h"

/* --- the figures ------------------------------------------------------------------------------ */

static void put_summary_row(struct strbuf *b, const struct report_result *r, size_t index) {
    const llmq_compare_result *f = r->figures;
    strbuf_printf(b, "<tr><th scope=\"row\" class=\"left\"><a href=\"#result%zu\">", index);
    markup_text(b, r->name);
    strbuf_puts(b, "</a></th><td>");
    markup_bytes(b, (double)f->bytes);
    strbuf_printf(b, "</td><td>%.3g ± %.1g</td><td>%.3g</td><td>%.3g</td><td>%.3g</td>", f->kl_mean,
                  hypot(f->kl_stderr, f->kl_sampling_error), f->kl_median, f->kl_p99, f->kl_max);
    strbuf_printf(b, "<td>%.2f %%</td><td>%+.3g ± %.1g</td><td>", 100 * f->top1_agreement,
                  f->delta_nll, f->delta_nll_stderr);
    markup_number(b, f->delta_nll_p_value, 2);
    strbuf_printf(b, "</td><td>%.3f</td></tr>\n", f->ppl);
}

static void put_summary(struct strbuf *b, const struct report *r) {
    const llmq_compare_result *f = r->results[0].figures;
    static const char *const heads[] = {"size",  "KL mean", "median", "99th",      "largest",
                                        "top-1", "nll",     "p",      "perplexity"};
    strbuf_puts(b, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">model</th>");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        strbuf_printf(b, "<th scope=\"col\">%s</th>", heads[i]);
    strbuf_puts(b, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < r->count; i++)
        put_summary_row(b, &r->results[i], i);
    strbuf_puts(b, "<tr><th scope=\"row\" class=\"left\">");
    markup_text(b, r->reference);
    strbuf_puts(b, "</th><td>");
    markup_bytes(b, (double)f->reference_bytes);
    strbuf_puts(b, "</td>");
    for (int i = 0; i < 7; i++)
        strbuf_puts(b, "<td></td>");
    strbuf_printf(b, "<td>%.3f</td></tr></tbody></table></div>\n", f->ppl_reference);
    strbuf_puts(b, "<p class=\"soft\">KL: divergence from the reference in nats per token. top-1: "
                   "both find the same token most likely. nll: change of the negative "
                   "log-likelihood, with the p-value of the paired test over windows.</p>\n");
}

/* --- charts ----------------------------------------------------------------------------------- */

/* Values of all series, and the series: a chart's room. */
struct plot {
    struct series *series;
    double *values;
};

static struct plot plot_make(struct strbuf *b, const struct report *r, size_t most) {
    struct plot p = {.series = calloc(r->count, sizeof *p.series),
                     .values = calloc(r->count * most * 2, sizeof *p.values)};
    if (!p.series || !p.values)
        b->failed = true;
    for (size_t i = 0; !b->failed && i < r->count; i++)
        p.series[i] = (struct series){.name = r->results[i].name,
                                      .x = p.values + 2 * i * most,
                                      .y = p.values + (2 * i + 1) * most};
    return p;
}

static void plot_free(struct plot *p) {
    free(p->series);
    free(p->values);
}

/* Names of lines, with a piece of each. */
static void put_legend(struct strbuf *b, const struct report *r) {
    if (r->count < 2)
        return;
    strbuf_puts(b, "<ul class=\"legend\">\n");
    for (size_t i = 0; i < r->count; i++) {
        strbuf_printf(b,
                      "<li><svg width=\"32\" height=\"10\" aria-hidden=\"true\"><path "
                      "class=\"s%zu\" d=\"M0 5L32 5\"/></svg>",
                      i % CHART_COLOURS);
        markup_text(b, r->results[i].name);
        strbuf_puts(b, "</li>\n");
    }
    strbuf_puts(b, "</ul>\n");
}

static void put_sizes(struct strbuf *b, const struct report *r) {
    struct plot p = plot_make(b, r, 2);
    for (size_t i = 0; !b->failed && i < r->count; i++) {
        double *x = p.values + 4 * i;
        x[0] = (double)r->results[i].figures->bytes / 0x1p20;
        x[2] = r->results[i].figures->kl_mean;
        x[3] = r->results[i].figures->kl_stderr;
        p.series[i].error = x + 3;
        p.series[i].count = 1;
    }
    const struct chart chart = {.id = "sizes",
                                .title = "Size against divergence",
                                .description = "One point for each model; the table above has the "
                                               "numbers. Further down and to the left is better.",
                                .x_title = "size of all tensors, MiB",
                                .y_title = "mean KL, nats",
                                .series = p.series,
                                .count = r->count,
                                .points = true};
    if (!b->failed)
        chart_draw(b, &chart);
    plot_free(&p);
}

static void put_positions(struct strbuf *b, const struct report *r) {
    struct plot p = plot_make(b, r, LLMQ_COMPARE_STRETCHES);
    for (size_t i = 0; !b->failed && i < r->count; i++) {
        double *x = p.values + 2 * i * LLMQ_COMPARE_STRETCHES, *y = x + LLMQ_COMPARE_STRETCHES;
        for (int s = 0; s < LLMQ_COMPARE_STRETCHES; s++) {
            const llmq_kl_stretch *at = &r->results[i].figures->stretches[s];
            if (at->first == 0)
                continue;
            x[s] = (double)(at->first + at->last) / 2;
            y[s] = at->tokens > 0 ? at->kl : (double)NAN;
            p.series[i].count = (size_t)s + 1;
        }
    }
    const struct chart chart = {.id = "positions",
                                .title = "Divergence by position",
                                .description = "Mean divergence of the tokens at a position of "
                                               "their window; the table below has the numbers.",
                                .x_title = "position in the window",
                                .y_title = "mean KL, nats",
                                .series = p.series,
                                .count = r->count};
    if (!b->failed)
        chart_draw(b, &chart);
    plot_free(&p);
}

static void put_positions_table(struct strbuf *b, const struct report *r) {
    strbuf_puts(b, "<details><summary>The numbers</summary><div class=\"wide\"><table><thead><tr>"
                   "<th scope=\"col\">positions</th>");
    for (size_t i = 0; i < r->count; i++) {
        strbuf_puts(b, "<th scope=\"col\">");
        markup_text(b, r->results[i].name);
        strbuf_puts(b, "</th>");
    }
    strbuf_puts(b, "</tr></thead><tbody>\n");
    for (int s = 0; s < LLMQ_COMPARE_STRETCHES; s++) {
        const llmq_kl_stretch *first = &r->results[0].figures->stretches[s];
        if (first->first == 0)
            break;
        strbuf_printf(b, "<tr><td>%lld–%lld</td>", (long long)first->first, (long long)first->last);
        for (size_t i = 0; i < r->count; i++)
            strbuf_printf(b, "<td>%.5f</td>", r->results[i].figures->stretches[s].kl);
        strbuf_puts(b, "</tr>\n");
    }
    strbuf_puts(b, "</tbody></table></div></details>\n");
}

static void put_drift(struct strbuf *b, const struct report *r) {
    size_t most = 0;
    for (size_t i = 0; i < r->count; i++)
        if ((size_t)r->results[i].figures->block_count > most)
            most = (size_t)r->results[i].figures->block_count;
    if (most < 2)
        return;
    struct plot p = plot_make(b, r, most);
    for (size_t i = 0; !b->failed && i < r->count; i++) {
        const llmq_compare_result *f = r->results[i].figures;
        double *x = p.values + 2 * i * most, *y = x + most;
        for (int64_t k = 0; k < f->block_count; k++) {
            x[k] = (double)k;
            y[k] = f->blocks[k].error;
        }
        p.series[i].count = (size_t)f->block_count;
    }
    const struct chart chart = {.id = "drift",
                                .title = "How far the output of each block has moved",
                                .description = "Relative squared difference from the reference's "
                                               "residual stream behind each block.",
                                .x_title = "block",
                                .y_title = "relative squared error",
                                .series = p.series,
                                .count = r->count};
    strbuf_puts(b, "<h2>Block by block</h2><figure>\n");
    put_legend(b, r);
    if (!b->failed)
        chart_draw(b, &chart);
    strbuf_puts(b, "<figcaption>Relative squared difference from what the reference's blocks put "
                   "out.</figcaption></figure>\n");
    plot_free(&p);
}

static void put_histogram(struct strbuf *b, const struct report_result *r, size_t index) {
    static const char *edges[LLMQ_COMPARE_BINS + 1] = {NULL, "1e-6", NULL, "1e-5", NULL, "1e-4",
                                                       NULL, "1e-3", NULL, "0.01", NULL, "0.1",
                                                       NULL, "1",    NULL, "10",   NULL};
    double share[LLMQ_COMPARE_BINS], at[LLMQ_COMPARE_BINS];
    char id[32];
    for (int i = 0; i < LLMQ_COMPARE_BINS; i++) {
        share[i] = 100 * (double)r->figures->histogram[i] / (double)r->figures->tokens;
        at[i] = i;
    }
    const struct series series = {.name = r->name, .x = at, .y = share, .count = LLMQ_COMPARE_BINS};
    (void)snprintf(id, sizeof id, "histogram%zu", index);
    const struct chart chart = {.id = id,
                                .title = "Tokens by their divergence",
                                .description = "Share of tokens in each range of divergence, two "
                                               "ranges to a power of ten; values show on the "
                                               "columns.",
                                .x_title = "KL of the token, nats",
                                .y_title = "% of tokens",
                                .series = &series,
                                .count = 1,
                                .bars = true,
                                .labels = edges};
    strbuf_puts(b, "<figure>");
    chart_draw(b, &chart);
    strbuf_printf(
        b,
        "<figcaption>Median %.5f, 90 %% below %.4f, 99 %% below %.4f, 99.9 %% below %.3f "
        "nats. The probability of the right token changed by %+.3f %% on average, %.2f %% "
        "root mean square; for one token in a hundred it fell by %.1f %% or more."
        "</figcaption></figure>\n",
        r->figures->kl_median, r->figures->kl_p90, r->figures->kl_p99, r->figures->kl_p999,
        100 * r->figures->delta_p.mean, 100 * r->figures->delta_p.rms,
        -100 * r->figures->delta_p.p01);
}

/* --- the page --------------------------------------------------------------------------------- */

static void put_head(struct strbuf *b, const struct report *r) {
    const llmq_compare_result *f = r->results[0].figures;
    strbuf_puts(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n<meta "
                   "name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<link "
                   "rel=\"icon\" href=\"data:,\"/>\n<title>llmq: ");
    markup_text(b, r->results[0].name);
    strbuf_puts(b, r->count > 1 ? " and others" : "");
    strbuf_printf(b, "</title>\n<style>%s</style></head><body>\n<main>\n", page_style);
    strbuf_puts(b, "<h1>What quantization changed</h1>\n<p class=\"soft\">");
    for (size_t i = 0; i < r->count; i++) {
        strbuf_puts(b, i ? ", " : "");
        markup_element(b, "code", r->results[i].name);
    }
    strbuf_puts(b, " against ");
    markup_element(b, "code", r->reference);
    strbuf_printf(b, "%s, on %lld tokens in %lld windows of up to %lld; llmq ",
                  f->kept ? " (kept)" : "", (long long)f->tokens, (long long)f->windows,
                  (long long)f->ctx);
    markup_text(b, r->version);
    strbuf_puts(b, ".</p>\n");
}

static void put_result(struct strbuf *b, const struct report_result *r, size_t index) {
    strbuf_printf(b, "<section id=\"result%zu\"><h2><code>", index);
    markup_text(b, r->name);
    strbuf_puts(b, "</code></h2>\n");
    put_histogram(b, r, index);
    strbuf_puts(b, "<h3>Modules</h3>\n");
    page_modules(b, r, index);
    page_run(b, r);
    strbuf_printf(b, "<h3 id=\"tokens%zu\">Tokens that moved most</h3>\n", index);
    page_tokens(b, r);
    strbuf_puts(b, "</section>\n");
}

char *report_html(const struct report *r) {
    struct strbuf b = {0};
    put_head(&b, r);
    put_summary(&b, r);
    if (r->count > 1) {
        strbuf_puts(&b, "<h2>Size against divergence</h2><figure>\n");
        put_sizes(&b, r);
        strbuf_puts(&b, "<figcaption>Bars: standard error.</figcaption></figure>\n");
    }
    strbuf_puts(&b, "<h2>By position</h2><figure>\n");
    put_legend(&b, r);
    put_positions(&b, r);
    strbuf_puts(&b, "</figure>\n");
    put_positions_table(&b, r);
    put_drift(&b, r);
    for (size_t i = 0; i < r->count; i++)
        put_result(&b, &r->results[i], i);
    strbuf_puts(&b, "</main></body></html>\n");
    return strbuf_take(&b);
}

static void put_heat(struct strbuf *b, const struct report_result *r) {
    struct grid g;
    if (!grid_make(r->made, &g))
        b->failed = true;
    if (g.cells)
        chart_heat(b, &g, HEAT_RATIO, "ratio");
    grid_free(&g);
}

/* A picture that stands alone takes the style sheet along. */
char *report_svg(const struct report *r) {
    struct strbuf picture = {0}, b = {0};
    if (r->count > 1)
        put_sizes(&picture, r);
    else
        put_heat(&picture, &r->results[0]);
    const char *inside = picture.len > 0 ? strchr(picture.data, '>') : NULL;
    if (inside) {
        strbuf_append(&b, picture.data, (size_t)(inside + 1 - picture.data));
        strbuf_printf(&b, "<style>%s</style>%s", page_style, inside + 1);
    }
    b.failed = b.failed || picture.failed;
    strbuf_free(&picture);
    return strbuf_take(&b);
}
