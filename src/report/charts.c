/* SPDX-License-Identifier: Apache-2.0 */
/* Lines, points and columns over two axes: see charts.h. */
#include "report/charts.h"

#include <math.h>
#include <stdio.h>

#include "report/markup.h"

/* Pixels: the drawing, and what lies around its axes. */
enum { WIDTH = 640, HEIGHT = 300, LEFT = 64, RIGHT = 16, TOP = 28, BOTTOM = 46, TICKS_MOST = 12 };

/* One axis: from values to pixels, on a logarithmic scale where they span more than this. */
#define LOG_SPAN 30.0

struct axis {
    double low, high; /* of values, or of their logarithms */
    bool logarithmic;
    double begin, end; /* pixels */
};

static double place(const struct axis *a, double value) {
    const double v = a->logarithmic ? log10(value) : value;
    return a->begin + (v - a->low) / (a->high - a->low) * (a->end - a->begin);
}

static void find_range(const struct chart *c, bool vertical, double *least, double *most) {
    *least = (double)INFINITY;
    *most = -(double)INFINITY;
    for (size_t s = 0; s < c->count; s++)
        for (size_t i = 0; i < c->series[s].count; i++) {
            const double v = vertical ? c->series[s].y[i] : c->series[s].x[i];
            if (!isfinite(v))
                continue;
            *least = fmin(*least, v);
            *most = fmax(*most, v);
        }
    if (!(*least <= *most))
        *least = *most = 0;
}

/* 1, 2 or 5 times a power of ten, so that some steps fill the span. */
static double round_step(double span) {
    const double unit = pow(10, floor(log10(span / 5)));
    const double steps = span / 5 / unit;
    return unit * (steps <= 1 ? 1 : steps <= 2 ? 2 : steps <= 5 ? 5 : 10);
}

static struct axis make_axis(const struct chart *c, bool vertical) {
    struct axis a = {.begin = vertical ? HEIGHT - BOTTOM : LEFT,
                     .end = vertical ? TOP : WIDTH - RIGHT};
    double least, most;
    find_range(c, vertical, &least, &most);
    a.logarithmic = vertical && !c->bars && least > 0 && most / least > LOG_SPAN;
    if (a.logarithmic) {
        a.low = floor(log10(least));
        a.high = fmax(ceil(log10(most)), a.low + 1);
        return a;
    }
    if (vertical || c->points)
        least = fmin(least, 0);
    if (!(most > least))
        most = least + 1;
    const double step = round_step(most - least);
    a.low = vertical || c->points ? floor(least / step) * step : least;
    a.high = vertical || c->points
                 ? ceil((most + (c->points && !vertical ? step / 2 : 0)) / step) * step
                 : most;
    return a;
}

/* --- axes ------------------------------------------------------------------------------------- */

static void draw_tick(struct strbuf *b, const struct axis *a, bool vertical, double value) {
    const double at = place(a, value);
    char label[32];
    if (a->logarithmic && value < 1e-3)
        (void)snprintf(label, sizeof label, "1e%ld", lround(log10(value)));
    else
        (void)snprintf(label, sizeof label, "%.4g", value);
    if (vertical)
        strbuf_printf(b,
                      "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text "
                      "x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                      LEFT, WIDTH - RIGHT, at, at, LEFT - 6, at + 4, label);
    else
        strbuf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", at,
                      HEIGHT - BOTTOM + 16, label);
}

static void draw_ticks(struct strbuf *b, const struct axis *a, bool vertical) {
    const double step = a->logarithmic ? 1 : round_step(a->high - a->low);
    int drawn = 0;
    for (double v = ceil(a->low / step - 1e-9) * step;
         v <= a->high + step * 1e-6 && drawn < TICKS_MOST; v += step, drawn++)
        draw_tick(b, a, vertical, a->logarithmic ? pow(10, v) : fabs(v) < step * 1e-6 ? 0 : v);
}

static void draw_edges(struct strbuf *b, const struct chart *c) {
    const double column = (double)(WIDTH - RIGHT - LEFT) / (double)c->series->count;
    for (size_t i = 0; i <= c->series->count; i++)
        if (c->labels[i])
            strbuf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                          LEFT + column * (double)i, HEIGHT - BOTTOM + 16, c->labels[i]);
}

static void draw_titles(struct strbuf *b, const struct chart *c) {
    strbuf_printf(b, "<text class=\"axis\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">",
                  (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    markup_text(b, c->x_title);
    strbuf_printf(b, "</text><text class=\"axis\" x=\"%d\" y=\"14\">", 4);
    markup_text(b, c->y_title);
    strbuf_puts(b, "</text>\n");
}

/* --- series ----------------------------------------------------------------------------------- */

static void draw_columns(struct strbuf *b, const struct series *s, const struct axis *y) {
    const double column = (double)(WIDTH - RIGHT - LEFT) / (double)s->count;
    for (size_t i = 0; i < s->count; i++) {
        const double top = place(y, s->y[i]), bottom = place(y, 0);
        strbuf_printf(b,
                      "<rect class=\"f0\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                      "<title>%.4g</title></rect>",
                      LEFT + column * (double)i + 1, top, column - 2, bottom - top, s->y[i]);
    }
}

static bool shown(const struct axis *y, double value) {
    return isfinite(value) && (!y->logarithmic || value > 0);
}

static void draw_line(struct strbuf *b, const struct series *s, size_t colour, const struct axis *x,
                      const struct axis *y) {
    bool begun = false;
    strbuf_printf(b, "<path class=\"s%zu\" d=\"", colour % CHART_COLOURS);
    for (size_t i = 0; i < s->count; i++) {
        if (shown(y, s->y[i]))
            strbuf_printf(b, "%c%.1f %.1f", begun ? 'L' : 'M', place(x, s->x[i]),
                          place(y, s->y[i]));
        begun = shown(y, s->y[i]);
    }
    strbuf_puts(b, "\"><title>");
    markup_text(b, s->name);
    strbuf_puts(b, "</title></path>\n");
}

static void draw_point(struct strbuf *b, const struct series *s, size_t colour,
                       const struct axis *x, const struct axis *y) {
    if (s->count == 0 || !shown(y, s->y[0]))
        return;
    const double across = place(x, s->x[0]), up = place(y, s->y[0]);
    const bool left = across > WIDTH * 0.6;
    if (s->error && shown(y, s->y[0] - s->error[0]))
        strbuf_printf(b, "<line class=\"s%zu\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      colour % CHART_COLOURS, across, across, place(y, s->y[0] - s->error[0]),
                      fmax(place(y, s->y[0] + s->error[0]), TOP));
    strbuf_printf(b, "<circle class=\"f%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"><title>",
                  colour % CHART_COLOURS, across, up);
    markup_text(b, s->name);
    strbuf_printf(b, ": %.4g, %.4g</title></circle><text x=\"%.1f\" y=\"%.1f\"%s>", s->x[0],
                  s->y[0], across + (left ? -9 : 9), up - 6, left ? " text-anchor=\"end\"" : "");
    markup_text(b, s->name);
    strbuf_puts(b, "</text>\n");
}

void chart_draw(struct strbuf *b, const struct chart *c) {
    const struct axis x = make_axis(c, false), y = make_axis(c, true);
    strbuf_printf(b,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" "
                  "aria-labelledby=\"%s-t %s-d\" viewBox=\"0 0 %d "
                  "%d\"><title id=\"%s-t\">",
                  c->id, c->id, WIDTH, HEIGHT, c->id);
    markup_text(b, c->title);
    strbuf_printf(b, "</title><desc id=\"%s-d\">", c->id);
    markup_text(b, c->description);
    strbuf_puts(b, "</desc>\n");
    draw_ticks(b, &y, true);
    if (c->labels)
        draw_edges(b, c);
    else
        draw_ticks(b, &x, false);
    strbuf_printf(b, "<line class=\"base\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT,
                  WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    for (size_t s = 0; s < c->count; s++) {
        if (c->bars)
            draw_columns(b, &c->series[s], &y);
        else if (c->points)
            draw_point(b, &c->series[s], s, &x, &y);
        else
            draw_line(b, &c->series[s], s, &x, &y);
    }
    draw_titles(b, c);
    strbuf_puts(b, "</svg>\n");
}
