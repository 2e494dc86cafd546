/* SPDX-License-Identifier: Apache-2.0 */
/* The table of stacks: every layout has an answer from each, and the answers that users rely on. */
#include "support.h"

#include <string.h>

#include "formats/layouts/layout.h"
#include "formats/loaders/compat.h"

static int stack_of(const char *name) {
    for (int i = 0; compat_stack_at(i); i++)
        if (strcmp(compat_stack_at(i), name) == 0)
            return i;
    ck_abort_msg("no stack %s", name);
    return -1;
}

START_TEST(every_case_has_an_answer) {
    static const int bits[] = {2, 3, 4, 8};
    static const int64_t groups[] = {-1, 16, 32, 48, 64, 128, 256};
    for (int l = 0; layout_at(l); l++)
        for (int s = 0; compat_stack_at(s); s++)
            for (size_t i = 0; i < 4 * 7 * 8; i++) {
                const struct compat_case c = {layout_at(l)->name, bits[i % 4],
                                              groups[i / 4 % 7],  i / 28 % 2 == 0,
                                              i / 56 % 2 == 0,    i / 112 == 1};
                const struct compat_answer a = compat_find(s, &c);
                ck_assert(a.kernel && a.note);
                ck_assert((a.verdict == COMPAT_REFUSES) == (*a.kernel == '\0'));
                ck_assert((a.verdict == COMPAT_LOADS) == (*a.note == '\0'));
                ck_assert_str_ne(a.note, "not known");
            }
}
END_TEST

START_TEST(answers_that_matter) {
    static const struct {
        const char *stack;
        struct compat_case c;
        enum compat_verdict verdict;
        const char *part;
    } rows[] = {
        {"vLLM", {"gptq", 4, 128, true, true, false}, COMPAT_LOADS, "Machete"},
        {"vLLM", {"gptq", 4, 32, true, true, false}, COMPAT_LOADS, "Marlin"},
        {"vLLM", {"gptq", 4, 48, true, true, false}, COMPAT_CAVEAT, "no Marlin"},
        {"vLLM", {"gptq", 4, 128, false, true, false}, COMPAT_REFUSES, "awq"},
        {"vLLM", {"gptq", 3, 128, true, true, false}, COMPAT_REFUSES, "4 and 8 bits"},
        {"vLLM", {"gptq", 4, 128, true, false, false}, COMPAT_REFUSES, "garbage"},
        {"vLLM", {"awq", 4, 128, false, true, false}, COMPAT_LOADS, "Marlin"},
        {"vLLM", {"compressed-tensors", 8, 128, false, true, false}, COMPAT_CAVEAT, "9.0"},
        {"vLLM",
         {"compressed-tensors", 4, 128, true, false, false},
         COMPAT_REFUSES,
         "column order"},
        {"SGLang", {"gptq", 4, 128, false, true, false}, COMPAT_CAVEAT, "float16"},
        {"SGLang", {"compressed-tensors", 4, 128, false, true, false}, COMPAT_CAVEAT, "mid-2026"},
        {"vLLM", {"gptq", 4, 128, true, true, true}, COMPAT_LOADS, "Marlin"},
        {"vLLM", {"gptq", 4, 128, false, true, true}, COMPAT_REFUSES, "awq"},
        {"vLLM (before mid-2026)",
         {"compressed-tensors", 4, 128, false, true, true},
         COMPAT_REFUSES,
         "symmetric"},
        {"SGLang", {"gptq", 4, 128, true, true, true}, COMPAT_LOADS, "gptq_marlin"},
        {"SGLang", {"gptq", 4, 48, true, true, true}, COMPAT_REFUSES, "experts"},
        {"SGLang", {"compressed-tensors", 4, 128, false, true, true}, COMPAT_REFUSES, "symmetric"},
        {"transformers", {"gptq", 4, 128, true, true, true}, COMPAT_CAVEAT, "stacked"},
        {"llama.cpp", {"gguf", 4, 32, true, true, true}, COMPAT_LOADS, "Q4_0"},
        {"TGI", {"gptq", 4, 128, true, true, false}, COMPAT_LOADS, "gptq-marlin"},
        {"TGI", {"gptq_v2", 4, 128, true, true, false}, COMPAT_CAVEAT, "version 1"},
        {"TGI", {"gptq", 2, 128, true, true, false}, COMPAT_REFUSES, "no kernel"},
        {"transformers", {"gptq", 2, 64, false, false, false}, COMPAT_LOADS, "gptqmodel"},
        {"vLLM", {"auto-round gptq", 4, 128, true, true, false}, COMPAT_LOADS, "Marlin"},
        {"vLLM", {"auto-round gptq", 4, 128, false, true, false}, COMPAT_REFUSES, "symmetric"},
        {"SGLang", {"auto-round gptq_v2", 4, 128, true, true, false}, COMPAT_REFUSES, "auto_gptq"},
        {"TGI", {"auto-round awq", 4, 128, true, true, false}, COMPAT_REFUSES, "does not read"},
        {"ONNX Runtime",
         {"onnx", 4, 32, true, true, false},
         COMPAT_REFUSES,
         "no graph of the whole"},
        {"TensorRT-LLM", {"awq", 4, 128, true, true, false}, COMPAT_REFUSES, "ModelOpt"},
        {"llama.cpp", {"gptq", 4, 32, true, true, false}, COMPAT_REFUSES, "GGUF"},
        {"llama.cpp", {"gguf", 4, 32, true, true, false}, COMPAT_LOADS, "Q4_0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct compat_answer a = compat_find(stack_of(rows[i].stack), &rows[i].c);
        ck_assert_msg(a.verdict == rows[i].verdict, "row %zu", i);
        ck_assert_msg(strstr(a.kernel, rows[i].part) || strstr(a.note, rows[i].part), "row %zu", i);
    }
}
END_TEST

/* The examples of the loaders' rules: groups may not straddle the parts of a split input. */
START_TEST(splits_keep_groups_whole) {
    static const struct {
        bool columns;
        int64_t n, k, group, parts;
    } rows[] = {
        {true, 4096, 14336, 128, 16}, /* 112 groups */
        {true, 3584, 18944, 128, 4},  /* 148 groups */
        {true, 3584, 18944, 64, 8},   /* 296 groups */
        {true, 4096, 4096, -1, 32},   /* parts of 128 */
        {false, 4096, 4096, 128, 64}, {false, 1024, 4096, 128, 16}, {false, 96, 4096, 128, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(compat_tensor_parallel(rows[i].columns, rows[i].n, rows[i].k,
                                             rows[i].group) == rows[i].parts,
                      "row %zu", i);
}
END_TEST

START_TEST(only_layouts_that_servers_run_fast_have_kernels) {
    ck_assert(compat_has_fast_kernels("gptq") && compat_has_fast_kernels("awq"));
    ck_assert(compat_has_fast_kernels("compressed-tensors"));
    ck_assert(!compat_has_fast_kernels("gguf") && !compat_has_fast_kernels("onnx"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compat");
    TCase *tests = tcase_create("stacks");
    tcase_add_test(tests, every_case_has_an_answer);
    tcase_add_test(tests, only_layouts_that_servers_run_fast_have_kernels);
    tcase_add_test(tests, answers_that_matter);
    tcase_add_test(tests, splits_keep_groups_whole);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
