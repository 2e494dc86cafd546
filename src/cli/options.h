/* SPDX-License-Identifier: Apache-2.0 */
/* Command-line options as data.
 *
 * A subcommand is described by one table: rows of `struct option` in groups. The parser, the help
 * texts, the man page and the shell completions all read that table and nothing else, so that an
 * option exists everywhere or nowhere. Values land in the subcommand's argument struct, at the
 * offset that the row names; what is there before parsing is the default. */
#ifndef LLMQ_CLI_OPTIONS_H
#define LLMQ_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* What an option's value is, and so the type of the field it is stored in. */
enum option_kind {
    OPTION_ON,      /* no value; bool becomes true */
    OPTION_OFF,     /* no value; bool becomes false */
    OPTION_TEXT,    /* const char *, pointing into argv */
    OPTION_INT,     /* int64_t, min <= value <= max, or one of `choices` */
    OPTION_REAL,    /* double, min <= value <= max, or one of `choices` */
    OPTION_SIZE,    /* uint64_t bytes >= min, with an optional unit: K, KB, ... */
    OPTION_CHOICE,  /* int: the value of one of `choices` */
    OPTION_GROUP,   /* struct group_size */
    OPTION_CORRECT, /* struct correct_strength */
    OPTION_RANGE,   /* struct range_choice */
    OPTION_LIST,    /* struct value_list: may be repeated, in the order given */
    OPTION_COUNTS,  /* struct count_list, each of min to max */
    OPTION_LINK,    /* struct link_rate */
};

/* One word an OPTION_CHOICE accepts. A list of them ends with a NULL word. */
struct choice {
    const char *word;
    int value;
};

/* Columns per group: "128", "-1" (one group per row), "auto-fit" or "auto-fit:64"; and ",keep"
 * behind it: modules that it does not fit stay as they are. */
struct group_size {
    int64_t columns;
    bool auto_fit, keep;
};

/* Values in the order given, pointing into argv, and the options that gave them. */
enum { VALUES_MOST = 256 };
struct value_list {
    size_t count;
    struct given_value {
        const char *option, *text;
    } values[VALUES_MOST];
};

/* Strengths from 0 to 1: "0.5" (both), "0.5,1", or the words "auto" and "off". */
struct correct_strength {
    enum { CORRECT_BY_QUALITY, CORRECT_OFF, CORRECT_AUTO, CORRECT_FIXED } mode;
    double alpha, beta;
};

/* One of the option's `choices`, "percentile" with a number behind a colon: "percentile:99.9". */
struct range_choice {
    int search;
    double percentile;
};

/* Numbers with commas between: "1,8,64". */
enum { COUNTS_MOST = 32 };
struct count_list {
    size_t count;
    int values[COUNTS_MOST];
};

/* Bits a second, with K, M, G or T (powers of 1000), and microseconds of a message behind a colon:
 * "25G", "100G:5". The latter stay as they are where only the former are given. */
struct link_rate {
    double bits, microseconds;
};

enum value_source { VALUE_OTHER, VALUE_FILE, VALUE_FOLDER, VALUE_MODEL };

struct option {
    const char *name; /* without the dashes */
    const char *also; /* another name that it goes by, or NULL */
    char letter;      /* short form, or '\0' */
    enum option_kind kind;
    size_t offset;                /* of the field in the argument struct */
    const char *value;            /* placeholder of the value in help texts */
    const char *help;             /* one sentence, lower case, without a full stop */
    const char *absent;           /* what happens without the option, where no value shows it */
    const struct choice *choices; /* for OPTION_CHOICE and OPTION_REAL; words of other kinds, for
                                     completion */
    double min, max;              /* for OPTION_INT, OPTION_REAL and OPTION_SIZE */
    const char *excludes;         /* name of an option that says the opposite, or NULL */
    enum value_source source;     /* what shell completion offers */
    bool required;
    bool bare; /* its value may stand without its name; one option of a command at most */
};

/* Options under one title; the list ends with a NULL name. */
struct option_group {
    const char *title;
    const struct option *options;
};

/* Everything options_parse needs to know of a subcommand; it cannot know more. */
struct option_table {
    const char *command;               /* for messages */
    const struct option_group *groups; /* ends with a NULL title */
};

/* The `index`-th option of all groups in order, NULL past the end. */
const struct option *options_at(const struct option_table *table, size_t index);

/* The option that has that name, or also goes by it, or NULL. */
const struct option *options_find(const struct option_table *table, const char *name);

/* Whether the option is followed by a value. */
bool option_takes_value(const struct option *option);

/* Parse argv[0 ... argc-1] (without program and command name) into `args`. Accepted: --name value,
 * --name=value, -l value, short letters alone, a value alone of the option that has it bare, "--"
 * before one that begins with a dash. Names are
 * never abbreviated. An option with a value is given once (even the same value twice is a line
 * that somebody edited by half) unless it is of a list; one without may be repeated; two of which
 * one excludes the other are refused. Parsing stops at the first error. Errors: LLMQ_E_USAGE, with
 * a near miss or the right form in the hint. */
LLMQ_NODISCARD enum llmq_status options_parse(const struct option_table *table, int argc,
                                              char **argv, void *args, llmq_error *err);

/* Errors with LLMQ_E_USAGE when an option marked `required` was not given. */
LLMQ_NODISCARD enum llmq_status options_require(const struct option_table *table, const void *args,
                                                llmq_error *err);

/* Store the value of `text` at option->offset of `args`. `text` is not used by OPTION_ON and
 * OPTION_OFF. Errors: LLMQ_E_USAGE: not of the option's kind, or out of range. */
LLMQ_NODISCARD enum llmq_status option_store(const struct option *option, const char *text,
                                             void *args, llmq_error *err);

/* The value `args` holds, as one would type it, into buf; "" where there is none to show. */
void option_show(const struct option *option, const void *args, char *buf, size_t size);

#endif
