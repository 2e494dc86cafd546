/* SPDX-License-Identifier: Apache-2.0 */
/* peak FILE PROGRAM ARGUMENTS...: run the program and write the most memory that it had at once, in
 * bytes, into the file; end as it did. */
#define _DEFAULT_SOURCE /* wait4 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct rusage usage;
    int status = 0;
    if (argc < 3)
        return EXIT_FAILURE;
    const pid_t child = fork();
    if (child == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return EXIT_FAILURE;
    FILE *out = fopen(argv[1], "w");
    if (!out || fprintf(out, "%lld\n", (long long)usage.ru_maxrss * 1024) < 0 || fclose(out) != 0)
        return EXIT_FAILURE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
