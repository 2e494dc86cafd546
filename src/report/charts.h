/* SPDX-License-Identifier: Apache-2.0 */
/* The charts of a report, as SVG elements. Colours are classes of the style sheet; every chart has
 * a title and, for those who do not see it, a description. */
#ifndef LLMQ_REPORT_CHARTS_H
#define LLMQ_REPORT_CHARTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "report/grid.h"

/* What a heat map shows of a cell. */
enum heat { HEAT_RATIO, HEAT_ERROR };

/* The grid, and a legend below. `id` is of the page. */
void chart_heat(struct strbuf *b, const struct grid *g, enum heat what, const char *id);

/* A line, or points; values that are not finite are left out. */
struct series {
    const char *name;
    const double *x, *y; /* [count] */
    const double *error; /* [count] half the length of bars, or NULL */
    size_t count;
};

struct chart {
    const char *id, *title, *description;
    const char *x_title, *y_title;
    const struct series *series;
    size_t count;
    bool points;         /* not joined, named in the chart */
    bool bars;           /* of one series: columns */
    const char **labels; /* of columns, [count + 1] edges; NULL: numbers */
};

void chart_draw(struct strbuf *b, const struct chart *c);

/* Colours that series have before they repeat. */
enum { CHART_COLOURS = 6 };

#endif
