/* SPDX-License-Identifier: Apache-2.0 */
/* Serve the product with a packed matrix of a checkpoint.
 *
 *     cc product.c $(pkg-config --cflags --libs llmq) -lm -o product
 *     ./product CHECKPOINT [MODULE] < REQUESTS
 *
 * A request is a line with the number of a column; the answer is the product of the weights with
 * the unit vector of that column. The weights stay packed in memory: no matrix of floats is made
 * but for the check at the beginning. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <llmq/llmq.h>

enum { ROWS = 3, SHOWN = 4, LINE_MOST = 64 };

/* What is served. */
struct service {
    llmq_qmat *weights;
    int64_t rows, columns;
    float *x, *y; /* [ROWS, columns], [ROWS, rows] */
};

/* The first packed module, or the one that is named. */
static enum llmq_status load(const llmq_checkpoint *from, const char *name, struct service *s,
                             llmq_error *error) {
    const llmq_module *module = name ? llmq_checkpoint_find(from, name) : NULL;
    for (size_t i = 0; !name && (module = llmq_checkpoint_module(from, i)) && !module->packed; i++)
        continue;
    if (!module) {
        snprintf(error->message, sizeof error->message, "%s: no module %s",
                 llmq_checkpoint_path(from), name ? name : "is packed");
        return LLMQ_E_NOT_FOUND;
    }
    const enum llmq_status status = llmq_checkpoint_load(from, module, &s->weights, error);
    if (status != LLMQ_OK)
        return status;
    s->rows = module->rows;
    s->columns = module->columns;
    s->x = calloc((size_t)(ROWS * s->columns), sizeof *s->x);
    s->y = calloc((size_t)(ROWS * s->rows), sizeof *s->y);
    printf("%s: [%d, %d], %s of %d bits, %zu bytes in memory, kernels %s\n", module->name,
           (int)s->rows, (int)s->columns, module->format, module->bits, llmq_qmat_bytes(s->weights),
           llmq_cpu_name());
    return s->x && s->y ? LLMQ_OK : LLMQ_E_MEMORY;
}

/* A few rows of inputs by the packed product, and from the weights as numbers: the largest
 * difference, relative to the sum of the products' magnitudes. */
static enum llmq_status check(const struct service *s, double *most, llmq_error *error) {
    float *w = malloc((size_t)(s->rows * s->columns) * sizeof *w);
    if (!w)
        return LLMQ_E_MEMORY;
    for (int64_t i = 0; i < ROWS * s->columns; i++)
        s->x[i] = (float)(i % 17) / 8 - 1;
    enum llmq_status status = llmq_qmat_decode(s->weights, 0, s->rows, w, error);
    if (status == LLMQ_OK)
        status = llmq_qmat_matmul(s->weights, s->x, ROWS, LLMQ_ACTIVATIONS_EXACT, s->y, error);
    *most = 0;
    for (int64_t r = 0; status == LLMQ_OK && r < ROWS; r++)
        for (int64_t n = 0; n < s->rows; n++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < s->columns; k++) {
                const double term = (double)w[n * s->columns + k] * s->x[r * s->columns + k];
                sum += term;
                size += fabs(term);
            }
            *most = fmax(*most, fabs(sum - s->y[r * s->rows + n]) / (size + 1e-30));
        }
    free(w);
    return status;
}

/* Answer one request; a wrong one is said to be so. */
static enum llmq_status answer(const struct service *s, const char *line, llmq_error *error) {
    char *end = NULL;
    errno = 0;
    const long column = strtol(line, &end, 10);
    if (errno || end == line || column < 0 || column >= s->columns) {
        printf("? a column is a number below %d\n", (int)s->columns);
        return LLMQ_OK;
    }
    for (int64_t k = 0; k < s->columns; k++)
        s->x[k] = k == column;
    const enum llmq_status status =
        llmq_qmat_matmul(s->weights, s->x, 1, LLMQ_ACTIVATIONS_EXACT, s->y, error);
    printf("%ld:", column);
    for (int64_t n = 0; status == LLMQ_OK && n < s->rows && n < SHOWN; n++)
        printf(" %.6g", (double)s->y[n]);
    printf(" ...\n");
    return status;
}

static enum llmq_status serve(const struct service *s, llmq_error *error) {
    char line[LINE_MOST];
    double most = 0;
    enum llmq_status status = check(s, &most, error);
    if (status == LLMQ_OK)
        printf("largest difference %.1e\n", most);
    if (status == LLMQ_OK && most > 2e-6)
        return LLMQ_E_CHECK;
    while (status == LLMQ_OK && fgets(line, sizeof line, stdin))
        status = answer(s, line, error);
    return status;
}

int main(int argc, char **argv) {
    struct service s = {NULL, 0, 0, NULL, NULL};
    llmq_checkpoint *checkpoint = NULL;
    llmq_error error = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: %s CHECKPOINT [MODULE] < REQUESTS\n", argv[0]);
        return llmq_exit_code(LLMQ_E_USAGE);
    }
    enum llmq_status status = llmq_checkpoint_open(argv[1], NULL, &checkpoint, &error);
    if (status == LLMQ_OK)
        status = load(checkpoint, argc > 2 ? argv[2] : NULL, &s, &error);
    llmq_checkpoint_close(&checkpoint); /* the packed matrix does not need it */
    if (status == LLMQ_OK)
        status = serve(&s, &error);
    if (status != LLMQ_OK)
        fprintf(stderr, "%s: %s\n", llmq_status_name(status), error.message);
    llmq_qmat_free(&s.weights);
    free(s.x);
    free(s.y);
    return llmq_exit_code(status);
}
