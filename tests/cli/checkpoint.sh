#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# llmq convert and llmq verify on the bundled demo model: results in both forms, the JSON keys that
# scripts rely on, exit codes, and that nothing is left where nothing was made.
. "$(dirname "$0")/lib.sh"

run rtn --model "$demo" --out g -q

# --- convert ---

test_case "convert writes the other layouts, and back the same bytes"
run convert --model g --format awq --out a -q
expect_code 0
expect_no_stderr
expect_stdout "wrote a: gptq to awq"
expect_stdout "none: every weight is the same"
run convert --model a --format compressed-tensors --out c -q
expect_code 0
run convert --model c --format gptq --out back -q
expect_code 0
expect "same weights" cmp -s g/model.safetensors back/model.safetensors
expect "no partial folder is left" test ! -e back.partial

test_case "convert --json has its keys"
run convert --model g --format gptq_v2 --out v2 --json -q
expect_code 0
expect_json schema 1
expect_json from gptq
expect_json to gptq_v2
expect_json max_error 0
expect_json_paths model out modules plain kept dropped bytes max_relative_error seconds \
    peak_rss_bytes

test_case "convert --format bf16 gives a plain checkpoint and the largest rounding"
run convert --model g --format bf16 --out plain -q
expect_code 0
expect_stdout "rounding    at most"
run inspect plain
expect_stdout "quantization  none"
expect "config.json as the original's" cmp -s plain/config.json "$demo/config.json"

test_case "a plain model is refused with exit code 3"
run convert --model "$demo" --format awq --out never -q
expect_code 3
expect_no_stdout
expect_stderr "is not quantized"
expect "no folder" test ! -e never -a ! -e never.partial

test_case "what a layout cannot hold is refused before anything is written"
run rtn --model "$demo" --bits 8 --out w8 -q
run convert --model w8 --format awq --out never -q
expect_code 3
expect_stderr "model.layers.0.self_attn.q_proj: expected 4 bits for the awq format, found 8"
expect_stderr "hint: can hold all modules: gptq_v2, compressed-tensors"
expect "no folder" test ! -e never -a ! -e never.partial

test_case "an existing result is refused without --force"
run convert --model g --format gptq --out back -q
expect_code 2
expect_stderr "--force"
run convert --model g --format gptq --out back --force -q
expect_code 0

# --- verify ---

test_case "verify lists rules, stacks and modules"
run verify g -q
expect_code 0
expect_no_stderr
expect_stdout "0 violations"
expect_stdout "vLLM                     yes    Machete (sm90), Marlin (sm75)"
expect_stdout "llama.cpp                no"
expect_stdout "mlp.down_proj                 5     256     768    4   128 sym    2"

test_case "verify --json has its keys"
run verify g --json -q
expect_code 0
expect_json ok true
expect_json format gptq
expect_json violations 0
expect_json modules 35
expect_json stacks.0.stack vLLM
expect_json stacks.0.loads true
expect_json_paths warnings stacks.0.kernel stacks.0.note modules.0.name modules.0.tensor_parallel \
    modules.0.error

test_case "verify --against the original gives the errors of the modules"
run verify g --against "$demo" -q
expect_code 0
expect_stdout "12 tensors equal the original's, 0 do not"
expect_stdout "mean error worst"
run verify g --against "$demo" --json -q
expect_json changed 0
expect_json_paths error modules.0.error

test_case "violations are all listed, with exit code 1"
cp -r g broken
rm broken/llmq.json # which knows what every file was
cp g/model.safetensors broken/old.safetensors
sed 's/"desc_act": false,//' g/config.json >broken/config.json
run verify broken -q
expect_code 1
expect_stdout "FAILED broken"
expect_stdout "stale-weights: old.safetensors"
expect_stdout "config-keys: config.json: desc_act"
expect_stderr "llmq: broken: 2 violations"
run verify broken --json -q
expect_code 1
expect_json ok false
expect_json violations 2
expect_json violations.0.rule stale-weights
expect_json_paths violations.0.file violations.0.tensor violations.0.message violations.0.hint

test_case "a plain checkpoint is verified too"
run verify "$demo" -q
expect_code 0
expect_stdout "format none"

test_case "a folder that is no checkpoint, and a file that is none: exit code 3"
mkdir empty
run verify ./empty -q
expect_code 3
expect_no_stdout
cp -r g cut
rm cut/llmq.json
head -c 1000 g/model.safetensors >cut/model.safetensors
run verify cut -q
expect_code 3
expect_no_stdout
expect_stderr "cut/model.safetensors"

finish
