/* SPDX-License-Identifier: Apache-2.0 */
/* Multiply with packed weights from within a program.
 *
 *     cc product.c $(pkg-config --cflags --libs llmq) -lm -o product && ./product
 *
 * Codes, scales and zero points are made up; a program that serves a model has them from its
 * checkpoint. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <llmq/matmul.h>

enum { N = 96, K = 256, GROUP = 128, GROUPS = K / GROUP, ROWS = 3 };

static uint8_t codes[N * K], zeros[N * GROUPS];
static float scales[N * GROUPS], x[ROWS * K], y[ROWS * N];

static void make_up(void) {
    for (int i = 0; i < N * K; i++)
        codes[i] = (uint8_t)(i * 7 % 16);
    for (int i = 0; i < N * GROUPS; i++) {
        scales[i] = 0.01f * (float)(1 + i % 5);
        zeros[i] = (uint8_t)(i % 16);
    }
    for (int i = 0; i < ROWS * K; i++)
        x[i] = (float)(i % 17) / 8 - 1;
}

/* The same product from its definition: the largest difference from y. */
static double largest_difference(void) {
    double most = 0;
    for (int r = 0; r < ROWS; r++)
        for (int n = 0; n < N; n++) {
            double sum = 0;
            for (int k = 0; k < K; k++) {
                const int group = n * GROUPS + k / GROUP;
                sum += (codes[n * K + k] - zeros[group]) * (double)scales[group] * x[r * K + k];
            }
            most = fmax(most, fabs(sum - y[r * N + n]));
        }
    return most;
}

int main(void) {
    const llmq_qmat_desc desc = {.size = sizeof desc,
                                 .n = N,
                                 .k = K,
                                 .bits = 4,
                                 .group = GROUP,
                                 .codes = codes,
                                 .scales = scales,
                                 .zeros = zeros};
    llmq_qmat *weights = NULL;
    llmq_error error = {0};
    make_up();
    enum llmq_status status = llmq_qmat_create(&desc, &weights, &error);
    if (status == LLMQ_OK)
        status = llmq_qmat_matmul(weights, x, ROWS, LLMQ_ACTIVATIONS_EXACT, y, &error);
    if (status == LLMQ_OK)
        printf("%zu bytes for %d weights, kernels %s; largest difference %.1e\n",
               llmq_qmat_bytes(weights), N * K, llmq_cpu_name(), largest_difference());
    else
        fprintf(stderr, "%s\n", error.message);
    const int code =
        status == LLMQ_OK && largest_difference() > 1e-4 ? EXIT_FAILURE : llmq_exit_code(status);
    llmq_qmat_free(&weights);
    return code;
}
