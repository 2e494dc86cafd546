#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checkpoints as they ship: what llmq decodes is what an independent reader does, byte for byte;
# every command takes them; damaged ones are refused before work starts. Without Python there is
# nothing to do.
. "$(dirname "$0")/lib.sh"

command -v python3 >/dev/null || exit 77
sources=$root/tests/cli/sources.py
python3 "$sources" make || exit 1
pin_kernels
printf '[[1,2,3,4,5,6,7,8,9,10,11,12],[20,21,22,23,4,5,6,7,8,9,10,11]]' >ids.json

test_case "every kind of source is decoded bit for bit"
for source in llama-* granitemoe-* gpt_oss-*; do
    run convert --model "$source" --format f32 --out "decoded-$source-f32" -q
    expect_code 0
done
for source in llama-fp8-blocks gpt_oss-mxfp4+edges; do
    run convert --model "$source" --format bf16 --out "decoded-$source-bf16" -q
    expect_code 0
done
expect "an independent reader decodes the same" python3 "$sources" check decoded

test_case "a source computes and is quantized as its decoded form is"
for source in llama-fp8-blocks gpt_oss-mxfp4 granitemoe-fp8-blocks; do
    run compare --model $source --reference decoded-$source-f32 --text ids.json --json -q
    expect_json kl_mean 0
    expect_json delta_nll 0
    for model in $source decoded-$source-f32; do
        run gptq --model $model --calib ids.json --group 32 --out gptq-$model -q
        expect_code 0
    done
    run compare --model gptq-$source --reference gptq-decoded-$source-f32 --text ids.json --json -q
    expect_json kl_mean 0
    run awq --model $source --calib ids.json --group 32 --out awq-$source -q
    expect_code 0
    run verify awq-$source --against $source -q
    expect_code 0
done

test_case "what was not quantized is as it was, and of the source's form nothing is left"
run verify gptq-llama-fp8-blocks --against llama-fp8-blocks --json
expect_code 0
expect_json equal 7
expect "no scale" sh -c '! grep -q _scale_inv gptq-llama-fp8-blocks/model.safetensors'
expect "its config is replaced" sh -c '! grep -q weight_block_size gptq-llama-fp8-blocks/config.json'
expect "by the result's" grep -q '"quant_method": *"gptq"' gptq-llama-fp8-blocks/config.json

test_case "a source is checked as it is"
run verify llama-fp8-blocks --json
expect_code 0
expect_json format fp8
expect_json ok true

run verify bad-nan-code --json
expect_code 1
expect_json violations.0.rule finite
expect_json violations.0.tensor model.layers.1.self_attn.k_proj.weight

test_case "the plan says that it is decoded, and what becomes of it"
run rtn --model llama-fp8-blocks --group 32 --dry-run
expect_code 0
expect_stderr "14 tensors are stored as fp8 (F8_E4M3 with scales)"
expect_stderr "become bf16"
run inspect llama-fp8-blocks --json
expect_json format fp8
expect_json bits 8
expect_json quantized_modules 14

test_case "a config that is left over from a decoded source is told"
run rtn --model bad-decoded --group 32 --dry-run
expect_code 0
expect_stderr "the config says fp8, and no tensor is: the model is read as it is stored"

# refused FAULT CODE TEXT
refused() {
    run rtn --model "bad-$1" --group 32 --out out -q
    expect_code "$2"
    expect_stderr "$3"
    expect_stderr "hint: "
    expect "no result" test ! -e out
}

test_case "damaged sources are refused, naming what and where"
at=model.layers.1.self_attn.k_proj.weight
refused missing-scale 3 "'$at' is F8_E4M3: expected its scale '${at}_scale_inv'"
refused scale-shape 3 "'${at}_scale_inv': expected shape [1, 2]"
refused scale-dtype 3 "'${at}_scale_inv': expected F32, BF16, F16 or F8_E8M0, found I32"
refused two-scales 3 "'$at': expected one scale"
refused zero-points 3 "'${at}_zero_point': expected no zero points"
refused scaled-plain 3 "'${at}_scale_inv': expected no such scale"
refused nan-code 6 "'$at': row 3, column 7: its code stands for NaN"
refused inf-scale 6 "'${at}_scale_inv': row 0, column 0: a scale that is negative or not finite"
refused negative-scale 6 "row 0, column 0: a scale that is negative"
refused huge-scale 6 "times its scale it is beyond float32"
refused block-zero 3 "weight_block_size: expected two positive integers, rows and columns"
refused block-other 3 "expected shape"
refused e5m2 3 "fmt: expected"
refused method 3 "found quant_method 'fp7'"
refused key 3 "rotated: expected no such key"
refused no-config 3 "is F8_E4M3"
at=model.layers.1.mlp.experts.down_proj
refused missing-scales 3 "'${at}_blocks': expected its scales '${at}_scales', found none"
refused scales-shape 3 "'${at}_scales': expected shape [4, 64, 1]"
refused blocks-shape 3 "'${at}_blocks': expected shape [experts, rows, groups, 16]"
refused scale-255 6 "'${at}_scales': row 5, column 0: a scale of 255"
refused scale-254 6 "row 5, column 0: a scale that leads beyond float32"

test_case "every command refuses a weight that is no number"
for command in "eval --text ids.json" "convert --format bf16 --out out" \
    "gptq --calib ids.json --group 32 --out out"; do
    # shellcheck disable=SC2086 # words
    run $command --model bad-nan-code -q
    expect_code 6
    expect_stderr "row 3, column 7: its code stands for NaN"
    expect "no result" test ! -e out
done

test_case "no format holds it without loss"
run convert --model llama-fp8-blocks --format gptq --out out -q
expect_code 3
expect_stderr "fp8 does not fit into gptq without loss"

# --- packed sources ---

for format in gptq awq compressed-tensors; do
    run rtn --model llama --group 32 --format $format --out packed-$format -q
    expect_code 0
done

test_case "a plain source needs no option"
run rtn --model llama --source-quantized keep --group 32 --dry-run
expect_code 0
expect_stderr "the source is not packed: --source-quantized changes nothing"

test_case "a packed source is refused unless it is said what becomes of it"
run rtn --model packed-gptq --out out -q
expect_code 3
expect_stderr "packed-gptq is quantized already (gptq)"
expect_stderr "--source-quantized requantize"

test_case "packed weights are decoded bit for bit, and quantized anew"
for format in gptq awq compressed-tensors; do
    run convert --model packed-$format --format f32 --out plain-$format -q
    expect "check_formats.py decodes the same" \
        python3 "$root/tools/check_formats.py" packed-$format plain-$format
    for model in packed-$format plain-$format; do
        run gptq --model $model --source-quantized requantize --calib ids.json --bits 8 \
            --group 32 --format compressed-tensors --out again-$model -q
        expect_code 0
    done
    run compare --model again-packed-$format --reference again-plain-$format --text ids.json \
        --json -q
    expect_json kl_mean 0
    run verify again-packed-$format --against packed-$format -q
    expect_code 0
done

test_case "AWQ scales what was packed"
run awq --model packed-gptq --source-quantized requantize --calib ids.json --group 32 --out awq-again -q
expect_code 0
run verify awq-again --against packed-gptq -q
expect_code 0

# mixed FORMAT: the linears of attention plain, the others packed
mixed() {
    python3 "$sources" mixed "packed-$1" llama "mixed-$1"
}

test_case "packed linears are kept byte for byte, and the others quantized"
for format in compressed-tensors gptq; do
    mixed $format
    for method in rtn gptq; do
        run $method --model mixed-$format --source-quantized keep --calib ids.json --group 64 \
            --out kept-$method-$format --json -q
        expect_code 0
        expect_json modules.0.method $method
        expect_json modules.4.method kept
        expect_json modules.4.group 32
        expect "every packed tensor" python3 "$sources" kept mixed-$format kept-$method-$format
        run verify kept-$method-$format --against mixed-$format --json -q
        expect_code 0
    done
    run compare --model kept-gptq-$format --reference mixed-$format --text ids.json \
        --max-kl 0.01 --json -q
    expect_code 0
done
expect "desc_act stays" grep -q '"desc_act": *true' kept-gptq-gptq/config.json
run rtn --model mixed-gptq --source-quantized keep --group 64 --dry-run
expect_stdout "6 of them packed in the source and kept"

test_case "awq scales nothing that packed linears would have to follow"
run awq --model mixed-compressed-tensors --calib ids.json --source-quantized keep --group 32 \
    --sym --format compressed-tensors --out kept-awq --json -q
expect_code 0
run verify kept-awq -q
expect_code 0
rm -rf kept-awq

test_case "what cannot be kept is refused, naming what and what to do"
run rtn --model mixed-gptq --source-quantized keep --format awq --group 32 --out out -q
expect_code 3
expect_stderr "linears packed as gptq do not fit byte for byte into awq"
expect_stderr "give --format gptq; or --source-quantized requantize"
python3 "$sources" mixed packed-gptq llama disorder
run rtn --model disorder --source-quantized keep --group 32 --out out -q
expect_code 3
expect_stderr "mlp.gate_proj: cannot be kept: its columns' groups are out of order"
run rtn --model disorder --source-quantized requantize --group 32 --out out -q
expect_code 0
rm -rf out
sed 's/"group_size": 32/"group_size": 96/' mixed-gptq/config.json >config && mv config mixed-gptq/config.json
run rtn --model mixed-gptq --source-quantized keep --group 32 --out out -q
expect_code 3
expect_stderr "mlp.gate_proj: cannot be kept: its tensors are not those of the settings"

finish
