/* SPDX-License-Identifier: Apache-2.0 */
/* `dynamic` overrides: how a GPTQ config says that some modules deviate from its bits, group size
 * or symmetry.
 *
 * Keys are regular expressions, matched from the start of a module's name. GPTQModel matches the
 * names in the file (…self_attn.q_proj), vLLM those of its fused layers (…self_attn.qkv_proj,
 * …mlp.gate_up_proj, …mlp.experts), so one expression has to match both. Modules are classed by
 * the widest expression first:
 *   1. every block, fused layer and its members    .*\.layers\.[0-9]+\.mlp\.(gate|up|gate_up)_proj$
 *   2. one block, fused layer and its members      .*\.layers\.3\.mlp\.(gate|up|gate_up)_proj$
 *   3. one module                                  .*\.layers\.3\.mlp\.up_proj$
 * and a class is used when all its members deviate alike. Two modules are in one class exactly when
 * their expressions are equal.
 *
 * Linears that stay plain are classed with the others, as modules of 16 bits; their keys begin with
 * "-:" where those of overrides begin with "+:", and they come first, since the first match counts.
 *
 * What lies beside the blocks is named by its parts, -:(.*\.)?vision_tower\..*$: the layers of a
 * tower may be called as the model's are, and vLLM does not map these keys to its own names as it
 * does the other formats' (GPTQConfig.apply_vllm_mapper in
 * vllm/model_executor/layers/quantization/gptq.py at 18ec6629).
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "formats/layouts/gptq.h"

/* Bits of a linear that is not quantized. */
#define PLAIN_BITS 16

enum level { EVERY_BLOCK, ONE_BLOCK, ONE_MODULE };

/* --- expressions ------------------------------------------------------------------------------ */

/* One dot-separated part of a name. */
struct part {
    const char *text;
    size_t len;
};

static struct part part_at(const char *text) {
    return (struct part){text, strcspn(text, ".")};
}

/* The following part; its text is NULL after the last one. */
static struct part part_next(struct part p) {
    return p.text[p.len] ? part_at(p.text + p.len + 1) : (struct part){NULL, 0};
}

static bool part_is(struct part p, const char *text) {
    return p.text && strlen(text) == p.len && memcmp(p.text, text, p.len) == 0;
}

static bool is_number(struct part p) {
    return p.text && p.len > 0 && strspn(p.text, "0123456789") >= p.len;
}

static void put_literal(struct strbuf *out, struct part p) {
    for (size_t i = 0; i < p.len; i++) {
        const unsigned char c = (unsigned char)p.text[i];
        if (c < 0x80 && !isalnum(c) && c != '_')
            strbuf_puts(out, "\\");
        strbuf_append(out, &p.text[i], 1);
    }
}

/* The layer that a module of this last part is merged into; NULL: none. */
static const struct layout_fusion *fusion_of(const struct layout_config *config, struct part p) {
    for (int f = 0; f < LAYOUT_FUSIONS && config->fusions[f].layer; f++)
        for (int m = 0; m < LAYOUT_FUSION_MEMBERS; m++) {
            const char *member = config->fusions[f].members[m];
            if (member && part_is(p, member))
                return &config->fusions[f];
        }
    return NULL;
}

/* The ending from the last underscore on, if all names have it; else "". */
static const char *common_ending(const struct layout_fusion *f) {
    const char *ending = strrchr(f->layer, '_');
    for (int m = 0; ending && m < LAYOUT_FUSION_MEMBERS && f->members[m]; m++) {
        const size_t len = strlen(f->members[m]), tail = strlen(ending);
        if (len <= tail || strcmp(f->members[m] + len - tail, ending) != 0)
            ending = NULL;
    }
    return ending ? ending : "";
}

/* "(gate|up|gate_up)_proj" */
static void put_fusion(struct strbuf *out, const struct layout_fusion *f) {
    const char *ending = common_ending(f);
    const size_t tail = strlen(ending);
    strbuf_puts(out, "(");
    for (int m = 0; m < LAYOUT_FUSION_MEMBERS && f->members[m]; m++) {
        put_literal(out, (struct part){f->members[m], strlen(f->members[m]) - tail});
        strbuf_puts(out, "|");
    }
    put_literal(out, (struct part){f->layer, strlen(f->layer) - tail});
    strbuf_puts(out, ")");
    put_literal(out, (struct part){ending, tail});
}

static void put_part(struct strbuf *out, const struct layout_config *config, struct part p,
                     enum level level) {
    const bool last = p.text[p.len] == '\0';
    const struct layout_fusion *fusion = last && level != ONE_MODULE ? fusion_of(config, p) : NULL;
    if (level == EVERY_BLOCK && is_number(p))
        strbuf_puts(out, "[0-9]+");
    else if (fusion)
        put_fusion(out, fusion);
    else
        put_literal(out, p);
}

/* The part where a block's name starts ("layers" of model.layers.0.mlp), whatever stack it is in;
 * a name without a number is taken whole. */
static struct part skip_prefix(const char *name) {
    for (struct part p = part_at(name), next; p.text; p = next) {
        next = part_next(p);
        if (is_number(next))
            return p;
    }
    return part_at(name);
}

/* The expression for a module's class at `level`, without the sign before it. */
static void put_expression(struct strbuf *out, const struct layout_config *config, const char *name,
                           enum level level) {
    struct part p = skip_prefix(name);
    strbuf_puts(out, p.text == name ? "" : ".*\\.");
    if (p.text == name && is_number(part_next(p)))
        strbuf_puts(out, "(.*\\.)?"); /* checkpoints may lack the prefix that loaders add */
    while (p.text) {
        const struct part next = part_next(p);
        put_part(out, config, p, level);
        if (level != ONE_MODULE && part_is(p, "experts") && is_number(next)) {
            strbuf_puts(out, "(\\..*)?"); /* experts are one fused layer */
            break;
        }
        if (next.text)
            strbuf_puts(out, "\\.");
        p = next;
    }
    strbuf_puts(out, "$");
}

/* --- classes ---------------------------------------------------------------------------------- */

/* A module's settings with the group size spelled as in the config when it means the same. */
struct settings {
    int bits;
    int64_t group;
    bool sym;
};

static struct settings settings_of(const struct layout_config *config,
                                   const struct quant_shape *shape) {
    const int64_t group = shape->group == -1 ? shape->k : shape->group;
    const int64_t base = config->group == -1 ? shape->k : config->group;
    return (struct settings){.bits = shape->bits,
                             .group = group == base       ? config->group
                                      : group == shape->k ? -1
                                                          : group,
                             .sym = shape->sym};
}

static bool same_settings(struct settings a, struct settings b) {
    return a.bits == b.bits && a.group == b.group && a.sym == b.sym;
}

static bool deviates(const struct layout_config *config, const struct quant_shape *shape) {
    const struct settings base = {config->bits, config->group, config->sym};
    return !same_settings(settings_of(config, shape), base);
}

struct entry {
    char *expression;
    int64_t module;
};

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    const int order = strcmp(x->expression, y->expression);
    return order ? order : (x->module > y->module) - (x->module < y->module);
}

static void entries_free(struct entry *entries, int64_t count) {
    for (int64_t i = 0; entries && i < count; i++)
        free(entries[i].expression);
    free(entries);
}

/* Every module with its expression at `level`, classes together; NULL when memory is short. */
static struct entry *sorted_entries(const struct layout_config *config,
                                    const struct layout_module *modules, int64_t count,
                                    enum level level) {
    struct entry *entries = calloc((size_t)count, sizeof *entries);
    for (int64_t i = 0; entries && i < count; i++) {
        struct strbuf text = {0};
        put_expression(&text, config, modules[i].name, level);
        entries[i] = (struct entry){strbuf_take(&text), i};
        if (!entries[i].expression) {
            entries_free(entries, count);
            return NULL;
        }
    }
    if (entries)
        qsort(entries, (size_t)count, sizeof *entries, compare_entries);
    return entries;
}

/* leader[i]: the first module of module i's class at `level`, or -1 when its members differ. */
static bool classify(const struct layout_config *config, const struct layout_module *modules,
                     int64_t count, enum level level, int64_t *leader) {
    struct entry *entries = sorted_entries(config, modules, count, level);
    if (!entries)
        return false;
    for (int64_t begin = 0, end; begin < count; begin = end) {
        const struct entry *first = &entries[begin];
        const struct settings settings = settings_of(config, &modules[first->module].shape);
        bool alike = true;
        for (end = begin; end < count && strcmp(entries[end].expression, first->expression) == 0;
             end++)
            alike =
                alike &&
                same_settings(settings, settings_of(config, &modules[entries[end].module].shape));
        for (int64_t i = begin; i < end; i++)
            leader[entries[i].module] = alike ? first->module : -1;
    }
    entries_free(entries, count);
    return true;
}

static void add_override(struct json *overrides, const struct layout_config *config,
                         const struct layout_module *module, enum level level) {
    const struct settings s = settings_of(config, &module->shape);
    struct strbuf text = {0};
    struct json *values = json_new_object();
    const bool plain = s.bits == PLAIN_BITS;
    if (!plain && s.bits != config->bits)
        json_add_int64(values, "bits", s.bits);
    if (!plain && s.group != config->group)
        json_add_int64(values, "group_size", s.group);
    if (!plain && s.sym != config->sym)
        json_add_bool(values, "sym", s.sym);
    strbuf_puts(&text, plain ? "-:" : "+:");
    put_expression(&text, config, module->name, level);
    /* An expression that memory ran out for makes the tree unprintable, which is the report. */
    json_add(overrides, strbuf_ok(&text) ? text.data : "", strbuf_ok(&text) ? values : NULL);
    if (!strbuf_ok(&text))
        json_free(&values);
    strbuf_free(&text);
}

/* The linears that stay plain, then the modules; NULL when memory is short. */
static struct layout_module *all_linears(const struct layout_config *config,
                                         const struct layout_module *modules, int64_t count) {
    const int64_t plain = config->plain_count;
    struct layout_module *all = calloc((size_t)(plain + count + 1), sizeof *all); /* never none */
    for (int64_t i = 0; all && i < plain; i++)
        all[i] = (struct layout_module){
            config->plain[i],
            {.k = 1, .bits = PLAIN_BITS, .group = config->group, .sym = config->sym}};
    for (int64_t i = 0; all && i < count; i++)
        all[plain + i] = modules[i];
    return all;
}

/* "-:(.*\.)?vision_tower\..*$" for each part beside the blocks. */
static bool add_parts(struct json *overrides, const struct layout_config *config) {
    bool ok = true;
    for (int64_t i = 0; ok && i < config->beside_part_count; i++) {
        struct strbuf text = {0};
        strbuf_puts(&text, "-:(.*\\.)?");
        for (struct part p = part_at(config->beside_parts[i]); p.text; p = part_next(p)) {
            put_literal(&text, p);
            strbuf_puts(&text, "\\.");
        }
        strbuf_puts(&text, ".*$");
        ok = strbuf_ok(&text);
        if (ok)
            json_add(overrides, text.data, json_new_object());
        strbuf_free(&text);
    }
    return ok;
}

/* The overrides of the linears from `first` on, the first one that deviates. */
static struct json *overrides_of(const struct layout_config *config,
                                 const struct layout_module *linears, int64_t count,
                                 int64_t first) {
    struct json *overrides = json_new_object();
    int64_t *leaders = calloc((size_t)(count + 1) * ONE_MODULE, sizeof *leaders); /* never none */
    bool ok = overrides && leaders && add_parts(overrides, config);
    for (int level = 0; ok && level < ONE_MODULE; level++)
        ok = classify(config, linears, count, (enum level)level, leaders + level * count);
    for (int64_t i = first; ok && i < count; i++) {
        if (!deviates(config, &linears[i].shape))
            continue;
        int level = 0;
        while (level < ONE_MODULE && leaders[level * count + i] == -1)
            level++;
        if (level == ONE_MODULE || leaders[level * count + i] == i)
            add_override(overrides, config, &linears[i], (enum level)level);
    }
    free(leaders);
    if (!ok)
        json_free(&overrides);
    return overrides;
}

struct json *gptq_dynamic(const struct layout_config *config, const struct layout_module *modules,
                          int64_t count, bool *failed) {
    struct layout_module *linears = all_linears(config, modules, count);
    struct json *overrides = NULL;
    int64_t first = 0;
    *failed = !linears;
    if (*failed)
        return NULL;
    count += config->plain_count;
    while (first < count && !deviates(config, &linears[first].shape))
        first++;
    if (first < count || config->beside_part_count > 0) {
        overrides = overrides_of(config, linears, count, first);
        *failed = !overrides;
    }
    free(linears);
    return overrides;
}
