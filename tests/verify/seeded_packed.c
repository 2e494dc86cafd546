/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded: packed modules, which of them there are and what they hold. See seeded.h. */
#include <string.h>

#include "bases.h"
#include "pipeline/edit_checkpoint.h"
#include "seeded.h"
#include "support.h"

#define Q0 "model.layers.0.self_attn.q_proj"
#define K0 "model.layers.0.self_attn.k_proj"
#define Q1 "model.layers.1.self_attn.q_proj"

static llmq_error err;

/* Put the decoded module `from` under the name `to`. */
static void transplant(const char *dir, const char *from, const char *to) {
    struct edit e;
    struct qlinear q = {0};
    edit_decode(dir, from, &q);
    edit_read(dir, &e);
    edit_encode(&e, &layout_gptq, to, &q);
    edit_write(dir, &e, 1u << 30);
    qlinear_free(&q);
}

static void seed_tied_packed(const char *dir) {
    transplant(dir, Q0, "lm_head");
    edit_tie(dir);
}

static void seed_shape(const char *dir) {
    transplant(dir, Q0, K0);
}

static void seed_other_matrix(const char *dir) {
    transplant(dir, Q1, Q0);
}

static void seed_extra_module(const char *dir) {
    transplant(dir, Q1, "model.layers.0.self_attn.extra_proj");
}

static void make_plain(const char *dir, const char *module, const struct layout *layout) {
    struct edit e;
    struct qlinear q = {0};
    edit_decode(dir, module, &q);
    edit_read(dir, &e);
    edit_make_plain(&e, layout, module, &q);
    edit_write(dir, &e, 1u << 30);
    qlinear_free(&q);
}

static void seed_plain(const char *dir) {
    make_plain(dir, K0, &layout_gptq);
}

static void seed_plain_ct(const char *dir) {
    make_plain(dir, "model.layers.0.mlp.down_proj", &layout_compressed_tensors);
}

static void seed_fused_grid(const char *dir) {
    struct edit e;
    struct qlinear q = {0}, wide = {0};
    edit_decode(dir, K0, &q);
    ck_assert_ok(qlinear_alloc(q.n, q.k, q.bits, 64, &wide, &err), &err);
    memcpy(wide.codes, q.codes, (size_t)(q.n * q.k));
    wide.sym = true;
    for (int64_t n = 0; n < q.n; n++) {
        wide.scales[n] = q.scales[n * q.groups];
        wide.zeros[n] = 8;
    }
    edit_read(dir, &e);
    edit_encode(&e, &layout_gptq, K0, &wide);
    edit_write(dir, &e, 1u << 30);
    qlinear_free(&q);
    qlinear_free(&wide);
}

static void poke16(const char *dir, const char *name, uint16_t value) {
    edit_poke(dir, name, &value, sizeof value);
}

static void poke32(const char *dir, const char *name, uint32_t value) {
    edit_poke(dir, name, &value, sizeof value);
}

static void seed_scale_nan(const char *dir) {
    poke16(dir, Q0 ".scales", 0x7e00);
}

static void seed_scale_negative(const char *dir) {
    poke16(dir, Q0 ".scales", 0xbc00);
}

static void seed_scale_zero(const char *dir) {
    poke16(dir, Q0 ".scales", 0);
}

static void seed_scale_tiny(const char *dir) {
    poke16(dir, Q0 ".scales", 0x0005);
}

static void seed_scale_most(const char *dir) {
    poke16(dir, Q0 ".scales", 0x7bf8);
}

static void seed_beyond_half(const char *dir) {
    poke16(dir, "model.embed_tokens.weight", 0x4880); /* 2^18 in BF16 */
}

static void seed_packed_beyond_half(const char *dir) {
    poke16(dir, Q0 ".scales", 0x7b53);
}

static void seed_zero_range(const char *dir) {
    poke32(dir, Q0 ".qzeros", 0xffffffff);
}

static void seed_zero_asymmetric(const char *dir) {
    poke32(dir, Q0 ".qzeros", 0x77777776);
}

static void seed_group_range(const char *dir) {
    poke32(dir, Q0 ".g_idx", 2);
}

static void seed_group_order(const char *dir) {
    poke32(dir, Q0 ".g_idx", 1);
}

static void seed_wide_map(const char *dir) {
    struct edit e;
    edit_read(dir, &e);
    edit_widen(&e, Q0 ".g_idx");
    edit_write(dir, &e, 1u << 30);
}

static void seed_no_zeros(const char *dir) {
    edit_take(dir, Q0 ".qzeros");
}

static void seed_signed_zeros(const char *dir) {
    edit_add(dir, Q0 ".weight_zero_point", DTYPE_I8, 64, 2, 0);
}

static void seed_idle_map(const char *dir) {
    struct edit e;
    int32_t unset[64];
    memset(unset, 0xff, sizeof unset);
    edit_read(dir, &e);
    edit_put(&e, Q0 ".weight_g_idx", DTYPE_I32, 0, 64, unset);
    edit_write(dir, &e, 1u << 30);
}

static void seed_group_size(const char *dir) {
    edit_text(dir, "config.json", "\"group_size\": 32", "\"group_size\": 64");
}

static void seed_version(const char *dir) {
    edit_text(dir, "config.json", "\"checkpoint_format\": \"gptq\"",
              "\"checkpoint_format\": \"gptq_v2\"");
}

static const struct seeded rows[] = {
    {"fused-status", "g", seed_plain, K0, false},
    {"fused-grid", "g", seed_fused_grid, K0, false},
    {"tied-head-packed", "g", seed_tied_packed, "lm_head", false},
    {"turned-packed", base_turned, NULL, "h.0.attn.c_attn", false},
    {"finite", "g", seed_scale_nan, Q0 ".scales", false},
    {"half-range", "a", seed_beyond_half, "row 0, column 0 is 262144", false},
    {"half-range-packed", "a", seed_packed_beyond_half, Q0, false},
    {"in-block-plain", "g", seed_plain, K0, false},
    {"skip-plain", "c", seed_plain_ct, "down_proj", false},
    {"decode", "g", seed_scale_negative, Q0, false},
    {"decode", "g", seed_group_range, "g_idx", false},
    {"decode", "g", seed_version, "found 7 throughout", false},
    {"module-shape", "g", seed_shape, K0, false},
    {"grid-config", "g", seed_group_size, Q0, false},
    {"grid-config", "a", seed_group_size, Q0, false},
    {"scale-range", "g", seed_scale_zero, Q0, false},
    {"scale-coarse", "g", seed_scale_tiny, Q0, false},
    {"scale-coarse", "g", seed_scale_most, Q0, false},
    {"zero-range", "ga", seed_zero_range, Q0, false},
    {"zeros-symmetric", "g", seed_zero_asymmetric, Q0, false},
    {"groups-in-order", "g", seed_group_order, Q0, false},
    {"old-form", "c", seed_signed_zeros, Q0, false},
    {"idle-map", "c", seed_idle_map, Q0, false},
    {"packed-form", "g", seed_wide_map, "I64", false},
    {"packed-form", "g", seed_no_zeros, Q0 ".qzeros", false},
    {"kernel-shape", "g", NULL, "[64, 64]", false},
    {"block-shape", base_blocks, NULL, "[64, 64]", false},
    {"stacks", "ga", NULL, "vLLM", false},
    {"against-error", "g", seed_other_matrix, Q0, true},
    {"against-shape", "g", seed_extra_module, "extra_proj", true},
};

const struct seeded_list seeded_packed = {rows, sizeof rows / sizeof rows[0]};
