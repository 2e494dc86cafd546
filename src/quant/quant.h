/* SPDX-License-Identifier: Apache-2.0 */
/* What every quantization method shares: the grid, the problem, the outcome.
 *
 * Symbols follow the papers: W [n, k] weights (out, in), H [k, k] = (2/T) X^T X over the
 * calibration inputs X [T, k] of the layer. */
#ifndef LLMQ_QUANT_QUANT_H
#define LLMQ_QUANT_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "llmq/error.h"
#include "tensor/qlinear.h"

/* How a scale is rounded before codes are computed from it, so that the file means what was
 * optimised. DUAL: exact in F16 and BF16 alike, that is bfloat16 from 2^-17 to 65280 and multiples
 * of 2^-24 below; F16: nearest half, 2^-24 to 65504; F32: not rounded (tests and comparisons);
 * BF16: nearest bfloat16, for files that hold float32; E8M0: a power of two; E4M3: such a number
 * times the grid's unit. */
enum scale_storage { SCALE_DUAL, SCALE_F16, SCALE_F32, SCALE_BF16, SCALE_E8M0, SCALE_E4M3 };

enum act_order { ACT_ORDER_NONE, ACT_ORDER_STATIC, ACT_ORDER_GROUP_AWARE };

/* How a group's range is chosen. MINMAX: its extremes. PLAIN: by least squared error over scales
 * and zero points. WEIGHTED: the same, each input's error weighted by its importance. PERCENTILE,
 * ENTROPY: outliers are clipped, see range_estimate.h. */
enum range_search { RANGE_MINMAX, RANGE_PLAIN, RANGE_WEIGHTED, RANGE_PERCENTILE, RANGE_ENTROPY };

/* The grid a module is quantized on. */
struct quant_grid {
    int bits;                /* 2, 3, 4 or 8 */
    int64_t group;           /* columns per group, divides k; -1: one group per row */
    enum number_type number; /* floats are symmetric */
    int64_t rows;            /* that share the scales of their groups; 0 and 1: each has its own */
    bool sym;
    int zmin, zmax; /* zero points the format can hold when asymmetric; 0, 2^bits - 1 in full */
    enum scale_storage storage;
    float unit; /* SCALE_E4M3: a power of two; the others: not used */
    enum range_search search;
    float percentile; /* of RANGE_PERCENTILE, above 50 and at most 100 */
    float clip;       /* of RANGE_ENTROPY, once a module is at hand: see range_prepare */
    int64_t whole;    /* rows of the module that those at hand are a part of, see panels.h; 0: they
                         are all of it */
};

struct quant_options {
    enum act_order act_order;
    double damp; /* lambda: fraction of mean(diag H) added to the diagonal, e.g. 0.01 */
    /* What follows GPTQ; 0 and 0: nothing. */
    int descent_passes; /* over all columns, each code and scale re-chosen given all others */
    int rounds;         /* of GPTQ again on the scales found, and its descent */
};

/* Groups whose weights ask for a scale that the grid's storage does not hold: too small or too
 * large, so that the nearest there is makes another grid. */
struct scale_misfit {
    int64_t groups;
    double lost;     /* sum of dw^2 in these groups beyond what rounding on the grid they ask for
                        would cost, as a part of the sum of w^2 of the module */
    double ordinary; /* the rest of the module's errors, as the same part */
};

/* Input channels whose mean square is more than OUTLIER times the geometric mean of all that are
 * active, and their part of the sum of all mean squares. */
#define OUTLIER 100.0
struct channel_outliers {
    int64_t count;
    double share;
};

/* Those of H [k, k]. */
struct channel_outliers quant_outliers(const float *H, int64_t k);

/* What became of one module; counts that are zero mean nothing happened. */
struct quant_outcome {
    const char *method; /* "gptq", or "rtn" when that was the better or only candidate */
    /* tr(dW M dW^T) of what is kept, before descent and rounds, and of round-to-nearest on the same
     * grid, M = H + damping I over the inputs that are not dead: what GPTQ makes small. */
    double loss, gptq_loss, rtn_loss;
    /* On the inputs that the module is judged on (judge.h): tr(W H W^T), and tr(dW H dW^T) as a
     * part of it, of what is kept and of round-to-nearest. */
    double norm, error, rtn_error;
    bool beaten;           /* by round-to-nearest, on these inputs: its codes were taken */
    double damp;           /* lambda that led to a factor; 0 for RTN */
    int damp_retries;      /* rungs of the damping ladder climbed */
    int64_t dead_columns;  /* inputs that were never active: their weights became 0 */
    int64_t rows_kept_rtn; /* rows where RTN was the better candidate */
    bool fell_back;        /* no factor at any damping: the module is RTN */
    struct scale_misfit misfit;
    struct channel_outliers outliers;
    const char *unscaled; /* why AWQ has no scale for its inputs; NULL: it has, or was not asked */
};

/* Round-to-nearest: each group's range sets its grid, each weight goes to the nearest code.
 * W           [n, k]; read only
 * importance  [k] weight of each input's squared error (quant_importance) for RANGE_WEIGHTED; NULL
 *             and every other search: all count alike
 * q           out: codes, scales, zeros; the caller frees */
LLMQ_NODISCARD enum llmq_status rtn_quantize(const struct quant_grid *grid, const float *W,
                                             const float *importance, int64_t n, int64_t k,
                                             struct qlinear *q, llmq_error *err);

/* importance [k] = diagonal of H [k, k]: what an error in one input's weights costs by itself. An
 * element that is negative or not finite counts 0. */
void quant_importance(const float *H, int64_t k, float *importance);

/* The factor GPTQ needs, shared by the modules that read the same input. */
struct gptq_factor;

/* Prepare H: dead columns, damping, processing order, factorisation.
 * H      [k, k] symmetric, full storage; read only (the diagonal decides dead columns and order)
 * group  group size the order must respect (group-aware)
 * Never fails for numeric reasons: when the ladder is exhausted, *out is a factor whose
 * gptq_factor_usable is false and modules fall back to RTN. */
LLMQ_NODISCARD enum llmq_status gptq_factor_create(const float *H, int64_t k, int64_t group,
                                                   const struct quant_options *options,
                                                   struct gptq_factor **out, llmq_error *err);
void gptq_factor_free(struct gptq_factor **factor);
bool gptq_factor_usable(const struct gptq_factor *factor);

/* The lambda that led to the factor. */
double gptq_factor_damp(const struct gptq_factor *factor);

/* The factor of the same H with another lambda, in the same memory; nothing is done when it has
 * that one. As gptq_factor_create, it may end up unusable. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status gptq_factor_redamp(struct gptq_factor *factor, const float *H,
                                                   double lambda, llmq_error *err);

/* The factor as it was, to the bit, before the last call of gptq_factor_redamp, unless that did
 * nothing or found it unusable. */
void gptq_factor_take_back(struct gptq_factor *factor);

/* Bytes gptq_factor_create holds at its peak for in_features k. */
uint64_t gptq_factor_bytes(int64_t k);

/* Quantize one module by GPTQ with RTN beside it, then refine it as the factor's options say; each
 * row keeps the best it had at any step, so that the result is never worse than RTN.
 * W  [n, k]; read only
 * H  [k, k], as given to gptq_factor_create (for the errors)
 * q  out: codes, scales, zeros; the caller frees
 * outcome  but for the errors that it is judged by
 * Source: Frantar et al., arXiv:2210.17323, Algorithm 1. */
LLMQ_NODISCARD enum llmq_status gptq_quantize(const struct quant_grid *grid,
                                              const struct gptq_factor *factor, const float *W,
                                              const float *H, int64_t n, struct qlinear *q,
                                              struct quant_outcome *outcome, llmq_error *err);

/* What the outcome says of the factor alone. */
void gptq_outcome_begin(const struct gptq_factor *factor, struct quant_outcome *outcome);

/* Inputs that errors are measured on, as far as they are known: their second moment H [k, k],
 * symmetric, or the inputs X [count, k] themselves, H then being X^T X; NULL both: the identity. */
struct quant_inputs {
    const float *H;
    const float *X;
    int64_t count;
};

/* forms[r] = D[r] H D[r]^T for D [rows, k]. P is scratch of [rows, QUANT_FORM_COLUMNS]. */
#define QUANT_FORM_COLUMNS 512
void quant_forms(const float *D, int64_t rows, int64_t k, const struct quant_inputs *inputs,
                 float *P, double *forms);

/* Per-row errors e[n] = dw H dw^T with dw = W[n] - dequantized q[n], and norms w H w^T when
 * `norms` is not NULL. Products are float32, their sums double. */
LLMQ_NODISCARD enum llmq_status quant_row_errors(const float *W, const struct qlinear *q,
                                                 const struct quant_inputs *inputs, double *errors,
                                                 double *norms, llmq_error *err);

/* Product of two float vectors summed in double; four sums hide the latency of the addition. */
double quant_dot(const float *a, const float *b, int64_t count);

/* Sum of doubles, in their order. */
double quant_sum(const double *values, int64_t count);

/* tr(dW H dW^T) of a whole module and, unless NULL, tr(W H W^T). */
LLMQ_NODISCARD enum llmq_status quant_error_sums(const float *W, const struct qlinear *q,
                                                 const struct quant_inputs *inputs, double *error,
                                                 double *norm, llmq_error *err);

/* The first as a part of the second, 0 when both are 0. */
LLMQ_NODISCARD enum llmq_status quant_error(const float *W, const struct qlinear *q,
                                            const struct quant_inputs *inputs, double *error,
                                            llmq_error *err);

/* How q, of integers, fits the weights W [n, k] that it was made of, all of its groups in the order
 * of columns. Of floats nothing is found: their formats come with scales made for them. */
struct scale_misfit quant_scale_misfit(const struct quant_grid *grid, const float *W,
                                       const struct qlinear *q);

/* May quant_scale_misfit find anything in q? Scales lie near the ends of the storage then. */
bool quant_scales_near_limits(const struct quant_grid *grid, const struct qlinear *q);

/* Can a module be done in parts, some rows here and others elsewhere? Not where rows share scales,
 * or a range is found for all of them together. */
bool quant_divides(const struct quant_grid *grid);

/* Largest divisor of k not above `wish`: the group --group auto-fit chooses. */
int64_t quant_fit_group(int64_t k, int64_t wish);

#endif
