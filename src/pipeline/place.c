/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for places to write to: see place.h. */
#include "pipeline/place.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/datadir.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/location.h"

/* Something that stays as it is, whatever is written. */
struct guarded {
    const char *what; /* as in "is the model's folder" */
    const char *path;
    bool closed; /* nothing may be written inside either */
};

/* A place that cannot be looked up is no input that could be lost, and is told of where it is read;
 * only memory counts here. */
static enum llmq_status find_guarded(const struct guarded *g, struct location *at,
                                     llmq_error *err) {
    llmq_error unread = {0};
    enum llmq_status status = location_find(g->path, at, &unread);
    if (status != LLMQ_E_MEMORY)
        return LLMQ_OK;
    return error_memory(err, "a path");
}

static enum llmq_status check(const char *out, const struct location *at, const struct guarded *g,
                              llmq_error *err) {
    struct location guarded;
    enum llmq_status status = find_guarded(g, &guarded, err);
    if (status != LLMQ_OK)
        return status;
    const char *relation = location_same(at, &guarded)                  ? "is"
                           : location_within(&guarded, at)              ? "holds"
                           : g->closed && location_within(at, &guarded) ? "lies in"
                                                                        : NULL;
    location_free(&guarded);
    if (!relation)
        return LLMQ_OK;
    error_set(err, LLMQ_E_USAGE, "%s %s %s (%s)", out, relation, g->what, g->path);
    error_hint(err, "choose a place of its own for what is written: nothing that is read or in "
                    "use is ever replaced");
    return LLMQ_E_USAGE;
}

/* Parts of a model lie elsewhere too when their names are links, as in the Hugging Face cache, or
 * when they are mounted a second time. */
static enum llmq_status check_parts(const char *out, const struct location *at, const char *model,
                                    llmq_error *err) {
    struct dir_list list;
    enum llmq_status status = dir_list_read(model, &list, NULL);
    if (status != LLMQ_OK)
        return status == LLMQ_E_MEMORY ? error_memory(err, "a folder listing") : LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < list.count; i++) {
        char *path = path_join(model, list.names[i], err);
        status = path ? check(out, at, &(struct guarded){"part of the model", path, true}, err)
                      : LLMQ_E_MEMORY;
        free(path);
    }
    dir_list_free(&list);
    return status;
}

enum llmq_status place_check(const char *out, const struct place_inputs *inputs, llmq_error *err) {
    const struct guarded all[] = {
        {"the model's folder", inputs->model, true},
        {"the text that is read", inputs->text, false},
        {"the current folder", ".", false},
        {"the home folder", getenv("HOME"), false},
        {"the folder of llmq's own texts", data_dir(), true},
    };
    struct location at;
    enum llmq_status status = location_find(out, &at, err);
    if (status != LLMQ_OK)
        return status;
    for (size_t i = 0; status == LLMQ_OK && i < sizeof all / sizeof all[0]; i++)
        if (all[i].path && all[i].path[0])
            status = check(out, &at, &all[i], err);
    if (status == LLMQ_OK && inputs->model)
        status = check_parts(out, &at, inputs->model, err);
    location_free(&at);
    return status;
}
