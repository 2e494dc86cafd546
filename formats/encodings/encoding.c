/* SPDX-License-Identifier: Apache-2.0 */
/* See encoding.h. */
#include "formats/encodings/encoding.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

static const struct encoding *const encodings[] = {&encoding_fp8, &encoding_mxfp4, &encoding_fp4};
enum { ENCODINGS = sizeof encodings / sizeof encodings[0] };

enum llmq_status encoding_of_config(const struct json *quantization_config,
                                    struct encoding_settings *out, llmq_error *err) {
    *out = (struct encoding_settings){0};
    for (int i = 0; quantization_config && i < ENCODINGS; i++)
        if (encodings[i]->config_matches(quantization_config)) {
            out->encoding = encodings[i];
            return encodings[i]->config_read(quantization_config, out, err);
        }
    return LLMQ_OK;
}

/* --- parts ------------------------------------------------------------------------------------ */

const struct st_tensor *encoding_part(const struct st_set *set, const char *name, size_t cut,
                                      const char *suffix) {
    char part[ENCODING_NAME_MAX];
    const int len = snprintf(part, sizeof part, "%.*s%s", (int)(strlen(name) - cut), name, suffix);
    return len > 0 && (size_t)len < sizeof part ? st_find(set, part) : NULL;
}

void encoding_hide(const struct st_set *set, const struct st_tensor *t, bool *hidden) {
    if (t)
        hidden[t - st_at(set, 0)] = true;
}

void encoding_hint(llmq_error *err) {
    error_hint(err, "get the checkpoint again, or take the one that it was made from, in 16 bits");
}

const char *encoding_shape(const uint64_t *shape, int rank, char text[ENCODING_SHAPE_MAX]) {
    size_t used = (size_t)snprintf(text, ENCODING_SHAPE_MAX, "[");
    for (int d = 0; d < rank && used < ENCODING_SHAPE_MAX - 24; d++)
        used += (size_t)snprintf(text + used, ENCODING_SHAPE_MAX - used, "%s%" PRIu64,
                                 d ? ", " : "", shape[d]);
    (void)snprintf(text + used, ENCODING_SHAPE_MAX - used, "]");
    return text;
}

/* --- showing ---------------------------------------------------------------------------------- */

/* What is made of a set. */
struct showing {
    const struct encoding_settings *settings;
    struct st_set *set;
    struct st_coded_view *views;
    char (*names)[ENCODING_NAME_MAX];
    size_t count;
    bool *hidden;
};

/* A scale beside a weight that has none: to multiply or not would be a guess. */
static enum llmq_status refuse_scaled(const struct st_set *set, const struct st_tensor *weight,
                                      const struct st_tensor *scale, llmq_error *err) {
    (void)error_set(err, LLMQ_E_INPUT,
                    "%s: tensor '%.200s': expected no such scale, found one beside '%.200s', which "
                    "is %s",
                    st_shard_path(set, scale->shard), scale->name, weight->name,
                    dtype_name(weight->dtype));
    error_hint(err, "whether the weight is multiplied already cannot be told: get the checkpoint "
                    "again, or remove the scale where it was made if it is");
    return LLMQ_E_INPUT;
}

static enum llmq_status check_plain(const struct showing *s, const struct st_tensor *t,
                                    llmq_error *err) {
    const char *const *suffixes = s->settings->encoding->scale_suffixes;
    for (int i = 0; dtype_is_float(t->dtype) && suffixes[i]; i++) {
        const struct st_tensor *scale = encoding_part(s->set, t->name, 0, suffixes[i]);
        if (scale)
            return refuse_scaled(s->set, t, scale, err);
    }
    return LLMQ_OK;
}

static enum llmq_status look_at(struct showing *s, size_t index, llmq_error *err) {
    const struct st_tensor *t = st_at(s->set, index);
    struct st_coded_view *view = &s->views[s->count];
    if (!s->settings->encoding->holds_codes(t))
        return check_plain(s, t, err);
    *view = (struct st_coded_view){.name = s->names[s->count], .tensor = index};
    enum llmq_status status = s->settings->encoding->view(s->set, t, s->settings, view,
                                                          s->names[s->count], s->hidden, err);
    s->count++;
    return status == LLMQ_OK ? LLMQ_OK
                             : error_prefix(err, status, "%s", st_shard_path(s->set, t->shard));
}

enum llmq_status encoding_settle(const struct encoding_settings *settings, struct st_set *set,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct showing s = {.settings = settings, .set = set};
    size_t codes = 0;
    const size_t count = st_count(set);
    if (!settings->encoding || count == 0)
        return LLMQ_OK;
    for (size_t i = 0; i < count; i++)
        codes += settings->encoding->holds_codes(st_at(set, i));
    s.views = calloc(codes + 1, sizeof *s.views);
    s.names = calloc(codes + 1, sizeof *s.names);
    s.hidden = calloc(count, sizeof *s.hidden);
    if (!s.views || !s.names || !s.hidden)
        LLMQ_TRY(error_memory(err, "the parts of tensors"));
    for (size_t i = 0; i < count; i++)
        LLMQ_TRY(look_at(&s, i, err));
    LLMQ_TRY(st_show_decoded(set, s.views, s.count, s.hidden, err));
cleanup:
    free(s.views);
    free(s.names);
    free(s.hidden);
    return status;
}

size_t encoding_count(const struct st_set *set) {
    size_t count = 0;
    for (size_t i = 0; i < st_count(set); i++)
        count += st_at(set, i)->coded != NULL;
    return count;
}
