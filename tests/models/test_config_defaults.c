/* SPDX-License-Identifier: Apache-2.0 */
/* config.json against the shared data: what a key is where it is missing, as the defaults of
 * transformers' config classes say, and the reference's configs in the words of versions 4 and 5.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "models/config.h"
#include "support.h"

static struct json *defaults;

static void load(void) {
    char *path = shared_path("golden/config_defaults.json");
    llmq_error err = {0};
    if (path)
        ck_assert_ok(json_read(path, &defaults, &err), &err);
    free(path);
}

static void unload(void) {
    json_free(&defaults);
}

/* The default of the first of the names "a|b|c" that has one, NULL: none has. */
static const struct json *default_of(const struct json *class, const char *keys) {
    while (keys) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(keys, "|"), keys);
        const struct json *value = json_get(class, name);
        if (json_type(value) != JSON_NULL)
            return value;
        keys = strchr(keys, '|');
        keys = keys ? keys + 1 : NULL;
    }
    return NULL;
}

static double number_of(const struct json *v) {
    double number = 0;
    bool flag = false;
    if (json_as_bool(v, &flag))
        return flag;
    ck_assert(json_as_double(v, &number));
    return number;
}

/* The family's own value, as the key says it. */
static double value_of(const struct setting *s, const struct facts *facts) {
    if (s->set == SET_DIM)
        return (double)facts->dims[s->what];
    if (s->set == SET_NUMBER) {
        const double by = s->size ? pow((double)facts->dims[s->size], s->size_to) : 1;
        const double value = facts->numbers[s->what] / by;
        return s->power != 0 ? pow(value, 1 / s->power) : value;
    }
    return (facts->traits & s->what) != 0;
}

static bool last_of_its_kind(const struct setting *s) {
    for (const struct setting *later = s + 1; later->set; later++)
        if (later->set == s->set && later->what == s->what)
            return false;
    return true;
}

static void check_settings(const struct model_config *c, const struct json *class) {
    for (const struct setting *s = c->family->settings; s->set; s++) {
        const struct json *wanted = s->key ? default_of(class, s->key) : NULL;
        if (s->set == SET_DIM && json_string(wanted)) /* "auto" */
            continue;
        const bool applies =
            (c->facts.traits & s->when) == s->when && !(c->facts.traits & s->unless);
        if (!wanted || !applies || !last_of_its_kind(s) || s->set == SET_TRAIT_IF)
            continue;
        if (s->set == SET_WORD) { /* one that is missing says nothing */
            ck_assert_msg(s->what == 0 || strcmp(json_string(wanted), s->word) != 0, "%s: %s",
                          c->family->name, s->key);
            continue;
        }
        const double expected = number_of(wanted), found = value_of(s, &c->facts);
        ck_assert_msg(fabs(expected - found) <= 1e-9 * fabs(expected),
                      "%s: %s: expected %g, found %g", c->family->name, s->key, expected, found);
    }
}

static void check_rules(const struct model_config *c, const struct json *class) {
    for (const struct layer_rule *r = c->family->rules; r && r->rule; r++) {
        const struct json *wanted = r->key ? default_of(class, r->key) : NULL;
        const bool counts =
            r->rule == RULE_EVERY || r->rule == RULE_NOT_EVERY || r->rule == RULE_FROM;
        if (wanted && counts && !isnan(r->absent))
            ck_assert_msg(!(number_of(wanted) < r->absent || number_of(wanted) > r->absent),
                          "%s: %s", c->family->name, r->key);
    }
}

static void check_act(const struct model_config *c, const struct json *class) {
    const char *name = c->family->act_key ? json_string(json_get(class, c->family->act_key)) : NULL;
    if (name)
        ck_assert_msg(schema_act_find(name) == c->facts.act, "%s: %s", c->family->name, name);
}

static const struct json *defaults_of(const char *model_type) {
    return json_get(json_get(json_get(defaults, "families"), model_type), "defaults");
}

/* Families whose class the shared data does not have: the models bring it along, or it is newer. */
static bool has_no_class(const char *model_type) {
    static const char *const names[] = {
        "bailing_moe",    "bailing_moe_v2", "chatglm",   "deepseek",  "exaone",
        "glm4v_moe_text", "glm4v_text",     "internlm2", "internlm3", "mimo",
        "minicpm",        "qwen",           NULL,
    };
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], model_type) == 0)
            return true;
    return false;
}

START_TEST(missing_keys_are_what_transformers_takes_them_for) {
    const struct family *f = family_at(_i);
    for (int t = 0; defaults && f->model_types[t]; t++) {
        const struct json *class = defaults_of(f->model_types[t]);
        struct model_config c = {0};
        llmq_error err = {0};
        struct json *config = json_new_object();
        if (!class) /* a name of its own for what the first one's class reads */
            class = defaults_of(f->model_types[0]);
        ck_assert_msg((class == NULL) == has_no_class(f->model_types[t]), "%s: defaults",
                      f->model_types[t]);
        json_add_string(config, "model_type", f->model_types[t]);
        ck_assert_ok(config_parse(config, &c, &err), &err);
        check_settings(&c, class);
        check_rules(&c, class);
        check_act(&c, class);
        config_free(&c);
        json_free(&config);
    }
}
END_TEST

/* --- both spellings --------------------------------------------------------------------------- */

/* False: the family is not one that llmq knows. */
static bool read_config(const char *dir, const char *name, struct model_config *c) {
    llmq_error err = {0};
    struct json *json = NULL;
    char *path = path_join(dir, name, NULL);
    ck_assert_ok(json_read(path, &json, &err), &err);
    const bool known = config_family_said(json) != NULL;
    if (known)
        ck_assert_msg(config_parse(json, c, &err) == LLMQ_OK, "%s: %s", path, err.message);
    json_free(&json);
    free(path);
    return known;
}

static bool same(double a, double b) {
    return !(a < b || a > b);
}

static void assert_same_facts(const char *dir, const struct facts *a, const struct facts *b) {
    ck_assert_msg(memcmp(a->dims, b->dims, sizeof a->dims) == 0, "%s: sizes differ", dir);
    for (int i = 0; i < NUM_COUNT; i++)
        if (i != NUM_THETA && i != NUM_LOCAL_THETA) /* see the rotary settings */
            ck_assert_msg(same(a->numbers[i], b->numbers[i]), "%s: number %d", dir, i);
    ck_assert_msg(a->traits == b->traits && a->act == b->act && a->norm == b->norm,
                  "%s: %#" PRIx64 " and %#" PRIx64, dir, a->traits, b->traits);
}

static void assert_same_config(const char *dir) {
    struct model_config a = {0}, b = {0};
    if (!read_config(dir, "config.json", &a))
        return;
    ck_assert(read_config(dir, "config.v5.json", &b));
    ck_assert_ptr_eq(a.family, b.family);
    assert_same_facts(dir, &a.facts, &b.facts);
    assert_same_facts(dir, &a.windowed, &b.windowed);
    for (int64_t i = 0; i < a.blocks; i++)
        ck_assert_msg(a.layers[i] == b.layers[i], "%s: layer %d", dir, (int)i);
    ck_assert_msg(memcmp(&a.rope, &b.rope, sizeof a.rope) == 0, "%s: rotation", dir);
    ck_assert_msg(memcmp(&a.local_rope, &b.local_rope, sizeof a.rope) == 0, "%s: local rotation",
                  dir);
    config_free(&a);
    config_free(&b);
}

START_TEST(both_spellings_of_a_config_read_the_same) {
    char *golden = shared_path("golden");
    struct dir_list list = {0};
    llmq_error err = {0};
    if (golden)
        ck_assert_ok(dir_list_read(golden, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++) {
        char *dir = path_join(golden, list.names[i], NULL);
        char *v5 = path_join(dir, "config.v5.json", NULL);
        bool exists = false;
        ck_assert_ok(file_exists(v5, &exists, &err), &err);
        if (exists)
            assert_same_config(dir);
        free(v5);
        free(dir);
    }
    dir_list_free(&list);
    free(golden);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config_defaults");
    TCase *t = tcase_create("config_defaults");
    int families = 0;
    while (family_at(families))
        families++;
    tcase_add_unchecked_fixture(t, load, unload);
    tcase_add_loop_test(t, missing_keys_are_what_transformers_takes_them_for, 0, families);
    tcase_add_test(t, both_spellings_of_a_config_read_the_same);
    suite_add_tcase(s, t);
    return run_suite(s);
}
