/* SPDX-License-Identifier: Apache-2.0 */
/* llmq inspect: what is in a checkpoint. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "llmq/model.h"

struct inspect_args {
    struct common_args common;
    const char *model, *family;
    bool tensors, blocks;
};

static const struct option inspect_options[] = {
    MODEL_OPTION(struct inspect_args, model, "folder of the checkpoint"),
    FAMILY_OPTION(struct inspect_args, family),
    {.name = "tensors",
     .kind = OPTION_ON,
     .offset = offsetof(struct inspect_args, tensors),
     .help = "list every tensor"},
    {.name = "blocks",
     .kind = OPTION_ON,
     .offset = offsetof(struct inspect_args, blocks),
     .help =
         "instead, what the blocks are made of and what follows for quantizing and serving them"},
    {.name = NULL},
};

static const struct option_group groups[] = {
    {"Options", inspect_options},
    {"Output", output_options},
    {NULL, NULL},
};

static void print_quantization(const llmq_inspect_report *r) {
    char weights[CONSOLE_TEXT];
    if (r->bits == 0) {
        printf("quantization  none\n");
        return;
    }
    printf("quantization  %s, %d bits, ", CONSOLE_SHOWN(r->layout), r->bits);
    if (r->group == -1)
        printf("one group per row");
    else
        printf("group %" PRId64, r->group);
    printf(", %s", r->sym ? "symmetric" : "asymmetric");
    if (r->deviating_modules > 0)
        printf("; %" PRId64 " modules otherwise", r->deviating_modules);
    printf("\n");
    printf("  packed      %s weights in %" PRId64 " modules, %.3f bits each with their scales\n",
           console_count((double)r->quantized_parameters, weights), r->quantized_modules,
           r->bits_per_quantized_weight);
}

static void print_summary(const llmq_inspect_report *r) {
    char bytes[CONSOLE_TEXT], weights[CONSOLE_TEXT];
    printf("checkpoint    %s\n", CONSOLE_SHOWN(r->path));
    if (r->family)
        printf("architecture  %s (family %s), %" PRId64 " blocks\n", CONSOLE_SHOWN(r->model_type),
               r->family, r->blocks);
    else
        printf("architecture  %s (unknown to llmq)\n",
               r->model_type ? CONSOLE_SHOWN(r->model_type) : "not named");
    printf("weights       %s\n", console_count((double)r->parameters, weights));
    printf("stored        %s in %zu tensor%s and %d file%s, %.3f bits per weight\n",
           console_bytes(r->bytes, bytes), r->tensor_count, r->tensor_count == 1 ? "" : "s",
           r->shards, r->shards == 1 ? "" : "s", r->bits_per_weight);
    print_quantization(r);
}

/* Column width of the longest name, and the tensors below it. */
static void print_tensors(const llmq_inspect_report *r) {
    size_t width = strlen("tensor");
    for (size_t i = 0; i < r->tensor_count; i++) {
        size_t len = strlen(r->tensors[i].name);
        width = len > width ? len : width;
    }
    printf("\n%-*s  %-8s %12s  %s\n", (int)width, "tensor", "dtype", "bytes", "shape");
    for (size_t i = 0; i < r->tensor_count; i++) {
        const llmq_inspect_tensor *t = &r->tensors[i];
        int shown = t->rank < 8 ? t->rank : 8;
        printf("%-*s  %-8s %12" PRIu64 "  [", (int)width, CONSOLE_SHOWN(t->name), t->dtype,
               t->bytes);
        for (int d = 0; d < shown; d++)
            printf("%s%" PRIu64, d ? ", " : "", t->shape[d]);
        printf("%s]\n", t->rank > shown ? ", ..." : "");
    }
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void print_values(const char *const values[], int width) {
    char text[64] = "";
    for (int i = 0; values[i]; i++) {
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", values[i]);
    }
    printf("%-*s  ", width, text);
}

static void print_linear(const llmq_block_row *row) {
    char shape[48];
    (void)snprintf(shape, sizeof shape, "%" PRId64 " x %" PRId64 "%s", row->width, row->columns,
                   row->bias ? " + bias" : "");
    printf("  %-20s", shape);
    if (row->round >= 0)
        printf("  %5d", row->round);
    else
        printf("  %5s", "-");
    printf("  %-8s  %-12s  %-7s  %s%s\n", row->repairs ? row->repairs : "-",
           row->fused ? row->fused : "-", row->split,
           row->folds_into ? "" : "no: ", row->folds_into ? row->folds_into : row->folds_not);
}

static void print_kind(const llmq_block_kind *kind) {
    bool expert = false;
    printf("\nblocks %s (%" PRId64 ")%s\n", kind->blocks, kind->count,
           kind->window ? ", sliding window" : "");
    printf("%-12s  %-9s  %-20s  %-26s  %-20s  %5s  %-8s  %-12s  %-7s  %s\n", "makes", "by", "from",
           "module", "width or shape", "round", "repairs", "merged into", "split",
           "scale folds into");
    for (size_t i = 0; i < kind->row_count; i++) {
        const llmq_block_row *row = &kind->rows[i];
        if (row->expert && !expert)
            printf("each of %" PRId64 " experts, %" PRId64 " for a token\n", kind->experts,
                   kind->chosen);
        expert = row->expert;
        print_values(row->makes, 12);
        printf("%-9s  ", row->op);
        print_values(row->reads, 20);
        printf("%-26s", row->module ? row->module : "");
        if (row->columns)
            print_linear(row);
        else
            printf("  %" PRId64 "\n", row->width);
    }
    for (int round = 0; round < kind->rounds; round++)
        printf("%s%d: %s", round ? "; " : "kept of every token before round ", round,
               kind->kept[round]);
    printf("\n");
}

static enum llmq_status print_blocks(const struct inspect_args *a, llmq_error *err) {
    llmq_blocks_report report;
    enum llmq_status status = llmq_inspect_blocks(a->model, a->family, &report, err);
    if (status != LLMQ_OK)
        return status;
    if (a->common.json) {
        status = console_json(llmq_blocks_json(&report), err);
    } else {
        printf("family %s\n", report.family);
        for (size_t i = 0; i < report.kind_count; i++)
            print_kind(&report.kinds[i]);
    }
    llmq_blocks_report_free(&report);
    return status;
}

static enum llmq_status inspect_run(const void *args, const volatile sig_atomic_t *interrupt,
                                    llmq_error *err) {
    (void)interrupt; /* done before anybody could ask */
    const struct inspect_args *a = args;
    llmq_inspect_report report = {0};
    if (a->blocks)
        return print_blocks(a, err);
    enum llmq_status status = llmq_inspect(a->model, a->family, &report, err);
    if (status != LLMQ_OK)
        return status;
    if (a->common.json) {
        status = console_json(llmq_inspect_json(&report, a->tensors), err);
    } else {
        print_summary(&report);
        if (a->tensors)
            print_tensors(&report);
    }
    llmq_inspect_report_free(&report);
    return status;
}

const struct command command_inspect = {
    .name = "inspect",
    .summary = "what is in a checkpoint: tensors, bytes, bits per weight, quantization",
    .synopsis = "inspect [--model] M [--tensors | --blocks] [options]",
    .description = "Reads the headers of the checkpoint's files, not the weights, and prints what "
                   "they hold. A packed matrix counts as the weights it stands for.",
    .examples = {{"llmq inspect demo-gptq-w4g128 --tensors", "summary and every tensor"},
                 {"llmq inspect models/demo --blocks", "the data flow of its blocks"}},
    .groups = groups,
    .args_size = sizeof(struct inspect_args),
    .run = inspect_run,
};
