#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Model folders that are not plain, from the command line: what is read, what is refused, and what
# the message says helps.
. "$(dirname "$0")/lib.sh"

lfs='version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 4976698672'

# A folder that has the demo model's config and tokenizer, and no weights.
bare() {
    rm -rf "$1"
    mkdir "$1"
    cp "$demo/config.json" "$demo/tokenizer.json" "$1"
}

test_case "a Git LFS pointer is named as such, with the command that helps"
bare pointer
printf '%s\n' "$lfs" >pointer/model.safetensors
run score --model pointer --ids 1,2,3
expect_code 3
expect_stderr "model.safetensors: a Git LFS pointer, not the file itself"
expect_stderr "lfs pull"

test_case "so are config.json and tokenizer.json"
bare pointer
ln -s "$demo/model.safetensors" pointer/model.safetensors
printf '%s\n' "$lfs" >pointer/tokenizer.json
printf 'some text' >text.txt
run tokenize --model pointer --text text.txt
expect_code 3
expect_stderr "tokenizer.json: a Git LFS pointer"
printf '%s\n' "$lfs" >pointer/config.json
run score --model pointer --ids 1,2,3
expect_code 3
expect_stderr "config.json: a Git LFS pointer"

test_case "a folder of .bin files is told with the command that converts it"
bare torch
printf 'x' >torch/pytorch_model.bin
run rtn --model torch --out never --dry-run
expect_code 3
expect_stderr "found pytorch_model.bin"
expect_stderr "save_pretrained("

test_case "a file of a model stands for its folder, one without a model is refused"
run score --model "$demo/model.safetensors" --ids 1,2,3
expect_code 0
cp text.txt alone.safetensors
run score --model alone.safetensors --ids 1,2,3
expect_code 2
expect_stderr "is a file; a model is the folder"
expect_stderr "no config.json beside it"

test_case "text without tokenizer.json: what is there, and what helps"
bare words
rm words/tokenizer.json
printf 'x' >words/tokenizer.model
ln -s "$demo/model.safetensors" words/model.safetensors
run eval --model words --text text.txt
expect_code 3
expect_stderr "found tokenizer.model"
expect_stderr "AutoTokenizer"
expect_stderr "windows of token ids"

test_case "a key that changes the computation is refused by name"
bare capped
ln -s "$demo/model.safetensors" capped/model.safetensors
sed 's/"hidden_act"/"final_logit_softcapping": 30.0, "hidden_act"/' "$demo/config.json" \
    >capped/config.json
run score --model capped --ids 1,2,3
expect_code 3
expect_stderr "'final_logit_softcapping' is 30"
expect_no_stdout

test_case "two checkpoints in one folder are refused, both named"
bare two
ln -s "$demo/model.safetensors" two/model.safetensors
printf '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}' >two/model.safetensors.index.json
run score --model two --ids 1,2,3
expect_code 3
expect_stderr "two checkpoints: model.safetensors and model.safetensors.index.json"
expect_stderr "hint: move the one that is not wanted out of the folder"
run verify two
expect_code 1
expect_stdout "two checkpoints"

cases=$shared/cases
if [ ! -d "$cases" ]; then
    echo "SKIP: no cases in $shared"
    finish
    exit
fi

# logprob of the first pair of ids
score() {
    run score --model "$1" --ids 1,2,3 --json
    "$json_get" logprobs.0 <stdout 2>&1
}

test_case "shared: the head that is stored counts"
same=$(score "$cases/base")
expect "the scores of base" test "$(score "$cases/tied_head/model")" = "$same"
expect_stderr "the stored head counts"
run verify "$cases/tied_head/model"
expect_code 1
expect_stdout "tied-head"
for format in gptq gguf; do
    run rtn --model "$cases/tied_head/model" --group 32 --format "$format" --out "tied-$format"
    expect_code 0
    expect "the config says so" grep -q '"tie_word_embeddings": false' "tied-$format/config.json"
done

test_case "shared: an embedding that is stored as the head alone"
run score --model "$cases/tied_only_lm_head" --ids 1,2,3
expect_code 0
expect_stdout "mean"

test_case "shared: adapters, pointers, two checkpoints, packed weights without settings"
run score --model "$cases/unused/lora" --ids 1,2,3
expect_code 3
expect_stderr "merge_and_unload"
run verify "$cases/unused/lora"
expect_code 1
run score --model "$cases/lfs/model" --ids 1,2,3
expect_code 3
expect_stderr "Git LFS pointer"
run score --model "$cases/two_checkpoints/model" --ids 1,2,3
expect_code 3
expect_stderr "two checkpoints"
run score --model "$cases/no_quantization_config" --ids 1,2,3
expect_code 3
expect_stderr "no config says how"

test_case "shared: scales of the cache"
run convert --model "$cases/ct_kv_cache_scheme" --format compressed-tensors --out same
expect_code 0
expect "the scheme is kept" grep -q '"kv_cache_scheme": {' same/config.json
run verify same --against "$cases/ct_kv_cache_scheme"
expect_code 0
run convert --model "$cases/ct_kv_cache_scheme" --format gguf --out gguf
expect_code 0
expect_stderr "left out: 4 tensors with scales of an 8-bit key and value cache"

finish
