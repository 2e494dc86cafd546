/* SPDX-License-Identifier: Apache-2.0 */
/* What each step of the recipe gains and costs on modules of a real model: GPTQ's loss as a part of
 * round-to-nearest's, then for P/R, P descent passes and R rounds, the loss as a part of GPTQ's;
 * seconds of gptq_quantize. The data is not part of the project.
 *
 *     bench_recipe FILE [MODULE...]     FILE holds W.<module> and H.<input>; default: all modules
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors/safetensors.h"
#include "linalg/linalg.h"
#include "quant/quant.h"

static const struct {
    const char *module, *hessian;
} modules[] = {{"self_attn.q_proj", "qkv"}, {"self_attn.o_proj", "o"}, {"mlp.gate_proj", "gateup"}};

struct layer {
    int64_t n, k;
    float *W, *H;
};

static void *read_tensor(const struct st_set *set, const char *prefix, const char *name,
                         const struct st_tensor **tensor) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    *tensor = st_find(set, full);
    void *data = *tensor ? malloc((*tensor)->nbytes) : NULL;
    if (!data || st_read(set, *tensor, 0, (*tensor)->nbytes, data, NULL) != LLMQ_OK)
        abort();
    return data;
}

static struct layer read_layer(const struct st_set *set, int i) {
    const struct st_tensor *w = NULL, *h = NULL;
    struct layer l = {.W = read_tensor(set, "W.", modules[i].module, &w)};
    double *Hd = read_tensor(set, "H.", modules[i].hessian, &h);
    l.n = (int64_t)w->shape[0];
    l.k = (int64_t)w->shape[1];
    l.H = malloc((size_t)(l.k * l.k) * sizeof *l.H);
    if (!l.H)
        abort();
    for (int64_t j = 0; j < l.k * l.k; j++)
        l.H[j] = (float)Hd[j];
    free(Hd);
    return l;
}

static const char *const searches[] = {"minmax", "plain", "weighted"};
static const char *const orders[] = {"none", "static", "group"};

/* Steps added one after the other. */
static const struct {
    int passes, rounds;
} steps[] = {{0, 0}, {1, 0}, {3, 0}, {1, 1}, {2, 1}, {1, 2}, {2, 2}, {3, 2}, {3, 3}};
#define STEPS ((int)(sizeof steps / sizeof *steps))

static void bench(const struct layer *l, const struct quant_grid *grid, enum act_order order) {
    printf("%-4s %-8s %-6s", grid->sym ? "sym" : "asym", searches[grid->search], orders[order]);
    for (int i = 0; i < STEPS; i++) {
        struct quant_options options = {order, 0.01, steps[i].passes, steps[i].rounds};
        struct gptq_factor *factor = NULL;
        struct quant_outcome outcome;
        struct qlinear q;
        if (gptq_factor_create(l->H, l->k, 128, &options, &factor, NULL) != LLMQ_OK)
            abort();
        double start = omp_get_wtime();
        if (gptq_quantize(grid, factor, l->W, l->H, l->n, &q, &outcome, NULL) != LLMQ_OK)
            abort();
        double seconds = omp_get_wtime() - start;
        if (i == 0)
            printf(" gptq %.4f of rtn (%.3f s)", outcome.loss / outcome.rtn_loss, seconds);
        else
            printf(" %d/%d %.4f (%.3f)", steps[i].passes, steps[i].rounds,
                   outcome.loss / outcome.gptq_loss, seconds);
        qlinear_free(&q);
        gptq_factor_free(&factor);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    struct st_set *set = NULL;
    llmq_error err = {0};
    linalg_init();
    if (argc < 2 || st_open_file(argv[1], &set, &err) != LLMQ_OK) {
        fprintf(stderr, "usage: bench_recipe FILE [MODULE...] %s\n", err.message);
        return EXIT_FAILURE;
    }
    for (int i = 0; i < 3; i++) {
        bool wanted = argc == 2;
        for (int a = 2; a < argc; a++)
            wanted = wanted || strstr(modules[i].module, argv[a]);
        if (!wanted)
            continue;
        struct layer l = read_layer(set, i);
        printf("%s [%lld, %lld]\n", modules[i].module, (long long)l.n, (long long)l.k);
        for (int s = 0; s < 3 * 2 * 3; s++)
            bench(&l,
                  &(struct quant_grid){.bits = 4,
                                       .group = 128,
                                       .sym = s / 9,
                                       .zmax = 15,
                                       .search = (enum range_search)(s % 3)},
                  (enum act_order)(s / 3 % 3));
        free(l.W);
        free(l.H);
    }
    st_close(&set);
    return EXIT_SUCCESS;
}
