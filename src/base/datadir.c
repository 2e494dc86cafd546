/* SPDX-License-Identifier: Apache-2.0 */
/* See datadir.h. */
#include "base/datadir.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"

enum { PATH_MOST = 4096, NAME_MOST = 64 };

static const char *const names[DATA_FILES] = {"calibration.txt", "eval.txt"};

/* From the folder of the program. */
static const char *const places[] = {"../share/llmq", "../models/demo", "../../models/demo"};

static char folder[PATH_MOST + NAME_MOST] = LLMQ_DATADIR;
static char files[DATA_FILES][sizeof folder + NAME_MOST];

/* The first of the places that there is, in `folder`. */
static void find_folder(void) {
    char program[PATH_MOST], path[sizeof folder];
    const ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    if (len <= 0)
        return;
    program[len] = '\0';
    char *name = strrchr(program, '/');
    if (!name)
        return;
    *name = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", program, places[i]);
        if (path_is_dir(path)) {
            memcpy(folder, path, sizeof path);
            return;
        }
    }
}

static void find(void) {
    find_folder();
    for (int i = 0; i < DATA_FILES; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", folder, names[i]);
}

static void find_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, find);
}

const char *data_dir(void) {
    find_once();
    return folder;
}

const char *data_file(enum data_file which) {
    find_once();
    return files[which];
}
