/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and comparing taps: see expert_taps.h. */
#include "expert_taps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "support.h"

static int64_t integer(const struct json *v) {
    int64_t value = 0;
    ck_assert(json_as_int64(v, &value));
    return value;
}

static const struct json *child_at(const struct json *list, int64_t index) {
    const struct json *child = json_first(list);
    while (child && index-- > 0)
        child = json_next(child);
    return child;
}

/* Where a number is in a list; -1: it is not. */
static int64_t place_of(const struct json *list, int64_t number) {
    int64_t at = 0;
    for (const struct json *i = json_first(list); i; i = json_next(i), at++)
        if (integer(i) == number)
            return at;
    return -1;
}

void expert_taps_open(const char *dir, struct expert_taps *out) {
    llmq_error err = {0};
    char *facts = path_join(dir, "taps.json", NULL);
    char *tensors = path_join(dir, "taps.safetensors", NULL);
    *out = (struct expert_taps){0};
    ck_assert_ok(json_read(facts, &out->facts, &err), &err);
    ck_assert_ok(st_open_file(tensors, &out->tensors, &err), &err);
    const struct json *ids = json_get(out->facts, "input_ids");
    out->experts = (int64_t)json_count(json_get(out->facts, "experts"));
    ck_assert_uint_le(json_count(ids), TAPS_MAX_TOKENS);
    for (const struct json *id = json_first(ids); id; id = json_next(id))
        out->ids[out->tokens++] = (int32_t)integer(id);
    free(facts);
    free(tensors);
}

void expert_taps_close(struct expert_taps *taps) {
    st_close(&taps->tensors);
    json_free(&taps->facts);
}

bool expert_taps_sent(const struct expert_taps *taps, int64_t token, int64_t expert) {
    const struct json *of = child_at(json_get(taps->facts, "experts"), expert);
    return place_of(json_get(of, "tokens"), token) >= 0;
}

double expert_taps_weight(const struct expert_taps *taps, int64_t token, int64_t expert) {
    const struct json *chosen = child_at(json_get(taps->facts, "selected_experts"), token);
    const struct json *weights = child_at(json_get(taps->facts, "routing_weights"), token);
    const int64_t at = place_of(chosen, expert);
    double weight = 0;
    if (!chosen)
        return expert_taps_sent(taps, token, expert) ? (double)NAN : 0;
    if (at >= 0)
        ck_assert(json_as_double(child_at(weights, at), &weight));
    return weight;
}

const char *expert_taps_find(const struct expert_taps *taps, const char *module, char name[128]) {
    const struct json *list = json_get(taps->facts, "taps");
    for (const struct json *tap = json_first(list); tap; tap = json_next(tap)) {
        bool named = strcmp(json_key(tap), module) == 0;
        const struct json *same = json_first(json_get(tap, "shared_with"));
        for (; same; same = json_next(same))
            named = named || strcmp(json_string(same), module) == 0;
        snprintf(name, 128, "H.%s", json_key(tap));
        if (named)
            return name;
    }
    return NULL;
}

/* Entry `i` of what a tensor holds. */
static double entry(const struct st_tensor *t, const void *data, int64_t i) {
    return t->dtype == DTYPE_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

double expert_taps_error(const struct expert_taps *taps, const char *tensor, const float *x,
                         int64_t rows, int64_t columns) {
    llmq_error err = {0};
    const struct st_tensor *t = st_find(taps->tensors, tensor);
    ck_assert_msg(t != NULL, "%s", tensor);
    ck_assert(t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64);
    ck_assert_uint_eq(t->shape[0], (uint64_t)rows);
    ck_assert_uint_eq(t->shape[1], (uint64_t)columns);
    void *data = malloc((size_t)t->nbytes);
    double difference = 0, norm = 0;
    ck_assert_ok(st_read(taps->tensors, t, 0, (size_t)t->nbytes, data, &err), &err);
    for (int64_t i = 0; i < rows * columns; i++) {
        const double expected = entry(t, data, i), off = (double)x[i] - expected;
        difference += off * off;
        norm += expected * expected;
    }
    free(data);
    return sqrt(difference / norm);
}
