#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The subcommands on the bundled demo model: results on stdout in both forms, the JSON keys scripts
# rely on, exit codes, interruption and resumption.
. "$(dirname "$0")/lib.sh"

# --- inspect ---

test_case "inspect prints a table"
run inspect "$demo"
expect_code 0
expect_no_stderr
expect_stdout "llama"
expect_stdout "quantization  none"

test_case "inspect --json has its keys and no tensors unless asked"
run inspect "$demo" --json
expect_code 0
expect_json model_type llama
expect_json_paths parameters bytes bits_per_weight
run inspect "$demo" --json --tensors
expect_json_paths tensors.0.name tensors.0.dtype tensors.0.shape.0 tensors.0.bytes

test_case "inspect --tensors lists every tensor"
run inspect "$demo" --tensors
expect_code 0
expect_stdout "model.embed_tokens.weight"
expect_stdout "model.layers.0.mlp.down_proj.weight"

test_case "inspect --blocks tells the rounds, what a linear repairs and where its scale goes"
run inspect "$demo" --blocks
expect_code 0
expect_no_stderr
expect_stdout "blocks 0-4 (5)"
expect_stdout "self_attn.o_proj            256 x 256                 1  X "
expect_stdout "columns  mlp.up_proj"
expect_stdout "kept of every token before round 0: X; 1: X, CONTEXT; 2: Y; 3: Y, MID"
run inspect "$demo" --blocks --json
expect_json kinds.0.rows.1.makes.0 Q
expect_json kinds.0.rows.1.round 0
expect_json kinds.0.rows.1.folds_into input_layernorm
expect_json kinds.0.rows.1.fused qkv_proj
expect_json kinds.0.rows.7.repairs X
expect_json kinds.0.rows.7.split columns

test_case "a model that is not there: exit code 3, and where llmq looked"
run inspect no-such-model
expect_code 3
expect_no_stdout
expect_stderr "llmq: "
expect_stderr "hint: looked for"

test_case "a model is found by name in \$LLMQ_MODELS"
LLMQ_MODELS=$(dirname "$demo")
export LLMQ_MODELS
run inspect demo
unset LLMQ_MODELS
expect_code 0

test_case "a folder that is no model: exit code 3"
mkdir empty
run inspect ./empty
expect_code 3
expect_no_stdout

# --- tokenize ---

test_case "tokenize reads standard input and prints [1,2,3] on one line"
printf 'My fellow citizens' >words.txt
run_on words.txt tokenize --model "$demo"
expect_code 0
expect_no_stderr
expect "a list of ids" grep -qxE '\[[0-9]+(,[0-9]+)*\]' stdout
cp stdout ids

test_case "tokenize --text FILE, --text - and --json print the same ids"
run tokenize --model "$demo" --text words.txt
expect "same ids as from standard input" cmp -s stdout ids
run_on words.txt tokenize --model "$demo" --text -
expect "same ids with -" cmp -s stdout ids
run tokenize --model "$demo" --text words.txt --json
expect "same ids as JSON" cmp -s stdout ids

test_case "tokenize of nothing is an empty list or special tokens only"
run tokenize --model "$demo" --no-special
expect_code 0
expect_stdout_exactly "[]"

test_case "tokenize of a file that is not there: exit code 3 and its name"
run tokenize --model "$demo" --text no-such-file
expect_code 3
expect_stderr "no-such-file: No such file or directory"

test_case "tokenize of a folder: exit code 4"
run tokenize --model "$demo" --text .
expect_code 4

test_case "tokenize --decode gives the text back, byte for byte"
run_on ids tokenize "$demo" --decode - --no-special
expect_code 0
expect_no_stderr
expect "the text" cmp -s stdout words.txt
run tokenize "$demo" --decode "$(cat ids)" --no-special --json
expect "the text" grep -q '"text": "My fellow citizens"' stdout

test_case "tokenize --decode names an id that is no token"
run tokenize "$demo" --decode 1,99999999
expect_code 2
expect_no_stdout
expect_stderr "id 99999999 at position 1 is no token"
run tokenize "$demo" --decode 1,x
expect_code 2
expect_stderr "not a list of token ids after 1 of them"

# --- score ---

test_case "score accepts what tokenize prints"
run score --model "$demo" --ids "$(cat ids)" --json -q
expect_code 0
expect_no_stderr
expect_json_paths ids.0 logprobs.0
expect "one score fewer than ids" \
    test "$("$json_get" ids <stdout)" -eq $(($("$json_get" logprobs <stdout) + 1))

test_case "score prints a table with the mean"
run score --model "$demo" --ids "$(cat ids)" -q
expect_code 0
expect_stdout "mean"

test_case "score --logits writes safetensors"
run score --model "$demo" --ids 1,2,3 --logits logits.safetensors -q
expect_code 0
expect "tensor named logits" grep -q '"logits"' logits.safetensors

test_case "an id beyond the vocabulary is refused before work"
run score --model "$demo" --ids 1,2000000000 -q
expect_no_stdout
expect "exit code 2 or 3" test "$code" -eq 2 -o "$code" -eq 3

# --- eval ---

few='--ctx 128 --max-tokens 1024 -q'

test_case "LLMQ_BLAS_CORE=measure tries other kernels, unless the user chose some"
LLMQ_BLAS_CORE=measure
export LLMQ_BLAS_CORE
# shellcheck disable=SC2086
run eval --model "$demo" --text "$demo/eval.txt" $few --verbose
unset LLMQ_BLAS_CORE
expect_code 0
if [ -z "${OPENBLAS_CORETYPE:-}" ] && grep -qw avx512f /proc/cpuinfo; then
    expect_stderr "llmq: BLAS on SkylakeX kernels reaches"
elif [ -z "${OPENBLAS_CORETYPE:-}" ] && grep -qw avx2 /proc/cpuinfo; then
    expect_stderr "llmq: BLAS on Haswell kernels reaches"
else
    expect "no other kernels are tried" test "$(grep -c "^llmq: BLAS on" stderr)" -eq 0
fi

test_case "another value of LLMQ_BLAS_CORE is refused"
LLMQ_BLAS_CORE=haswell
export LLMQ_BLAS_CORE
# shellcheck disable=SC2086
run eval --model "$demo" --text "$demo/eval.txt" $few
expect_code 2
expect_no_stdout
expect_stderr "LLMQ_BLAS_CORE=haswell"

test_case "rounding without calibration does not look at BLAS, with calibration it does"
run rtn --model "$demo" --dry-run
expect_code 0
run rtn --model "$demo" --calib "$demo/calibration.txt" --dry-run
expect_code 2
expect_stderr "LLMQ_BLAS_CORE=haswell"
unset LLMQ_BLAS_CORE

pin_kernels

test_case "eval --json has its keys"
# shellcheck disable=SC2086 # $few is a list of words
run eval --model "$demo" --text "$demo/eval.txt" $few --json
expect_code 0
expect_no_stderr
expect_json_paths ppl nll stderr tokens ctx convention
expect_json convention gptq
expect_json ctx 128
expect_json tokens $((8 * 127))

test_case "eval prints perplexity and convention"
# shellcheck disable=SC2086
run eval --model "$demo" --text "$demo/eval.txt" $few --convention llamacpp
expect_code 0
expect_stdout "perplexity"
expect_stdout "llamacpp"

test_case "perplexity above --max-ppl: the result is printed and the exit code is 1"
# shellcheck disable=SC2086
run eval --model "$demo" --text "$demo/eval.txt" $few --max-ppl 1.5
expect_code 1
expect_stdout "perplexity"
expect_stderr "is above the limit 1.5"

test_case "perplexity below --max-ppl: exit code 0"
# shellcheck disable=SC2086
run eval --model "$demo" --text "$demo/eval.txt" $few --max-ppl 100000
expect_code 0

test_case "progress without a terminal is one line per block, and none with --no-progress or -q"
run eval --model "$demo" --text "$demo/eval.txt" --ctx 128 --max-tokens 256
expect_code 0
blocks=$(sed -n 's/.*"num_hidden_layers": *\([0-9]*\).*/\1/p' "$demo/config.json")
expect "$blocks lines for blocks" test "$(grep -c '^block ' stderr)" -eq "$blocks"
expect "no control characters" test "$(tr -d '\n -~' <stderr | wc -c)" -eq 0
run eval --model "$demo" --text "$demo/eval.txt" --ctx 128 --max-tokens 256 --no-progress
expect "no lines for blocks" test "$(grep -c '^block ' stderr)" -eq 0

test_case "an output that cannot be written: exit code 4"
if [ -w /dev/full ]; then
    "$llmq" inspect "$demo" >/dev/full 2>stderr
    code=$?
    expect_code 4
    expect_stderr "standard output"
fi

# --- rtn, gptq and awq ---

test_case "rtn --dry-run prints the plan and writes nothing"
run rtn --model "$demo" --out plan-only --dry-run -q
expect_code 0
expect_stdout "would write"
expect "no more than a dozen lines" test "$(wc -l <stdout)" -le 12
expect "no modules" sh -c '! grep -q model.layers stdout'
run rtn --model "$demo" --out plan-only --dry-run -v
expect_code 0
expect_stdout "model.layers.0.self_attn.q_proj"
expect "no folder" test ! -e plan-only

test_case "rtn writes a checkpoint that inspect and eval read"
run rtn --model "$demo" --out rtn -q
expect_code 0
expect_no_stderr
expect_stdout "wrote"
expect "no partial folder is left" test ! -e rtn.partial
run inspect rtn --json
expect_json format gptq
expect_json bits 4
expect_json group 128
# shellcheck disable=SC2086
run eval --model rtn --text "$demo/eval.txt" $few --json
expect_code 0

# --- rules ---

test_case "the plan says what rules make of each module, inspect how many are otherwise"
run rtn --model "$demo" --set 'down_proj:bits=8' --keep '\.0\..*o_proj' --out rules --dry-run
expect_code 0
expect_stdout "5 of 8 bits"
expect_stdout "1 of 16 bits, as they are"
run rtn --model "$demo" --set 'down_proj:bits=8' --keep '\.0\..*o_proj' --out rules --dry-run -v
expect_code 0
expect "a plain module" grep -q 'layers\.0\.self_attn\.o_proj .* 16 .* left as it is$' stdout
expect "its method" grep -q 'layers\.0\.mlp\.down_proj .* 8 .* rtn$' stdout
run rtn --model "$demo" --set 'down_proj:bits=8' --keep '\.0\..*o_proj' --out rules -q
expect_code 0
expect_stdout "35 in 5 blocks, 1 of them left in 16 bits"
run inspect rules
expect_stdout "symmetric; 5 modules otherwise"

test_case "groups of one digit, too, may leave out what they do not fit"
run rtn --model "$demo" --group 8,keep --dry-run -v
expect_code 0
expect "groups of 8" grep -q 'layers\.0\.mlp\.up_proj .* 4 *8$' stdout

test_case "on few tokens GPTQ falls back, and counts where"
run gptq --model "$demo" --calib "$demo/calibration.txt" --samples 2 --seqlen 16 --quality fast \
    --out few -v
expect_code 0
expect "somewhere" grep -q 'held back: rounded$' stdout
expect_stdout "fell back    $(grep -c 'held back: rounded$' stdout) of 35 modules"
expect_stdout "by rounding alone; on calibration tokens held back"

# --- compare ---

pair="--model rtn --reference $demo --text $demo/eval.txt --ctx 128 --max-tokens 512 -q"

test_case "compare --json has its keys"
# shellcheck disable=SC2086 # $pair is a list of words
run compare $pair --json
expect_code 0
expect_no_stderr
expect_json_paths kl_mean kl_median kl_p99 top1_agreement delta_nll delta_nll_stderr ppl \
    ppl_reference worst.0.window worst.0.position worst.0.token worst.0.kl \
    blocks.0.error blocks.0.model.min blocks.0.model.max blocks.0.model.mean blocks.0.model.spread \
    blocks.0.model.nan blocks.0.model.infinite blocks.0.reference.spread
expect_json schema 1
expect_json tokens $((4 * 127))
expect_json worst 5

test_case "mean KL divergence above --max-kl: the result is printed and the exit code is 1"
# shellcheck disable=SC2086
run compare $pair --max-kl 0
expect_code 1
expect_stdout "KL divergence from the reference"
expect_stderr "is above the limit 0"

test_case "a model compared with itself is within --max-kl 0"
run compare --model "$demo" --reference "$demo" --ctx 128 --max-tokens 256 --max-kl 0 -q
expect_code 0
expect_stdout "same top-1  100.00 %"

test_case "an existing result is refused without --force: it stays as it is"
cp rtn/model.safetensors before
run rtn --model "$demo" --out rtn --bits 8 -q
expect "exit code 2, 3 or 4" test "$code" -ge 2 -a "$code" -le 4
expect_stderr "--force"
expect "unchanged" cmp -s before rtn/model.safetensors

test_case "--force replaces it"
run rtn --model "$demo" --out rtn --bits 8 --force -q
expect_code 0
run inspect rtn --json
expect_json bits 8

test_case "gptq --json has its keys"
run gptq --model "$demo" --calib "$demo/calibration.txt" --samples 4 --seqlen 128 --quality fast \
    --out text --json -q
expect_code 0
expect_no_stderr
expect_json_paths modules.0.name modules.0.method modules.0.bits modules.0.group \
    modules.0.error modules.0.rtn_error modules.0.damp modules.0.events \
    seconds peak_rss_bytes tokens_used tokens_dropped
expect_json tokens_used $((4 * 128))
expect_json held_tokens 4096
expect_json modules $((7 * blocks))

test_case "the same inputs give the same bytes for any number of threads"
windows 16 128 >windows.json
little='--calib windows.json --samples 4'
# shellcheck disable=SC2086
run gptq --model "$demo" $little --bits 2 --quality fast --out gptq -q
expect_code 0
# shellcheck disable=SC2086
run gptq --model "$demo" $little --bits 2 --quality fast --out gptq-1 --threads 1 -q
expect_code 0
expect "same weights" cmp -s gptq/model.safetensors gptq-1/model.safetensors

test_case "awq: asymmetric, in its own format, scaled norms proven not to change the model"
# shellcheck disable=SC2086
run awq --model "$demo" $little --out awq --json -q
expect_code 0
expect_no_stderr
expect_json format awq
expect_json folded $((2 * blocks))
expect_json modules $((7 * blocks))
expect_json_paths modules.0.fold_error
run inspect awq --json
expect_json format awq
expect_json group 128

test_case "gptq --awq composes them, and the text result tells both"
# shellcheck disable=SC2086
run gptq --awq --model "$demo" $little --bits 2 --quality fast --out both -q
expect_code 0
expect_no_stderr
expect_stdout "awq and gptq, 2 bits"
expect_stdout "scaled       $((2 * blocks)) tensors by AWQ"
expect "another result than without --awq" sh -c '! cmp -s gptq/model.safetensors both/model.safetensors'

test_case "verify finds the scales that few bits blur"
run verify both --against "$demo" -q
expect_code 0
expect_stdout " 0 violations"

test_case "a plan says which norms would be scaled"
# shellcheck disable=SC2086
run awq --model "$demo" $little --out plan-only --dry-run -v
expect_code 0
expect "norms listed as scaled" grep -q "input_layernorm.weight .*scaled by AWQ" stdout

test_case "without --out the result is named after model, method and grid"
# shellcheck disable=SC2086
run rtn --model "$demo" --asym --group 64 -q
expect_code 0
expect "demo-rtn-w4g64" test -f demo-rtn-w4g64/config.json
# shellcheck disable=SC2086
run gptq --awq --model "$demo" $little --dry-run -q
expect_stdout "demo-awq-gptq-w4g128"
cp -r "$demo" called
(cd called && mkdir inner)
for model in called/. called/inner/.. called/; do
    run rtn --model "$model" --dry-run -q
    expect_stdout "called-rtn-w4g128"
done

test_case "Ctrl-C: exit code 130, nothing under the final name, and the command that continues"
# Interrupted when the first block is reported.
mkfifo pipe
"$llmq" gptq --model "$demo" --calib windows.json --samples 16 --force \
    --out 'in two steps' >stdout 2>pipe &
pid=$!
ran='llmq gptq ... & kill -INT'
while read -r line; do
    printf '%s\n' "$line" >>log
    case $line in
    'block 2/'*) kill -INT "$pid" ;;
    esac
done <pipe
code=0
wait "$pid" || code=$?
cp log stderr
expect_code 130
expect_no_stdout
expect_stderr "gptq --resume --model"
expect_stderr "--out 'in two steps'"
expect "no --force, which would start over" test -z "$(grep -- --force stderr)"
expect "no result" test ! -e 'in two steps'

test_case "the printed command completes the run, to the same bytes as an undisturbed one"
sed -n 's/^hint: continue with: //p' log >resume
ran=$(cat resume)
code=0
sh ./resume >stdout 2>stderr || code=$?
expect_code 0
expect_stdout "taken over from the interrupted run"
run gptq --model "$demo" --calib windows.json --samples 16 --out undisturbed -q
expect "same weights" cmp -s 'in two steps/model.safetensors' undisturbed/model.safetensors

finish
