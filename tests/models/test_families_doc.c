/* SPDX-License-Identifier: Apache-2.0 */
/* docs/FAMILIES.md names the families that there are, each once and with what was checked, and the
 * models that text models come in, no others; and all that are refused by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "models/family.h"
#include "models/unknown.h"
#include "models/wrapper.h"
#include "support.h"

static char *text;

static void load(void) {
    char *path = source_path("docs/FAMILIES.md");
    size_t len = 0;
    llmq_error err = {0};
    ck_assert_ok(file_read(path, 1 << 20, &text, &len, &err), &err);
    free(path);
}

static void unload(void) {
    free(text);
    text = NULL;
}

/* What stands between the two, as a text of its own. */
static char *part(const char *from, const char *to) {
    const char *begin = strstr(text, from), *end = begin ? strstr(begin, to) : NULL;
    ck_assert_msg(begin && end, "docs/FAMILIES.md has no '%s' or nothing behind it", from);
    begin += strlen(from);
    return strndup(begin, (size_t)(end - begin));
}

static char *cut(char **rest, const char *between) {
    char *word = strtok_r(NULL, between, rest);
    while (word && *word == ' ')
        word++;
    for (size_t len = word ? strlen(word) : 0; len > 0 && word[len - 1] == ' '; len--)
        word[len - 1] = '\0';
    return word;
}

/* --- the table -------------------------------------------------------------------------------- */

/* Names that were met. */
enum { MAX_NAMES = 512 };
static struct {
    char name[MAX_NAMES][64];
    int count;
} met;

static void note(const char *name) {
    for (int i = 0; i < met.count; i++)
        ck_assert_msg(strcmp(met.name[i], name) != 0, "%s is there twice", name);
    ck_assert_int_lt(met.count, MAX_NAMES);
    (void)snprintf(met.name[met.count++], sizeof met.name[0], "%s", name);
}

static void check_row(char *line, int *names) {
    char *cells = line, *list = NULL;
    const char *gguf = NULL;
    char *types = cut(&cells, "|");
    (void)cut(&cells, "|"); /* the shape */
    const char *checked = cut(&cells, "|");
    ck_assert_msg(checked && (strcmp(checked, "golden") == 0 || strcmp(checked, "own") == 0 ||
                              strcmp(checked, "table") == 0 ||
                              strncmp(checked, "golden, ", strlen("golden, ")) == 0),
                  "%s: %s", types, checked);
    (void)cut(&cells, "|"); /* deviations of logits, ... */
    (void)cut(&cells, "|"); /* ... and of hidden states */
    gguf = cut(&cells, "|");
    list = types;
    for (char *type = cut(&list, ","); type; type = cut(&list, ",")) {
        const struct family *f = family_find(type);
        ck_assert_msg(f != NULL, "no family has the model_type %s", type);
        ck_assert_msg(gguf && strcmp(gguf, f->gguf ? f->gguf : "") == 0, "%s: gguf", type);
        note(type);
        (*names)++;
    }
}

START_TEST(the_table_has_every_family) {
    char *table = part("| model_type | shape | checked | logits | hidden | gguf |\n", "\n\n");
    char *lines = table;
    int names = 0, types = 0;
    ck_assert_ptr_nonnull(cut(&lines, "\n")); /* the rule under the head */
    for (char *line = cut(&lines, "\n"); line; line = cut(&lines, "\n"))
        check_row(line, &names);
    for (int i = 0; family_at(i); i++)
        for (int t = 0; family_at(i)->model_types[t]; t++)
            types++;
    ck_assert_int_eq(names, types);
    free(table);
}
END_TEST

/* --- wrappers --------------------------------------------------------------------------------- */

START_TEST(the_list_has_every_wrapper) {
    char *block = part("<!-- wrappers -->", "<!-- end -->"), *list = block;
    int names = 0, known = 0;
    for (char *type = cut(&list, ",.\n"); type; type = cut(&list, ",.\n"), names++)
        ck_assert_msg(wrapper_find(type) != NULL, "no wrapper is called %s", type);
    while (wrappers[known].model_type)
        known++;
    ck_assert_int_eq(names, known);
    free(block);
}
END_TEST

/* --- what is refused by name ------------------------------------------------------------------ */

START_TEST(the_list_of_refusals_has_every_one_that_is_known) {
    char *block = part("| model | why |\n| --- | --- |\n", "any other `model_type`");
    for (const struct unknown *u = unknown_models; u->model_type; u++) {
        char name[64];
        (void)snprintf(name, sizeof name, "`%s`", u->model_type);
        ck_assert_msg(strstr(block, name) != NULL, "docs/FAMILIES.md does not name %s", name);
    }
    free(block);
}
END_TEST

int main(void) {
    Suite *s = suite_create("families_doc");
    TCase *t = tcase_create("families_doc");
    tcase_add_unchecked_fixture(t, load, unload);
    tcase_add_test(t, the_table_has_every_family);
    tcase_add_test(t, the_list_has_every_wrapper);
    tcase_add_test(t, the_list_of_refusals_has_every_one_that_is_known);
    suite_add_tcase(s, t);
    return run_suite(s);
}
