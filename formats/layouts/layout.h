/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: how a quantized linear lies in the tensors of a checkpoint. One vtable per layout, in
 * a file of its own; layout_find is the only list of them. No quantization maths here. */
#ifndef LLMQ_FORMATS_LAYOUTS_LAYOUT_H
#define LLMQ_FORMATS_LAYOUTS_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "formats/layouts/module_rules.h"
#include "llmq/error.h"
#include "tensor/dtype.h"
#include "tensor/qlinear.h"

#define LAYOUT_MAX_TENSORS 6

/* What is known of a module before it is quantized, or from a config before it is read. */
struct quant_shape {
    int64_t n, k; /* out_features, in_features */
    int bits;
    int64_t group; /* columns per group; -1: one group per row */
    bool sym;
};

/* One tensor of a module: `suffix` follows the module's name and a dot. */
struct layout_tensor {
    const char *suffix;
    enum dtype dtype;
    int rank;
    uint64_t shape[2];
};

/* A tensor's bytes as read from a file; data is NULL when the file lacks it. */
struct layout_data {
    struct layout_tensor info;
    const void *data;
    uint64_t nbytes;
};

/* One module's quantization, for the config writer. */
struct layout_module {
    const char *name; /* e.g. "model.layers.0.self_attn.q_proj" */
    struct quant_shape shape;
};

/* A layer that loaders merge linears into, and these: the last parts of their names. */
enum { LAYOUT_FUSIONS = 4, LAYOUT_FUSION_MEMBERS = 4 };
struct layout_fusion {
    const char *layer, *members[LAYOUT_FUSION_MEMBERS]; /* up to the first NULL */
};

/* Settings of a whole checkpoint as its config states them. */
struct layout_config {
    int bits;
    int64_t group; /* -1: one group per row */
    bool sym;
    bool desc_act;
    bool zeros_minus_one; /* GPTQ v1 */
    /* How an 8-bit key and value cache is scaled: owned by the config it was read from; NULL: no
     * such cache. Only layouts with `cache_scheme` read and write it. */
    const struct json *cache_scheme;
    double damp;              /* written for information; 0: not written */
    const char *llmq_version; /* written for information */
    /* Linears of the blocks that are not quantized, by name, for the config writer only. */
    const char *const *plain;
    int64_t plain_count;
    /* Linears beside the blocks, which are carried along as they are, for the config writer only:
     * their names in the checkpoint, and the parts that they are of ("vision_tower", "layers.46"),
     * which a server may keep under another module. */
    const char *const *beside, *const *beside_parts;
    int64_t beside_count, beside_part_count;
    /* Module of the output head, for the config writer only; NULL: lm_head. */
    const char *head;
    /* For the config writer only. */
    struct layout_fusion fusions[LAYOUT_FUSIONS]; /* up to the first without a layer */
};

/* The module of the output head. */
const char *layout_head(const struct layout_config *config);

/* Is it one of the quantized modules? */
bool layout_quantizes_head(const struct layout_config *config, const struct layout_module *modules,
                           int64_t count);

struct st_set; /* formats/safetensors/safetensors.h */

/* What those who load a layout keep in one layer, whose parts must have the same settings: what
 * servers merge (q, k and v; gate and up; all experts of a block); each linear of all experts,
 * which is one tensor; nothing. */
enum layout_merges { LAYOUT_MERGES_LAYERS, LAYOUT_MERGES_EXPERTS, LAYOUT_MERGES_NOTHING };

/* The files that a layout's tensors lie in: model.safetensors or shards, or model.gguf. */
enum layout_container { LAYOUT_SAFETENSORS, LAYOUT_GGUF };

struct layout {
    const char *name;        /* as --format spells it */
    const char *description; /* one line for --help */
    enum layout_container container;

    /* What its codes stand for, and the rows that share a scale, which shape.group columns do
     * anyway (0: each has its own; else the last ones of a matrix may be fewer, columns too). */
    enum number_type number;
    int64_t rows;

    /* What encode() writes scales as: a scale that the type does not hold exactly is an error
     * there. F16 or F32 of integers. */
    enum dtype scales;

    /* Can a module of this shape be stored? LLMQ_E_UNSUPPORTED says why not and what would do. */
    enum llmq_status (*accepts)(const struct quant_shape *shape, llmq_error *err);

    /* May modules deviate from the config in bits, group size or symmetry? */
    bool overrides;

    enum layout_merges merges;

    /* Are codes of either symmetry the same to loaders? */
    bool any_symmetry;

    /* Does the compressed-tensors library read it, and so the config's groups? */
    bool of_library;

    /* Is there a place for the scales of an 8-bit key and value cache? */
    bool cache_scheme;

    /* Do asymmetric modules fit only if their numbers happen to? encode() says so, which is too
     * late for a run that makes them. */
    bool asym_if_exact;

    /* The dtype that config.json has to name for the widest loading, or NULL: as it was. */
    const char *model_dtype;

    /* Where a checkpoint of these settings does not load, in one sentence; NULL: nowhere known. */
    const char *(*caveat)(const struct layout_config *config);

    /* Range of zero points the layout can hold for asymmetric modules of `bits` bits. */
    void (*zero_range)(int bits, int *zmin, int *zmax);

    /* The tensors a module of this shape has, in file order; returns their number. */
    int (*tensors)(const struct quant_shape *shape, struct layout_tensor out[LAYOUT_MAX_TENSORS]);

    /* Encode into caller buffers, data[i] for tensors()[i], NULL after the last. The module was
     * accepted before. */
    enum llmq_status (*encode)(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                               llmq_error *err);

    /* The quantization_config object for the checkpoint (a fresh JSON root, NULL when memory is
     * short). `modules` lists every quantized module; those that deviate from `config` are
     * expressed as overrides. */
    struct json *(*config_write)(const struct layout_config *config,
                                 const struct layout_module *modules, int64_t count);

    /* File beside config.json that holds the same object, or NULL. */
    const char *config_file;

    /* Does a quantization_config describe this layout? */
    bool (*config_matches)(const struct json *quantization_config);

    /* Read the settings. LLMQ_E_INPUT or LLMQ_E_UNSUPPORTED name the key. */
    enum llmq_status (*config_read)(const struct json *quantization_config,
                                    struct layout_config *out, llmq_error *err);

    /* What the config says of each module (module_rules_read calls it), NULL: the same of all. */
    enum llmq_status (*rules)(const struct json *quantization_config,
                              const struct layout_config *settings, struct module_rules *out,
                              llmq_error *err);

    /* Suffixes of the tensors decode() wants, in its order, NULL-terminated; the first one's
     * presence marks a quantized module. */
    const char *const *suffixes;

    /* Decode a module from its tensors (data[i] for suffixes[i]); shapes, dtypes and ranges are
     * checked against `config` and each other. Fills q, which the caller frees. */
    enum llmq_status (*decode)(const struct layout_config *config,
                               const struct layout_data data[LAYOUT_MAX_TENSORS], struct qlinear *q,
                               llmq_error *err);

    /* Optional, NULL for most: write what belongs beside the tensors into their folder `dir`, once
     * all of them are in place there; `tensors` is that folder, opened. */
    enum llmq_status (*write_beside)(const char *dir, const struct st_set *tensors,
                                     const struct layout_module *modules, int64_t count,
                                     llmq_error *err);
};

/* By the name of --format, or NULL. layout_at iterates: NULL past the end. */
const struct layout *layout_find(const char *name);
const struct layout *layout_at(int index);

/* The layout a checkpoint's quantization_config describes. LLMQ_E_UNSUPPORTED names quant_method
 * and format when llmq reads none such. */
LLMQ_NODISCARD enum llmq_status layout_of_config(const struct json *quantization_config,
                                                 const struct layout **out, llmq_error *err);

extern const struct layout layout_gptq;               /* v1: stored zeros are z - 1 */
extern const struct layout layout_gptq_v2;            /* stored zeros are z */
extern const struct layout layout_awq;                /* AutoAWQ GEMM: 4 bits */
extern const struct layout layout_compressed_tensors; /* pack-quantized: 4 and 8 bits */
extern const struct layout layout_gguf;               /* blocks of 32: 4 and 8 bits */
extern const struct layout layout_onnx;               /* MatMulNBits: 2, 4 and 8 bits */
extern const struct layout layout_float_quantized;    /* E4M3, a scale for each row */
extern const struct layout layout_fp8;                /* E4M3, a scale for 128 x 128 */
extern const struct layout layout_mxfp4;              /* E2M1, a power of two for 32 */
extern const struct layout layout_nvfp4;              /* E2M1, an E4M3 for 16 */

/* The layout of floats that a config describes just as llmq writes it, or NULL: such checkpoints
 * are read as plain numbers (formats/encodings), and verified as what they are. */
const struct layout *layout_of_floats(const struct json *quantization_config);

/* The layout for whoever names none: the one that loads most widely. `uniform`: all modules have
 * the same settings. */
const struct layout *layout_default(int bits, bool sym, bool uniform);

#endif
