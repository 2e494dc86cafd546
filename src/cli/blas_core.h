/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels BLAS runs on. OpenBLAS picks them when it is loaded, and on a processor younger than
 * itself may pick slow or even wrong ones; OPENBLAS_CORETYPE in the environment overrules it. */
#ifndef LLMQ_CLI_BLAS_CORE_H
#define LLMQ_CLI_BLAS_CORE_H

#include <stdbool.h>

#include "llmq/error.h"

/* Measure BLAS. Where it is wrong or far from what the processor can do, measure OpenBLAS' other
 * kernels, each in a process of its own, and start this program again (`argv`) on better ones. Does
 * nothing more than a check when OPENBLAS_CORETYPE is set: the user chose. LLMQ_BLAS_CORE=measure
 * tries the others in any case. Tells on stderr of a new start when `verbose`.
 * LLMQ_E_USAGE for another value of that. Where BLAS is wrong and nothing better was found, the
 * library refuses to compute. */
LLMQ_NODISCARD enum llmq_status blas_core_choose(char **argv, bool verbose, llmq_error *err);

/* What the processes that measure do: print the efficiency of BLAS as it is here. */
LLMQ_NODISCARD enum llmq_status blas_core_print(llmq_error *err);
#define BLAS_CORE_OPTION "--blas-efficiency"

#endif
