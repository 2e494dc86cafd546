/* SPDX-License-Identifier: Apache-2.0 */
/* render_chat TEMPLATE <LINES: render a template once for every line, a JSON object of its
 * variables. Prints a line for each: the rendering as a JSON string, or {"error": message}. For
 * tools/check_chat.mjs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "chat/format.h"
#include "chat/template.h"

static void print_json(struct json *v) {
    char *text = json_print(v, false);
    puts(text ? text : "{\"error\":\"out of memory\"}");
    free(text);
    json_free(&v);
}

static void print_error(const llmq_error *err) {
    struct json *v = json_new_object();
    json_add_string(v, "error", err->message);
    print_json(v);
}

/* A string by the writer that templates use. */
static void print_string(struct jinja_run *run, const struct strbuf *text) {
    const struct jinja_value v = jinja_string(text->data ? text->data : "", text->len);
    const struct jinja_json_style style = {0};
    struct strbuf b = {0};
    jinja_write_json(run, &b, &v, &style);
    puts(b.data);
    strbuf_free(&b);
}

static void render_line(const struct jinja_template *template, const char *line, size_t len) {
    struct jinja_run run;
    struct strbuf out = {0};
    llmq_error err = {0};
    if (jinja_begin(&run, &err) != LLMQ_OK)
        exit(5);
    const struct jinja_value all = jinja_from_json(&run, line, len);
    for (size_t i = 0; !run.status && all.type == JINJA_DICT && i < all.dict->count; i++)
        jinja_define(&run, all.dict->pairs[i].key.text.at, all.dict->pairs[i].value);
    if (run.status == LLMQ_OK && jinja_render(&run, template, &out) == LLMQ_OK)
        print_string(&run, &out);
    else
        print_error(&err);
    strbuf_free(&out);
    jinja_end(&run);
}

int main(int argc, char **argv) {
    struct jinja_template *template = NULL;
    llmq_error err = {0};
    char *text = NULL, *line = NULL;
    size_t len = 0, room = 0;
    ssize_t count = 0;
    if (argc != 2 || file_read(argv[1], 1 << 24, &text, &len, &err) != LLMQ_OK ||
        jinja_template_parse(text, len, &template, &err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? err.message : "usage: render_chat TEMPLATE <LINES");
        free(text);
        return 3;
    }
    while ((count = getline(&line, &room, stdin)) > 0)
        render_line(template, line, (size_t)count);
    jinja_template_free(&template);
    free(line);
    free(text);
    return 0;
}
