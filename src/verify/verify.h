/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for checkpoints, as tables: what to check is a row, how the rows are run is in verify.c.
 *
 * A rule has an id that scripts may rely on, a severity, a sentence that says what it asks for, and
 * a function that looks at the checkpoint and records what it finds with verify_found. Rules are
 * grouped in files by what they look at; adding one is a function and a row. */
#ifndef LLMQ_VERIFY_VERIFY_H
#define LLMQ_VERIFY_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fileio.h"
#include "formats/encodings/encoding.h"
#include "formats/layouts/auto_round.h"
#include "formats/loaders/layout_load.h"
#include "formats/loaders/quant_config.h"
#include "graph/naming.h"
#include "llmq/verify.h"
#include "models/blocks.h"
#include "models/ends.h"

struct verify_rule;

/* The checkpoint under test. */
struct verify {
    const char *dir;
    const char *family; /* as in llmq_verify_options */
    const llmq_context *ctx;
    llmq_verify_report *report;
    struct dir_list files;
    struct json *config; /* config.json */
    struct quant_config quant;
    struct st_set *tensors;
    const struct layout *layout; /* NULL: plain */
    struct layout_config layout_config;
    struct encoding_settings encoded;
    bool decodable; /* layout_config could be read */
    /* Why not, where that may be llmq's limit rather than the checkpoint's fault. */
    enum llmq_status unread;
    llmq_error unread_error;
    bool known; /* llmq has a table for the family: `model` and `blocks` are filled */
    struct model_config model;
    struct blocks *blocks;
    struct naming naming;            /* of the files; `tensors` have the family's names */
    bool head_adopted;               /* the embedding is stored as the output head alone */
    struct module_rules rules;       /* what the config says of modules */
    bool ruled;                      /* `rules` can be used */
    struct module_setting *settings; /* of report->modules, NULL: not decodable */
    const struct verify_rule *rule;  /* the one being checked */
    bool out_of_memory;              /* a finding could not be recorded */
    bool norms_tuned;                /* says the record, and of no scales folded into them */
};

enum verify_severity { VERIFY_WARNING, VERIFY_VIOLATION };

/* HEADERS rules read no tensor data; MODULE rules see each packed module decoded, one at a time;
 * CONTENTS rules come last and may read what they like. */
enum verify_scope { VERIFY_HEADERS, VERIFY_MODULE, VERIFY_CONTENTS };

struct verify_rule {
    const char *id;
    enum verify_severity severity;
    enum verify_scope scope;
    const char *what;
    /* One of the two, by the scope. Errors are failures of reading, not findings. */
    enum llmq_status (*check)(struct verify *v, llmq_error *err);
    void (*module)(struct verify *v, const llmq_verify_module *m, const struct qlinear *q);
};

/* The tables, each ended by a NULL id. */
extern const struct verify_rule verify_record_rules[];
extern const struct verify_rule verify_container_rules[];
extern const struct verify_rule verify_tensor_rules[];
extern const struct verify_rule verify_use_rules[];
extern const struct verify_rule verify_config_rules[];
extern const struct verify_rule verify_list_rules[];
extern const struct verify_rule verify_setting_rules[];
extern const struct verify_rule verify_module_rules[];
extern const struct verify_rule verify_stack_rules[];
extern const struct verify_rule verify_against_rules[];

/* The rule of that id, which is in one of the tables. */
const struct verify_rule *verify_rule_find(const char *id);

/* --- findings --------------------------------------------------------------------------------- */

/* Record what the current rule found: in a file (NULL: none in particular), about a tensor or
 * module (NULL likewise), with a hint (NULL: none). */
void verify_found(struct verify *v, const char *file, const char *tensor, const char *hint,
                  const char *fmt, ...) LLMQ_PRINTF(5, 6);

/* The same for a rule that is not being run. */
void verify_found_error(struct verify *v, const char *rule, const char *file, const char *tensor,
                        const llmq_error *found);

/* Name of the file that holds a tensor. */
const char *verify_file_of(const struct verify *v, const struct st_tensor *t);

/* --- parts of a run --------------------------------------------------------------------------- */

/* Hold the folder to the record of the result that it is, if it has one: before it is opened. And
 * does it not keep to it? */
LLMQ_NODISCARD enum llmq_status verify_record(struct verify *v, llmq_error *err);
bool verify_record_broken(const struct verify *v);

/* Open a folder; what is wrong but readable becomes a finding. */
LLMQ_NODISCARD enum llmq_status verify_open(struct verify *v, llmq_error *err);
void verify_close(struct verify *v);

/* List the packed modules of an open checkpoint in the report. */
LLMQ_NODISCARD enum llmq_status verify_list_modules(struct verify *v, llmq_error *err);

/* Resolve what the config says of the modules. */
LLMQ_NODISCARD enum llmq_status verify_settle(struct verify *v, llmq_error *err);

/* What the config says of a module by that name; false: it cannot be told. */
bool verify_setting(struct verify *v, const char *module, struct module_setting *setting);

/* What it says of a packed one of the report; NULL: not that it is packed. */
const struct module_setting *verify_setting_of(const struct verify *v, const llmq_verify_module *m);

/* Does the format's config speak of modules at all? Those of GGUF and ONNX files do not: there each
 * module tells its settings by itself. */
bool verify_names_modules(const struct verify *v);

/* Run the rules of one scope. */
LLMQ_NODISCARD enum llmq_status verify_run(struct verify *v, enum verify_scope scope,
                                           llmq_error *err);

/* Fill the report's stacks and how far each module can be split. */
LLMQ_NODISCARD enum llmq_status verify_stacks(struct verify *v, llmq_error *err);

/* Does a violation of the rule keep a stack (enum compat_stack; -1: any that is listed) from
 * loading the checkpoint or from computing what it means? */
bool verify_rule_concerns(const char *rule, int stack);

/* Compare with the original in `dir`: errors of the modules, equality of the rest. */
LLMQ_NODISCARD enum llmq_status verify_compare(struct verify *v, const char *dir, llmq_error *err);

/* The rules that read no tensor data, for a folder llmq has written: LLMQ_E_CHECK with the first
 * violation. `family` as in llmq_verify_options. */
LLMQ_NODISCARD enum llmq_status verify_written(const char *dir, const char *family,
                                               llmq_error *err);

#endif
