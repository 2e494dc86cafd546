/* SPDX-License-Identifier: Apache-2.0 */
/* Where the texts that come with llmq are. */
#ifndef LLMQ_BASE_DATADIR_H
#define LLMQ_BASE_DATADIR_H

/* The folder: beside the running program's (PREFIX/bin/llmq has PREFIX/share/llmq, and a program in
 * the build folder models/demo there), else where llmq was configured to be installed to. Moved
 * with its prefix, a program finds it again; a host that has the library elsewhere gets the second.
 * Static storage, the same for the life of the process. */
const char *data_dir(void);

/* Paths of its texts: excerpts of the demo model's training and held-out text. Storage as above. */
enum data_file { DATA_CALIBRATION, DATA_EVALUATION, DATA_FILES };
const char *data_file(enum data_file which);

#endif
