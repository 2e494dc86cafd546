/* SPDX-License-Identifier: Apache-2.0 */
/* The config of a compressed-tensors checkpoint: its exact text, groups for modules that deviate,
 * and what is read and refused. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "formats/layouts/layout.h"

static llmq_error err;
static const struct layout *const ct = &layout_compressed_tensors;

#define WEIGHTS(bits, sym, strategy, group)                                                        \
    "\"weights\":{\"num_bits\":" bits ",\"type\":\"int\",\"symmetric\":" sym                       \
    ",\"strategy\":\"" strategy "\",\"group_size\":" group ",\"dynamic\":false,"                   \
    "\"actorder\":null,\"block_structure\":null,\"observer\":\"minmax\",\"observer_kwargs\":{}},"  \
    "\"input_activations\":null,\"output_activations\":null}"
#define HEAD                                                                                       \
    "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","                      \
    "\"quantization_status\":\"compressed\",\"config_groups\":{"
#define TAIL(ignore)                                                                               \
    "},\"ignore\":[" ignore "],\"kv_cache_scheme\":null,\"global_compression_ratio\":null}"

static void check_text(const struct layout_config *config, const struct layout_module *modules,
                       int64_t count, const char *expected) {
    const struct layout *found = NULL;
    struct layout_config back;
    struct json *root = ct->config_write(config, modules, count);
    char *text = json_print(root, false);
    ck_assert_str_eq(text, expected);
    ck_assert_ok(layout_of_config(root, &found, &err), &err);
    ck_assert_ptr_eq(found, ct);
    ck_assert_ok(ct->config_read(root, &back, &err), &err);
    ck_assert_int_eq(back.bits, config->bits);
    ck_assert_int_eq(back.group, config->group);
    free(text);
    json_free(&root);
}

START_TEST(the_config_has_the_text_that_loaders_were_read_for) {
    struct layout_config config = {.bits = 4, .group = 128, .sym = true};
    const struct layout_module head = {"lm_head",
                                       {.n = 512, .k = 256, .bits = 8, .group = -1, .sym = false}};
    check_text(&config, NULL, 0,
               HEAD "\"group_0\":{\"targets\":[\"Linear\"]," WEIGHTS("4", "true", "group", "128")
                   TAIL("\"lm_head\""));
    config = (struct layout_config){.bits = 8, .group = -1, .sym = false};
    check_text(&config, &head, 1,
               HEAD "\"group_0\":{\"targets\":[\"Linear\"]," WEIGHTS(
                   "8", "false", "channel",
                   "null") ",\"group_1\":{\"targets\":[\"lm_head\"]," WEIGHTS("8", "false",
                                                                              "channel", "null")
                   TAIL(""));
    config = (struct layout_config){.bits = 4, .group = 128, .sym = true, .head = "embed_out"};
    check_text(&config, NULL, 0,
               HEAD "\"group_0\":{\"targets\":[\"Linear\"]," WEIGHTS("4", "true", "group", "128")
                   TAIL("\"embed_out\""));
}
END_TEST

START_TEST(modules_that_deviate_are_named_in_groups_of_their_own) {
    const struct layout_config config = {.bits = 4, .group = 64, .sym = true};
    const struct layout_module modules[] = {
        {"l.0.q", {.n = 64, .k = 64, .bits = 4, .group = 64, .sym = true}},
        {"l.0.up", {.n = 96, .k = 64, .bits = 8, .group = 64, .sym = true}},
        {"l.0.down", {.n = 64, .k = 96, .bits = 4, .group = 48, .sym = true}},
        {"l.1.q", {.n = 64, .k = 64, .bits = 4, .group = -1, .sym = true}}, /* 64 spelled so */
        {"l.1.up", {.n = 96, .k = 64, .bits = 8, .group = -1, .sym = true}},
        {"l.1.down", {.n = 64, .k = 96, .bits = 4, .group = 48, .sym = true}},
    };
    check_text(&config, modules, 6,
               HEAD "\"group_0\":{\"targets\":[\"Linear\"]," WEIGHTS(
                   "4", "true", "group",
                   "64") ",\"group_1\":{\"targets\":[\"l.0.up\",\"l.1.up\"]"
                         "," WEIGHTS("8", "true", "channel",
                                     "null") ",\"group_2\":{\"targets\":[\"l.0."
                                             "down\",\"l.1.down\"]," WEIGHTS(
                                                 "4", "true", "group", "48") TAIL("\"lm_head\""));
}
END_TEST

/* An expert whose rows are one group of the size that the others' are: one layer, one group. */
START_TEST(parts_of_a_fused_layer_are_spelled_alike) {
    const struct layout_config config = {.bits = 4, .group = 64, .sym = true};
    const struct layout_module modules[] = {
        {"l.0.q", {.n = 64, .k = 64, .bits = 4, .group = 64, .sym = true}},
        {"l.0.kv", {.n = 64, .k = 32, .bits = 4, .group = -1, .sym = true}},
        {"l.0.experts.0.gate", {.n = 16, .k = 64, .bits = 4, .group = 16, .sym = true}},
        {"l.0.experts.0.down", {.n = 64, .k = 16, .bits = 4, .group = 16, .sym = true}},
    };
    check_text(
        &config, modules, 4,
        HEAD "\"group_0\":{\"targets\":[\"Linear\"]," WEIGHTS(
            "4", "true", "group",
            "64") ",\"group_1\":{\"targets\":[\"l.0.kv\"]," WEIGHTS("4", "true", "channel",
                                                                    "null") ",\"group_2\":{"
                                                                            "\"targets\":[\"l.0."
                                                                            "experts.0.gate\","
                                                                            "\"l.0.experts.0."
                                                                            "down\"]," WEIGHTS(
                                                                                "4", "true",
                                                                                "group", "16")
                                                                                TAIL(
                                                                                    "\"lm_head\""));
}
END_TEST

static enum llmq_status read_text(const char *text, struct layout_config *out) {
    struct json *root = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "test", &root, &err), &err);
    const enum llmq_status status = ct->config_read(root, out, &err);
    json_free(&root);
    return status;
}

START_TEST(one_symmetric_group_allows_modules_without_zero_points) {
    struct layout_config out;
    ck_assert_ok(
        read_text("{\"config_groups\":{"
                  "\"a\":{\"weights\":{\"num_bits\":4,\"strategy\":\"group\",\"group_size\":32,"
                  "\"symmetric\":false}},"
                  "\"b\":{\"weights\":{\"num_bits\":8,\"strategy\":\"channel\"}}}}",
                  &out),
        &err);
    ck_assert_int_eq(out.bits, 4);
    ck_assert_int_eq(out.group, 32);
    ck_assert(out.sym);
}
END_TEST

#define GROUP(members) "{\"config_groups\":{\"g\":{" members "}}}"
#define CHANNEL        "\"num_bits\":4,\"strategy\":\"channel\""

START_TEST(other_configs_are_refused_by_key) {
    static const struct {
        const char *text, *part;
        enum llmq_status status;
    } cases[] = {
        {"{\"format\":\"float-quantized\"}", "format: expected pack-quantized", LLMQ_E_UNSUPPORTED},
        {"{}", "config_groups: expected an object", LLMQ_E_INPUT},
        {"{\"config_groups\":{}}", "config_groups: expected an object", LLMQ_E_INPUT},
        {"{\"config_groups\":{\"g\":1}}", "g: expected an object", LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{" CHANNEL "},\"input_activations\":{}"), "activations",
         LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{" CHANNEL "},\"format\":\"int-quantized\""), "format",
         LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{" CHANNEL ",\"type\":\"float\"}"), "type", LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{" CHANNEL ",\"dynamic\":true}"), "dynamic", LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{" CHANNEL ",\"symmetric\":1}"), "symmetric", LLMQ_E_INPUT},
        {GROUP("\"weights\":{\"num_bits\":5}"), "num_bits", LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{\"num_bits\":4,\"strategy\":\"tensor\"}"), "strategy",
         LLMQ_E_UNSUPPORTED},
        {GROUP("\"weights\":{\"num_bits\":4,\"strategy\":\"group\"}"), "group_size",
         LLMQ_E_UNSUPPORTED},
    };
    struct layout_config out;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_fails(read_text(cases[i].text, &out), cases[i].status, cases[i].part, &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compressed-tensors config");
    TCase *tests = tcase_create("config");
    tcase_add_test(tests, the_config_has_the_text_that_loaders_were_read_for);
    tcase_add_test(tests, modules_that_deviate_are_named_in_groups_of_their_own);
    tcase_add_test(tests, parts_of_a_fused_layer_are_spelled_alike);
    tcase_add_test(tests, one_symmetric_group_allows_modules_without_zero_points);
    tcase_add_test(tests, other_configs_are_refused_by_key);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
