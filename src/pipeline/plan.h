/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a run: every module and what becomes of it, every tensor of the result, memory,
 * disk and arithmetic. Made and checked before any work starts. */
#ifndef LLMQ_PIPELINE_PLAN_H
#define LLMQ_PIPELINE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "calib/calib.h"
#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"
#include "gguf/gguf_export.h"
#include "graph/curvature.h"
#include "graph/model.h"
#include "llmq/quantize.h"
#include "pipeline/recipe.h"

/* Bytes of tensor data per file, unless the user says otherwise. */
#define PLAN_SHARD_LIMIT UINT64_C(5000000000)

/* What becomes of a module: it is quantized; it is packed in the source, and copied; or it is plain
 * there, and stays so. */
enum module_fate { MODULE_QUANTIZED, MODULE_PACKED, MODULE_PLAIN };

/* How a module's codes are chosen. AWQ comes before either method, and is the whole run's. */
struct module_manner {
    enum llmq_method method; /* RTN or GPTQ */
    enum llmq_act_order act_order;
    enum llmq_range_search search;
    double percentile;
    llmq_correct correct;
    int descent, rounds;           /* settled by plan_settle_passes */
    enum llmq_curvature curvature; /* codes are chosen by the model's predictions, too: see
                                      quant/coupled.h; settled as these are, ... */
    int restarts;                  /* ... which these are of */
};

/* A module with the settings that are its own: those of the options, and what the first rule of the
 * recipe that matches it says otherwise (plan_apply_rules). Whoever carries the plan out or writes
 * what it says of modules asks here, not the options. */
struct plan_module {
    /* Of a block; node -1: the output head, of no block, and the last of the list; node -2: the
     * embedding, while rules are applied. */
    struct linear_place at;
    char *name; /* "model.layers.0.self_attn.q_proj" */
    enum module_fate fate;
    struct quant_shape shape;       /* of what is packed */
    struct module_manner manner;    /* of what is quantized */
    const struct recipe_rule *rule; /* that it is by; NULL: the options alone */
};

/* GGUF: a tensor of the model's ends that is stored as blocks of codes, rounded to nearest. */
struct plan_rounded {
    const char *name; /* the family's */
    int bits;         /* 8: Q8_0; 4: Q4_0; 0: none, it is stored as it is */
};

/* The gradients of the original model that the run asks for. */
struct plan_gradients {
    double weights; /* the power that tokens count by them to; not 0: those of all linears are
                       asked for */
    int64_t *begin; /* [count] of their windows in the calibration's tokens, ... */
    int64_t *offsets, count; /* ... of which window i is [offsets[i], offsets[i + 1]) of theirs */
    struct curvature_bytes bytes; /* that collecting them takes, unspilled, and what follows */
    bool spills;                  /* what lies between blocks goes into a file meanwhile */
};

/* What is carried along of one part beside the model (inventory_group). */
struct plan_part {
    char *name;
    int64_t tensors;
    uint64_t bytes;
};

struct plan {
    const struct layout *layout; /* NULL: linears become plain tensors of plain_dtype */
    enum dtype plain_dtype;
    struct layout_config layout_config;
    struct gguf_export *gguf;    /* NULL unless the layout lies in a GGUF file */
    struct plan_module *modules; /* in the order of the data flow */
    int64_t module_count;
    struct st_spec *specs; /* tensors of the result, in file order */
    size_t spec_count, spec_cap;
    char **kept; /* tensors that are not quantized, see plan_kept_dtype */
    size_t kept_count, kept_cap;
    char **folded; /* norms and biases that folds change, stored with their block in their own
                      precision */
    size_t folded_count, folded_cap;
    char **dropped; /* tensors that the model does not use, or that the format has no place for */
    size_t dropped_count, dropped_cap;
    char **plain; /* linears that are among the kept ones; layout_config points at them */
    size_t plain_count, plain_cap;
    char **carried; /* those of the kept ones that are beside the model, whose type stays, ... */
    size_t carried_count, carried_cap;
    struct plan_part *parts; /* ... and the parts that they are of, in file order */
    size_t part_count, part_cap;
    char **beside; /* their linears, and the parts with any; layout_config points at both */
    size_t beside_count, beside_cap;
    char **beside_parts;
    size_t beside_part_count, beside_part_cap;
    char *head;                     /* module of the output head; layout_config points at it */
    struct plan_rounded rounded[2]; /* the embedding, and a head of its own that is no module */
    uint64_t disk_bytes, ram_bytes, spill_bytes;
    uint64_t tune_bytes; /* of memory that tuning scales takes; its files are in spill_bytes */
    double tune_passes;  /* through the model over the windows to tune on */
    bool tune_spill;
    bool spill;
    int checkers; /* modules of the result that are checked at a time; 0: one for each thread */
    bool paired;  /* the original model's activations run beside the quantized model's */
    bool decoded; /* modules are decoded, and so known to fit: conversions */
    bool untied;  /* the result's config.json has to say so: see TYING_DIFFERS */
    double flops, pass_flops; /* of the run; of the blocks' linears, once over all tokens */
    bool curved;              /* gradients of the original model are asked for: */
    struct plan_gradients gradients;
    int ranks; /* that share the run: memory is that of each, ram_bytes and others */
};

/* Plan for an open model, plain or, where the options say what becomes of it, packed. `tokens` is
 * NULL for a run without calibration. LLMQ_E_USAGE: a group that does not divide a module's
 * in_features (the message names the modules, the hint the sizes that would do);
 * LLMQ_E_UNSUPPORTED: the layout cannot hold a module, or the model is quantized already. */
LLMQ_NODISCARD enum llmq_status plan_create(const struct model *m,
                                            const llmq_quantize_options *options,
                                            const struct calib_tokens *tokens, struct plan *out,
                                            llmq_error *err);
void plan_free(struct plan *p); /* accepts a zeroed struct */

/* LLMQ_E_MEMORY: the whole plan takes more than `limit` bytes (0: no limit) even when activations
 * lie in a file. */
LLMQ_NODISCARD enum llmq_status plan_check_memory(const struct plan *p, uint64_t limit,
                                                  llmq_error *err);

/* Give the error of a grid or format that cannot be the hint of what can. `p` has its layout and
 * modules. */
void plan_hint(const struct plan *p, const llmq_quantize_options *options, llmq_error *err);

/* Can a source that is packed be quantized as the options say? LLMQ_E_UNSUPPORTED, also without
 * the option. Then, with the modules listed, those that are kept: they take the source's settings;
 * LLMQ_E_UNSUPPORTED names the first that cannot be, and what else can be done. */
LLMQ_NODISCARD enum llmq_status
plan_check_source(const struct model *m, const llmq_quantize_options *options, llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_keep_modules(const struct model *m,
                                                  const llmq_quantize_options *options,
                                                  struct plan *p, llmq_error *err);

/* List what becomes of a tensor of the source if it is one of a packed module: *is_packed. */
LLMQ_NODISCARD enum llmq_status plan_add_source_packed(const struct model *m, struct plan *p,
                                                       const struct st_tensor *t, bool *is_packed,
                                                       llmq_error *err);

/* --- rules (plan_rules.c, plan_merged.c) ------------------------------------------------------ */

/* How a run with these options chooses codes where no rule says otherwise. */
struct module_manner plan_manner(const llmq_quantize_options *options);

/* Give every module that is not packed already the settings of the first rule that matches it.
 * LLMQ_E_USAGE: a rule that does so for no module, the hint has names of some; a setting that has
 * no effect. */
LLMQ_NODISCARD enum llmq_status plan_apply_rules(const struct model *m,
                                                 const llmq_quantize_options *options,
                                                 struct plan *p, llmq_error *err);

/* Where the options allow it, leave those plain that the group or the layout does not fit, and
 * those that are one layer with them. */
LLMQ_NODISCARD enum llmq_status plan_keep_unfit(const struct model *m,
                                                const llmq_quantize_options *options,
                                                struct plan *p, llmq_error *err);

/* leader[i], for each module: the first of those that whoever loads the layout keeps in one layer
 * with it (layout.merges). A fresh array, NULL when memory is short. */
int64_t *plan_layers(const struct model *m, const struct plan *p);

/* Have the modules that loaders keep in one layer the same settings? LLMQ_E_UNSUPPORTED names two
 * that have not. */
LLMQ_NODISCARD enum llmq_status plan_check_merged(const struct model *m, const struct plan *p,
                                                  llmq_error *err);

/* Do options and modules ask for gradients (plan->curved), and of what? LLMQ_E_USAGE where these
 * would be of other weights than those that are quantized. */
LLMQ_NODISCARD enum llmq_status plan_settle_curvature(const struct model *m,
                                                      const llmq_quantize_options *options,
                                                      const struct calib_tokens *tokens,
                                                      struct plan *p, llmq_error *err);

/* Collecting them, but for the tokens and where to: the job reads *asked. */
struct plan_asked {
    const struct model *m;
    const struct plan *p;
};
struct curvature_job plan_curvature_job(const struct plan_asked *asked);

/* Are a module's codes refined at the end? */
bool plan_refines(const struct plan_module *module);

/* What that takes of operations, and at most of memory for a module [n, k] of the run. */
double plan_refining_flops(const struct plan_module *module);
uint64_t plan_refining_bytes(const struct plan *p, const llmq_quantize_options *options, int64_t n,
                             int64_t k);

/* Memory for collecting the gradients, before the blocks, with `room` bytes for all of it. */
uint64_t plan_curvature_bytes(const struct model *m, uint64_t room, struct plan *p);

/* Operations of that pass: of a module on T tokens; of the head. */
double plan_curvature_flops(const struct plan_module *module, double T);
double plan_curvature_head_flops(const struct model *m, double T);

/* Does any module need to be calibrated, whatever the run's method? */
bool plan_needs_calibration(const struct plan *p);

/* The settings that the checkpoint states for all: those of the options or, where the layout holds
 * no others, of the first module that is packed. LLMQ_E_USAGE: none is. */
LLMQ_NODISCARD enum llmq_status plan_settle_config(const struct model *m,
                                                   const llmq_quantize_options *options,
                                                   struct plan *p, llmq_error *err);

/* --- the ends of the model (plan_head.c) ------------------------------------------------------ */

/* The output head as a module, which it is only where it is packed or a rule wants it so; NULL. */
const struct plan_module *plan_head(const struct plan *p);

/* Append it, plain, with the settings of the options. */
LLMQ_NODISCARD enum llmq_status plan_append_head(const struct model *m,
                                                 const llmq_quantize_options *options,
                                                 struct plan *p, llmq_error *err);

/* Let rules find it and the embedding; then, when they were applied, leave out again what no rule
 * wants packed. A result whose head is packed is not tied, whatever the source is: its rows are the
 * embedding's. The embedding, and a head that is no module, are rounded to nearest in a GGUF file,
 * to Q8_0 unless a rule says otherwise, and plain in others: LLMQ_E_UNSUPPORTED names the rule that
 * asks for what is not to be had. */
LLMQ_NODISCARD enum llmq_status plan_add_ends(const struct model *m,
                                              const llmq_quantize_options *options, struct plan *p,
                                              llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_settle_ends(const struct model *m, struct plan *p,
                                                 llmq_error *err);

/* Bits that a tensor which is kept is rounded to; 0: none. */
int plan_rounded_bits(const struct plan *p, const char *tensor);

/* Is the tensor the weight of a head that is quantized? And the packed tensors of one that has no
 * tensor in the source. */
bool plan_is_head(const struct model *m, const struct plan *p, const char *tensor);
LLMQ_NODISCARD enum llmq_status plan_add_untied_head(const struct model *m, struct plan *p,
                                                     llmq_error *err);

/* Tell which servers load the linears of the result and not its head. */
void plan_warn_of_head(const struct plan *p, const llmq_context *ctx);

/* Memory that quantizing it takes, when calibration has ended (run_head.c). */
uint64_t plan_head_bytes(const struct model *m, const struct plan *p,
                         const struct calib_tokens *tokens);

/* Columns per group of a module [., k] for a wish, as options and rules have it. */
int64_t plan_group(const struct model *m, struct linear_place at, int64_t k, int64_t wish,
                   bool fit);

/* Memory that reading a module's weight takes besides the weight: the stack that it is in, its
 * codes. */
uint64_t plan_reading_bytes(const struct model *m, const struct plan_module *module);

/* Name the linears that loaders merge in the layout's settings. */
void plan_name_fusions(const struct model *m, struct plan *p);

/* Name the output head in the layout's settings. */
LLMQ_NODISCARD enum llmq_status plan_name_head(const struct model *m, struct plan *p,
                                               llmq_error *err);

/* Is the module's plain weight stored as [k, n]? */
bool plan_module_turned(const struct model *m, const struct plan_module *module);

/* How a run of the plan calibrates; without a place for what is spilled. */
struct calib_options plan_calib_options(const llmq_quantize_options *options, const struct plan *p);

/* Does a run with these options scale activations by AWQ? */
bool plan_folds(const llmq_quantize_options *options);

/* Describe the model for the container of the layout, if it wants that; before the first plan_keep.
 * LLMQ_E_UNSUPPORTED: it has no equal there; LLMQ_E_MEMORY: not within `max_mem` bytes (0: no
 * limit). */
LLMQ_NODISCARD enum llmq_status plan_container(const struct model *m, uint64_t max_mem,
                                               struct plan *p, llmq_error *err);

/* Tokens are many for a linear that sees so many for each of its inputs: its moments are as good as
 * known, and what is done to rows weighs little beside what is done to tokens. */
enum { PLAN_TOKENS_PER_INPUT = 32 };

/* Outputs for each token of the gradients up to which these are asked for by themselves: of more
 * they say little, and the second moments of more take more memory than the weights. */
enum { PLAN_OUTPUTS_PER_TOKEN = 2 };

/* Curvature, descent and rounds of modules whose tokens are to say them. */
void plan_settle_passes(const struct model *m, const llmq_quantize_options *o,
                        const struct calib_tokens *tokens, struct plan *p);

/* What a run takes: operations, and the plan's memory, of which activations go into a file where
 * the limit asks for it. */
double plan_flops(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                  const struct calib_tokens *tokens);
/* Of p->ranks ranks, those of the one that has most to do at each step, for which the others wait.
 */
double plan_rank_flops(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       const struct calib_tokens *tokens);
/* Operations of the blocks' linears for all tokens, once. */
double plan_pass_flops(const struct model *m, const llmq_quantize_options *o, const struct plan *p,
                       const struct calib_tokens *tokens);
LLMQ_NODISCARD enum llmq_status plan_memory(const struct model *m, const llmq_quantize_options *o,
                                            const struct calib_tokens *tokens, struct plan *p,
                                            llmq_error *err);

/* Is the damping of inputs of width k and `tokens` chosen by the run? Where tokens are many and
 * none counts by gradients of its own it is the least. */
bool plan_chooses_damping(const llmq_quantize_options *o, const struct plan *p, double tokens,
                          int64_t k);

/* Operations that a run's parts take: potrf and trtri of [k, k], k^3/3 each, several times where
 * the damping is being chosen; of a module [n, k] the column updates, round-to-nearest's error,
 * every round's updates and error, the error after the first descent (n k^2 each) and descent's
 * passes (2 n k^2 each); its errors and norm on the tokens held back, or by their X^T X; the target
 * that makes up for errors upstream, judged on these tokens; AWQ's search as far as it falls to the
 * module. */
double plan_factor_flops(int64_t k, bool choosing);
double plan_rounding_flops(const struct module_manner *manner, int64_t n, int64_t k);
double plan_judging_flops(int64_t n, int64_t k, int64_t held, bool squared);
double plan_correction_flops(int64_t n, int64_t k, int64_t held);
double plan_search_flops(int64_t n, int64_t k);

/* What tuning scales takes within `limit` bytes if it can: its fields, and in p->spill_bytes and
 * p->flops; nothing without options->tune or tokens. */
LLMQ_NODISCARD enum llmq_status plan_tuning(const struct model *m, const llmq_quantize_options *o,
                                            const struct calib_tokens *tokens, uint64_t limit,
                                            struct plan *p, llmq_error *err);

/* The parts of both that layers which predict further tokens take, before their blocks; of memory
 * what is there at once besides, and in `peak` what no block's weights are there with. */
double plan_draft_flops(const struct model *m, const struct plan *p,
                        const struct calib_tokens *tokens);
uint64_t plan_draft_bytes(const struct model *m, const struct plan *p,
                          const struct calib_tokens *tokens, uint64_t *peak);

/* Can the layout hold every module? LLMQ_E_UNSUPPORTED names the first one it cannot. */
LLMQ_NODISCARD enum llmq_status plan_check_modules(const struct plan *p, llmq_error *err);

/* Warn where groups keep servers from splitting the model over 2, 4 or 8, and say which smaller
 * ones would not. */
void plan_warn_of_splits(const struct plan *p, const struct model *m, const llmq_context *ctx);

/* The steps of listing a result's tensors, in file order: a tensor (the plan owns a copy of the
 * name), the packed tensors of a module, a tensor of the source that is copied (or left out where
 * the container has no use for it), one that is left out. */
LLMQ_NODISCARD enum llmq_status plan_add_spec(struct plan *p, const char *name,
                                              const struct st_spec *spec, llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_add_packed(struct plan *p, const struct plan_module *module,
                                                llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_keep(struct plan *p, const struct st_tensor *t,
                                          llmq_error *err);
/* The type a tensor of the source is kept in: its own, but float32 for vectors in a GGUF file and
 * blocks of codes for ends that are rounded, and the weights' where linears become plain and it is
 * not carried along. */
enum dtype plan_kept_dtype(const struct plan *p, const struct st_tensor *t);

LLMQ_NODISCARD enum llmq_status plan_drop(struct plan *p, const struct st_tensor *t,
                                          llmq_error *err);

/* A tensor that is no part of a module: kept when the model uses it, when it scales a cache whose
 * scheme the result states, or when it is beside the model and the container has a place for it;
 * left out otherwise, because loaders stop at it. */
LLMQ_NODISCARD enum llmq_status plan_rest(const struct model *m, struct plan *p,
                                          const struct st_tensor *t, llmq_error *err);

/* The modules in the order of the data flow, with the grid that the options ask for; then whether
 * their groups divide what they have to: LLMQ_E_USAGE names the modules where one does not. */
LLMQ_NODISCARD enum llmq_status plan_add_modules(const struct model *m,
                                                 const llmq_quantize_options *options,
                                                 struct plan *p, llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_check_groups(const struct model *m, const struct plan *p,
                                                  llmq_error *err);

/* A copy of `name` at the end of one of the plan's lists of names. */
LLMQ_NODISCARD enum llmq_status plan_list_add(char ***list, size_t *count, size_t *cap,
                                              const char *name, llmq_error *err);
/* Note a linear that stays plain, for the config writer; and all modules that do. */
LLMQ_NODISCARD enum llmq_status plan_add_plain(struct plan *p, const char *name, llmq_error *err);
LLMQ_NODISCARD enum llmq_status plan_add_plain_modules(struct plan *p, llmq_error *err);
/* Those that no method quantizes: routers, and linears whose rows are plain. */
LLMQ_NODISCARD enum llmq_status plan_add_plain_rows(const struct model *m, struct plan *p,
                                                    llmq_error *err);

/* Is the name one of the list? */
bool plan_list_has(char *const *list, size_t count, const char *name);

/* A tensor beside the model, carried along as it is, and named where formats list what they do not
 * quantize. */
LLMQ_NODISCARD enum llmq_status plan_carry(const struct model *m, struct plan *p,
                                           const struct st_tensor *t, llmq_error *err);

/* The module of a linear; only in plans that plan_create made. */
const struct plan_module *plan_module_of(const struct model *m, const struct plan *p,
                                         struct linear_place at);

#endif
