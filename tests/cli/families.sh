#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every family through the whole program: each model of the reference is quantized by every method
# and written in every format, verified against the original, read back, and compared with it. What
# a format cannot hold is refused as the table says. Prints how close each result is, which models
# llmq refuses altogether, and what the formats cannot hold.
#
# The work is shared out over two processes. LLMQ_FAMILIES=most: each model by rounding in every
# format and by two of the other methods; few: by one method and in one format, in turn, as builds
# that check memory take several times as long; all, when it is not set.
. "$(dirname "$0")/lib.sh"

if [ ! -d "$shared/golden" ]; then
    echo "SKIP: no models in $shared"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

# Model, formats, what the refusal says. asym: of zero points, which compressed-tensors packs by eight
# rows.
refusals=$(
    cat <<'END'
llama-rope-yarn	gptq,awq	model.layers.0.mlp.gate_proj: out_features 48 is not a multiple of 32
mistral-swa	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
qwen3	gptq,awq	model.layers.0.mlp.gate_proj: out_features 80 is not a multiple of 32
qwen2-moe	gptq,awq	model.layers.0.mlp.gate_proj: out_features 80 is not a multiple of 32
qwen3-moe	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
gemma	gptq	model.layers.0.self_attn.q_proj: in_features 72 is not a multiple of 32
gemma	awq	model.layers.0.self_attn.o_proj: out_features 72 is not a multiple of 32
gemma2	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
gemma3-text	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
gpt2	gptq	transformer.h.0.attn.c_attn: in_features 48 is not a multiple of 32
gpt2	awq	transformer.h.0.attn.c_attn: out_features 144 is not a multiple of 32
gpt2-noprefix	gptq	transformer.h.0.attn.c_attn: in_features 48 is not a multiple of 32
gpt2-noprefix	awq	transformer.h.0.attn.c_attn: out_features 144 is not a multiple of 32
gpt-bigcode-mqa	gptq	transformer.h.0.attn.c_attn: in_features 48 is not a multiple of 32
gpt-bigcode-mqa	awq	transformer.h.0.attn.c_attn: out_features 72 is not a multiple of 32
gptj	gptq,awq	transformer.h.0.mlp.fc_in: out_features 112 is not a multiple of 32
bloom	gptq	transformer.h.0.self_attention.query_key_value: in_features 56 is not a multiple of 32
bloom	awq	transformer.h.0.self_attention.query_key_value: out_features 168 is not a multiple of 32
mpt	gptq	transformer.blocks.0.attn.Wqkv: in_features 48 is not a multiple of 32
mpt	awq	transformer.blocks.0.attn.Wqkv: out_features 144 is not a multiple of 32
cohere2	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
olmoe	gptq,awq	model.layers.0.mlp.experts.0.gate_proj: out_features 24 is not a multiple of 32
qwen3-5-moe-multimodal	gptq,awq	model.language_model.layers.0.mlp.shared_expert.gate_proj: out_features 24 is not a multiple of 32
olmo-hybrid	gptq,awq	model.layers.0.linear_attn.v_proj: out_features 48 is not a multiple of 32
minimax	gptq,awq	model.layers.0.block_sparse_moe.experts.0.w1: out_features 24 is not a multiple of 32
qwen3-next	gptq,awq	model.layers.0.mlp.shared_expert.gate_proj: out_features 16 is not a multiple of 32
glm4	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
nemotron	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
arcee	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
deepseek-v3	gptq,awq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
deepseek-v2-lite-style	gptq,awq	model.layers.0.self_attn.q_proj: out_features 80 is not a multiple of 32
gpt-oss	gptq,awq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
lfm2-moe	gptq,awq	model.layers.0.feed_forward.w1: out_features 40 is not a multiple of 32
llama4-text	gptq,awq	model.layers.1.feed_forward.shared_expert.gate_proj: out_features 24 is not a multiple of 32
glm4-moe-air	gptq,awq	model.layers.0.mlp.gate_proj: out_features 48 is not a multiple of 32
glm4-moe-lite	gptq,awq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
solar-open	gptq,awq	model.layers.0.mlp.shared_experts.gate_proj: out_features 16 is not a multiple of 32
minimax-m2	gptq	model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
minimax-m2	awq	model.layers.0.self_attn.q_proj: expected group 4 as in the first module, found 8
minimax-m2	compressed-tensors	model.layers.0.block_sparse_moe.experts.0.w2: in_features 20 is not a multiple of 8
axk1	gptq,awq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
exaone-moe	gptq	model.layers.0.mlp.gate_proj: out_features 40 is not a multiple of 32
exaone-moe	awq	model.layers.0.self_attn.q_proj: expected group 4 as in the first module, found 8
exaone-moe	compressed-tensors	model.layers.1.mlp.experts.0.down_proj: in_features 12 is not a multiple of 8
hy-v3	gptq,awq	model.layers.0.mlp.gate_proj: out_features 48 is not a multiple of 32
deepseek-v32	gptq,awq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
glm-moe-dsa	gptq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
glm-moe-dsa	awq	model.layers.0.self_attn.q_a_proj: expected group 4 as in the first module, found 8
glm-moe-dsa	compressed-tensors	model.layers.1.mlp.experts.0.down_proj: in_features 12 is not a multiple of 8
gemma4-e-style	gptq	model.layers.0.self_attn.q_proj: in_features 48 is not a multiple of 32
gemma4-e-style	awq	model.layers.0.self_attn.o_proj: out_features 48 is not a multiple of 32
gemma4-moe-kv	gptq,awq	model.layers.0.experts.0.gate_proj: out_features 16 is not a multiple of 32
mistral3-multimodal	gptq,awq	language_model.model.layers.0.self_attn.k_proj: out_features 48 is not a multiple of 32
qwen3-vl	gptq,awq	model.language_model.layers.0.mlp.gate_proj: out_features 80 is not a multiple of 32
granitemoehybrid	gptq,awq	model.layers.0.mamba.in_proj: out_features 276 is not a multiple of 32
granitemoehybrid	asym	model.layers.0.mamba.in_proj: out_features 276 is not a multiple of 8
minicpm3	gptq,awq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
mistral4-text	gptq,awq	model.layers.0.self_attn.q_b_proj: out_features 80 is not a multiple of 32
hunyuan-v1-moe	gptq	model.layers.0.mlp.shared_mlp.gate_proj: out_features 20 is not a multiple of 32
hunyuan-v1-moe	awq	model.layers.0.self_attn.q_proj: expected group 4 as in the first module, found 8
hunyuan-v1-moe	compressed-tensors	model.layers.0.mlp.experts.0.down_proj: in_features 20 is not a multiple of 8
afmoe	gptq	model.layers.0.self_attn.q_proj: in_features 48 is not a multiple of 32
afmoe	awq	model.layers.0.self_attn.q_proj: expected group 6 as in the first module, found 8
afmoe	compressed-tensors	model.layers.1.mlp.experts.0.down_proj: in_features 12 is not a multiple of 8
dbrx-moe	gptq	transformer.blocks.0.norm_attn_norm.attn.Wqkv: in_features 48 is not a multiple of 32
dbrx-moe	awq	transformer.blocks.0.norm_attn_norm.attn.out_proj: out_features 48 is not a multiple of 32
cohere2-moe	gptq,awq	model.layers.0.mlp.gate_proj: out_features 40 is not a multiple of 32
mimo-v2-flash	gptq	model.layers.0.self_attn.q_proj: in_features 48 is not a multiple of 32
mimo-v2-flash	awq	model.layers.0.self_attn.q_proj: expected group 6 as in the first module, found 8
mimo-v2-flash	compressed-tensors	model.layers.1.mlp.experts.0.down_proj: in_features 12 is not a multiple of 8
laguna	gptq	model.layers.0.mlp.gate_proj: out_features 40 is not a multiple of 32
laguna	awq	model.layers.0.self_attn.q_proj: expected group 4 as in the first module, found 8
laguna	compressed-tensors	model.layers.1.mlp.experts.0.down_proj: in_features 12 is not a multiple of 8
vaultgemma	gptq,awq	model.layers.0.mlp.gate_proj: out_features 48 is not a multiple of 32
granite-swa	gptq,awq	model.layers.0.mlp.gate_proj: out_features 48 is not a multiple of 32
hyperclovax	gptq,awq	model.layers.0.mlp.gate_proj: out_features 80 is not a multiple of 32
bitnet	gptq,awq	model.layers.0.mlp.gate_proj: out_features 80 is not a multiple of 32
minimax-m3-text	gptq	language_model.model.layers.0.mlp.gate_proj: out_features 40 is not a multiple of 32
minimax-m3-text	awq	language_model.model.layers.0.self_attn.q_proj: expected group 4 as in the first module, found 8
minimax-m3-text	compressed-tensors	language_model.model.layers.1.block_sparse_moe.experts.0.w2: in_features 12 is not a multiple of 8
muse-glimmer	gptq,awq	model.language_model.layers.0.mlp.gate_proj: out_features 36 is not a multiple of 32
muse-glimmer	compressed-tensors	model.language_model.layers.0.mlp.down_proj: in_features 36 is not a multiple of 8
nemotron-h	gptq,awq	backbone.layers.0.mixer.in_proj: out_features 164 is not a multiple of 32
nemotron-h	asym	backbone.layers.0.mixer.in_proj: out_features 164 is not a multiple of 8
falcon-h1	gptq,awq	model.layers.0.mamba.in_proj: out_features 126 is not a multiple of 32
falcon-h1	asym	model.layers.0.mamba.in_proj: out_features 126 is not a multiple of 8
bamba	gptq,awq	model.layers.0.mamba.in_proj: out_features 296 is not a multiple of 32
mamba2	gptq,awq	backbone.layers.0.mixer.in_proj: out_features 304 is not a multiple of 32
jamba	gptq	model.layers.0.mamba.in_proj: in_features 48 is not a multiple of 32
jamba	awq	model.layers.0.mamba.out_proj: out_features 48 is not a multiple of 32
recurrent-gemma	gptq,awq	model.layers.0.mlp_block.gate_proj: out_features 48 is not a multiple of 32
zamba2	gptq,awq	model.layers.0.mamba.in_proj: out_features 164 is not a multiple of 32
zamba2	asym	model.layers.0.mamba.in_proj: out_features 164 is not a multiple of 8
longcat-flash	gptq	model.layers.0.self_attn.0.q_a_proj: in_features 48 is not a multiple of 32
longcat-flash	awq	model.layers.0.self_attn.0.q_a_proj: out_features 24 is not a multiple of 32
longcat-flash	compressed-tensors	model.layers.0.mlp.experts.0.down_proj: in_features 12 is not a multiple of 8
END
)

# Mean divergence (nats per token) from the original that four bits in groups of eight stay below,
# on the tokens that were calibrated on; an error in a formula or a layout costs far more.
kl_max=0.3

# Those that feel small errors more. By 8 bits LFM2-MoE and Qwen3-Next, whose tokens change experts,
# are off by 2e-2 and 3e-2, Qwen3.5 and OLMo Hybrid by 2e-3 and 3e-3, K-EXAONE, GLM-5 and LongCat
# by 2e-2, 1e-2 and 2e-3, Zamba2 by 7e-3. Solar Open, with experts in both of its layers: 0.34 by rounding, 0.02 by
# gptq.
kl_max_of() {
    case $1 in
    exaone-moe | glm-moe-dsa | jamba | lfm2-moe | longcat-flash | qwen3-5-text | solar-open) echo 0.5 ;;
    olmo-hybrid | qwen3-next | zamba2) echo 0.9 ;;
    *) echo "$kl_max" ;;
    esac
}

pin_kernels
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY

# Token windows; every vocabulary has 97 tokens at least.
awk 'BEGIN {
    state = 5
    printf "["
    for (w = 0; w < 4; w++) {
        printf "%s[", w ? "," : ""
        for (t = 0; t < 24; t++) {
            state = (state * 1103515245 + 12345) % 2147483648
            printf "%s%d", t ? "," : "", 3 + int(state / 65536) % 90
        }
        printf "]"
    }
    printf "]\n"
}' >ids.json
ids=$work/ids.json

# The models are those of the suites in C.
sed -n 's/^    {"\(.*\)", ".*"},$/\1/p' "$root/tests/graph/golden_list.c" >cases

# refusal MODEL FORMAT: what llmq says, nothing when the format holds the model.
refusal() {
    printf '%s\n' "$refusals" |
        awk -F '\t' -v m="$1" -v f=",$2," '$1 == m && index("," $2 ",", f) { print $3 }'
}

# Modules of the report on stdout that are worse than by rounding to nearest without saying so.
worse_in_silence() {
    awk -F '[:,]' '
        /"error":/ { error = $2 }
        /"rtn_error":/ { rtn = $2 }
        /"events":/ && error + 0 > 1.0101 * rtn && !/would have been better/
    ' "$work/stdout" | wc -l
}

# quantize MODEL FORMAT METHOD...: in groups of $fit
quantize() {
    from=$1 format=$2
    shift 2
    set -- "$@" --format "$format" --group "$fit" --threads 1 --json -q
    case $format in awq) set -- "$@" --asym ;; esac
    case $1 in rtn) ;; *) set -- "$@" --calib "$ids" ;; esac
    rm -rf out out.partial
    run "$@" --model "$shared/golden/$from" --out out
}

# What a result has to be, whatever made it; $kl becomes its divergence.
check_result() {
    kl=nan
    expect_code 0
    [ "$code" -eq 0 ] || return
    expect "no module is worse than rounding without saying so" test "$(worse_in_silence)" -eq 0
    run verify out --against "$shared/golden/$1" --threads 1 -q
    expect_code 0
    expect_stdout " 0 violations"
    run compare --model out --reference "$shared/golden/$1" --text "$ids" --threads 1 --json -q
    expect_code 0
    kl=$("$json_get" kl_mean <stdout 2>/dev/null)
    most=$(kl_max_of "$1")
    expect "a divergence below $most, not ${kl:=nan}" \
        awk -v kl="$kl" -v max="$most" 'BEGIN { exit !(kl + 0 < max && kl ~ /^[0-9]/) }'
}

# tell MODEL METHOD: a line of the table.
tell() {
    printf '%-24s %-24s %-18s KL %.1e\n' "$1" "$2" "$format" "$kl"
}

# Multiplied as they are packed and expanded to float32, the weights predict the same.
check_both_readings() {
    run eval --model out --text "$ids" --threads 1 --json -q
    expect_code 0
    packed=$("$json_get" nll <stdout 2>/dev/null)
    run eval --model out --text "$ids" --threads 1 --json -q --dequantize
    expect_code 0
    expanded=$("$json_get" nll <stdout 2>/dev/null)
    expect "the same from packed weights, ${packed:=nan}, and expanded ones, ${expanded:=nan}" \
        awk -v a="$packed" -v b="$expanded" 'BEGIN { d = a - b; exit !(a ~ /^[0-9]/ && d * d < 1e-8) }'
}

# Rounding to nearest in every format; $held becomes those that hold the model.
check_formats() {
    held=
    for format in $(some "$2" gptq awq compressed-tensors); do
        test_case "$1, $format: rtn"
        quantize "$1" "$format" rtn
        message=$(refusal "$1" "$format")
        if [ -n "$message" ]; then
            expect_code 3
            expect_stderr "$message"
            printf '%-24s %-18s %s\n' "$1" "$format" "$message" >>refused
        else
            check_rounded "$1"
        fi
    done
    [ -n "$held" ] || [ "${LLMQ_FAMILIES:-all}" = few ] || check_what_fits "$1"
    [ -z "$held" ] || [ "${LLMQ_FAMILIES:-all}" = few ] || check_both_readings
}

# A model that no format holds: its modules that fit, with the others in 16 bits.
check_what_fits() {
    format=compressed-tensors
    fit=auto-fit:8,keep
    test_case "$1, $format, what fits: rtn"
    quantize "$1" "$format" rtn
    check_rounded "$1"
}

check_rounded() {
    [ "$code" -ne 0 ] || held="$held $format"
    check_result "$1"
    echo "$kl" >"rtn.$format"
    tell "$1" rtn
}

# some N WORDS...: all of them, or of few the N-th.
some() {
    if [ "${LLMQ_FAMILIES:-all}" = few ]; then
        nth "$@"
    else
        shift
        printf '%s\n' "$@"
    fi
}

# nth N WORDS...: the N-th of them, counted from 0 and round and round.
nth() {
    turn=$1
    shift
    shift $((turn % $#))
    echo "$1"
}

# methods_of TURN: those besides rounding.
methods_of() {
    case ${LLMQ_FAMILIES:-all} in
    most)
        echo 'gptq --quality balanced'
        nth $(($1 / 2)) 'gptq --quality fast' awq # each process has every other turn
        ;;
    *) some "$1" 'gptq --quality fast' 'gptq --quality balanced' awq ;;
    esac
}

# check_methods MODEL TURN: every other method, each in the next of the formats that hold the model.
check_methods() {
    at=$2
    methods_of "$2" >methods
    while read -r method <&3; do
        # shellcheck disable=SC2086 # lists of words
        format=$(nth $at $held)
        test_case "$1, $format: $method"
        # shellcheck disable=SC2086
        quantize "$1" "$format" $method
        zeros=
        case $method in awq) zeros=$(refusal "$1" asym) ;; esac
        if [ -n "$zeros" ]; then
            expect_code 3
            expect_stderr "$zeros"
            quantize "$1" "$format" awq --sym
        fi
        check_result "$1"
        rounded=$(cat "rtn.$format")
        spread=$("$json_get" kl_stderr <stdout 2>/dev/null)
        expect "no larger divergence than by rounding, $rounded, not $kl +- ${spread:=nan}" \
            awk -v kl="$kl" -v rtn="$rounded" -v spread="$spread" \
            'BEGIN { exit !(kl - 2 * spread < rtn + 0 && kl ~ /^[0-9]/) }'
        tell "$1" "$method"
        at=$((at + 1))
    done 3<methods
}

check_model() {
    run rtn --model "$shared/golden/$1" --group auto-fit:8 --out out --dry-run -q
    if grep -q "model_type '.*' is not supported" stderr; then
        echo "$1" >>unsupported
        return
    fi
    fit=auto-fit:8
    check_formats "$1" "$2"
    [ -z "$held" ] || check_methods "$1" "$2"
}

# share N OF: every OF-th model, in a folder of its own; leaves what it counted there.
share() {
    work=$work/$1
    mkdir "$work"
    cd "$work" || exit 1
    : >unsupported
    : >refused
    turn_of_model=$1
    awk -v n="$1" -v of="$2" '(NR - 1) % of == n' ../cases >cases
    while read -r model; do
        check_model "$model" "$turn_of_model"
        turn_of_model=$((turn_of_model + $2))
    done <cases
    echo "$checks $failures" >counts
}

share 0 2 >log.0 &
first=$!
share 1 2 >log.1 &
wait $first
wait $!
cat log.0 log.1

for part in 0 1; do
    test_case "share $part of the models ran to its end"
    expect "what it counted is there" test -s $part/counts
    [ -s $part/counts ] || continue
    read -r part_checks part_failures <$part/counts
    checks=$((checks + part_checks))
    failures=$((failures + part_failures))
done

echo
echo "What a format cannot hold:"
sort 0/refused 1/refused
echo
echo "Models that are not supported: $(cat 0/unsupported 1/unsupported | wc -l) of $(wc -l <cases)"
sort 0/unsupported 1/unsupported | tr '\n' ' '
echo
finish
