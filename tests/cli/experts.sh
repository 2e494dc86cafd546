#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What servers find of a mixture of experts: the names of its experts, the lists of what stays plain,
# and what is said where they do less than with other models. Without ../shared there is nothing to
# do.
. "$(dirname "$0")/lib.sh"
pin_kernels

[ -d "$shared/golden/mixtral" ] || exit 77

# quantized MODEL FORMAT: as rtn makes it, in the folder MODEL-FORMAT
quantized() {
    run rtn --model "$shared/golden/$1" --format "$2" --group auto-fit:32 --out "$1-$2" -v
}

names() {
    "$llmq" inspect "$1" --tensors 2>/dev/null | sed 's/ .*//'
}

test_case "stacked experts are written one by one, as vLLM and SGLang name them"
quantized granitemoe gptq
expect_code 0
names granitemoe-gptq >names
for part in w1 w2 w3; do
    expect "$part" grep -qx "model.layers.0.block_sparse_moe.experts.3.$part.qweight" names
done
expect "no stack" sh -c '! grep -q _linear names'
expect_stderr "transformers: keeps the experts of this model stacked"
run verify granitemoe-gptq
expect_code 0

test_case "experts with biases keep them; who loads them is said"
quantized gpt-oss compressed-tensors
expect_code 0
names gpt-oss-compressed-tensors >names
for part in gate_proj.weight_packed down_proj.weight_scale; do
    expect "$part" grep -qx "model.layers.0.mlp.experts.0.$part" names
done
expect_stderr "SGLang: takes the experts of this model plain or as mxfp4 only"
run verify gpt-oss-compressed-tensors --json
expect_json stacks.0.loads false
expect_json stacks.0.note "takes the experts of this model plain or as mxfp4 only"

test_case "routers and switches are named where linears stay plain"
quantized mixtral awq
expect_json_file() {
    "$json_get" "$2" <"$1" >value
    [ "$(cat value)" = "$3" ]
    report $? "$2 of $1 is $3"
}
expect_json_file mixtral-awq/config.json quantization_config.modules_to_not_convert.0 \
    model.layers.0.block_sparse_moe.gate
quantized qwen2-moe compressed-tensors
expect_json_file qwen2-moe-compressed-tensors/config.json quantization_config.ignore.1 \
    model.layers.1.mlp.gate
expect_json_file qwen2-moe-compressed-tensors/config.json quantization_config.ignore.2 \
    model.layers.1.mlp.shared_expert_gate
quantized mixtral gptq
expect "by an expression" grep -qF 'block_sparse_moe\\.gate$' mixtral-gptq/config.json
run convert --model mixtral-gptq --format compressed-tensors --out converted -q
expect_code 0
expect_json_file converted/config.json quantization_config.ignore.1 \
    model.layers.0.block_sparse_moe.gate

test_case "queries, keys and values that servers reorder stay plain"
quantized llama4-text compressed-tensors
names llama4-text-compressed-tensors >names
expect "plain" grep -qx model.layers.0.self_attn.q_proj.weight names
expect "packed" grep -qx model.layers.0.self_attn.o_proj.weight_packed names
run inspect "$shared/golden/llama4-text" --blocks
expect_stdout "no: a linear that is not quantized makes it"
echo '[[5, 17, 3, 9, 42, 7, 64, 23]]' >windows.json
run awq --model "$shared/golden/llama4-text" --format compressed-tensors --group 8 --out scaled \
    --calib windows.json -q
expect_code 0
run verify scaled --against "$shared/golden/llama4-text"
expect_code 0

test_case "all linears of all experts have one group"
run verify llama4-text-compressed-tensors
expect_code 0
run verify qwen2-moe-compressed-tensors
expect_code 0

test_case "a row of a mixer with a state names all that it reads"
run inspect "$shared/golden/granitemoehybrid" --blocks --json
expect_json kinds.0.rows.5.reads.3 MIX_DT
expect_json kinds.0.rows.5.module mamba

test_case "latents are for some loaders only"
quantized deepseek-v3 compressed-tensors
expect_stderr "SGLang: takes packed latents"
run inspect "$shared/golden/deepseek-v3" --blocks
expect_stdout "fused_qkv_a_proj"

test_case "experts are scaled: what they are given with the router, what they make within"
sed -n '/^each of 8 experts/,$p' stdout | grep '_proj' >inside
expect "gate and up" test "$(grep -c 'post_attention_layernorm$' inside)" -eq 2
expect "down" grep -q 'down_proj.*up_proj$' inside

finish
