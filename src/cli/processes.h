/* SPDX-License-Identifier: Apache-2.0 */
/* The program as one of several processes that mpirun started: the first one speaks. */
#ifndef LLMQ_CLI_PROCESSES_H
#define LLMQ_CLI_PROCESSES_H

#include "cli/command.h"
#include "llmq/error.h"

/* Before a command runs: become one of the processes, if there are several, and a quiet one but for
 * the first. LLMQ_E_USAGE: the command knows but one. */
LLMQ_NODISCARD enum llmq_status processes_begin(const struct command *command,
                                                struct common_args *args, llmq_error *err);

/* When a command is done, before its error is told: wait for the others. False: this process is not
 * to tell its error, as another one does. An error of one of them says which it is. */
bool processes_meet(enum llmq_status status, llmq_error *err);

/* At the very end, with the exit code: end the others if they did not come. */
void processes_end(int exit_code);

#endif
