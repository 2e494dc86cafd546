#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --family NAME: a model whose tensors are those of a known family under a model_type that llmq does
# not know is read as one of that family by every command, and what is made of it says so.
. "$(dirname "$0")/lib.sh"
pin_kernels

golden=$root/tests/golden/llama-base
cp -r "$golden" other
chmod -R u+w other
sed -i 's/"model_type": *"llama"/"model_type": "tinyllm"/; s/LlamaForCausalLM/TinyLLMForCausalLM/' \
    other/config.json
echo '[[5, 17, 3, 99, 42, 7, 64, 23, 1, 2, 3, 4, 5, 6, 7, 8]]' >windows.json

# --- refusals that lead there ---

test_case "an unknown model_type: the hint names the option and the families"
run eval --model other --text windows.json
expect_code 3
expect_stderr "model_type 'tinyllm' is not supported"
expect_stderr "--family NAME reads it as that"
expect_stderr "llama, "
run rtn --model other --out no --group 32
expect_code 3
expect_stderr "--family NAME reads it as that"
expect "nothing was made" test ! -e no -a ! -e no.partial

test_case "a missing model_type: the same"
cp -r other nameless
sed -i '/"model_type"/d' nameless/config.json
run score --model nameless --ids 1,2,3
expect_code 3
expect_stderr "'model_type' is missing"
expect_stderr "--family NAME reads it as that"
run score --model nameless --ids 1,2,3 --family llama
expect_code 0

test_case "a family that llmq does not have: exit code 2, and those that it has"
for command in "eval --model other --text windows.json" "score --model other --ids 1,2" \
    "inspect other" "inspect other --blocks" "verify other" "rtn --model other --out no" \
    "compare --model other --reference other --text windows.json"; do
    # shellcheck disable=SC2086
    run $command --family lama
    expect_code 2
    expect_stderr "--family lama: llmq has no family of that name"
    expect_stderr "llama, "
done

test_case "a family that the tensors are not of is refused by the first that is missing"
run score --model other --ids 1,2 --family gpt2
expect_code 3
expect_stderr "other"

# --- read as one ---

test_case "inspect takes it, and without it knows no family"
run inspect other
expect_stdout "tinyllm (unknown to llmq)"
run inspect other --family llama
expect_code 0
expect_stdout "tinyllm (family llama)"
run inspect other --blocks --family llama
expect_code 0
expect_stdout "self_attn.q_proj"

test_case "score, eval and compare compute the same as under the family's own model_type"
run score --model "$golden" --ids 5,17,3,99 --json
cp stdout own
run score --model other --ids 5,17,3,99 --json --family llama
expect_code 0
expect "the same scores" cmp -s own stdout
expect_stderr "read as a model of the family llama, which config.json does not say"
run eval --model other --text windows.json --family llama -q
expect_code 0
run compare --model other --reference "$golden" --text windows.json --family llama --json -q
expect_code 0
expect_json kl_mean 0

test_case "a family given where it is the model's own changes nothing and says nothing"
run score --model "$golden" --ids 5,17,3,99 --json --family llama -q
expect_code 0
expect_no_stderr
expect "the same scores" cmp -s own stdout

# --- results ---

test_case "a result keeps the model_type, has the same weights, and is verified as it was read"
run rtn --model "$golden" --out usual --group 32 -q
run rtn --model other --out made --group 32 --family llama -q
expect_code 0
expect "the same weights" cmp -s usual/model.safetensors made/model.safetensors
expect "its own model_type" grep -q '"model_type": *"tinyllm"' made/config.json
run verify made --family llama --against other
expect_code 0
run verify made
expect_code 0
expect_stdout "family-unknown"

test_case "gptq, awq and convert take it"
run gptq --model other --out calibrated --group 32 --calib windows.json --samples 1 --family llama -q
expect_code 0
run awq --model other --out scaled --group 32 --calib windows.json --samples 1 --family llama -q
expect_code 0
run convert --model made --format compressed-tensors --out converted --family llama -q
expect_code 0
run convert --model made --format bf16 --out plain --family llama -q
expect_code 0
run convert --model made --format bf16 --out plain2 -q
expect_code 3
expect_stderr "--family NAME reads it as that"

finish
