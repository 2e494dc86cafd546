#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a block of each size takes by plan, balanced, on 128 windows of 2048 tokens with the
# activations in a file, on two threads. The third argument makes the checkpoints: hollow_checkpoint.
hollow=$(realpath "$3")
. "$(dirname "$0")/lib.sh"

awk 'BEGIN {
    state = 5
    for (w = 0; w < 128; w++) {
        printf "%s[", w ? "," : "["
        for (t = 0; t < 2048; t++) {
            state = (state * 1103515245 + 12345) % 2147483648
            printf "%s%d", t ? "," : "", int(state / 65536) % 1024
        }
        printf "]"
    }
    printf "]\n"
}' >ids.json

# block NAME HIDDEN INTERMEDIATE HEADS KV_HEADS: a checkpoint of one block.
block() {
    printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": %d,
        "intermediate_size": %d, "num_attention_heads": %d, "num_key_value_heads": %d,
        "num_hidden_layers": 1, "vocab_size": 1024, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "hidden_act": "silu"}' \
        "$2" "$3" "$4" "$5" >"$1.json"
    "$hollow" "$1.json" "$1" >/dev/null
}

# planned NAME GIB: so much is enough.
planned() {
    run gptq --model "$1" --calib ids.json --threads 2 --max-mem "$2G" --dry-run --json -q
    expect_code 0
    expect "a limit that is kept by plan" \
        test "$("$json_get" plan_ram_bytes <stdout)" -le $(($2 << 30))
    expect "activations in a file" test "$("$json_get" spill_bytes <stdout)" -gt 0
}

test_case "a block of Llama's 7B is quantized in 4 GiB"
block 7B 4096 11008 32 32
planned 7B 4

# What is asked of several machines of 1,000 Gflop/s.
test_case "eight ranks do a block of Llama's 7B in less than a seventh of the time"
run gptq --model 7B --calib ids.json --threads 2 --dry-run --json -q --ranks 1,8,64 --link 25G:30 \
    --gflops 1000
expect_code 0
expect_json ranks.0.efficiency 1
expect_json ranks.1.ranks 8
expect "85 % of eight times one rank's rate" \
    awk "BEGIN { exit !($("$json_get" ranks.1.efficiency <stdout) >= 0.85) }"
expect "the factors, which every rank makes, end that before 64 ranks" \
    awk "BEGIN { exit !($("$json_get" ranks.2.efficiency <stdout) < 0.6) }"
for part in compute file exchange; do
    expect "all ranks' times are positive" \
        awk "BEGIN { exit !($("$json_get" ranks.1.${part}_seconds <stdout) > 0) }"
done

test_case "a block of Llama's 13B is quantized in 6 GiB"
block 13B 5120 13824 40 40
planned 13B 6

test_case "a block of Llama's 70B is quantized in 16 GiB"
block 70B 8192 28672 64 8
planned 70B 16

finish
