/* SPDX-License-Identifier: Apache-2.0 */
/* Heat maps: see charts.h. */
#include <math.h>
#include <stdio.h>

#include "report/charts.h"
#include "report/markup.h"

/* Steps of the palette (h0 ... h8 of the style sheet), and sizes in pixels. */
enum { STEPS = 9, LABEL = 168, TOP = 20, GAP = 2, LEGEND = 48, SWATCH = 20, MOST_WIDE = 860 };

static int step_of(const struct grid *g, const struct grid_cell *c, enum heat what) {
    double share = grid_ratio(c);
    if (what == HEAT_ERROR)
        share = g->error_most > g->error_least
                    ? log(c->error / g->error_least) / log(g->error_most / g->error_least)
                    : 0.5;
    if (!isfinite(share) || c->modules == 0)
        return -1;
    return (int)fmin(fmax(share, 0) * STEPS, STEPS - 1);
}

static void draw_cell(struct strbuf *b, const struct grid *g, int64_t kind, int64_t block,
                      enum heat what, int64_t size) {
    const struct grid_cell *c = &g->cells[kind * g->blocks + block];
    const int step = step_of(g, c, what);
    if (c->modules == 0)
        return;
    strbuf_printf(
        b, "<rect class=\"%s%d\" x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"20\" rx=\"2\">",
        step < 0 ? "none" : "h", step < 0 ? 0 : step, (long long)(LABEL + block * size),
        (long long)(TOP + kind * (20 + GAP)), (long long)(size - GAP));
    strbuf_printf(b, "<title>block %lld, ", (long long)block);
    markup_text(b, g->names[kind]);
    strbuf_printf(b, ": error %.3g, by rounding %.3g (%.2f of it)</title></rect>", c->error, c->rtn,
                  grid_ratio(c));
}

static void draw_legend(struct strbuf *b, const struct grid *g, enum heat what, int64_t y) {
    for (int s = 0; s < STEPS; s++)
        strbuf_printf(b, "<rect class=\"h%d\" x=\"%d\" y=\"%lld\" width=\"20\" height=\"12\"/>", s,
                      LABEL + s * SWATCH, (long long)y);
    const int64_t end = LABEL + STEPS * SWATCH;
    char low[32], high[32];
    (void)snprintf(low, sizeof low, "%.1e", g->error_least);
    (void)snprintf(high, sizeof high, "%.1e", g->error_most);
    strbuf_printf(b,
                  "<text x=\"%d\" y=\"%lld\">%s</text><text x=\"%lld\" y=\"%lld\" "
                  "text-anchor=\"end\">%s</text>",
                  LABEL, (long long)(y + 26), what == HEAT_RATIO ? "0" : low, (long long)end,
                  (long long)(y + 26), what == HEAT_RATIO ? "1" : high);
}

/* A number below every so many blocks that they do not touch. */
static void draw_blocks(struct strbuf *b, const struct grid *g, int64_t size) {
    const int64_t every = size >= 24 ? 1 : g->blocks > 40 ? 10 : 4;
    for (int64_t i = 0; i < g->blocks; i += every)
        strbuf_printf(b, "<text x=\"%lld\" y=\"14\" text-anchor=\"middle\">%lld</text>",
                      (long long)(LABEL + i * size + (size - GAP) / 2), (long long)i);
}

void chart_heat(struct strbuf *b, const struct grid *g, enum heat what, const char *id) {
    const int64_t room = (MOST_WIDE - LABEL) / (g->blocks > 0 ? g->blocks : 1);
    const int64_t size = room < 12 ? 12 : room > 36 ? 36 : room;
    const int64_t legend = TOP + g->kinds * (20 + GAP) + 10;
    const int64_t used = LABEL + g->blocks * size, least = LABEL + STEPS * SWATCH;
    const int64_t width = used > least ? used : least;
    const char *title = what == HEAT_RATIO ? "Error of each module against rounding to nearest"
                                           : "Error of each module";
    strbuf_printf(
        b,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"%s-t %s-d\" "
        "width=\"%lld\" "
        "height=\"%lld\" viewBox=\"0 0 %lld %lld\"><title id=\"%s-t\">%s</title><desc "
        "id=\"%s-d\">One cell for each block, from left to right, and module, from top to "
        "bottom; the table below has the numbers.</desc>\n",
        id, id, (long long)width, (long long)(legend + LEGEND - 16), (long long)width,
        (long long)(legend + LEGEND - 16), id, title, id);
    draw_blocks(b, g, size);
    for (int64_t k = 0; k < g->kinds; k++) {
        strbuf_printf(b, "<text x=\"%d\" y=\"%lld\" text-anchor=\"end\">", LABEL - 8,
                      (long long)(TOP + k * (20 + GAP) + 14));
        markup_text(b, g->names[k]);
        strbuf_puts(b, "</text>\n");
        for (int64_t i = 0; i < g->blocks; i++)
            draw_cell(b, g, k, i, what, size);
    }
    draw_legend(b, g, what, legend);
    strbuf_puts(b, "</svg>\n");
}
