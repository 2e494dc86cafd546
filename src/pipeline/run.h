/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a quantization run, shared by the files that carry it out. */
#ifndef LLMQ_PIPELINE_RUN_H
#define LLMQ_PIPELINE_RUN_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/tally.h"
#include "calib/calib.h"
#include "formats/safetensors/safetensors.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/quantize.h"
#include "pipeline/block_fold.h"
#include "pipeline/journal.h"
#include "pipeline/origin.h"
#include "pipeline/output.h"
#include "pipeline/plan.h"
#include "pipeline/source.h"
#include "text/corpus.h"

/* Logarithms of the dampings that were chosen for experts of the block at hand. */
struct expert_damping {
    double logs;
    int count;
};

struct run {
    const llmq_quantize_options *options;
    const llmq_context *ctx;
    llmq_quantize_report *report;
    struct model model;
    struct source source;
    struct corpus corpus;       /* empty without calibration */
    struct calib_tokens tokens; /* view of the corpus */
    bool calibrated;
    struct plan plan;
    struct output output;
    struct json *record; /* what the result's marker will say */
    enum output_task task;
    struct st_writer *writer;
    struct journal *journal;
    struct journal_blocks blocks;
    struct calib *calib;    /* NULL without calibration */
    struct arena *weights;  /* of one block */
    struct block_fold fold; /* of the block at hand; nothing without AWQ */
    struct expert_damping expert_damping[GRAPH_TASKS]; /* by their task */
    struct strbuf expert_modules; /* of this rank's expert, on their way: see run_experts.c */
    float *units;                 /* of scales, by module; NULL: the layout has none */
    struct calib_head head;       /* of the output head's input, once it was looked at */
    struct st_set *curvature;     /* gradients of the original model; NULL: none asks for them */
    struct tally tally;
    double start;         /* on its clock */
    struct origin origin; /* of the model */
    bool half;            /* the result's config names float16: what is beyond its range is told */
    bool half_told;       /* of activations: once */
};

/* Fill the report of a run that is planned, and tell the plan; and, for a dry run, what is planned
 * for every module: in a plan none has a method or an error yet. */
LLMQ_NODISCARD enum llmq_status run_report_plan(struct run *run, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_report_modules(struct run *run, llmq_error *err);

/* Can a run have such options at all? LLMQ_E_USAGE. */
LLMQ_NODISCARD enum llmq_status run_check_options(const llmq_quantize_options *o, llmq_error *err);

/* The grid of a module. */
struct quant_grid run_grid(const struct run *run, const struct plan_module *module);

/* Choose run->units for a layout whose scales are E4M3 numbers, by the largest weights of the
 * source: reads all that will be quantized. */
LLMQ_NODISCARD enum llmq_status run_choose_units(struct run *run, llmq_error *err);

/* Bits of a weight of module `i` in the source. */
int run_plain_bits(const struct run *run, int64_t i);

/* Store and report a module. With calibration, leave in l->w what was stored; without, nothing
 * reads it again, and `l` may be NULL. */
struct solved_module;
struct module_tokens;
LLMQ_NODISCARD enum llmq_status run_store_module(struct run *run, const struct plan_module *module,
                                                 struct linear *l, const struct solved_module *s,
                                                 const struct module_tokens *seen, llmq_error *err);

/* Report and, where it is packed in the source, copy a module that stays as it is. */
LLMQ_NODISCARD enum llmq_status run_keep_module(struct run *run, const struct plan_module *module,
                                                llmq_error *err);

/* The output head, after all blocks, where it is a module of the plan; and does it have to see what
 * the last block makes? The calibration ends here. Not recorded in the journal: a run that is
 * resumed does it again. */
LLMQ_NODISCARD enum llmq_status run_head(struct run *run, llmq_error *err);
bool run_head_reads(const struct run *run);

/* Note what the head reads, if it has to see it, where more blocks follow: those of layers that
 * predict further tokens, which it does not read from. */
LLMQ_NODISCARD enum llmq_status run_head_look(struct run *run, llmq_error *err);

/* Quantize every block that the journal does not have yet; replay those it has. */
LLMQ_NODISCARD enum llmq_status run_blocks(struct run *run, llmq_error *err);

#endif
