/* SPDX-License-Identifier: Apache-2.0 */
/* The report's page, picture and rows from made-up results: tags that match, text that stays text
 * whatever it holds, and the numbers that went in. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "report/charts.h"
#include "report/grid.h"
#include "report/markup.h"
#include "report/report.h"
#include "support.h"

/* What would break out of text, attributes, a comment or the style sheet, and what is not seen. */
#define HOSTILE                                                                                    \
    "</title></style><script>alert(1)</script>\"'&<!--]]> \xE2\x80\xAE\x1b[31m\n\xF0\x9F\x98\x80"

static llmq_error err;
static char hostile[] = HOSTILE;
static llmq_block_drift drift[3] = {{.error = 0.01}, {.error = 0.02}, {.error = 0.5}};

static llmq_compare_result figures_of(double kl) {
    llmq_compare_result f = {.bytes = 4 << 20,
                             .reference_bytes = 9 << 20,
                             .kl_mean = kl,
                             .kl_stderr = kl / 10,
                             .kl_median = kl / 2,
                             .kl_reverse_mean = (double)NAN,
                             .delta_nll_p_value = (double)NAN,
                             .tokens = 100,
                             .windows = 4,
                             .ctx = 26,
                             .histogram = {[8] = 60, [9] = 40},
                             .worst = {{.window = 1, .position = 2, .token = 3, .kl = 4}},
                             .worst_count = 1,
                             .blocks = drift,
                             .block_count = 3};
    for (int s = 0; s < 3; s++)
        f.stretches[s] =
            (llmq_kl_stretch){.first = 1 + 8 * s, .last = 8 + 8 * s, .tokens = 30, .kl = kl};
    f.contexts[0] = (llmq_token_context){.before = hostile,
                                         .text = hostile,
                                         .after = hostile,
                                         .model_count = 1,
                                         .reference_count = 2};
    f.contexts[0].model[0] = (llmq_likely_token){7, 0.5, hostile};
    f.contexts[0].reference[0] = (llmq_likely_token){3, 0.75, hostile};
    f.contexts[0].reference[1] = (llmq_likely_token){8, 0.125, NULL};
    return f;
}

static struct json *record(void) {
    static const char text[] =
        "{\"modules\": ["
        "{\"name\": \"model.layers.0.mlp.up_proj\", \"error\": 0.1, \"rtn_error\": 0.4, "
        "\"bits\": 4, \"events\": \"<b>damping</b> raised\"},"
        "{\"name\": \"model.layers.2.mlp.experts.0.up_proj\", \"error\": 0.1, \"rtn_error\": 0.2},"
        "{\"name\": \"model.layers.2.mlp.experts.11.up_proj\", \"error\": 0.3, \"rtn_error\": 0.2},"
        "{\"name\": \"model.layers.1.<script>\", \"error\": 0.3, \"rtn_error\": 0},"
        "{\"name\": \"lm_head\", \"error\": 1, \"rtn_error\": 2},"
        "{\"name\": \"model.layers.99999999999.q\", \"error\": 1, \"rtn_error\": 2},"
        "{\"name\": 5}, 7],"
        " \"run\": {\"seconds\": 10, \"work\": [{\"name\": \"solve <i>\", \"seconds\": 2.5}]},"
        " \"options\": {\"bits\": 4, \"sym\": true, \"recipe\": null, \"x\": \"<\"}}";
    struct json *made = NULL;
    ck_assert_ok(json_parse(text, sizeof text - 1, "llmq.json", &made, &err), &err);
    return made;
}

/* --- well-formed ------------------------------------------------------------------------------ */

/* Tags match as in XML, attributes are quoted, no text holds < or a bare &, and nothing but these
 * elements occurs. */
static void check_markup(const char *text) {
    static const char allowed[] =
        " html head meta link title style body main h1 h2 h3 p code div table thead tbody tr th td "
        "a section figure figcaption svg desc rect text line path circle details summary dl dt dd "
        "ul li mark span ";
    const char *open[64];
    size_t length[64], depth = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at, '<')) {
        char name[40];
        const bool closes = at[1] == '/';
        const char *tag = at + 1 + closes;
        const size_t len = strcspn(tag, " />");
        const char *end = tag + len;
        if (at[1] == '!') { /* the one at the beginning */
            ck_assert_ptr_eq(at, text);
            at = strchr(at, '>');
            continue;
        }
        snprintf(name, sizeof name, " %.*s ", (int)len, tag);
        ck_assert_msg(strstr(allowed, name) != NULL, "element%s", name);
        while (*end != '>') { /* attributes: name="value" */
            if (*end == ' ' || (*end == '/' && end[1] == '>')) {
                end++;
                continue;
            }
            end += strcspn(end, "=");
            ck_assert_msg(end[1] == '"', "an attribute of%s", name);
            const char *value = end + 2;
            end = strchr(value, '"') + 1;
            ck_assert(!memchr(value, '<', (size_t)(end - value)));
        }
        if (closes) {
            ck_assert_msg(depth > 0 && length[depth - 1] == len &&
                              memcmp(open[depth - 1], tag, len) == 0,
                          "</%.*s>", (int)len, tag);
            depth--;
        } else if (end[-1] != '/') {
            ck_assert_uint_lt(depth, 64);
            open[depth] = tag;
            length[depth++] = len;
        }
        at = end;
        for (const char *t = at; *t && *t != '<'; t++)
            ck_assert_msg(*t != '&' || t[1] == '#', "a bare & in text");
    }
    ck_assert_uint_eq(depth, 0);
}

static char *page_of(size_t count, bool picture) {
    llmq_compare_result figures[8];
    struct report_result results[8];
    struct json *made = record();
    for (size_t i = 0; i < count; i++) {
        figures[i] = figures_of(0.001 * pow(10, (double)i));
        results[i] = (struct report_result){&figures[i], hostile, i % 2 ? NULL : made};
    }
    const struct report r = {results, count, hostile, hostile};
    char *text = picture ? report_svg(&r) : report_html(&r);
    ck_assert_ptr_nonnull(text);
    json_free(&made);
    return text;
}

START_TEST(tags_match_and_text_stays_text) {
    static const size_t counts[] = {1, 2, 8};
    for (int i = 0; i < 6; i++) {
        char *text = page_of(counts[i / 2], i % 2);
        check_markup(text);
        ck_assert_ptr_null(strstr(text, "<script"));
        ck_assert_ptr_null(strstr(text, "\xE2\x80\xAE"));
        ck_assert_ptr_null(strchr(text, '\x1b'));
        ck_assert_ptr_null(strstr(text, "http://w3") /* nothing is fetched: a name space only */);
        ck_assert_ptr_null(strstr(text, "src="));
        ck_assert_ptr_null(strstr(text, "@import"));
        free(text);
    }
}
END_TEST

START_TEST(the_page_shows_what_went_in) {
    char *text = page_of(2, false);
    static const char *const parts[] = {"&#60;script&#62;",
                                        "\\u202e",
                                        "&#60;b&#62;damping",
                                        "mlp.experts.*.up_proj",
                                        "damping",
                                        "solve &#60;i&#62;",
                                        "25.0 %",
                                        "4 MiB",
                                        "4.000 nats",
                                        "75.0 %",
                                        "[8]",
                                        "prefers-color-scheme:dark",
                                        "1–8",
                                        "<dt>sym</dt>"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "the page lacks %s", parts[i]);
    free(text);
}
END_TEST

START_TEST(no_modules_no_picture) {
    const llmq_compare_result f = figures_of(1);
    const struct report_result result = {&f, "m", NULL};
    const struct report r = {&result, 1, "r", "v"};
    char *text = report_svg(&r);
    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

/* --- parts ------------------------------------------------------------------------------------ */

START_TEST(modules_become_a_grid) {
    struct json *made = record();
    struct grid g;
    ck_assert(grid_make(made, &g));
    ck_assert_int_eq(g.blocks, 3);
    ck_assert_int_eq(g.kinds, 3);
    ck_assert_str_eq(g.names[0], "mlp.up_proj");
    ck_assert_str_eq(g.names[1], "mlp.experts.*.up_proj");
    ck_assert_double_eq_tol(grid_ratio(&g.cells[0]), 0.25, 1e-15);
    ck_assert_int_eq(g.cells[g.blocks + 2].modules, 2);
    ck_assert_double_eq_tol(g.cells[g.blocks + 2].error, 0.2, 1e-15);
    ck_assert(isnan(grid_ratio(&g.cells[1])));
    ck_assert_double_eq_tol(g.error_most, 0.3, 1e-15);
    grid_free(&g);
    json_free(&made);
    ck_assert(grid_make(NULL, &g) && !g.cells);
}
END_TEST

START_TEST(more_names_than_models_have_are_left_out) {
    struct strbuf text = {0};
    struct json *made = NULL;
    struct grid g;
    strbuf_puts(&text, "{\"modules\": [");
    for (int i = 0; i < 300; i++)
        strbuf_printf(&text, "%s{\"name\": \"layers.%d.m%d\", \"error\": 1, \"rtn_error\": 2}",
                      i ? "," : "", i, i);
    strbuf_puts(&text, "]}");
    ck_assert_ok(json_parse(text.data, text.len, "llmq.json", &made, &err), &err);
    ck_assert(grid_make(made, &g));
    ck_assert_int_eq(g.kinds, 256);
    ck_assert_int_eq(g.blocks, 256);
    ck_assert_int_eq(g.cells[255 * g.blocks + 255].modules, 1);
    grid_free(&g);
    json_free(&made);
    strbuf_free(&text);
}
END_TEST

START_TEST(rows_hold_every_number) {
    llmq_compare_result f = figures_of(0.25);
    struct json *made = record();
    const struct report_result result = {&f, "a \"b\",=c", made};
    const struct report r = {&result, 1, "r", "v"};
    char *text = report_csv(&r);
    static const char *const rows[] = {
        "model,table,row,column,value\r\n",     "\"a \"\"b\"\",=c\",figures,\"\",kl_mean,0.25\r\n",
        "figures,\"\",kl_reverse_mean,\r\n", /* not known */
        ",histogram,\"8\",tokens,60\r\n",       ",positions,\"9-16\",kl,0.25\r\n",
        ",blocks,\"2\",error,0.5\r\n",          ",worst,\"1:2\",kl,4\r\n",
        ",modules,\"lm_head\",rtn_error,2\r\n", ",work,\"solve <i>\",seconds,2.5\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_msg(strstr(text, rows[i]) != NULL, "no row %s", rows[i]);
    free(text);
    json_free(&made);
}
END_TEST

START_TEST(numbers_that_are_none_are_no_coordinates) {
    static const double x[] = {1, 2, 3}, y[] = {0, (double)NAN, (double)INFINITY};
    const struct series series = {.name = "s", .x = x, .y = y, .count = 3};
    const struct chart chart = {
        .id = "c", .title = "t", .description = "d", .series = &series, .count = 1};
    struct strbuf b = {0};
    chart_draw(&b, &chart);
    ck_assert(strbuf_ok(&b));
    ck_assert_ptr_null(strstr(b.data, "nan"));
    ck_assert_ptr_null(strstr(b.data, "inf"));
    check_markup(b.data);
    strbuf_free(&b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("report");
    TCase *t = tcase_create("report");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, tags_match_and_text_stays_text);
    tcase_add_test(t, the_page_shows_what_went_in);
    tcase_add_test(t, no_modules_no_picture);
    tcase_add_test(t, modules_become_a_grid);
    tcase_add_test(t, more_names_than_models_have_are_left_out);
    tcase_add_test(t, rows_hold_every_number);
    tcase_add_test(t, numbers_that_are_none_are_no_coordinates);
    suite_add_tcase(s, t);
    return run_suite(s);
}
