/* SPDX-License-Identifier: Apache-2.0 */
/* hollow_checkpoint CONFIG OUT [FORM] [EXPERTS]: a checkpoint of the shapes that a config.json
 * implies, in shards with an index. Its files are as long as those of the real one and hold next to
 * nothing: what is not written takes no room on disk and reads as zeros.
 *
 * FORM is how the weights of linears lie, with the quantization_config that says so:
 *     plain   BF16 (default)
 *     fp8     E4M3 with a scale for each block of 128 x 128, as DeepSeek ships
 *     mxfp4   stacks of experts as _blocks and _scales, as gpt-oss ships
 *     int4    compressed-tensors, groups of 32, as Kimi ships
 * With EXPERTS, everything but the experts from that number on gets values: norms of 1, weights
 * that keep the size of what goes through them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/layouts/layout.h"
#include "graph/required.h"
#include "models/ends.h"

enum form { PLAIN, FP8, MXFP4, INT4, FORMS };

static const char *const form_names[] = {"plain", "fp8", "mxfp4", "int4"};
static const char *const form_configs[] = {
    NULL,
    "{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"activation_scheme\": \"dynamic\", "
    "\"weight_block_size\": [128, 128]}",
    "{\"quant_method\": \"mxfp4\"}",
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
    "\"quantization_status\": \"compressed\", \"ignore\": [\"lm_head\"], \"config_groups\": "
    "{\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \"type\": \"int\", "
    "\"symmetric\": true, \"strategy\": \"group\", \"group_size\": 32}}}}",
};

#define SHARD_BYTES UINT64_C(5000000000)

enum { TENSORS_MOST = 1 << 19, CHUNK = 1 << 20 };

/* How a tensor's bytes are filled. */
enum values { NOTHING, NORMAL, ONES, SCALES, CODES };

struct tensor {
    char *name;
    enum dtype dtype;
    int rank;
    uint64_t shape[4], bytes, begin; /* in the data of its shard */
    enum values values;
    float size;     /* of what is in it */
    uint64_t whole; /* bytes that get values, from the first on */
    int shard;
};

static struct checkpoint {
    struct blocks *blocks;
    enum form form;
    int64_t filled; /* experts with values; -1: nothing has any */
    struct tensor *tensors;
    size_t count;
} all;

static void stop(const char *what, const llmq_error *err) {
    fprintf(stderr, "hollow_checkpoint: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
    exit(1);
}

/* --- tensors ---------------------------------------------------------------------------------- */

static void add(const char *name, const char *suffix, enum dtype dtype, int rank,
                const uint64_t *shape, enum values values, float size) {
    struct tensor *t = &all.tensors[all.count++];
    char whole[2 * FAMILY_NAME_MAX];
    uint64_t elements = 1;
    if (all.count == TENSORS_MOST)
        stop("too many tensors", NULL);
    (void)snprintf(whole, sizeof whole, "%s%s", name, suffix);
    *t = (struct tensor){
        .name = strdup(whole), .dtype = dtype, .rank = rank, .values = values, .size = size};
    for (int d = 0; d < rank; d++)
        elements *= t->shape[d] = shape[d];
    if (!t->name || !dtype_bytes(dtype, elements, &t->bytes))
        stop("out of memory", NULL);
    t->whole = t->bytes;
}

/* Of stacks that were added from tensor `first` on, only the filled experts get values. */
static void limit_values(size_t first, int64_t experts) {
    for (size_t i = first; experts > all.filled && i < all.count; i++)
        all.tensors[i].whole = all.tensors[i].bytes / (uint64_t)experts * (uint64_t)all.filled;
}

static void add_fp8(const char *name, const struct required *r, enum values values, float size) {
    uint64_t scales[4] = {0};
    for (int d = 0; d < r->rank; d++)
        scales[d] = d < r->rank - 2 ? r->shape[d] : (r->shape[d] + 127) / 128;
    add(name, "", DTYPE_F8_E4M3, r->rank, r->shape, values ? CODES : NOTHING, 0);
    add(name, "_scale_inv", DTYPE_F32, r->rank, scales, values ? SCALES : NOTHING, size);
}

static void add_mxfp4(const char *name, const struct required *r, enum values values) {
    const uint64_t codes[] = {r->shape[0], r->shape[2], r->shape[1] / 32, 16};
    add(name, "_blocks", DTYPE_U8, 4, codes, values ? CODES : NOTHING, 0);
    add(name, "_scales", DTYPE_U8, 3, codes, values ? SCALES : NOTHING, 0);
}

static void add_int4(const char *name, const struct required *r, enum values values, float size) {
    struct layout_tensor parts[LAYOUT_MAX_TENSORS];
    const struct quant_shape shape = {(int64_t)r->shape[0], (int64_t)r->shape[1], 4, 32, true};
    const int count = layout_compressed_tensors.tensors(&shape, parts);
    char module[FAMILY_NAME_MAX];
    (void)snprintf(module, sizeof module, "%.*s", (int)(strlen(name) - strlen("weight")), name);
    for (int i = 0; i < count; i++) {
        const bool shape_of = parts[i].dtype == DTYPE_I64, scale = dtype_is_float(parts[i].dtype);
        const enum values part = shape_of ? ONES : !values ? NOTHING : scale ? SCALES : CODES;
        add(module, parts[i].suffix, parts[i].dtype, parts[i].rank, parts[i].shape, part, size);
    }
}

static bool is_encoded(const struct graph_param *p, const struct required *r) {
    const bool ends_in_weight = text_ends_with(r->name, ".weight");
    return p->quantized && (all.form == FP8 || (all.form == INT4 && ends_in_weight) ||
                            (all.form == MXFP4 && p->experts && r->rank == 3));
}

static void add_param(const struct graph_param *p, const struct required *r, int64_t expert) {
    const bool has_values = all.filled >= 0 && expert < all.filled;
    const uint64_t columns = r->rank > 0 ? r->shape[r->rank - 1] : 1;
    const enum values values = !has_values ? NOTHING : r->rank > 1 ? NORMAL : ONES;
    const float size = 1 / sqrtf((float)columns);
    const size_t first = all.count;
    if (!is_encoded(p, r))
        add(r->name, "", DTYPE_BF16, r->rank, r->shape, values, size);
    else if (all.form == FP8)
        add_fp8(r->name, r, values, size);
    else if (all.form == MXFP4)
        add_mxfp4(r->name, r, values);
    else
        add_int4(r->name, r, values, size / 8);
    if (has_values)
        limit_values(first, p->experts);
}

/* Gate and up of a stack are one tensor. */
static bool has_stack(const char *name) {
    const size_t len = strlen(name);
    for (size_t i = all.count; i-- > 0 && i + GRAPH_PARAMS > all.count;) {
        const char *has = all.tensors[i].name;
        if (strncmp(has, name, len) == 0 && (!has[len] || strcmp(has + len, "_blocks") == 0))
            return true;
    }
    return false;
}

static void add_graph(const struct graph *g, int64_t block, int64_t expert) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    for (int i = 0; i < count; i++) {
        const struct required r = required_param(all.blocks, block, expert, &params[i]);
        if (!params[i].experts || (expert <= 0 && !has_stack(r.name)))
            add_param(&params[i], &r, params[i].experts ? -1 : expert);
    }
}

static void add_ends(const struct model_config *c) {
    struct end_param ends[ENDS_PARAMS];
    const int count = ends_params(c, ends);
    for (int i = 0; i < count; i++) {
        const struct graph_param p = {.rows = ends[i].rows, .columns = ends[i].columns};
        struct required r;
        r.rank = graph_param_shape(&p, r.shape);
        memcpy(r.name, ends[i].name, sizeof r.name);
        add_param(&p, &r, -1);
    }
}

static void add_all(void) {
    add_ends(all.blocks->config);
    for (int64_t b = 0; b < all.blocks->count; b++) {
        const struct graph *g = blocks_graph(all.blocks, b);
        add_graph(g, b, -1);
        for (int64_t e = 0; g->body && e < g->facts.dims[DIM_EXPERTS]; e++)
            add_graph(g->body, b, e);
    }
}

/* --- values ----------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

static float value_of(const struct tensor *t, uint32_t random) {
    if (t->values == NORMAL) /* uniform, of that deviation */
        return t->size * 1.732F * (2 * (float)random / 4294967296.0F - 1);
    return t->values == SCALES ? t->size : 1;
}

/* `chunk` bytes of a tensor. */
static void make_values(const struct tensor *t, uint32_t *state, size_t bytes, unsigned char *out) {
    const size_t width = dtype_bits(t->dtype) / 8;
    for (size_t at = 0; at + width <= bytes; at += width) {
        const uint32_t random = next_random(state);
        const float value = value_of(t, random);
        if (dtype_is_float(t->dtype))
            dtype_from_f32(t->dtype, &value, 1, out + at);
        else if (t->dtype == DTYPE_F8_E4M3) /* 0.5 to 1.75, of both signs */
            out[at] = (unsigned char)(0x30 | (random >> 8 & 0x8f));
        else if (t->values == SCALES) /* of MXFP4: 2^-7 */
            out[at] = 120;
        else
            memcpy(out + at, &random, width < sizeof random ? width : sizeof random);
    }
}

/* weight_shape, which is read whatever is asked for. */
static void make_shape(const struct tensor *t, const struct tensor *codes, unsigned char *out) {
    const int64_t shape[] = {(int64_t)codes->shape[0], (int64_t)codes->shape[1] * 8};
    memcpy(out, shape, t->bytes);
}

static void fill(const struct file *f, uint64_t head, size_t index) {
    static unsigned char chunk[CHUNK];
    const struct tensor *t = &all.tensors[index];
    uint32_t state = (uint32_t)(index * 2654435761U) | 1;
    llmq_error err;
    for (uint64_t at = 0; t->values != NOTHING && at < t->whole; at += CHUNK) {
        const size_t part = t->whole - at < CHUNK ? (size_t)(t->whole - at) : CHUNK;
        if (t->dtype == DTYPE_I64)
            make_shape(t, &all.tensors[index - 2], chunk);
        else
            make_values(t, &state, part, chunk);
        if (file_pwrite(f, chunk, part, head + t->begin + at, &err) != LLMQ_OK)
            stop("writing", &err);
    }
}

/* --- files ------------------------------------------------------------------------------------ */

/* Give each tensor its shard and its place there; returns how many shards there are. */
static int cut(void) {
    uint64_t bytes = 0;
    int shard = 0;
    for (size_t i = 0; i < all.count; i++) {
        struct tensor *t = &all.tensors[i];
        if (bytes > 0 && bytes + t->bytes > SHARD_BYTES) {
            shard++;
            bytes = 0;
        }
        t->shard = shard;
        t->begin = bytes;
        bytes += t->bytes;
    }
    return shard + 1;
}

static void add_entry(const struct tensor *t, bool first, struct strbuf *head) {
    strbuf_printf(head, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", first ? "{" : ",", t->name,
                  dtype_name(t->dtype));
    for (int d = 0; d < t->rank; d++)
        strbuf_printf(head, "%s%" PRIu64, d ? "," : "", t->shape[d]);
    strbuf_printf(head, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->begin,
                  t->begin + t->bytes);
}

static void write_shard(const char *path, size_t first, size_t count) {
    struct strbuf head = {0};
    struct file f;
    llmq_error err;
    uint64_t length = 0;
    const struct tensor *last = &all.tensors[first + count - 1];
    strbuf_append(&head, (const char *)&length, sizeof length);
    for (size_t i = 0; i < count; i++)
        add_entry(&all.tensors[first + i], i == 0, &head);
    strbuf_puts(&head, "}");
    while (head.len % 8)
        strbuf_puts(&head, " ");
    if (!strbuf_ok(&head))
        stop("out of memory", NULL);
    length = head.len - sizeof length;
    memcpy(head.data, &length, sizeof length);
    if (file_create(path, 0, &f, &err) != LLMQ_OK ||
        file_pwrite(&f, head.data, head.len, 0, &err) != LLMQ_OK)
        stop("writing", &err);
    if (ftruncate(f.fd, (off_t)(head.len + last->begin + last->bytes)) != 0)
        stop("a file as long as that cannot be made here", NULL);
    for (size_t i = 0; i < count; i++)
        fill(&f, head.len, first + i);
    (void)file_close(&f, NULL);
    strbuf_free(&head);
}

static void shard_name(int shard, int shards, char out[64]) {
    if (shards == 1)
        (void)snprintf(out, 64, "model.safetensors");
    else
        (void)snprintf(out, 64, "model-%05d-of-%06d.safetensors", shard + 1, shards);
}

static void write_text(const char *dir, const char *name, const char *text) {
    llmq_error err;
    char *path = path_join(dir, name, &err);
    if (!path || !text || file_write_atomic(path, text, strlen(text), &err) != LLMQ_OK)
        stop(name, path && text ? &err : NULL);
    free(path);
}

static void write_shards(const char *dir) {
    const int shards = cut();
    struct strbuf index = {0};
    char name[64], path[4096];
    for (size_t first = 0, next = 0; first < all.count; first = next) {
        while (next < all.count && all.tensors[next].shard == all.tensors[first].shard)
            next++;
        shard_name(all.tensors[first].shard, shards, name);
        (void)snprintf(path, sizeof path, "%s/%s", dir, name);
        write_shard(path, first, next - first);
        for (size_t i = first; i < next; i++)
            strbuf_printf(&index, "%s\n\"%s\": \"%s\"", i ? "," : "{\"weight_map\": {",
                          all.tensors[i].name, name);
    }
    strbuf_puts(&index, "}}\n");
    if (shards > 1)
        write_text(dir, "model.safetensors.index.json", index.data);
    strbuf_free(&index);
}

static void write_config(const char *dir, struct json *config) {
    struct json *quantization = NULL;
    const char *text = form_configs[all.form];
    if (text && json_parse(text, strlen(text), "a form", &quantization, NULL) == LLMQ_OK)
        json_add(config, "quantization_config", quantization);
    char *printed = json_print(config, true);
    write_text(dir, "config.json", printed);
    free(printed);
}

/* --- all -------------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    struct json *config = NULL;
    struct model_config parsed;
    llmq_error err;
    if (argc < 3)
        stop("give a config.json and a folder to make", NULL);
    while (argc > 3 && all.form < FORMS && strcmp(argv[3], form_names[all.form]) != 0)
        all.form++;
    if (all.form == FORMS)
        stop("the form is plain, fp8, mxfp4 or int4", NULL);
    all.filled = argc > 4 ? strtol(argv[4], NULL, 10) : -1;
    all.tensors = calloc(TENSORS_MOST, sizeof *all.tensors);
    if (!all.tensors)
        stop("out of memory", NULL);
    if (json_read(argv[1], &config, &err) != LLMQ_OK ||
        config_parse(config, &parsed, &err) != LLMQ_OK ||
        blocks_create(&parsed, &all.blocks, &err) != LLMQ_OK ||
        dir_make(argv[2], true, &err) != LLMQ_OK)
        stop(argv[1], &err);
    add_all();
    write_shards(argv[2]);
    write_config(argv[2], config);
    printf("%zu tensors\n", all.count);
    for (size_t i = 0; i < all.count; i++)
        free(all.tensors[i].name);
    free(all.tensors);
    blocks_free(&all.blocks);
    config_free(&parsed);
    json_free(&config);
    return 0;
}
