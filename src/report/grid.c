/* SPDX-License-Identifier: Apache-2.0 */
/* See grid.h. */
#include "report/grid.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

/* Blocks and names beyond which a file is not believed: modules there are left out. */
enum { BLOCKS_MOST = 4096, KINDS_MOST = 256 };

/* The first component that is a number is the block's; later ones, of experts, become "*". False
 * for a module outside of blocks. */
static bool split_name(const char *name, int64_t *block, struct strbuf *kind) {
    *block = -1;
    for (const char *at = name; *at;) {
        const size_t len = strcspn(at, ".");
        const bool number = len > 0 && strspn(at, "0123456789") >= len;
        if (number && *block < 0)
            *block = strtoll(at, NULL, 10);
        else if (*block >= 0) {
            strbuf_puts(kind, kind->len ? "." : "");
            strbuf_append(kind, number ? "*" : at, number ? 1 : len);
        }
        at += len + (at[len] == '.');
    }
    return *block >= 0 && *block < BLOCKS_MOST && kind->len > 0;
}

/* The row of that name, appended where it is new; KINDS_MOST where there are too many, -1 when
 * memory is short. */
static int64_t kind_of(struct grid *g, const char *name) {
    for (int64_t k = 0; k < g->kinds; k++)
        if (strcmp(g->names[k], name) == 0)
            return k;
    if (g->kinds == KINDS_MOST)
        return KINDS_MOST;
    char **names = realloc(g->names, (size_t)(g->kinds + 1) * sizeof *names);
    if (!names)
        return -1;
    g->names = names;
    names[g->kinds] = strdup(name);
    return names[g->kinds] ? g->kinds++ : -1;
}

/* First pass: size; second: cells. */
static bool take_module(struct grid *g, const struct json *module) {
    const char *name = json_string(json_get(module, "name"));
    double error = 0, rtn = 0;
    int64_t block = 0;
    struct strbuf kind = {0};
    bool fine = true;
    if (name && json_as_double(json_get(module, "error"), &error) &&
        json_as_double(json_get(module, "rtn_error"), &rtn) && split_name(name, &block, &kind) &&
        strbuf_ok(&kind)) {
        const int64_t k = kind_of(g, kind.data);
        fine = k >= 0;
        if (fine && k < KINDS_MOST && g->cells) {
            struct grid_cell *c = &g->cells[k * g->blocks + block];
            c->error += error;
            c->rtn += rtn;
            c->modules++;
        } else if (fine && k < KINDS_MOST && block >= g->blocks) {
            g->blocks = block + 1;
        }
    }
    fine = fine && !kind.failed;
    strbuf_free(&kind);
    return fine;
}

static void finish(struct grid *g) {
    g->error_least = (double)INFINITY;
    for (int64_t i = 0; i < g->kinds * g->blocks; i++) {
        struct grid_cell *c = &g->cells[i];
        c->error /= c->modules ? (double)c->modules : 1;
        c->rtn /= c->modules ? (double)c->modules : 1;
        if (c->error > 0) {
            g->error_least = fmin(g->error_least, c->error);
            g->error_most = fmax(g->error_most, c->error);
        }
    }
}

bool grid_make(const struct json *made, struct grid *out) {
    const struct json *modules = json_get(made, "modules");
    *out = (struct grid){0};
    for (int pass = 0; pass < 2; pass++) {
        for (const struct json *m = json_first(modules); m; m = json_next(m))
            if (!take_module(out, m))
                return false;
        if (pass == 0 && out->kinds > 0)
            out->cells = calloc((size_t)(out->kinds * out->blocks), sizeof *out->cells);
        if (!out->cells)
            return out->kinds == 0;
    }
    finish(out);
    return true;
}

void grid_free(struct grid *g) {
    for (int64_t k = 0; k < g->kinds; k++)
        free(g->names[k]);
    free(g->names);
    free(g->cells);
    *g = (struct grid){0};
}

double grid_ratio(const struct grid_cell *c) {
    return c->modules > 0 && c->rtn > 0 ? c->error / c->rtn : (double)NAN;
}
