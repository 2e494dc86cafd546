/* SPDX-License-Identifier: Apache-2.0 */
/* What the run that made a result wrote down: see page.h. */
#include <math.h>
#include <stdio.h>

#include "report/charts.h"
#include "report/grid.h"
#include "report/markup.h"
#include "report/page.h"

/* --- modules ---------------------------------------------------------------------------------- */

static void put_numbers(struct strbuf *b, const struct grid *g) {
    strbuf_puts(b, "<details><summary>The numbers</summary><div class=\"wide\"><table><thead><tr>"
                   "<th scope=\"col\">module</th><th scope=\"col\">block</th><th scope=\"col\">"
                   "error</th><th scope=\"col\">by rounding</th><th scope=\"col\">of it</th></tr>"
                   "</thead><tbody>\n");
    for (int64_t k = 0; k < g->kinds; k++)
        for (int64_t i = 0; i < g->blocks; i++) {
            const struct grid_cell *c = &g->cells[k * g->blocks + i];
            if (c->modules == 0)
                continue;
            strbuf_puts(b, "<tr>");
            markup_element(b, "td", g->names[k]);
            strbuf_printf(b, "<td>%lld</td><td>%.3e</td><td>%.3e</td><td>", (long long)i, c->error,
                          c->rtn);
            markup_number(b, grid_ratio(c), 3);
            strbuf_puts(b, "</td></tr>\n");
        }
    strbuf_puts(b, "</tbody></table></div></details>\n");
}

void page_modules(struct strbuf *b, const struct report_result *r, size_t index) {
    struct grid g;
    char id[32];
    if (!grid_make(r->made, &g))
        b->failed = true;
    if (g.cells) {
        strbuf_puts(b, "<figure><div class=\"wide\">");
        (void)snprintf(id, sizeof id, "ratio%zu", index);
        chart_heat(b, &g, HEAT_RATIO, id);
        strbuf_puts(b, "</div><figcaption>Error of each module's output against rounding to "
                       "nearest: from 0 to 1, which "
                       "is no better.</figcaption></figure><figure><div class=\"wide\">");
        (void)snprintf(id, sizeof id, "error%zu", index);
        chart_heat(b, &g, HEAT_ERROR, id);
        strbuf_puts(
            b, "</div><figcaption>The error itself, on a logarithmic scale: the last colour is "
               "where most is lost.</figcaption></figure>\n");
        put_numbers(b, &g);
    } else {
        strbuf_puts(b, "<p class=\"soft\">Its folder has no llmq.json that lists modules.</p>\n");
    }
    grid_free(&g);
}

/* --- time ------------------------------------------------------------------------------------- */

static void put_work(struct strbuf *b, const struct json *work, double seconds) {
    strbuf_puts(b, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">work</th><th "
                   "scope=\"col\">seconds</th><th scope=\"col\">share</th><th></th></tr></thead>"
                   "<tbody>\n");
    for (const struct json *w = json_first(work); w; w = json_next(w)) {
        double spent = 0;
        const char *name = json_string(json_get(w, "name"));
        if (!name || !json_as_double(json_get(w, "seconds"), &spent) || !(seconds > 0))
            continue;
        const double share = 100 * fmin(fmax(spent / seconds, 0), 1);
        strbuf_puts(b, "<tr>");
        markup_element(b, "td", name);
        strbuf_printf(b,
                      "<td>%.2f</td><td>%.1f %%</td><td class=\"share\"><span class=\"bar\" "
                      "style=\"width:%.1f%%\"></span></td></tr>\n",
                      spent, share, share);
    }
    strbuf_puts(b, "</tbody></table></div>\n");
}

/* --- settings and events ------------------------------------------------------------------------
 */

/* A value of any plain type; nested ones are left out. */
static void put_entry(struct strbuf *b, const char *key, const struct json *value) {
    double number = 0;
    bool on = false;
    if (json_type(value) == JSON_OBJECT || json_type(value) == JSON_ARRAY || !key)
        return;
    markup_element(b, "dt", key);
    strbuf_puts(b, "<dd>");
    if (json_string(value))
        markup_text(b, json_string(value));
    else if (json_as_double(value, &number))
        strbuf_printf(b, "%.10g", number);
    else if (json_as_bool(value, &on))
        strbuf_puts(b, on ? "yes" : "no");
    else
        strbuf_puts(b, "–");
    strbuf_puts(b, "</dd>\n");
}

static void put_object(struct strbuf *b, const char *summary, const struct json *object) {
    if (!json_first(object))
        return;
    strbuf_puts(b, "<details><summary>");
    markup_text(b, summary);
    strbuf_puts(b, "</summary><dl>\n");
    for (const struct json *v = json_first(object); v; v = json_next(v))
        put_entry(b, json_key(v), v);
    strbuf_puts(b, "</dl></details>\n");
}

static void put_events(struct strbuf *b, const struct json *modules) {
    bool begun = false;
    for (const struct json *m = json_first(modules); m; m = json_next(m)) {
        const char *events = json_string(json_get(m, "events"));
        if (!events || !*events)
            continue;
        strbuf_puts(b, begun ? "" : "<h3>Events</h3><ul class=\"events\">\n");
        begun = true;
        strbuf_puts(b, "<li><code>");
        markup_text(b, json_string(json_get(m, "name")));
        strbuf_puts(b, "</code>: ");
        markup_text(b, events);
        strbuf_puts(b, "</li>\n");
    }
    strbuf_puts(b, begun ? "</ul>\n"
                         : "<p class=\"soft\">No event: no module fell back, none "
                           "needed more damping.</p>\n");
}

void page_run(struct strbuf *b, const struct report_result *r) {
    const struct json *run = json_get(r->made, "run");
    double seconds = 0;
    if (!r->made)
        return;
    if (json_as_double(json_get(run, "seconds"), &seconds)) {
        strbuf_printf(b, "<h3>Where the time went: %.1f s</h3>\n", seconds);
        put_work(b, json_get(run, "work"), seconds);
    }
    put_events(b, json_get(r->made, "modules"));
    put_object(b, "The plan", json_get(r->made, "report"));
    put_object(b, "Options", json_get(r->made, "options"));
    put_object(b, "Calibration", json_get(json_get(r->made, "made_from"), "calibration"));
    put_object(b, "The run", run);
}
