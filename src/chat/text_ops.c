/* SPDX-License-Identifier: Apache-2.0 */
/* Strings as Python has them: see text_ops.h. */
#include "chat/text_ops.h"

#include <string.h>
#include <utf8proc.h>

/* --- code points ------------------------------------------------------------------------------ */

size_t jinja_decode(struct jinja_text t, size_t at, int32_t *cp) {
    const utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)t.at + at, (utf8proc_ssize_t)(t.len - at), cp);
    if (len > 0)
        return (size_t)len;
    *cp = (unsigned char)t.at[at];
    return 1;
}

size_t jinja_encode(int32_t cp, char out[4]) {
    return (size_t)utf8proc_encode_char(cp, (utf8proc_uint8_t *)out);
}

/* Where the code point before `end` (> 0) begins. */
static size_t previous(struct jinja_text t, size_t end) {
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)t.at[at] & 0xc0) == 0x80)
        at--;
    return at;
}

/* Of Python's str.isspace. */
static bool is_space(utf8proc_int32_t cp) {
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

size_t jinja_length(struct jinja_text t) {
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += ((unsigned char)t.at[i] & 0xc0) != 0x80;
    return n;
}

size_t jinja_byte_of(struct jinja_text t, size_t index) {
    size_t at = 0;
    for (utf8proc_int32_t cp; at < t.len && index > 0; index--)
        at += jinja_decode(t, at, &cp);
    return at;
}

/* --- white space and other ends --------------------------------------------------------------- */

static bool is_among(utf8proc_int32_t cp, const struct jinja_text *chars) {
    utf8proc_int32_t other = 0;
    if (!chars)
        return is_space(cp);
    for (size_t at = 0; at < chars->len;) {
        at += jinja_decode(*chars, at, &other);
        if (other == cp)
            return true;
    }
    return false;
}

struct jinja_text jinja_strip(struct jinja_text t, const struct jinja_text *chars, bool left,
                              bool right) {
    size_t begin = 0, end = t.len;
    utf8proc_int32_t cp = 0;
    while (left && begin < end) {
        const size_t len = jinja_decode(t, begin, &cp);
        if (!is_among(cp, chars))
            break;
        begin += len;
    }
    while (right && end > begin) {
        const size_t at = previous(t, end);
        (void)jinja_decode(t, at, &cp);
        if (!is_among(cp, chars))
            break;
        end = at;
    }
    return (struct jinja_text){t.at + begin, end - begin};
}

size_t jinja_leading_space(struct jinja_text t) {
    return t.len - jinja_strip(t, NULL, true, false).len;
}

size_t jinja_trailing_space(struct jinja_text t) {
    return t.len - jinja_strip(t, NULL, false, true).len;
}

bool jinja_starts(struct jinja_text t, struct jinja_text part) {
    return part.len <= t.len && (part.len == 0 || memcmp(t.at, part.at, part.len) == 0);
}

bool jinja_ends(struct jinja_text t, struct jinja_text part) {
    return part.len <= t.len &&
           jinja_text_equal((struct jinja_text){t.at + (t.len - part.len), part.len}, part);
}

/* --- finding, replacing, splitting ------------------------------------------------------------ */

size_t jinja_find(struct jinja_text t, struct jinja_text part, size_t from) {
    if (part.len == 0)
        return from <= t.len ? from : SIZE_MAX;
    while (from < t.len && part.len <= t.len - from) {
        const char *found = memchr(t.at + from, part.at[0], t.len - from - part.len + 1);
        if (!found)
            break;
        if (memcmp(found, part.at, part.len) == 0)
            return (size_t)(found - t.at);
        from = (size_t)(found - t.at) + 1;
    }
    return SIZE_MAX;
}

struct jinja_value jinja_replace(struct jinja_run *run, struct jinja_text t, struct jinja_text old,
                                 struct jinja_text new, int64_t most) {
    struct strbuf b = {0};
    utf8proc_int32_t cp = 0;
    size_t at = 0;
    for (; most != 0 && !jinja_failed(run); most--) {
        const size_t found = jinja_find(t, old, at);
        if (found == SIZE_MAX)
            break;
        jinja_append(run, &b, t.at + at, found - at);
        jinja_append(run, &b, new.at, new.len);
        at = found + old.len;
        if (old.len > 0)
            continue;
        const size_t step = at < t.len ? jinja_decode(t, at, &cp) : 0; /* between all characters */
        jinja_append(run, &b, t.at + at, step);
        at += step;
        if (step == 0)
            break;
    }
    jinja_append(run, &b, t.at + at, t.len - at);
    return jinja_take(run, &b);
}

static struct jinja_value part(struct jinja_text t, size_t begin, size_t end) {
    return jinja_string(t.at + begin, end - begin);
}

static void split_space(struct jinja_run *run, struct jinja_text t, int64_t most,
                        struct jinja_value *list) {
    utf8proc_int32_t cp = 0;
    size_t at = jinja_leading_space(t);
    while (at < t.len && !jinja_failed(run)) {
        const struct jinja_text rest = {t.at + at, t.len - at};
        if (most-- == 0) {
            jinja_push(run, list, jinja_string(rest.at, rest.len));
            return;
        }
        size_t end = at, len = 0;
        while (end < t.len && (len = jinja_decode(t, end, &cp), !is_space(cp)))
            end += len;
        jinja_push(run, list, part(t, at, end));
        at = end + jinja_leading_space((struct jinja_text){t.at + end, t.len - end});
    }
}

/* Where the last `separator` before `end` begins, or SIZE_MAX. */
static size_t find_last(struct jinja_text t, struct jinja_text separator, size_t end) {
    for (size_t at = end + 1; at-- > 0;)
        if (at + separator.len <= end && memcmp(t.at + at, separator.at, separator.len) == 0)
            return at;
    return SIZE_MAX;
}

static void reverse(struct jinja_list *list) {
    for (size_t i = 0; i < list->count / 2; i++) {
        const struct jinja_value other = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = list->items[i];
        list->items[i] = other;
    }
}

static void split_right(struct jinja_run *run, struct jinja_text t, struct jinja_text separator,
                        int64_t most, struct jinja_value *list) {
    size_t end = t.len, found = 0;
    while (!jinja_failed(run) && most-- != 0 &&
           (found = find_last(t, separator, end)) != SIZE_MAX) {
        jinja_push(run, list, part(t, found + separator.len, end));
        end = found;
    }
    jinja_push(run, list, part(t, 0, end));
    if (!jinja_failed(run))
        reverse(list->list);
}

struct jinja_value jinja_split(struct jinja_run *run, struct jinja_text t,
                               const struct jinja_text *separator, int64_t most, bool right) {
    struct jinja_value list = jinja_new_list(run);
    size_t at = 0, found = 0;
    if (separator && separator->len == 0)
        return jinja_fail(run, LLMQ_E_INPUT, "split: an empty separator");
    if (right && !separator && most >= 0)
        return jinja_fail(run, LLMQ_E_UNSUPPORTED, "rsplit at white space is not supported");
    if (!separator) {
        split_space(run, t, most, &list);
        return list;
    }
    if (right) {
        split_right(run, t, *separator, most, &list);
        return list;
    }
    while (!jinja_failed(run) && most-- != 0 &&
           (found = jinja_find(t, *separator, at)) != SIZE_MAX) {
        jinja_push(run, &list, part(t, at, found));
        at = found + separator->len;
    }
    jinja_push(run, &list, part(t, at, t.len));
    return list;
}

/* Of str.splitlines. */
static bool ends_line(utf8proc_int32_t cp) {
    return (cp >= 10 && cp <= 13) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

struct jinja_value jinja_lines(struct jinja_run *run, struct jinja_text t) {
    struct jinja_value list = jinja_new_list(run);
    utf8proc_int32_t cp = 0;
    size_t begin = 0;
    for (size_t at = 0; at < t.len && !jinja_failed(run);) {
        const size_t end = at;
        at += jinja_decode(t, at, &cp);
        if (!ends_line(cp))
            continue;
        jinja_push(run, &list, part(t, begin, end));
        at += cp == '\r' && at < t.len && t.at[at] == '\n';
        begin = at;
    }
    if (begin < t.len)
        jinja_push(run, &list, part(t, begin, t.len));
    return list;
}

/* --- letters ---------------------------------------------------------------------------------- */

static bool is_letter(utf8proc_int32_t cp) {
    const utf8proc_category_t c = utf8proc_category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

/* Does a word of `to` begin behind the code point `before`? */
static bool begins_word(enum jinja_case to, utf8proc_int32_t before) {
    if (to == JINJA_TITLE)
        return !is_letter(before);
    return is_space(before) || (before > 0 && before < 0x80 && strchr("-({[<", (int)before));
}

struct jinja_value jinja_change_case(struct jinja_run *run, struct jinja_text t,
                                     enum jinja_case to) {
    struct strbuf b = {0};
    utf8proc_int32_t cp = 0, before = 0;
    char bytes[4];
    for (size_t at = 0; at < t.len; before = cp) {
        const bool first = at == 0;
        const size_t len = jinja_decode(t, at, &cp);
        const bool capital =
            to == JINJA_UPPER ||
            (to != JINJA_LOWER && (first || (to != JINJA_CAPITALIZED && begins_word(to, before))));
        const utf8proc_int32_t mapped = capital ? utf8proc_toupper(cp) : utf8proc_tolower(cp);
        if (capital && cp == 0xdf) /* German sharp s */
            jinja_append(run, &b, to == JINJA_UPPER ? "SS" : "Ss", 2);
        else if (mapped == cp)
            jinja_append(run, &b, t.at + at, len);
        else
            jinja_append(run, &b, bytes, jinja_encode(mapped, bytes));
        at += len;
    }
    return jinja_take(run, &b);
}

bool jinja_is_case(struct jinja_text t, enum jinja_case which) {
    bool found = false;
    utf8proc_int32_t cp = 0;
    for (size_t at = 0; at < t.len;) {
        at += jinja_decode(t, at, &cp);
        const bool upper = utf8proc_tolower(cp) != cp, lower = utf8proc_toupper(cp) != cp;
        if (which == JINJA_UPPER ? lower : upper)
            return false;
        found = found || upper || lower;
    }
    return found;
}

bool jinja_is_letters(struct jinja_text t) {
    utf8proc_int32_t cp = 0;
    for (size_t at = 0; at < t.len;) {
        at += jinja_decode(t, at, &cp);
        if (!is_letter(cp))
            return false;
    }
    return t.len > 0;
}

bool jinja_is_digits(struct jinja_text t) {
    utf8proc_int32_t cp = 0;
    for (size_t at = 0; at < t.len;) {
        at += jinja_decode(t, at, &cp);
        if (utf8proc_category(cp) != UTF8PROC_CATEGORY_ND)
            return false;
    }
    return t.len > 0;
}
