#!/bin/sh
# The bytes of results. These are what version 0.1.0 wrote before blocks became data, but for those
# with AWQ, whose scales are found in what a block computes since, and for those with corrected
# weights, whose strengths are judged on other tokens since: what is not meant to change a result
# must not change them. They hold for plain C kernels and for one set of
# BLAS kernels of one version of OpenBLAS, which every x86-64 processor runs; elsewhere nothing is
# checked.
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
llama-base	gptq --quality fast --sym	1c9cbb6d8bd65628
llama-base	gptq --quality balanced --sym	55388cd2aba81dc3
llama-base	gptq --quality best --sym	78b7efb616b11f31
llama-base	gptq --awq --sym	1c435720a8129091
llama-base	awq --sym	7b6c103bd33ffb98
llama-base	rtn --asym	76752f46fdd4a573
llama-base	gptq --quality fast --asym	4289cdd5fec0d1e0
llama-base	gptq --quality balanced --asym	255a21785c25ff09
llama-base	gptq --quality best --asym	1b9e1db450613620
llama-base	gptq --awq --asym	eb31176da449476c
llama-base	awq --asym	e713f44eb99425d4
qwen3	rtn --sym	ab5116d4557815bb
qwen3	gptq --quality fast --sym	817ddb947228b257
qwen3	gptq --quality balanced --sym	89bd0ffeb32f952c
qwen3	gptq --quality best --sym	bd3252e8b109937b
qwen3	gptq --awq --sym	d87569abc600116f
qwen3	awq --sym	f30a8e9c1f13cc29
qwen3	rtn --asym	7775208b0483b698
qwen3	gptq --quality fast --asym	2b0cc5e46b987042
qwen3	gptq --quality balanced --asym	d6f94c9d6b02b2ce
qwen3	gptq --quality best --asym	089a58154ac4ca54
qwen3	gptq --awq --asym	e79e163311d300a5
qwen3	awq --asym	fa96f4b9fc71e2e8
mistral-swa	rtn --sym	d67f0f2d61cd7f22
mistral-swa	gptq --quality fast --sym	c59a2df3f4fbd3ef
mistral-swa	gptq --quality balanced --sym	412b371c080390ea
mistral-swa	gptq --quality best --sym	b0c911b68a09bc70
mistral-swa	gptq --awq --sym	e8bf402183227e78
mistral-swa	awq --sym	5439151a049403dd
mistral-swa	rtn --asym	4712b3512dbadf9a
mistral-swa	gptq --quality fast --asym	0810e05a2255cae7
mistral-swa	gptq --quality balanced --asym	0b46cfd6d61bebab
mistral-swa	gptq --quality best --asym	297de69085f174f1
mistral-swa	gptq --awq --asym	633bd163a22910bd
mistral-swa	awq --asym	42628b16954e3030
qwen2	rtn --sym	651ce64b3c522840
qwen2	gptq --quality fast --sym	6c2c7489cf2c466c
qwen2	gptq --quality balanced --sym	cd8afd65d1951057
qwen2	gptq --quality best --sym	f21d46620e3ec081
qwen2	gptq --awq --sym	54c587c5c121ca4b
qwen2	awq --sym	cc6886add37c8eb7
qwen2	rtn --asym	b05c6eaf25fe1aa2
qwen2	gptq --quality fast --asym	63306d9f58455439
qwen2	gptq --quality balanced --asym	0ddffe87d4ae911c
qwen2	gptq --quality best --asym	c4754eab7c9f5c34
qwen2	gptq --awq --asym	ea99fed8c08ef5aa
qwen2	awq --asym	922e5187c5404753
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
                'gptq --quality best' 'gptq --awq' 'awq'; do
                # shellcheck disable=SC2046,SC2086 # lists of options
                hash=$(made "$model" $method $grid $(options_of "$method"))
                printf '%s\t%s %s\t%s\n' "$model" "$method" "$grid" "$hash"
            done
        done
    done
    exit 0
fi

printf '%s\n' "$table" >table
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
