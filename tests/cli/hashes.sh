#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The bytes of results. Those of rounding are what version 0.1.0 wrote before blocks became data; the
# others changed when tokens began to be held back from what they are fitted to, and with the rows
# that moments add up at a time. What is not meant to change a result must not change them. They hold
# for plain C kernels and for one set of BLAS kernels of one version of OpenBLAS, which every x86-64
# processor runs; elsewhere nothing is checked.
# LLMQ_FAMILIES=few: every fifth row, as builds that check memory take several times as long.
#
#     hashes.sh LLMQ JSON_GET            compare
#     hashes.sh LLMQ JSON_GET --print    what this LLMQ writes, in the form of the table below
. "$(dirname "$0")/lib.sh"

LLMQ_CPU=ref
OPENBLAS_CORETYPE=Nehalem
export LLMQ_CPU OPENBLAS_CORETYPE

case $("$llmq" --version) in
*'OpenBLAS 0.3.21 '*' Nehalem '*) ;;
*)
    echo "SKIP: the hashes are those of OpenBLAS 0.3.21 on Nehalem's kernels"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
    ;;
esac

# Token windows; the tiny models know 128 tokens.
awk 'BEGIN {
    state = 5
    printf "["
    for (w = 0; w < 12; w++) {
        printf "%s[", w ? "," : ""
        for (t = 0; t < 32; t++) {
            state = (state * 1103515245 + 12345) % 2147483648
            printf "%s%d", t ? "," : "", 3 + int(state / 65536) % 90
        }
        printf "]"
    }
    printf "]\n"
}' >ids.json

# Model, method, first sixteen digits of the SHA-256 of model.safetensors.
table=$(
    cat <<'END'
llama-base	rtn --sym	7bf7ed12546e654a
llama-base	gptq --quality fast --sym	8daa8e8ac22e26c9
llama-base	gptq --quality balanced --sym	1e7ed1663c204072
llama-base	gptq --descent 3 --rounds 2 --sym	2385ab5751ec453b
llama-base	gptq --awq --sym	b088630aa471a4b5
llama-base	awq --sym	f35eebf93fcb9ded
llama-base	rtn --asym	76752f46fdd4a573
llama-base	gptq --quality fast --asym	8adc21209ee71648
llama-base	gptq --quality balanced --asym	7bdf9f31aca75c73
llama-base	gptq --descent 3 --rounds 2 --asym	7ed7815d992288d1
llama-base	gptq --awq --asym	683f2929cc73f2df
llama-base	awq --asym	766e52b099b558ab
qwen3	rtn --sym	ab5116d4557815bb
qwen3	gptq --quality fast --sym	9e79ef8463574b2e
qwen3	gptq --quality balanced --sym	8b702b3cc0b6010c
qwen3	gptq --descent 3 --rounds 2 --sym	544f4914916651e5
qwen3	gptq --awq --sym	56bcd2415131bd85
qwen3	awq --sym	d794654b4f8289f3
qwen3	rtn --asym	7775208b0483b698
qwen3	gptq --quality fast --asym	ddc437a797f0dc88
qwen3	gptq --quality balanced --asym	2570ac6129dff41e
qwen3	gptq --descent 3 --rounds 2 --asym	cc3ae9197d2a3048
qwen3	gptq --awq --asym	ff73a7ad37c54109
qwen3	awq --asym	d71e152585666701
mistral-swa	rtn --sym	d67f0f2d61cd7f22
mistral-swa	gptq --quality fast --sym	86c049c99b48e8ad
mistral-swa	gptq --quality balanced --sym	b98714859c37d707
mistral-swa	gptq --descent 3 --rounds 2 --sym	bf0ef57621679ead
mistral-swa	gptq --awq --sym	01f801a7f3733169
mistral-swa	awq --sym	010ca988df580d8e
mistral-swa	rtn --asym	4712b3512dbadf9a
mistral-swa	gptq --quality fast --asym	3068b6ecc82942be
mistral-swa	gptq --quality balanced --asym	b213e5815a9da935
mistral-swa	gptq --descent 3 --rounds 2 --asym	b9625426dea63095
mistral-swa	gptq --awq --asym	645639f99302d6c3
mistral-swa	awq --asym	8ecaec62742692a9
qwen2	rtn --sym	651ce64b3c522840
qwen2	gptq --quality fast --sym	adfd9df3e4982c46
qwen2	gptq --quality balanced --sym	e6da35a3e9df98c9
qwen2	gptq --descent 3 --rounds 2 --sym	42d9e8578b13bebc
qwen2	gptq --awq --sym	70636caab73c3a5c
qwen2	awq --sym	366d1ba68e3bad20
qwen2	rtn --asym	b05c6eaf25fe1aa2
qwen2	gptq --quality fast --asym	0ea77ee06b8754c3
qwen2	gptq --quality balanced --asym	125340e47e9154c4
qwen2	gptq --descent 3 --rounds 2 --asym	b822424c12690c88
qwen2	gptq --awq --asym	2195ee22d57e1d4a
qwen2	awq --asym	5b3ba2fee068feb2
END
)

model_folder() {
    case $1 in
    llama-base | qwen3) echo "$root/tests/golden/$1" ;;
    *) echo "$shared/golden/$1" ;;
    esac
}

# made MODEL OPTIONS...: the hash of what the run wrote.
made() {
    folder=$(model_folder "$1")
    shift
    rm -rf out
    run "$@" --model "$folder" --group 8 --format compressed-tensors --out out -q
    [ "$code" -ne 0 ] || sha256sum out/model.safetensors | cut -c1-16
}

options_of() {
    case $1 in
    rtn*) ;;
    *) echo "--calib ids.json" ;;
    esac
}

if [ "${3:-}" = --print ]; then
    for model in llama-base qwen3 mistral-swa qwen2; do
        for grid in '--sym' '--asym'; do
            for method in 'rtn' 'gptq --quality fast' 'gptq --quality balanced' \
                'gptq --descent 3 --rounds 2' 'gptq --awq' 'awq'; do
                # shellcheck disable=SC2046,SC2086 # lists of options
                hash=$(made "$model" $method $grid $(options_of "$method"))
                printf '%s\t%s %s\t%s\n' "$model" "$method" "$grid" "$hash"
            done
        done
    done
    exit 0
fi

every=1
[ "${LLMQ_FAMILIES:-all}" != few ] || every=5
printf '%s\n' "$table" | awk -v every=$every 'NR % every == 0' >table
while IFS='	' read -r model method hash; do
    test_case "$model $method"
    if [ ! -d "$(model_folder "$model")" ]; then
        echo "SKIP: $(model_folder "$model")"
        continue
    fi
    # shellcheck disable=SC2046,SC2086 # lists of options
    found=$(made "$model" $method $(options_of "$method"))
    expect "the bytes $hash, not $found" test "$found" = "$hash"
done <table

finish
