#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Numbers that a result must not hold, cannot, or that carry folded scales: shared cases, where they
# are at hand.
. "$(dirname "$0")/lib.sh"
pin_kernels

cases=$shared/cases
if [ ! -d "$cases/scale_floor" ]; then
    echo "SKIP: no cases in $shared"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

test_case "weights below the normal numbers of float16 lose no more than others"
for bits in 4 8; do
    run rtn --model "$cases/scale_floor/model" --bits "$bits" --group 32 --out "floor$bits"
    expect_code 0
    run compare --model "floor$bits" --reference "$cases/scale_floor/model" \
        --text "$cases/ids.json" --json
    expect_code 0
    kl=$("$json_get" kl_mean <"$work/stdout")
    limit=$([ "$bits" = 4 ] && echo 0.025 || echo 0.0002)
    expect "a divergence of $kl below $limit" \
        awk "BEGIN { exit !($kl < $limit) }"
done

test_case "NaN in a norm is named as it is stored, and nothing is written"
for method in "rtn" "gptq --calib $cases/ids.json" "awq --calib $cases/ids.json"; do
    # shellcheck disable=SC2086 # the method and its option
    run $method --model "$cases/nan_kept/model" --group 32 --out spoiled
    expect_code 6
    expect_stderr "model.safetensors: tensor 'model.norm.weight': element 5 is nan"
    expect "nothing is left" test ! -e spoiled -a ! -e spoiled.partial
done

test_case "values beyond a declared float16 are told, found, and not written as float16"
run rtn --model "$cases/f16_range/model" --asym --format awq --group 32 --out half
expect_code 0
expect_stderr "model.embed_tokens.weight: row 22, column 29 is -344064, beyond float16"
run verify half
expect_stdout "half-range: model.safetensors: model.embed_tokens.weight: row 22, column 29"
run convert --model half --format f16 --out plain
expect_code 6
expect_stderr "'model.embed_tokens.weight': row 22, column 29 is -344064"
expect "nothing is left" test ! -e plain -a ! -e plain.partial

test_case "verify accounts for every fold of AWQ"
for group in 32 64 128; do
    run awq --model "$cases/awq_against/model" --calib "$cases/awq_against/cal.txt" \
        --group "$group" --out scaled --force
    expect_code 0
    run verify scaled --against "$cases/awq_against/model" --json
    expect_code 0
    expect "no finding about the original" sh -c "! grep -q against- '$work/stdout'"
    expect_json changed 0
done

finish
