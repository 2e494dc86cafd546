/* What each step of the recipe gains and costs on the first layer of a real model: errors relative
 * to round-to-nearest's, seconds of one thread. The data is not part of the project.
 *
 *     bench_recipe FILE [MODULE...]     FILE holds W.<module> and H.<input>; default: all modules
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "linalg/linalg.h"
#include "quant/gptq_private.h"
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

static void bench(const struct layer *l, bool sym, enum range_search search, enum act_order order) {
    struct quant_grid grid = {4, 128, sym, 0, 15, SCALE_DUAL, search};
    struct quant_options options = {order, 0.01};
    struct gptq_factor *factor = NULL;
    struct quant_outcome outcome;
    struct qlinear q;
    if (gptq_factor_create(l->H, l->k, 128, &options, &factor, NULL) != LLMQ_OK ||
        qlinear_alloc(l->n, l->k, 4, 128, &q, NULL) != LLMQ_OK)
        abort();
    double start = omp_get_wtime();
    if (gptq_solve(&grid, factor, l->W, &q, NULL) != LLMQ_OK)
        abort();
    double solved = omp_get_wtime();
    double gptq = 0;
    if (quant_error(l->W, &q, l->H, &gptq, NULL) != LLMQ_OK)
        abort();
    qlinear_free(&q);
    double begin = omp_get_wtime();
    if (gptq_quantize(&grid, factor, l->W, l->H, l->n, &q, &outcome, NULL) != LLMQ_OK)
        abort();
    double done = omp_get_wtime();
    printf("%-4s %-8s %-6s rtn %.5e gptq %.5e (%.3f s) quantize %.5e (%.3f s)\n",
           sym ? "sym" : "asym", searches[search], orders[order], outcome.rtn_error, gptq,
           solved - start, outcome.error, done - begin);
    qlinear_free(&q);
    gptq_factor_free(&factor);
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
            bench(&l, s / 9, (enum range_search)(s % 3), (enum act_order)(s / 3 % 3));
        free(l.W);
        free(l.H);
    }
    st_close(&set);
    return EXIT_SUCCESS;
}
