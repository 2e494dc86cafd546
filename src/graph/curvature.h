/* SPDX-License-Identifier: Apache-2.0 */
/* What a model's predictions say of errors in what its linears make: from one pass over some
 * windows, with labels drawn from the model's own predictions, for every linear that is quantized
 * the second moments B = mean of g g^T of the gradients g towards what it makes, and for every
 * token |g|^2. An error dW of the weights moves the predictions by about tr(B dW H dW^T) / 2 nats
 * of divergence for a token, where H are the second moments of what the linear reads and both are
 * taken as independent (Martens & Grosse, arXiv:1503.05671, section 3); a token's |g|^2 says how
 * much it counts in H.
 *
 * All are kept in files, since the pass meets the blocks from the last to the first and those who
 * use them from the first to the last. Where windows are so few that the gradients themselves take
 * less room than B, it is them that are kept, in bfloat16, and B is made of them when it is read.
 * The experts of a layer share theirs: all their rows count alike, g with the weight that the
 * router gives a row; a token's |g|^2 is the sum over its experts. */
#ifndef LLMQ_GRAPH_CURVATURE_H
#define LLMQ_GRAPH_CURVATURE_H

#include <stdint.h>

#include "base/tally.h"
#include "formats/safetensors/safetensors.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"

/* Windows as of struct backward_job. */
struct curvature_job {
    const struct model *m;
    const int32_t *ids;
    const int64_t *offsets;
    int64_t count;
    uint64_t seed;
    /* Is it asked for? Of experts under the number of the first. NULL: all are. */
    bool (*wants)(const void *c, struct linear_place at);
    const void *c;
    const char *dir; /* which exists; gets *.safetensors that st_open_dir reads when all is done */
    const char *spill_dir;
    const llmq_context *ctx;
    struct tally *tally; /* or NULL */
};

/* For every linear that is asked for, "<module>.output_curvature" F32 [n, n] or
 * "<module>.output_gradients" BF16 [rows, n], rows of zeros behind those there are, and
 * "<module>.token_weights" F32 [tokens]; of experts under the name of the first. The same bytes for
 * any number of threads. Errors: those of backward_run and of writing; then what is in `dir` is not
 * whole. */
LLMQ_NODISCARD enum llmq_status curvature_collect(const struct curvature_job *job, llmq_error *err);

/* Of a set opened by st_open_dir: B [n, n] and weights [tokens], one of which may be NULL, of a
 * linear or of any expert's. LLMQ_E_INPUT: they are not there, or of another size. */
struct curvature_out {
    float *B, *weights;
    int64_t tokens;
};
LLMQ_NODISCARD enum llmq_status curvature_read(const struct st_set *set, const struct model *m,
                                               struct linear_place at,
                                               const struct curvature_out *out, llmq_error *err);

/* Most bytes that a job takes: of memory, the gradient's pass with it; that reading a B takes
 * beside it; of files in `dir` and, spilled, in `spill_dir`. Of the job, what it is of. */
struct curvature_bytes {
    uint64_t memory, reading, file, spilled;
};
struct curvature_bytes curvature_bytes(const struct curvature_job *job, bool spilled);

#endif
