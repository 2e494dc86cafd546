#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checkpoints by other tools: odd ones that are unambiguous are read with the right values, those
# that llmq cannot compute with are refused by name, and verify tells what loaders would do.
. "$(dirname "$0")/lib.sh"
pin_kernels

cases=$shared/cases
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ ! -d "$cases" ]; then
    echo "SKIP: no cases in $shared"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

# decodes CASE: the weights that llmq finds are those that tools/check_formats.py finds by itself,
# and the scores are those of these weights.
decodes() {
    run convert --model "$cases/$1" --format f32 --out "$1.f32" -q
    expect_code 0
    if command -v python3 >/dev/null; then
        expect "the weights that an independent reader finds" \
            python3 "$root/tools/check_formats.py" "$cases/$1" "$1.f32"
    fi
    run compare --model "$cases/$1" --reference "$1.f32" --text "$cases/ids.json" --json -q
    expect_code 0
    expect "no divergence from them" awk "BEGIN { exit !($("$json_get" kl_mean <stdout) < 1e-9) }"
}

test_case "maps of groups that nobody set, signed zero points, packed heads, flags that lie"
for name in ct_g_idx_minus_one ct_zero_point_i8 lm_head_packed is_marlin_format \
    ct_ignore_regex_packed ct_kv_cache_scheme autoround_extra_config_regex; do
    decodes "$name"
done

test_case "a packed head survives conversions"
for format in gptq_v2 awq compressed-tensors gguf; do
    run convert --model "$cases/lm_head_packed" --format "$format" --out "head.$format" -q
    expect_code 0
    run verify "head.$format" --json
    expect_code 0
    run compare --model "head.$format" --reference "$cases/lm_head_packed" \
        --text "$cases/ids.json" --json -q
    expect_json kl_mean 0
done

test_case "an online rotation is refused by name, everywhere, and nothing is written"
for command in "score --ids 1,2,3" "eval --text $cases/ids.json" "convert --format f32 --out never"; do
    # shellcheck disable=SC2086 # words
    run $command --model "$cases/ct_transform_config"
    expect_code 3
    expect_no_stdout
    expect_stderr "config.json: quantization_config: transform_config: expected none"
    expect_stderr "rotated at run time"
    expect_stderr "hint: "
done
run verify "$cases/ct_transform_config"
expect_code 3
expect_stderr transform_config
expect "nothing left" test ! -e never -a ! -e never.partial

test_case "verify resolves the settings of modules as loaders do"
run verify "$cases/ct_ignore_regex_packed" --json
expect_code 1
expect_json violations.0.rule skip-packed
expect_json violations.0.tensor model.layers.0.mlp.down_proj
expect_json stacks.0.loads false
expect_json stacks.0.rule skip-packed
run verify "$cases/autoround_extra_config_regex" --json
expect_code 0
run verify "$cases/is_marlin_format" --json
expect_code 1
expect_json stacks.0.rule config-forbidden
run verify "$cases/lm_head_packed" --json
expect_code 0
run verify "$cases/ct_zero_point_i8" --json
expect_code 0
expect_json stacks.0.loads false
expect_json stacks.0.rule old-form
run verify "$cases/ct_g_idx_minus_one" --json
expect_code 0
expect_json stacks.0.rule idle-map
expect_json stacks.3.stack transformers
expect_json stacks.3.loads true

finish
