#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Names out of files, and paths, that would act on the terminal that shows them: line ends that fake
# a message, escape sequences, characters that turn the reading order around.
. "$(dirname "$0")/lib.sh"
pin_kernels

esc=$(printf '\033')
evil=$(printf 'a\nllmq: all is well\033[2J\342\200\256b\302\233c\377d')
shown='a\nllmq: all is well\x1b[2J\u202eb\u009bc\xffd'

# Nothing but printable ASCII and line ends on the stream, and no line that was not llmq's.
clean() {
    expect "no control characters on $1" test "$(LC_ALL=C tr -d '\n -~' <"$1" | wc -c)" -eq 0
    expect "no faked message on $1" sh -c "! grep -q '^llmq: all is well' $1"
}

test_case "a path in a message"
run inspect "$evil/none"
expect_code 3
expect_stderr "$shown"
clean stderr
run tokenize --model "$demo" --text "$evil"
expect_stderr "$shown"
clean stderr

test_case "an argument in a usage error"
run gptq --bits "$evil"
expect_code 2
expect_stderr "$shown"
clean stderr
run "$evil"
expect_stderr "$shown"
clean stderr
run gptq "--$evil"
clean stderr

test_case "a path in a table"
cp -r "$demo" "$evil"
run inspect "$evil"
expect_code 0
expect_stdout "$shown"
clean stdout
run verify "$evil"
expect_code 0
expect_stdout "$shown"
clean stdout
run rtn --model "$evil" --dry-run -q
expect_stdout "$shown"
clean stdout

test_case "a path in JSON: what a terminal might obey is escaped, and the JSON is valid"
run inspect "$evil" --json
expect_code 0
expect_stdout '\nllmq: all is well\u001b[2J\u202eb\u009bc\ufffdd'
clean stdout
expect_json model_type llama

test_case "a model type"
cp -r "$demo" typed
sed 's/"model_type": *"llama"/"model_type": "a\\nllmq: all is well\\u001b[2J\\u202eb"/
     s/"LlamaForCausalLM"/"x\\u001b]0;y"/' "$demo/config.json" >typed/config.json
run inspect typed
expect_stdout 'a\nllmq: all is well\x1b[2J\u202eb'
clean stdout
run eval --model typed -q
expect_code 3
expect_stderr 'a\nllmq: all is well\x1b[2J\u202eb'
clean stderr

test_case "a key of the configuration"
cp -r "$demo" keyed
sed 's/^{/{"a\\u001b[2Jb": 1, "a\\u001b[2Jb": 2,/' "$demo/config.json" >keyed/config.json
run inspect keyed
clean stderr
clean stdout

test_case "the name of a tensor"
cp -r "$demo" named
LC_ALL=C sed 's/"model\.norm\.weight"/"model.n\\u001bight"/' "$demo/model.safetensors" \
    >named/model.safetensors
run inspect named --tensors
expect_code 0
expect_stdout 'model.n\x1bight'
clean stdout
run verify named -v
expect_code 1
clean stdout
clean stderr
run eval --model named -q
expect "refused" test "$code" -eq 3
clean stderr

test_case "the command that continues an interrupted run can be pasted"
out=$(printf "it's\ttwo\nlines\\\\%s" "$esc")
mkfifo pipe
windows 4 64 >few.json
"$llmq" gptq --model "$demo" --calib few.json --samples 4 --quality fast \
    --out "$out" >stdout 2>pipe &
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
clean stderr
expect_stderr "--out \$'it\\047s\\011two\\012lines\\134\\033'"
if command -v bash >/dev/null; then
    sed -n 's/^hint: continue with: //p' log >resume
    code=0
    ran=$(cat resume)
    bash ./resume -q >stdout 2>stderr || code=$?
    expect_code 0
    expect "the result" test -f "$out/config.json"
    clean stdout
fi

finish
