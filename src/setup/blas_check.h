/* SPDX-License-Identifier: Apache-2.0 */
/* BLAS on this processor: OpenBLAS picks its kernels when it is loaded, and on a processor younger
 * than itself may pick slow or even wrong ones. */
#ifndef LLMQ_SETUP_BLAS_CHECK_H
#define LLMQ_SETUP_BLAS_CHECK_H

#include "llmq/error.h"

/* *out = the best rate of a float32 product of BLAS on one core over that of multiply-adds on
 * registers; 0 when BLAS' products or factors are wrong. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status blas_efficiency(double *out, llmq_error *err);

/* LLMQ_E_UNSUPPORTED when they are, with what helps. Looks no more once it has found them
 * right in this process. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status blas_require(llmq_error *err);

/* That error. */
enum llmq_status blas_refuse(llmq_error *err);

/* Values of OPENBLAS_CORETYPE that this processor may run, those with the widest registers first;
 * NULL behind the last. */
const char *const *blas_cores(void);

#endif
