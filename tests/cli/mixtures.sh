#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Mixtures of the sizes that people have, as checkpoints whose files hold next to nothing: they are
# planned in little memory, and a run takes the memory that is planned.
hollow=$(realpath "$3")
. "$(dirname "$0")/lib.sh"

# hollow_model NAME FORM EXPERTS: from NAME.json; says why when the disk does not have such files.
hollow_model() {
    if ! "$hollow" "$1.json" "$1" "$2" "$3" >/dev/null 2>problem; then
        echo "SKIP: $(cat problem)"
        echo '100%: Checks: 0, Failures: 0, Errors: 0'
        exit 0
    fi
}

# deepseek NAME BLOCKS HIDDEN WIDTH: DeepSeek-V3 where HIDDEN and WIDTH are 7168 and 2048.
deepseek() {
    cat >"$1.json" <<END
{"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "torch_dtype": "bfloat16",
 "hidden_size": $3, "num_hidden_layers": $2, "num_attention_heads": $(($3 / 56)),
 "num_key_value_heads": $(($3 / 56)), "vocab_size": 1024, "intermediate_size": $((9 * $4)),
 "moe_intermediate_size": $4, "n_routed_experts": 256, "n_shared_experts": 1,
 "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5,
 "norm_topk_prob": true, "first_k_dense_replace": 1, "q_lora_rank": $((3 * $4 / 4)),
 "kv_lora_rank": $(($4 / 4)), "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
 "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000,
 "tie_word_embeddings": false, "hidden_act": "silu"}
END
}

# planned WHAT MOST LEAST: the peak in percent of the plan of the run before.
planned() {
    expect_code 0
    plan=$("$json_get" plan_ram_bytes <stdout)
    peak=$("$json_get" peak_rss_bytes <stdout)
    expect "$1: $peak bytes, not more than $2 % of ${plan:=0}" \
        test $((100 * ${peak:=0})) -le $(($2 * plan))
    expect "$1: $peak bytes, at least $3 % of $plan" test $((100 * peak)) -ge $(($3 * plan))
}

# planned_small NAME: opening and planning it takes no more than 2 GiB.
planned_small() {
    run rtn --model "$1" --dry-run --json -q
    expect_code 0
    # json_get takes no document of so many values.
    plan=$(sed -n 's/.*"plan_ram_bytes": *\([0-9]*\).*/\1/p' stdout)
    expect "2 GiB are enough, not ${plan:=0}" test "$plan" -gt 0 -a "$plan" -le $((2 << 30))
}

test_case "a mixture of 11,600 modules is opened and planned"
deepseek small 16 7168 2048
hollow_model small fp8 -1
planned_small small

# Sanitizers keep memory of their own.
if [ "${LLMQ_FAMILIES:-all}" != few ]; then
    export OMP_WAIT_POLICY=passive
    printf '[' >ids.json
    awk 'BEGIN { for (i = 0; i < 256; i++)
        printf "%s%d%s", i % 128 ? "," : i ? "],[" : "[", i * 7919 % 1000, i == 255 ? "]" : "" }' \
        >>ids.json
    printf ']' >>ids.json

    test_case "a model of 600 billion parameters, of 46,400 modules"
    deepseek large 61 7168 2048
    hollow_model large fp8 -1
    planned_small large

    test_case "tables of thousands of modules are planned"
    deepseek narrow 7 112 32
    hollow_model narrow plain -1
    run rtn --model narrow --format compressed-tensors --group 8 --out narrow-rtn --threads 1 --json -q
    planned "narrow" 100 60

    test_case "a stack of experts in MXFP4 is rounded in the memory that is planned"
    cat >stack.json <<END
{"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "torch_dtype": "bfloat16",
 "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 1, "vocab_size": 1024,
 "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 2,
 "num_experts_per_tok": 2, "max_position_embeddings": 4096, "sliding_window": 128,
 "layer_types": ["full_attention"], "rms_norm_eps": 1e-5, "rope_theta": 150000,
 "hidden_act": "silu", "attention_bias": true, "tie_word_embeddings": false}
END
    hollow_model stack mxfp4 2
    run rtn --model stack --group 32 --out stack-rtn --threads 1 --json -q
    planned "stack" 100 60

    test_case "a result is checked in the memory that is planned"
    cat >wide.json <<END
{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16",
 "hidden_size": 1024, "intermediate_size": 16384, "num_hidden_layers": 1, "vocab_size": 1024,
 "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 4096,
 "rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu", "tie_word_embeddings": false}
END
    hollow_model wide plain -1
    run rtn --model wide --out wide-rtn --threads 4 --max-mem 120M --json -q
    planned "wide" 100 60

    # Two blocks: what the experts of the first took is there when the second begins.
    test_case "a hybrid mixture is calibrated in the memory that is planned"
    cat >hybrid.json <<END
{"model_type": "qwen3_5_moe_text", "architectures": ["Qwen3_5MoeForCausalLM"],
 "torch_dtype": "bfloat16", "hidden_size": 1024, "num_hidden_layers": 2, "vocab_size": 1024,
 "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "num_experts": 2,
 "num_experts_per_tok": 1, "moe_intermediate_size": 256, "shared_expert_intermediate_size": 256,
 "norm_topk_prob": true, "linear_num_value_heads": 16, "linear_num_key_heads": 4,
 "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
 "layer_types": ["linear_attention", "linear_attention"], "max_position_embeddings": 4096,
 "rms_norm_eps": 1e-6,
 "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.25},
 "attn_output_gate": true, "hidden_act": "silu", "tie_word_embeddings": false}
END
    hollow_model hybrid plain 2
    run gptq --model hybrid --calib ids.json --quality fast --out hybrid-gptq --threads 1 \
        --json -q
    planned "hybrid" 100 80
fi

finish
