#!/bin/sh
# The bytes of results. These are what version 0.1.0 wrote before blocks became data: what is not
# meant to change a result must not change them. They hold for plain C kernels and for one set of
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
llama-base	gptq --quality balanced --sym	aebcfc68f1024955
llama-base	gptq --quality best --sym	b1ebdc6d1050e174
llama-base	gptq --awq --sym	8a228724d3b7c09d
llama-base	awq --sym	985743ea3bea86ee
llama-base	rtn --asym	76752f46fdd4a573
llama-base	gptq --quality fast --asym	4289cdd5fec0d1e0
llama-base	gptq --quality balanced --asym	89348d79e78ca58d
llama-base	gptq --quality best --asym	7ab14c6b1cd2e04e
llama-base	gptq --awq --asym	81dc87095fcead9a
llama-base	awq --asym	9cd3e00e47425183
qwen3	rtn --sym	ab5116d4557815bb
qwen3	gptq --quality fast --sym	817ddb947228b257
qwen3	gptq --quality balanced --sym	a4bd06680b7b7131
qwen3	gptq --quality best --sym	d2c579974fc5ca56
qwen3	gptq --awq --sym	c2904ef280f7961f
qwen3	awq --sym	6bb27351342560fa
qwen3	rtn --asym	7775208b0483b698
qwen3	gptq --quality fast --asym	2b0cc5e46b987042
qwen3	gptq --quality balanced --asym	ab4d25cbb232daf8
qwen3	gptq --quality best --asym	dbf6b83e99ae6a38
qwen3	gptq --awq --asym	23c0d96e5f2c7524
qwen3	awq --asym	6c3d895b3f72a0a6
mistral-swa	rtn --sym	d67f0f2d61cd7f22
mistral-swa	gptq --quality fast --sym	c59a2df3f4fbd3ef
mistral-swa	gptq --quality balanced --sym	4f86d512fbc47a8d
mistral-swa	gptq --quality best --sym	c48e366b29d22f7b
mistral-swa	gptq --awq --sym	af458fe926d0bae2
mistral-swa	awq --sym	0a2d0decfde80437
mistral-swa	rtn --asym	4712b3512dbadf9a
mistral-swa	gptq --quality fast --asym	0810e05a2255cae7
mistral-swa	gptq --quality balanced --asym	be7626ea2b7b5abc
mistral-swa	gptq --quality best --asym	b25a59dfcd98dc81
mistral-swa	gptq --awq --asym	bcdf4c69edd90c6f
mistral-swa	awq --asym	7eb86fa28959463e
qwen2	rtn --sym	651ce64b3c522840
qwen2	gptq --quality fast --sym	6c2c7489cf2c466c
qwen2	gptq --quality balanced --sym	61be7bc7d166385d
qwen2	gptq --quality best --sym	45f71c9e1106ed61
qwen2	gptq --awq --sym	18d869b7f1f5ddf3
qwen2	awq --sym	455cebeb533de617
qwen2	rtn --asym	b05c6eaf25fe1aa2
qwen2	gptq --quality fast --asym	63306d9f58455439
qwen2	gptq --quality balanced --asym	8c2bc573e324adb0
qwen2	gptq --quality best --asym	2be860c0ed94a323
qwen2	gptq --awq --asym	f1f9009627d2ace8
qwen2	awq --asym	7fe9ed6dcd045d19
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
