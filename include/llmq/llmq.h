/* SPDX-License-Identifier: Apache-2.0 */
/* All of libllmq, and what holds for all of it.
 *
 * One header for each theme; each can be included alone. They are C99 and C++11 (C++17 included).
 *
 * Errors. What can fail returns an llmq_status, LLMQ_OK being 0, and says in the llmq_error that it
 * was given what went wrong, where, and what would help (llmq/error.h); that pointer may be NULL.
 * The library does not print, does not exit and installs no signal handler. What a file, an option
 * or the machine can cause is an error; a pointer that must not be NULL and is, is a fault of the
 * program and ends it by an assertion.
 *
 * Ownership. Arguments stay the caller's and are not referred to after the call, unless a
 * declaration says so. Texts and arrays that a call gives out by a plain pointer are released with
 * llmq_free (llmq/memory.h); results, reports and handles with the function that the declaration
 * names, also after an error and more than once: it leaves them empty. `const char *` members of
 * results that are said to be static live as long as the program.
 *
 * NULL. Pointers have to point to something unless the declaration says what a NULL means. An
 * llmq_context may be NULL everywhere: then there are no messages, no way to stop, and all cores.
 *
 * Growth. Structs that a caller fills, llmq_..._options, llmq_context and llmq_qmat_desc, begin
 * with `size`, how large the caller's compiler has them. Their llmq_..._init sets it and the
 * defaults. A program that was compiled for an older version gives a smaller struct: members that
 * it lacks have their defaults. One that was compiled for a newer version gives a larger struct:
 * LLMQ_E_USAGE when it has set what this library does not know, for that would be ignored. A size
 * of 0 is an LLMQ_E_USAGE too: the struct was not initialised. All other structs stay as they are
 * while the name of the shared library (its soname) does, and so do the values of enumerations,
 * which may get new ones.
 *
 * Threads. Calls that take an llmq_context use the OpenMP threads of the process, as many as it
 * says, and are to be made one at a time in a process: OpenMP's threads and BLAS are one. They may
 * come from different threads one after the other; callbacks come from the thread that called, and
 * must not call such a function themselves. Everything else may be called from several threads at
 * once, for different objects, and for the same one where it is taken by a pointer to const.
 *
 * The process. What the library changes of it, and what it should be started with, is in
 * llmq/host.h. */
#ifndef LLMQ_LLMQ_H
#define LLMQ_LLMQ_H

#include "llmq/bench.h"
#include "llmq/checkpoint.h"
#include "llmq/codes.h"
#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/convert.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "llmq/generate.h"
#include "llmq/host.h"
#include "llmq/logits.h"
#include "llmq/matmul.h"
#include "llmq/matrix.h"
#include "llmq/memory.h"
#include "llmq/model.h"
#include "llmq/printable.h"
#include "llmq/quantize.h"
#include "llmq/ranks.h"
#include "llmq/recipe.h"
#include "llmq/report.h"
#include "llmq/sensitivity.h"
#include "llmq/serving.h"
#include "llmq/special.h"
#include "llmq/verify.h"
#include "llmq/version.h"

#endif
