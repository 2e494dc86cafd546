/* SPDX-License-Identifier: Apache-2.0 */
/* One ONNX model for each linear: a graph of a single MatMulNBits node, Y = A W^T.
 *
 * The node's constants are not in the model file: each is a TensorProto with data_location
 * EXTERNAL, which names a file, an offset and a length. They name the safetensors file the tensors
 * are in, so that no byte is stored twice. ONNX Runtime refuses files outside the model's own
 * folder, hence the models lie beside the safetensors files; unaligned offsets it takes.
 *
 * accuracy_level is 1, arithmetic in float32: at higher levels the runtime may round activations
 * to 8 bits, which is faster and not what was measured. A bias stays outside.
 * Source: onnx/onnx.proto3 (messages and field numbers), docs/ExternalData.md of onnx. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/fileio.h"
#include "formats/layouts/onnx.h"
#include "formats/layouts/protobuf.h"

/* Version 8 and operator set 17 are of 2022; nothing newer is used. */
#define IR_VERSION     8
#define OPSET_ONNX     17
#define OPSET_CONTRIB  1
#define ACCURACY_FLOAT 1

#define NAME_MAX_BYTES 512

/* Field numbers of onnx.proto3. */
enum { MODEL_IR_VERSION = 1, MODEL_PRODUCER_NAME = 2, MODEL_GRAPH = 7, MODEL_OPSET_IMPORT = 8 };
enum { OPSET_DOMAIN = 1, OPSET_VERSION = 2 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_OP_TYPE = 4, NODE_ATTRIBUTE = 5, NODE_DOMAIN = 7 };
enum { ATTRIBUTE_NAME = 1, ATTRIBUTE_I = 3, ATTRIBUTE_TYPE = 20 };
enum {
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_EXTERNAL_DATA = 13,
    TENSOR_DATA_LOCATION = 14
};
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2 };
enum { TYPE_TENSOR = 1, TENSOR_TYPE_ELEM = 1, TENSOR_TYPE_SHAPE = 2 };
enum { SHAPE_DIM = 1, DIM_VALUE = 1, DIM_PARAM = 2 };

/* Values of its enums. */
enum { DATA_TYPE_FLOAT = 1, DATA_TYPE_UINT8 = 2 };
enum { ATTRIBUTE_TYPE_INT = 2, DATA_LOCATION_EXTERNAL = 1 };

static const char contrib_domain[] = "com.microsoft";

/* --- parts of a graph ------------------------------------------------------------------------- */

static void put_attribute(struct strbuf *node, const char *name, int64_t value) {
    struct strbuf attribute = {0};
    protobuf_put_string(&attribute, ATTRIBUTE_NAME, name);
    protobuf_put_int(&attribute, ATTRIBUTE_I, value);
    protobuf_put_int(&attribute, ATTRIBUTE_TYPE, ATTRIBUTE_TYPE_INT);
    protobuf_put_message(node, NODE_ATTRIBUTE, &attribute);
}

static void put_entry(struct strbuf *tensor, const char *key, const char *value) {
    struct strbuf entry = {0};
    protobuf_put_string(&entry, ENTRY_KEY, key);
    protobuf_put_string(&entry, ENTRY_VALUE, value);
    protobuf_put_message(tensor, TENSOR_EXTERNAL_DATA, &entry);
}

static void put_number_entry(struct strbuf *tensor, const char *key, uint64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    put_entry(tensor, key, text);
}

/* A constant that lies in a safetensors file, with `rank` dimensions. */
static void put_initializer(struct strbuf *graph, const struct st_set *tensors,
                            const struct st_tensor *t, int rank, const int64_t *dims) {
    struct strbuf tensor = {0};
    for (int i = 0; i < rank; i++)
        protobuf_put_int(&tensor, TENSOR_DIMS, dims[i]);
    protobuf_put_int(&tensor, TENSOR_DATA_TYPE,
                     t->dtype == DTYPE_F32 ? DATA_TYPE_FLOAT : DATA_TYPE_UINT8);
    protobuf_put_string(&tensor, TENSOR_NAME, t->name);
    put_entry(&tensor, "location", path_base(st_shard_path(tensors, t->shard)));
    put_number_entry(&tensor, "offset", t->begin);
    put_number_entry(&tensor, "length", t->nbytes);
    protobuf_put_int(&tensor, TENSOR_DATA_LOCATION, DATA_LOCATION_EXTERNAL);
    protobuf_put_message(graph, GRAPH_INITIALIZER, &tensor);
}

/* The graph's input or output: float32 [rows, columns], where the caller chooses the rows. */
static void put_value(struct strbuf *graph, int field, const char *name, int64_t columns) {
    struct strbuf rows = {0}, dim = {0}, shape = {0}, tensor = {0}, type = {0}, value = {0};
    protobuf_put_string(&rows, DIM_PARAM, "rows");
    protobuf_put_int(&dim, DIM_VALUE, columns);
    protobuf_put_message(&shape, SHAPE_DIM, &rows);
    protobuf_put_message(&shape, SHAPE_DIM, &dim);
    protobuf_put_int(&tensor, TENSOR_TYPE_ELEM, DATA_TYPE_FLOAT);
    protobuf_put_message(&tensor, TENSOR_TYPE_SHAPE, &shape);
    protobuf_put_message(&type, TYPE_TENSOR, &tensor);
    protobuf_put_string(&value, VALUE_NAME, name);
    protobuf_put_message(&value, VALUE_TYPE, &type);
    protobuf_put_message(graph, field, &value);
}

/* --- a model ---------------------------------------------------------------------------------- */

/* A module and where its tensors are; zero_points is NULL for symmetric codes. */
struct linear {
    const struct layout_module *module;
    const struct st_tensor *B, *scales, *zero_points;
};

static void put_node(struct strbuf *graph, const struct linear *l) {
    const struct quant_shape *s = &l->module->shape;
    struct strbuf node = {0};
    protobuf_put_string(&node, NODE_INPUT, "A");
    protobuf_put_string(&node, NODE_INPUT, l->B->name);
    protobuf_put_string(&node, NODE_INPUT, l->scales->name);
    if (l->zero_points)
        protobuf_put_string(&node, NODE_INPUT, l->zero_points->name);
    protobuf_put_string(&node, NODE_OUTPUT, "Y");
    protobuf_put_string(&node, NODE_OP_TYPE, "MatMulNBits");
    protobuf_put_string(&node, NODE_DOMAIN, contrib_domain);
    put_attribute(&node, "K", s->k);
    put_attribute(&node, "N", s->n);
    put_attribute(&node, "bits", s->bits);
    put_attribute(&node, "block_size", onnx_blocks_of(s).size);
    put_attribute(&node, "accuracy_level", ACCURACY_FLOAT);
    protobuf_put_message(graph, GRAPH_NODE, &node);
}

static void put_graph(struct strbuf *model, const struct st_set *tensors, const struct linear *l) {
    const struct quant_shape *s = &l->module->shape;
    const struct onnx_blocks b = onnx_blocks_of(s);
    struct strbuf graph = {0};
    put_node(&graph, l);
    protobuf_put_string(&graph, GRAPH_NAME, l->module->name);
    put_initializer(&graph, tensors, l->B, 3, (const int64_t[]){s->n, b.count, b.bytes});
    put_initializer(&graph, tensors, l->scales, 2, (const int64_t[]){s->n, b.count});
    if (l->zero_points)
        put_initializer(&graph, tensors, l->zero_points, 2, (const int64_t[]){s->n, b.zero_bytes});
    put_value(&graph, GRAPH_INPUT, "A", s->k);
    put_value(&graph, GRAPH_OUTPUT, "Y", s->n);
    protobuf_put_message(model, MODEL_GRAPH, &graph);
}

static void put_opset(struct strbuf *model, const char *domain, int64_t version) {
    struct strbuf opset = {0};
    protobuf_put_string(&opset, OPSET_DOMAIN, domain);
    protobuf_put_int(&opset, OPSET_VERSION, version);
    protobuf_put_message(model, MODEL_OPSET_IMPORT, &opset);
}

static const struct st_tensor *find(const struct st_set *tensors, const char *module,
                                    enum onnx_tensor which) {
    char name[NAME_MAX_BYTES];
    const int len = snprintf(name, sizeof name, "%s.%s", module, onnx_suffixes[which]);
    return len > 0 && (size_t)len < sizeof name ? st_find(tensors, name) : NULL;
}

static enum llmq_status locate(const struct st_set *tensors, const struct layout_module *module,
                               struct linear *l, llmq_error *err) {
    *l = (struct linear){.module = module,
                         .B = find(tensors, module->name, ONNX_B),
                         .scales = find(tensors, module->name, ONNX_SCALES),
                         .zero_points = find(tensors, module->name, ONNX_ZERO_POINTS)};
    if (l->B && l->scales && (l->zero_points || module->shape.sym))
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "%s: expected its tensors of the onnx format, found not all of them",
                     module->name);
}

static enum llmq_status write_model(const char *dir, const struct st_set *tensors,
                                    const struct linear *l, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct strbuf model = {0}, name = {0};
    char *path = NULL;
    protobuf_put_int(&model, MODEL_IR_VERSION, IR_VERSION);
    protobuf_put_string(&model, MODEL_PRODUCER_NAME, "llmq");
    put_graph(&model, tensors, l);
    put_opset(&model, "", OPSET_ONNX);
    put_opset(&model, contrib_domain, OPSET_CONTRIB);
    strbuf_printf(&name, "%s.onnx", l->module->name);
    if (!strbuf_ok(&model) || !strbuf_ok(&name))
        LLMQ_TRY(error_memory(err, "an ONNX model"));
    path = path_join(dir, name.data, err);
    if (!path)
        LLMQ_TRY(LLMQ_E_MEMORY);
    LLMQ_TRY(file_write_atomic(path, model.data, model.len, err));

cleanup:
    free(path);
    strbuf_free(&name);
    strbuf_free(&model);
    return status;
}

enum llmq_status onnx_write_models(const char *dir, const struct st_set *tensors,
                                   const struct layout_module *modules, int64_t count,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; status == LLMQ_OK && i < count; i++) {
        struct linear l;
        status = locate(tensors, &modules[i], &l, err);
        if (status == LLMQ_OK)
            status = write_model(dir, tensors, &l, err);
    }
    return status;
}
