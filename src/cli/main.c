/* SPDX-License-Identifier: Apache-2.0 */
/* llmq: the command line of libllmq.
 *
 * Finds the subcommand, parses its options, lends it a context, and turns its status into an exit
 * code. The only file that installs a signal handler or ends the process; blas_core.c and startup.c
 * may start it anew. */
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/blas_core.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/generate.h"
#include "cli/help.h"
#include "cli/processes.h"
#include "cli/suggest.h"
#include "llmq/host.h"
#include "llmq/matmul.h"
#include "llmq/model.h"
#include "llmq/version.h"

static volatile sig_atomic_t interrupted;

/* Set when main returns. The libraries under it end the process by exit when the system gives them
 * no thread or no memory (they say so on stderr); their exit code would say that a check failed. */
static bool done;

static void on_exit_of_others(void) {
    if (!done)
        _exit(llmq_exit_code(LLMQ_E_MEMORY));
}

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

/* SA_RESETHAND restores the default action: a second Ctrl-C ends the process at once. Under nohup
 * the end of a session stays ignored. A limit on the size of files (ulimit -f) is an error of the
 * write that meets it. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, hangup;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    signal(SIGXFSZ, SIG_IGN);
}

/* Freed memory goes back to the system at once, in blocks of 1 MiB and more. glibc would keep ever
 * larger ones, up to 32 MiB, for itself, and so take what the plan of a run does not know of. */
static void return_freed_memory(void) {
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

/* The command line again with --resume instead of --force, for the user to paste. */
static void print_resume_command(int argc, char **argv) {
    fputs("hint: continue with:", stderr);
    for (int i = 0; i < argc; i++) {
        if (i > 0 && (strcmp(argv[i], "--resume") == 0 || strcmp(argv[i], "--force") == 0))
            continue;
        fputc(' ', stderr);
        console_quote(stderr, argv[i]);
        if (i == 1)
            fputs(" --resume", stderr);
    }
    fputc('\n', stderr);
}

static enum llmq_status unknown_command(const char *typed, llmq_error *err) {
    struct suggestion near = {.typed = typed};
    for (const struct command *const *c = commands; *c; c++)
        suggestion_offer(&near, (*c)->name);
    const char *known = suggest_command(typed);
    cli_fail(err, LLMQ_E_USAGE, "there is no command '%s'", typed);
    if (known || near.best)
        cli_hint(err, "did you mean llmq %s?", known ? known : near.best);
    else
        cli_hint(err, "'llmq --help' lists the commands");
    return LLMQ_E_USAGE;
}

/* All about the command of that name, or about the program where there is none. */
static enum llmq_status print_help(const char *name, llmq_error *err) {
    const struct command *command = name ? command_find(name) : NULL;
    if (name && !command)
        return unknown_command(name, err);
    void *defaults = command ? command_args(command) : NULL;
    if (command && !defaults)
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for the options");
    if (command)
        help_command(stdout, command, defaults);
    else
        help_program(stdout);
    free(defaults);
    return LLMQ_OK;
}

/* Parse what follows the command's name and run it. */
static enum llmq_status run_command(const struct command *command, int argc, char **argv,
                                    struct common_args *args, llmq_error *err) {
    struct option_table table = command_options(command);
    enum llmq_status status = options_parse(&table, argc - 2, argv + 2, args, err);
    if (status == LLMQ_OK && args->help)
        return print_help(command->name, err);
    if (status == LLMQ_OK)
        status = options_require(&table, args, err);
    if (status != LLMQ_OK)
        return status;

    if (command->computes && command->computes(args))
        status = blas_core_choose(argv, args->verbose, err);
    if (status != LLMQ_OK)
        return status;

    status = processes_begin(command, args, err);
    if (status != LLMQ_OK)
        return status;
    return_freed_memory();
    catch_signals();
    return command->run(args, &interrupted, err);
}

/* What can stand in place of a command. */
static enum llmq_status run_program_option(const char *option, const char *value, llmq_error *err) {
    struct suggestion near = {.typed = option};
    if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0)
        return print_help(NULL, err);
    if (strcmp(option, "--version") == 0) {
        printf("llmq %s (build %016" PRIx64 "), %s, kernels: %s\n", llmq_version(), llmq_build_id(),
               llmq_blas_name(), llmq_cpu_name());
        return LLMQ_OK;
    }
    if (strcmp(option, "--generate") == 0) /* for the build; not in the help texts */
        return generate(value ? value : "", err);
    if (strcmp(option, BLAS_CORE_OPTION) == 0) /* for blas_core.c */
        return blas_core_print(err);
    suggestion_offer(&near, "--help");
    suggestion_offer(&near, "--version");
    if (strcmp(option, "-v") == 0 || strcmp(option, "-V") == 0)
        near.best = "--version";
    cli_fail(err, LLMQ_E_USAGE, "llmq has no option %s before a command", option);
    if (near.best)
        cli_hint(err, "did you mean %s?", near.best);
    else
        cli_hint(err, "'llmq --help' lists the commands");
    return LLMQ_E_USAGE;
}

/* Whether --json is there, also behind what the parser stopped at. */
static bool asks_for_json(int argc, char **argv) {
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

/* In the place of the result that there is none of. (A check that failed has one.) */
static void print_error_json(const llmq_error *err) {
    llmq_error unused = {0};
    if (console_json(llmq_error_json(err), &unused) != LLMQ_OK)
        console_error(&unused, false);
}

/* A known command with its arguments: report how it went. */
static enum llmq_status dispatch_command(const struct command *command, int argc, char **argv,
                                         llmq_error *err) {
    struct common_args *args = command_args(command);
    enum llmq_status status;
    if (args)
        args->program = argv[0];
    if (args)
        status = run_command(command, argc, argv, args, err);
    else
        status = cli_fail(err, LLMQ_E_MEMORY, "out of memory for the options");
    if (!processes_meet(status, err)) {
        free(args);
        return status;
    }
    if (status != LLMQ_OK)
        console_error(err, console_colours(args && args->no_color));
    if (status != LLMQ_OK && status != LLMQ_E_CHECK && asks_for_json(argc, argv))
        print_error_json(err);
    if (status == LLMQ_E_INTERRUPTED && command->resumable && command->resumable(args))
        print_resume_command(argc, argv);
    free(args);
    return status;
}

static enum llmq_status dispatch(int argc, char **argv, llmq_error *err) {
    const struct command *command = command_find(argv[1]);
    enum llmq_status status;
    if (command && argc == 2) {
        help_command_brief(stderr, command);
        return LLMQ_E_USAGE;
    }
    if (command)
        return dispatch_command(command, argc, argv, err);
    if (argv[1][0] == '-')
        status = run_program_option(argv[1], argv[2], err);
    else if (strcmp(argv[1], "help") == 0)
        status = print_help(argv[2], err);
    else
        status = unknown_command(argv[1], err);
    if (status != LLMQ_OK)
        console_error(err, console_colours(false));
    return status;
}

/* A program that is started with one of its three streams closed gets that number for the next file
 * it opens: messages would go into the result. */
static void open_streams(void) {
    int fd = STDIN_FILENO;
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR); /* the lowest number that is free */
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv) {
    open_streams();
    llmq_error err = {.code = LLMQ_OK};
    enum llmq_status status = LLMQ_E_USAGE;
    atexit(on_exit_of_others);
    if (argc < 2)
        help_program_brief(stderr);
    else
        status = dispatch(argc, argv, &err);
    /* A full disk or a closed stream shows here at the latest. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        status = cli_fail(&err, LLMQ_E_IO, "standard output: the result could not be written");
        console_error(&err, console_colours(false));
    }
    processes_end(llmq_exit_code(status));
    done = true;
    return llmq_exit_code(status);
}
