/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that predict further tokens, quantized as blocks. The models are a tiny one made here and
 * those of the shared data that have a family with such layers; each gets one layer, with the
 * weights of one of its blocks and a wiring of its own. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "calib/calib.h"
#include "edit_checkpoint.h"
#include "formats/loaders/layout_load.h"
#include "formats/loaders/model_folder.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

enum { HIDDEN = 64 };

/* Where a family has its layer, written down anew from what servers load. */
static const struct form {
    const char *golden; /* NULL: the tiny model, as MiMo */
    const char *from;   /* the block that the layer's is a copy of, ... */
    const char *block;  /* ... and what it is called */
    const char *token_norm, *hidden_norm, *projection;
    const char *trunk; /* of the model's last norm and embedding */
    bool hidden_first, behind_norm, plus_one;
} forms[] = {
    {NULL, "model.layers.1.", "model.mtp_layers.0.", "model.mtp_layers.0.token_layernorm",
     "model.mtp_layers.0.hidden_layernorm", "model.mtp_layers.0.input_proj", "model.", true, false,
     false},
    {"glm4-moe-air", "model.layers.1.", "model.layers.2.", "model.layers.2.enorm",
     "model.layers.2.hnorm", "model.layers.2.eh_proj", "model.", false, true, false},
    {"deepseek-v3", "model.layers.1.", "model.layers.2.", "model.layers.2.enorm",
     "model.layers.2.hnorm", "model.layers.2.eh_proj", "model.", false, true, false},
    {"deepseek-v32", "model.layers.1.", "model.layers.2.", "model.layers.2.enorm",
     "model.layers.2.hnorm", "model.layers.2.eh_proj", "model.", false, true, false},
    {"glm4-moe-lite", "model.layers.1.", "model.layers.2.", "model.layers.2.enorm",
     "model.layers.2.hnorm", "model.layers.2.eh_proj", "model.", false, true, false},
    {"qwen3-next", "model.layers.1.", "mtp.layers.0.", "mtp.pre_fc_norm_embedding",
     "mtp.pre_fc_norm_hidden", "mtp.fc", "model.", false, true, true},
    {"qwen3-5-moe-multimodal", "model.language_model.layers.1.", "mtp.layers.0.",
     "mtp.pre_fc_norm_embedding", "mtp.pre_fc_norm_hidden", "mtp.fc", "model.language_model.",
     false, true, true},
};
enum { FORMS = sizeof forms / sizeof forms[0] };

static llmq_error err;

/* --- making them ------------------------------------------------------------------------------ */

static void put_random(struct edit *e, const char *module, uint64_t rows, uint64_t columns,
                       uint64_t seed) {
    char name[128];
    float values[2 * HIDDEN * HIDDEN];
    uint16_t data[2 * HIDDEN * HIDDEN];
    const size_t count = (size_t)((rows ? rows : 1) * columns);
    for (size_t i = 0; i < count; i++) {
        const float u = (float)((double)(random_next(&seed) >> 40) * 0x1p-23 - 1.0);
        values[i] = rows ? 0.3f * u : 1 + 0.5f * u;
    }
    (void)snprintf(name, sizeof name, "%s.weight", module);
    dtype_from_f32(DTYPE_BF16, values, count, data);
    edit_put(e, name, DTYPE_BF16, rows, columns, data);
}

/* Copies of all tensors that begin with `from`, which begin with `to`. */
static void copy_block(struct edit *e, const char *from, const char *to) {
    const size_t count = e->count;
    for (size_t i = 0; i < count; i++) {
        char name[256];
        if (strncmp(e->specs[i].name, from, strlen(from)) != 0)
            continue;
        (void)snprintf(name, sizeof name, "%s%s", to, e->specs[i].name + strlen(from));
        ck_assert_uint_lt(e->count, EDIT_MAX_TENSORS);
        e->specs[e->count] = e->specs[i];
        e->specs[e->count].name = strdup(name);
        e->bytes[e->count] = e->bytes[i];
        e->data[e->count] = malloc(e->bytes[i]);
        memcpy(e->data[e->count++], e->data[i], e->bytes[i]);
    }
}

static void remove_block(struct edit *e, const char *prefix) {
    for (size_t i = e->count; i-- > 0;)
        if (strncmp(e->specs[i].name, prefix, strlen(prefix)) == 0)
            edit_remove(e, e->specs[i].name);
}

/* The tiny model as a MiMo, whose attention has biases but at its output. */
static void make_mimo(void) {
    tiny_model_write_biased(source, 1);
    edit_text(source, "config.json", "LlamaForCausalLM", "MiMoForCausalLM");
    edit_text(source, "config.json", "\"model_type\": \"llama\"", "\"model_type\": \"mimo\"");
    edit_text(source, "config.json", ",\n  \"attention_bias\": true", "");
    edit_take(source, "model.layers.0.self_attn.o_proj.bias");
    edit_take(source, "model.layers.1.self_attn.o_proj.bias");
}

static void copy_golden(const char *folder) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    ck_assert_ok(dir_make(source, true, &err), &err);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *from = path_join(folder, files[i], &err), *to = path_join(source, files[i], &err);
        char *data = NULL;
        size_t len = 0;
        ck_assert_ok(file_read(from, 1 << 26, &data, &len, &err), &err);
        ck_assert_ok(file_write_atomic(to, data, len, &err), &err);
        free(data);
        free(from);
        free(to);
    }
}

/* At `source`, with its layer; false: the shared data is not there. */
static bool make(const struct form *f) {
    struct edit e;
    char part[64];
    (void)snprintf(part, sizeof part, "golden/%s", f->golden ? f->golden : "");
    char *folder = f->golden ? shared_path(part) : NULL;
    if (f->golden && !folder)
        return false;
    if (folder)
        copy_golden(folder);
    else
        make_mimo();
    free(folder);
    edit_read(source, &e);
    remove_block(&e, f->block);
    copy_block(&e, f->from, f->block);
    put_random(&e, f->token_norm, 0, HIDDEN, 11);
    put_random(&e, f->hidden_norm, 0, HIDDEN, 12);
    put_random(&e, f->projection, HIDDEN, 2 * HIDDEN, 13);
    edit_write(source, &e, 1u << 30);
    return true;
}

static llmq_quantize_options options_of(enum llmq_method method, const char *format) {
    llmq_quantize_options o = run_options(method);
    o.mtp = LLMQ_MTP_QUANTIZE;
    o.format = format;
    o.group = 32;
    o.group_auto_fit = o.group_keep = true;
    return o;
}

/* --- the wiring ------------------------------------------------------------------------------- */

/* x [HIDDEN] in place, behind the norm of that name. */
static void norm(const struct model *m, const char *module, bool plus_one, double *x) {
    char name[128];
    float weight[HIDDEN];
    double square = 0;
    (void)snprintf(name, sizeof name, "%s.weight", module);
    ck_assert_ok(st_read_f32(m->tensors, st_find(m->tensors, name), weight, &err), &err);
    for (int i = 0; i < HIDDEN; i++)
        square += x[i] * x[i];
    const double scale = 1 / sqrt(square / HIDDEN + m->config.facts.numbers[NUM_EPS]);
    for (int i = 0; i < HIDDEN; i++)
        x[i] *= scale * ((plus_one ? 1 : 0) + (double)weight[i]);
}

/* What the layer's block reads of a token whose hidden state is h, and after which `next` comes;
 * -1: none does. */
static void wire(const struct model *m, const struct form *f, const float *h, int32_t next,
                 double out_row[HIDDEN]) {
    double hidden[HIDDEN], token[HIDDEN] = {0};
    float embedding[HIDDEN], *projection = malloc(sizeof(float) * 2 * HIDDEN * HIDDEN);
    char name[128];
    (void)snprintf(name, sizeof name, "%sembed_tokens.weight", f->trunk);
    ck_assert_ok(st_read_part_f32(m->tensors, st_find(m->tensors, name),
                                  (uint64_t)(next < 0 ? 0 : next) * HIDDEN, HIDDEN, embedding,
                                  &err),
                 &err);
    for (int i = 0; i < HIDDEN; i++) {
        token[i] = next < 0 ? 0 : (double)embedding[i];
        hidden[i] = (double)h[i];
    }
    norm(m, f->token_norm, f->plus_one, token);
    (void)snprintf(name, sizeof name, "%snorm", f->trunk);
    if (f->behind_norm)
        norm(m, name, f->plus_one, hidden);
    norm(m, f->hidden_norm, f->plus_one, hidden);
    (void)snprintf(name, sizeof name, "%s.weight", f->projection);
    ck_assert_ok(st_read_f32(m->tensors, st_find(m->tensors, name), projection, &err), &err);
    for (int i = 0; i < HIDDEN; i++) {
        const float *row = projection + (size_t)i * 2 * HIDDEN;
        out_row[i] = 0;
        for (int j = 0; j < HIDDEN; j++)
            out_row[i] += (double)row[j] * (f->hidden_first ? hidden[j] : token[j]) +
                          (double)row[HIDDEN + j] * (f->hidden_first ? token[j] : hidden[j]);
    }
    free(projection);
}

enum { TOKENS = 20, WINDOWS = 2 };
static const int64_t offsets[WINDOWS + 1] = {0, 11, TOKENS};

static void pass_block(struct calib *c, const struct model *m, int64_t index) {
    struct arena *weights = NULL;
    struct block block = {0}, original = {0};
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    block_open(m, index, LOAD_PLAIN, weights, &block);
    block_open(m, index, LOAD_PLAIN, weights, &original);
    calib_begin_block(c, &block, &original);
    ck_assert_ok(calib_end_block(c, &err), &err);
    block_release(&block);
    block_release(&original);
    arena_free(&weights);
}

static void check_rows(const struct model *m, const struct form *f, const int32_t *ids,
                       const float *before, const float *after) {
    double worst = 0, largest = 0;
    for (int w = 0; w < WINDOWS; w++)
        for (int64_t i = offsets[w]; i < offsets[w + 1]; i++) {
            double expected[HIDDEN];
            wire(m, f, before + i * HIDDEN, i + 1 < offsets[w + 1] ? ids[i + 1] : -1, expected);
            for (int j = 0; j < HIDDEN; j++) {
                worst = fmax(worst, fabs(expected[j] - (double)after[i * HIDDEN + j]));
                largest = fmax(largest, fabs(expected[j]));
            }
        }
    ck_assert_msg(worst <= 1e-5 * largest, "%s is off by %g of %g", f->projection, worst, largest);
}

START_TEST(a_layer_reads_hidden_states_and_the_next_tokens) {
    const struct form *f = &forms[_i];
    struct model m;
    struct calib *c = NULL;
    int32_t ids[TOKENS];
    float before[TOKENS * HIDDEN], after[TOKENS * HIDDEN];
    const struct calib_options streams = {.paired = true, .expert_tokens = 1};
    const struct calib_tokens tokens = {ids, offsets, WINDOWS, 0};
    if (!make(f))
        return;
    for (int i = 0; i < TOKENS; i++)
        ids[i] = i * 7 % 61;
    ck_assert_ok(model_open_by(source, &(struct model_reading){.drafts = true}, &m, &err), &err);
    ck_assert_int_eq(m.config.drafts, 1);
    ck_assert_int_eq(m.blocks->count, m.config.blocks + 1);
    ck_assert_ok(calib_create(&m, &tokens, &streams, NULL, &c, &err), &err);
    for (int64_t b = 0; b < m.config.blocks; b++)
        pass_block(c, &m, b);
    ck_assert_ok(calib_residual(c, before, &err), &err);
    ck_assert_ok(calib_begin_draft(c, 0, &err), &err);
    ck_assert_ok(calib_residual(c, after, &err), &err);
    check_rows(&m, f, ids, before, after);
    pass_block(c, &m, m.config.blocks);
    calib_free(&c);
    model_close(&m);
}
END_TEST

/* --- what is made ----------------------------------------------------------------------------- */

static bool is_of_layer(const struct form *f, const char *name) {
    return strncmp(name, f->block, strlen(f->block)) == 0;
}

/* How many linears of the layer are packed in a folder. */
static int packed_in(const char *dir, const struct form *f, const char *format) {
    struct st_set *set = NULL;
    size_t len = 0;
    int count = 0;
    ck_assert_ok(st_open_dir(dir, &set, &err), &err);
    for (size_t i = 0; i < st_count(set); i++)
        count += is_of_layer(f, st_at(set, i)->name) &&
                 layout_suffix(layout_find(format), st_at(set, i)->name, &len) == 0;
    st_close(&set);
    return count;
}

/* Every tensor of `a` that is not the layer's is in `b` with the same bytes. */
static void check_same_model(const struct form *f, const char *a, const char *b) {
    struct st_set *set = NULL, *other = NULL;
    ck_assert_ok(st_open_dir(a, &set, &err), &err);
    ck_assert_ok(st_open_dir(b, &other, &err), &err);
    for (size_t i = 0; i < st_count(set); i++) {
        const struct st_tensor *t = st_at(set, i), *o = st_find(other, t->name);
        if (is_of_layer(f, t->name))
            continue;
        ck_assert_msg(o != NULL && o->nbytes == t->nbytes, "no %s", t->name);
        char *x = malloc((size_t)t->nbytes + 1), *y = malloc((size_t)t->nbytes + 1);
        ck_assert_ok(st_read(set, t, 0, (size_t)t->nbytes, x, &err), &err);
        ck_assert_ok(st_read(other, o, 0, (size_t)t->nbytes, y, &err), &err);
        ck_assert_msg(memcmp(x, y, (size_t)t->nbytes) == 0, "%s differs", t->name);
        free(x);
        free(y);
    }
    st_close(&set);
    st_close(&other);
}

static void check_verified(const char *dir, const char *against) {
    const llmq_verify_options o = {.size = sizeof o, .model = dir, .against = against};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    for (size_t i = 0; i < r.violations.count; i++)
        ck_abort_msg("%s: %s: %s", r.violations.items[i].rule, r.violations.items[i].tensor,
                     r.violations.items[i].message);
    for (size_t i = 0; i < r.warnings.count; i++)
        ck_assert_msg(strcmp(r.warnings.items[i].rule, "in-block-plain") != 0, "%s: %s",
                      r.warnings.items[i].tensor, r.warnings.items[i].message);
    llmq_verify_report_free(&r);
}

static void convert(const char *from, const char *to, const char *format) {
    llmq_convert_options o;
    llmq_convert_report r;
    llmq_convert_options_init(&o);
    o.model = from;
    o.out = to;
    o.format = format;
    ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
    llmq_convert_report_free(&r);
}

/* The model itself stays what it would be without its layer; this comes packed, and goes along. */
static void check_run(const struct form *f, enum llmq_method method, const char *format) {
    llmq_quantize_options o = options_of(method, format);
    char *kept = strdup(scratch_path("kept")), *other = strdup(scratch_path("other"));
    const char *target = strcmp(format, "gptq") == 0 ? "compressed-tensors" : "gptq";
    run_quantize(&o);
    ck_assert_int_gt(packed_in(out, f, format), 6);
    check_verified(out, source);
    o.mtp = LLMQ_MTP_KEEP;
    o.out = kept;
    run_quantize(&o);
    ck_assert_int_eq(packed_in(kept, f, format), 0);
    check_verified(kept, source);
    check_same_model(f, kept, out);
    ck_assert_double_eq(run_loss(out, false), run_loss(kept, false));
    if (!f->golden) { /* the others have linears that gptq does not hold */
        convert(out, other, target);
        ck_assert_int_eq(packed_in(other, f, target), packed_in(out, f, format));
        check_verified(other, source);
        ck_assert_ok(dir_remove(other, &err), &err);
    }
    free(kept);
    free(other);
}

START_TEST(a_layer_is_quantized_and_the_model_stays_the_same) {
    const struct form *f = &forms[_i];
    if (!make(f))
        return;
    check_run(f, LLMQ_METHOD_RTN, f->golden ? "compressed-tensors" : "gptq");
    if (!f->golden || strcmp(f->golden, "glm4-moe-air") == 0)
        check_run(f, LLMQ_METHOD_GPTQ, "compressed-tensors");
}
END_TEST

/* AWQ folds within the layer's block; what is read back is the same function. */
START_TEST(awq_scales_within_the_layer) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_AWQ, "awq");
    ck_assert(make(&forms[0]));
    run_quantize(&o);
    check_verified(out, source);
    ck_assert_int_eq(packed_in(out, &forms[0], "awq"), 7);
}
END_TEST

/* A rule reaches the layer by its name, and one that leaves it alone leaves it as it is. */
START_TEST(rules_reach_the_layer) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, "gptq");
    llmq_recipe *recipe = NULL;
    ck_assert(make(&forms[0]));
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_keep(recipe, "mtp_layers", &err), &err);
    o.recipe = recipe;
    run_quantize(&o);
    ck_assert_int_eq(packed_in(out, &forms[0], "gptq"), 0);
    check_verified(out, source);
    llmq_recipe_free(&recipe);
}
END_TEST

/* --- runs that stop --------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupt;

static void stop_in_the_layer(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    (void)done;
    (void)total;
    if (strncmp(what, "block 3", 7) == 0)
        interrupt = 1;
}

/* The head, too, whose moments are of the model's last block and not of the layer's. */
START_TEST(an_interrupted_layer_is_resumed) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, "gptq");
    const llmq_context ctx = {
        .size = sizeof ctx, .sink = {.progress = stop_in_the_layer}, .interrupt = &interrupt};
    llmq_recipe *recipe = NULL;
    llmq_quantize_report r;
    ck_assert(make(&forms[0]));
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "lm_head:bits=4", &err), &err);
    o.recipe = recipe;
    interrupt = 0;
    ck_assert_fails(llmq_quantize(&o, &ctx, &r, &err), LLMQ_E_INTERRUPTED, "interrupted", &err);
    llmq_quantize_report_free(&r);
    o.mtp = LLMQ_MTP_KEEP;
    run_resume_fails(&o, LLMQ_E_INPUT, "--mtp was quantize, is keep");
    o.mtp = LLMQ_MTP_QUANTIZE;
    o.resume = true;
    r = run_report(&o, NULL);
    ck_assert_int_eq(r.blocks_resumed, 2);
    llmq_quantize_report_free(&r);
    o.resume = false;
    o.out = scratch_path("whole");
    run_quantize(&o);
    check_same_model(&(struct form){.block = "none"}, out, scratch_path("whole"));
    check_verified(out, source);
    llmq_recipe_free(&recipe);
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

START_TEST(layers_that_are_not_there_are_refused) {
    const llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, NULL);
    llmq_error e = run_refused(&o, LLMQ_E_UNSUPPORTED, "of llama models llmq does not know layers");
    ck_assert_ptr_nonnull(strstr(e.hint, "leave out --mtp"));
    make_mimo();
    e = run_refused(&o, LLMQ_E_UNSUPPORTED, "the checkpoint has no layers that predict further");
    ck_assert_ptr_nonnull(strstr(e.hint, "leave out --mtp"));
}
END_TEST

START_TEST(broken_layers_are_refused_only_where_they_are_asked_for) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, "gptq");
    struct edit e;
    ck_assert(make(&forms[0]));
    edit_read(source, &e);
    put_random(&e, forms[0].projection, HIDDEN, HIDDEN, 1);
    edit_write(source, &e, 1u << 30);
    run_refused(&o, LLMQ_E_INPUT, "has shape [64, 64]; config.json implies [64, 128]");
    edit_take(source, "model.mtp_layers.0.input_proj.weight");
    llmq_error refused =
        run_refused(&o, LLMQ_E_INPUT, "'model.mtp_layers.0.input_proj.weight' is missing");
    ck_assert_ptr_nonnull(strstr(refused.hint, "leave out --mtp"));
    o.mtp = LLMQ_MTP_KEEP;
    run_quantize(&o);
    check_verified(out, source);
}
END_TEST

/* A packed layer that lacks a part is no block: the model is read without it. */
START_TEST(a_packed_layer_that_lacks_a_part_is_passed_over) {
    const llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, "gptq");
    struct model m;
    ck_assert(make(&forms[0]));
    run_quantize(&o);
    const double loss = run_loss(out, false);
    edit_take(out, "model.mtp_layers.0.input_proj.weight");
    ck_assert_ok(model_open(out, &m, &err), &err);
    ck_assert_int_eq(m.config.drafts, 0);
    ck_assert_int_eq(m.blocks->count, m.config.blocks);
    model_close(&m);
    ck_assert_double_eq(run_loss(out, false), loss);
}
END_TEST

int main(void) {
    Suite *s = suite_create("drafts");
    TCase *t = tcase_create("layers");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_loop_test(t, a_layer_reads_hidden_states_and_the_next_tokens, 0, FORMS);
    tcase_add_loop_test(t, a_layer_is_quantized_and_the_model_stays_the_same, 0, FORMS);
    tcase_add_test(t, awq_scales_within_the_layer);
    tcase_add_test(t, rules_reach_the_layer);
    tcase_add_test(t, an_interrupted_layer_is_resumed);
    tcase_add_test(t, layers_that_are_not_there_are_refused);
    tcase_add_test(t, broken_layers_are_refused_only_where_they_are_asked_for);
    tcase_add_test(t, a_packed_layer_that_lacks_a_part_is_passed_over);
    suite_add_tcase(s, t);
    return run_suite(s);
}
