/* SPDX-License-Identifier: Apache-2.0 */
/* Operators: see operators.h. */
#include "chat/operators.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "chat/builtins.h"
#include "chat/format.h"
#include "chat/text_ops.h"

/* --- arithmetic ------------------------------------------------------------------------------- */

static struct jinja_value misfit(struct jinja_run *run, struct jinja_text op,
                                 const struct jinja_value *a, const struct jinja_value *b) {
    const struct jinja_value *gone = a->type == JINJA_UNDEFINED ? a : b;
    if (gone->type == JINJA_UNDEFINED)
        return jinja_fail(run, LLMQ_E_INPUT, "'%.*s' is undefined",
                          (int)(gone->text.len < 80 ? gone->text.len : 80), gone->text.at);
    return jinja_fail(run, LLMQ_E_INPUT, "%s %.*s %s: such values do not go together",
                      jinja_type_name(a), (int)op.len, op.at, jinja_type_name(b));
}

/* base ** exponent >= 0; false when it does not fit. */
static bool power(int64_t base, int64_t exponent, int64_t *out) {
    int64_t result = 1;
    if (exponent > 63 && base != 0 && base != 1 && base != -1)
        return false;
    for (exponent = exponent > 63 ? 62 + exponent % 2 : exponent; exponent > 0; exponent--)
        if (__builtin_mul_overflow(result, base, &result))
            return false;
    *out = result;
    return true;
}

/* Division that rounds down, as Python's. The smallest number by -1 does not fit. */
static bool divide(int64_t a, int64_t b, int64_t *quotient, int64_t *rest) {
    if (a == INT64_MIN && b == -1)
        return false;
    *quotient = a / b;
    *rest = a % b;
    if (*rest != 0 && (*rest < 0) != (b < 0)) {
        *rest += b;
        --*quotient;
    }
    return true;
}

static struct jinja_value integers(struct jinja_run *run, struct jinja_text op, int64_t a,
                                   int64_t b) {
    int64_t out = 0, other = 0;
    bool fits = true;
    if (jinja_text_is(op, "+"))
        fits = !__builtin_add_overflow(a, b, &out);
    else if (jinja_text_is(op, "-"))
        fits = !__builtin_sub_overflow(a, b, &out);
    else if (jinja_text_is(op, "*"))
        fits = !__builtin_mul_overflow(a, b, &out);
    else if (jinja_text_is(op, "**"))
        fits = power(a, b, &out);
    else if (jinja_text_is(op, "//"))
        fits = divide(a, b, &out, &other);
    else
        fits = divide(a, b, &other, &out);
    return fits ? jinja_int(out)
                : jinja_fail(run, LLMQ_E_UNSUPPORTED, "the result of %.*s is too large",
                             (int)op.len, op.at);
}

static struct jinja_value reals(struct jinja_text op, double a, double b) {
    if (jinja_text_is(op, "+"))
        return jinja_float(a + b);
    if (jinja_text_is(op, "-"))
        return jinja_float(a - b);
    if (jinja_text_is(op, "*"))
        return jinja_float(a * b);
    if (jinja_text_is(op, "/"))
        return jinja_float(a / b);
    if (jinja_text_is(op, "//"))
        return jinja_float(floor(a / b));
    if (jinja_text_is(op, "**"))
        return jinja_float(pow(a, b));
    const double rest = fmod(a, b);
    return jinja_float(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

static struct jinja_value numbers(struct jinja_run *run, struct jinja_text op,
                                  const struct jinja_value *a, const struct jinja_value *b) {
    int64_t m = 0, n = 0;
    double x = 0, y = 0;
    (void)jinja_as_float(a, &x);
    (void)jinja_as_float(b, &y);
    if (y == 0 && (op.at[0] == '/' || op.at[0] == '%'))
        return jinja_fail(run, LLMQ_E_INPUT, "division by zero");
    const bool whole = jinja_as_int(a, &m) && jinja_as_int(b, &n);
    if (whole && !jinja_text_is(op, "/") && !(jinja_text_is(op, "**") && n < 0))
        return integers(run, op, m, n);
    return reals(op, x, y);
}

static struct jinja_value join_lists(struct jinja_run *run, const struct jinja_list *a,
                                     const struct jinja_list *b) {
    struct jinja_value out = jinja_new_list(run);
    for (size_t i = 0; i < a->count; i++)
        jinja_push(run, &out, a->items[i]);
    for (size_t i = 0; i < b->count; i++)
        jinja_push(run, &out, b->items[i]);
    if (!jinja_failed(run))
        out.list->is_tuple = a->is_tuple;
    return out;
}

static struct jinja_value join_texts(struct jinja_run *run, struct jinja_text a,
                                     struct jinja_text b) {
    char *text = jinja_alloc(run, a.len + b.len + 1, 1);
    if (!text)
        return jinja_undefined("");
    if (a.len)
        memcpy(text, a.at, a.len);
    if (b.len)
        memcpy(text + a.len, b.at, b.len);
    return jinja_string(text, a.len + b.len);
}

static struct jinja_text escape(struct jinja_run *run, struct jinja_text t) {
    static const char special[] = "&<>'\"";
    static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct strbuf b = {0};
    for (size_t i = 0; i < t.len && !jinja_failed(run); i++) {
        const char *found = t.at[i] ? strchr(special, t.at[i]) : NULL;
        const struct jinja_text out =
            found ? jinja_text_of(escapes[found - special]) : (struct jinja_text){t.at + i, 1};
        jinja_append(run, &b, out.at, out.len);
    }
    const struct jinja_value v = jinja_take(run, &b);
    return jinja_failed(run) ? (struct jinja_text){"", 0} : v.text;
}

/* Two strings, of which one may be markup. */
static struct jinja_value join_strings(struct jinja_run *run, const struct jinja_value *a,
                                       const struct jinja_value *b) {
    const bool is_markup = a->is_markup || b->is_markup;
    struct jinja_value out =
        join_texts(run, is_markup && !a->is_markup ? escape(run, a->text) : a->text,
                   is_markup && !b->is_markup ? escape(run, b->text) : b->text);
    out.is_markup = is_markup;
    return out;
}

static struct jinja_value repeat(struct jinja_run *run, const struct jinja_value *v,
                                 int64_t times) {
    struct jinja_value out = v->type == JINJA_LIST ? jinja_new_list(run) : jinja_string("", 0);
    struct strbuf b = {0};
    for (int64_t i = 0; i < times && jinja_spend(run, 1); i++) {
        if (v->type == JINJA_STRING)
            jinja_append(run, &b, v->text.at, v->text.len);
        for (size_t k = 0; v->type == JINJA_LIST && k < v->list->count; k++)
            jinja_push(run, &out, v->list->items[k]);
    }
    if (v->type == JINJA_STRING)
        return jinja_take(run, &b);
    if (!jinja_failed(run))
        out.list->is_tuple = v->list->is_tuple;
    return out;
}

static struct jinja_value concat(struct jinja_run *run, const struct jinja_value *a,
                                 const struct jinja_value *b) {
    const struct jinja_value x = jinja_to_string(run, a), y = jinja_to_string(run, b);
    return jinja_failed(run) ? x : join_texts(run, x.text, y.text);
}

struct jinja_value jinja_binary(struct jinja_run *run, struct jinja_text op,
                                const struct jinja_value *a, const struct jinja_value *b) {
    double number = 0;
    int64_t times = 0;
    if (jinja_failed(run) || jinja_text_is(op, "~"))
        return concat(run, a, b);
    if (jinja_as_float(a, &number) && jinja_as_float(b, &number))
        return numbers(run, op, a, b);
    const bool texts = a->type == JINJA_STRING || a->type == JINJA_LIST;
    if (jinja_text_is(op, "+") && a->type == JINJA_STRING && b->type == JINJA_STRING)
        return join_strings(run, a, b);
    if (jinja_text_is(op, "+") && a->type == JINJA_LIST && b->type == JINJA_LIST &&
        a->list->is_tuple == b->list->is_tuple)
        return join_lists(run, a->list, b->list);
    if (jinja_text_is(op, "*") && texts && jinja_as_int(b, &times))
        return repeat(run, a, times);
    if (jinja_text_is(op, "*") && (b->type == JINJA_STRING || b->type == JINJA_LIST) &&
        jinja_as_int(a, &times))
        return repeat(run, b, times);
    if (jinja_text_is(op, "%") && a->type == JINJA_STRING)
        return jinja_fail(run, LLMQ_E_UNSUPPORTED, "formatting with %% is not supported");
    return misfit(run, op, a, b);
}

struct jinja_value jinja_sign(struct jinja_run *run, bool negative, const struct jinja_value *v) {
    const struct jinja_value zero = jinja_int(0);
    if (v->type == JINJA_FLOAT)
        return jinja_float(negative ? -v->real : v->real);
    return jinja_binary(run, jinja_text_of(negative ? "-" : "+"), &zero, v);
}

/* --- comparing -------------------------------------------------------------------------------- */

static int order_texts(struct jinja_text a, struct jinja_text b) {
    const size_t len = a.len < b.len ? a.len : b.len;
    const int order = len ? memcmp(a.at, b.at, len) : 0;
    return order ? (order < 0 ? -1 : 1) : (a.len > b.len) - (a.len < b.len);
}

int jinja_order(struct jinja_run *run, const struct jinja_value *a, const struct jinja_value *b) {
    double x = 0, y = 0;
    int64_t m = 0, n = 0;
    if (jinja_failed(run))
        return 0;
    if (jinja_as_int(a, &m) && jinja_as_int(b, &n))
        return (m > n) - (m < n);
    if (jinja_as_float(a, &x) && jinja_as_float(b, &y))
        return (x > y) - (x < y);
    if (a->type == JINJA_STRING && b->type == JINJA_STRING)
        return order_texts(a->text, b->text);
    if (a->type != JINJA_LIST || b->type != JINJA_LIST) {
        misfit(run, jinja_text_of("<"), a, b);
        return 0;
    }
    for (size_t i = 0; i < a->list->count && i < b->list->count; i++)
        if (!jinja_equal(&a->list->items[i], &b->list->items[i]))
            return jinja_order(run, &a->list->items[i], &b->list->items[i]);
    return (a->list->count > b->list->count) - (a->list->count < b->list->count);
}

bool jinja_contains(struct jinja_run *run, const struct jinja_value *whole,
                    const struct jinja_value *part) {
    if (jinja_failed(run) || whole->type == JINJA_UNDEFINED)
        return false;
    if (whole->type == JINJA_STRING && part->type == JINJA_STRING)
        return jinja_spend(run, whole->text.len / 256) &&
               jinja_find(whole->text, part->text, 0) != SIZE_MAX;
    if (whole->type == JINJA_DICT && !whole->dict->is_namespace)
        return jinja_spend(run, whole->dict->count) && jinja_dict_find(whole->dict, part);
    if (whole->type != JINJA_LIST) {
        misfit(run, jinja_text_of("in"), part, whole);
        return false;
    }
    for (size_t i = 0; i < whole->list->count && jinja_spend(run, 1); i++)
        if (jinja_equal(&whole->list->items[i], part))
            return true;
    return false;
}

bool jinja_compare(struct jinja_run *run, struct jinja_text op, const struct jinja_value *a,
                   const struct jinja_value *b) {
    if (jinja_failed(run))
        return false;
    if (jinja_text_is(op, "=="))
        return jinja_equal(a, b);
    if (jinja_text_is(op, "!="))
        return !jinja_equal(a, b);
    if (jinja_text_is(op, "in"))
        return jinja_contains(run, b, a);
    if (jinja_text_is(op, "not in"))
        return !jinja_contains(run, b, a);
    const int order = jinja_order(run, a, b);
    if (jinja_text_is(op, "<"))
        return order < 0;
    if (jinja_text_is(op, "<="))
        return order <= 0;
    return jinja_text_is(op, ">") ? order > 0 : order >= 0;
}

/* --- members and items ------------------------------------------------------------------------ */

static const struct jinja_builtin *methods_of(const struct jinja_value *v) {
    if (v->type == JINJA_STRING)
        return jinja_text_methods;
    if (v->type == JINJA_LIST)
        return jinja_list_methods;
    return v->type == JINJA_DICT && !v->dict->is_namespace ? jinja_dict_methods : NULL;
}

struct jinja_value jinja_member(struct jinja_run *run, const struct jinja_value *object,
                                struct jinja_text name) {
    const struct jinja_builtin *methods = methods_of(object);
    const struct jinja_builtin *found = methods ? jinja_find_in(methods, name) : NULL;
    const struct jinja_value key = jinja_string(name.at, name.len);
    if (object->type == JINJA_UNDEFINED)
        return misfit(run, jinja_text_of("."), object, object);
    if (found)
        return jinja_new_function(run, (struct jinja_function){.builtin = found, .self = *object});
    const struct jinja_value *value =
        object->type == JINJA_DICT ? jinja_dict_find(object->dict, &key) : NULL;
    return value ? *value : jinja_absent(name);
}

/* An index from the end made one from the beginning; false when there is no such item. */
static bool find_index(int64_t index, size_t count, size_t *out) {
    const int64_t at = index < 0 ? index + (int64_t)count : index;
    *out = (size_t)at;
    return at >= 0 && at < (int64_t)count;
}

static struct jinja_value character(struct jinja_text t, int64_t index) {
    size_t at = 0;
    if (!find_index(index, jinja_length(t), &at))
        return jinja_undefined("string index");
    const size_t begin = jinja_byte_of(t, at);
    const struct jinja_text rest = {t.at + begin, t.len - begin};
    return jinja_string(rest.at, jinja_byte_of(rest, 1));
}

struct jinja_value jinja_at(struct jinja_run *run, const struct jinja_value *object,
                            const struct jinja_value *index) {
    int64_t number = 0;
    size_t at = 0;
    if (jinja_failed(run) || object->type == JINJA_UNDEFINED)
        return misfit(run, jinja_text_of("[]"), object, object);
    const struct jinja_value *value =
        object->type == JINJA_DICT ? jinja_dict_find(object->dict, index) : NULL;
    if (value)
        return *value;
    if (index->type == JINJA_STRING)
        return jinja_member(run, object, index->text);
    if (!jinja_as_int(index, &number))
        return jinja_undefined("item");
    if (object->type == JINJA_STRING)
        return jinja_spend(run, object->text.len / 64) ? character(object->text, number)
                                                       : jinja_none();
    if (object->type == JINJA_LIST && find_index(number, object->list->count, &at))
        return object->list->items[at];
    return jinja_undefined("list index");
}

/* --- slices ----------------------------------------------------------------------------------- */

/* A bound of a slice, moved into [low, high] as Python does it. */
static int64_t bound(struct jinja_run *run, const struct jinja_value *v, int64_t absent_value,
                     int64_t count, int64_t low, int64_t high) {
    int64_t at = 0;
    if (!v || v->type == JINJA_NONE)
        return absent_value;
    if (!jinja_as_int(v, &at)) {
        jinja_fail(run, LLMQ_E_INPUT, "a slice from or to %s", jinja_type_name(v));
        return 0;
    }
    at = at < 0 ? (at < -count ? low : at + count) : at;
    return at < low ? low : at > high ? high : at;
}

/* Every step-th of `items` from `begin` on, before `end`. */
static struct jinja_value take(struct jinja_run *run, const struct jinja_value *items,
                               int64_t begin, int64_t end, int64_t step) {
    struct jinja_value out = jinja_new_list(run);
    for (int64_t i = begin; (step > 0 ? i < end : i > end) && jinja_spend(run, 1);) {
        jinja_push(run, &out, items[i]);
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return out;
}

static struct jinja_value join_characters(struct jinja_run *run, const struct jinja_value *list) {
    struct strbuf b = {0};
    for (size_t i = 0; !jinja_failed(run) && i < list->list->count; i++)
        jinja_append(run, &b, list->list->items[i].text.at, list->list->items[i].text.len);
    return jinja_take(run, &b);
}

struct jinja_value jinja_slice(struct jinja_run *run, const struct jinja_value *object,
                               const struct jinja_value *begin, const struct jinja_value *end,
                               const struct jinja_value *step) {
    const struct jinja_value *items = NULL;
    int64_t stride = 1;
    if (object->type != JINJA_STRING && object->type != JINJA_LIST)
        return misfit(run, jinja_text_of("[:]"), object, object);
    if (step && step->type != JINJA_NONE && (!jinja_as_int(step, &stride) || stride == 0))
        return jinja_fail(run, LLMQ_E_INPUT, "a slice with a step of %s",
                          stride == 0 ? "zero" : jinja_type_name(step));
    const int64_t count = (int64_t)jinja_items(run, object, &items);
    const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? count : count - 1;
    const int64_t from = bound(run, begin, stride > 0 ? low : high, count, low, high);
    const int64_t to = bound(run, end, stride > 0 ? high : low, count, low, high);
    struct jinja_value out = take(run, items, from, to, stride);
    if (jinja_failed(run))
        return jinja_undefined("");
    if (object->type == JINJA_STRING)
        return join_characters(run, &out);
    out.list->is_tuple = object->list->is_tuple;
    return out;
}
