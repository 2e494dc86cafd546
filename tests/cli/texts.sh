#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is read to calibrate and to measure: kinds of files, special tokens, windows, limits.
. "$(dirname "$0")/lib.sh"
pin_kernels

# The demo model with a tokenizer that puts <|endoftext|> (id 0) before every text.
mkdir begins
for file in "$demo"/*; do
    ln -s "$file" begins/
done
rm begins/tokenizer_config.json
printf '{"tokenizer_class": "LlamaTokenizer", "bos_token": {"content": "<|endoftext|>"}}' \
    >begins/tokenizer_config.json
sed 's/<|endoftext|>//g; s/[\\"]//g' "$demo/eval.txt" | grep '[a-z]' | head -c 1500 >text.txt

# refused CODE "message" "hint, or nothing" ARGUMENTS...
refused() {
    expected=$1
    message=$2
    hint=$3
    shift 3
    test_case "refused: llmq $*"
    run "$@"
    expect_code "$expected"
    expect_no_stdout
    expect_stderr "$message"
    if [ -n "$hint" ]; then
        expect_stderr "$hint"
    fi
}

# --- special tokens ---

test_case "begin of text: by tokenizer_config.json, forced, and left out"
printf 'My fellow citizens' >words
run tokenize --model "$demo" --text words
plain=$(cat stdout)
run tokenize --model begins --text words
expect_stdout_exactly "[0,${plain#[}"
run tokenize --model begins --text words --no-special
expect_stdout_exactly "$plain"
run tokenize --model "$demo" --text words --bos
expect_stdout_exactly "[0,${plain#[}"
refused 2 "--no-special and --bos exclude each other" "" tokenize --model m --no-special --bos

test_case "a text that begins with it gets no second one, which is said once"
{ printf '<|endoftext|>'; cat text.txt; } >begun.txt
run eval --model begins --text text.txt --ctx 64 --json -q
once=$("$json_get" nll <stdout)
run eval --model begins --text begun.txt --ctx 64 --json
expect_code 0
expect_stderr "begun.txt: 1 of 1 texts begin with the begin-of-text token"
expect_json nll "$once"
run eval --model "$demo" --text begun.txt --ctx 64 --json --no-special
expect_json nll "$once"
run eval --model "$demo" --text text.txt --ctx 64 --json --bos
expect_json nll "$once"
run eval --model "$demo" --text text.txt --ctx 64 --json
expect "another result without it" test "$("$json_get" nll <stdout)" != "$once"

test_case "empty texts are left out, counted and said"
fold -s -w 300 text.txt | awk 'NF { printf "{\"text\": \"%s\"}\n", $0 }' >full.jsonl
awk '{ printf "%s\n{\"text\": \"\"}\n{\"text\": \"<|endoftext|>\"}\n", $0 }' full.jsonl >some.jsonl
run rtn --model begins --calib some.jsonl --seqlen 32 --samples 4 --group 64 --out some --json
expect_code 0
expect_stderr "some.jsonl: $((2 * $(wc -l <full.jsonl))) of $(wc -l <some.jsonl) texts are empty"
expect_json texts "$(wc -l <some.jsonl)"
expect_json texts_empty "$((2 * $(wc -l <full.jsonl)))"
expect_json texts_begun 0
used=$("$json_get" tokens_used <stdout)
dropped=$("$json_get" tokens_dropped <stdout)
run rtn --model begins --calib full.jsonl --seqlen 32 --samples 4 --group 64 --out full --json
expect_json texts_empty 0
expect_json tokens_used "$used"
expect_json tokens_dropped "$dropped"

# --- llama.cpp's convention ---

# second_half CTX "FIRST, or nothing" IDS...: NLL of the second halves of the first two windows of
# CTX ids, FIRST in the place of each one's first, from the tokens' own scores.
second_half() {
    ctx=$1
    first=$2
    shift 2
    for w in 1 2; do
        ids=${first:-$1}
        shift
        i=1
        while [ $i -lt "$ctx" ]; do
            ids=$ids,$1
            shift
            i=$((i + 1))
        done
        "$llmq" score --model "$demo" --ids "$ids" --json -q >scores
        i=$((ctx / 2))
        while [ $i -lt $((ctx - 1)) ]; do
            "$json_get" logprobs.$i <scores
            i=$((i + 1))
        done
    done | awk '{ sum -= $1 } END { printf "%.9f\n", sum / NR }'
}

# llamacpp_is NLL ARGUMENTS...: what eval says, to the rounding of float32.
llamacpp_is() {
    wanted=$1
    shift
    run eval "$@" --convention llamacpp --json -q
    expect_code 0
    found=$("$json_get" nll <stdout)
    expect "nll $wanted, not $found" \
        awk "BEGIN { exit !(($found - $wanted) ^ 2 < 1e-8 && $found > 0) }"
}

run tokenize --model begins --text text.txt
# shellcheck disable=SC2046 # a list of ids
set -- $(tr -d '[]' <stdout | tr ',' ' ')
test_case "llamacpp: begin of text in the place of each window's first token"
llamacpp_is "$(second_half 16 0 "$@")" --model begins --text text.txt --ctx 16 --max-tokens 32
with=$found
run compare --model begins --reference begins --text text.txt --ctx 16 --max-tokens 32 \
    --convention llamacpp --json -q
expect_json tokens 14
expect "compare: e^$with" awk "BEGIN { exit !((log($("$json_get" ppl <stdout)) - $with) ^ 2 < 1e-8) }"
llamacpp_is "$(second_half 15 0 "$@")" --model begins --text text.txt --ctx 15 --max-tokens 30

test_case "llamacpp: nothing takes its place where the tokenizer puts none"
shift # the tokenizer's
without=$(second_half 16 "" "$@")
llamacpp_is "$without" --model "$demo" --text text.txt --ctx 16 --max-tokens 32
llamacpp_is "$without" --model begins --text text.txt --ctx 16 --max-tokens 32 --no-special

test_case "llamacpp: windows given as ids stay as they are"
printf '[[5,6,7,8],[9,10,11,12],[13,14,15,16]]' >ids.json
llamacpp_is "$(second_half 4 "" 5 6 7 8 9 10 11 12)" --model begins --text ids.json --max-tokens 8

refused 2 "no token counts by the convention llamacpp in windows of 2 tokens" "" \
    eval --model "$demo" --text text.txt --ctx 2 --convention llamacpp
refused 2 "no token counts by the convention llamacpp" "" \
    compare --model "$demo" --reference "$demo" --text text.txt --ctx 2 --convention llamacpp

# --- windows given as ids: options that would change nothing ---

refused 2 "ids.json: its windows of token ids are used as they are, --ctx would change nothing" \
    "leave out --ctx" eval --model "$demo" --text ids.json --ctx 4
refused 2 "--ctx would change nothing" "" \
    compare --model "$demo" --reference "$demo" --text ids.json --ctx 4
refused 2 "--bos would change nothing" "" eval --model "$demo" --text ids.json --bos
refused 2 "--no-special would change nothing" "" \
    compare --model "$demo" --reference "$demo" --text ids.json --no-special
refused 2 "--seqlen would change nothing" "" rtn --model "$demo" --calib ids.json --seqlen 4
refused 2 "--seed would change nothing" "leave out --seed" \
    gptq --model "$demo" --calib ids.json --seed 0
refused 2 "--no-special would change nothing" "" awq --model "$demo" --calib ids.json --no-special
refused 2 "--calib-field would change nothing" "leave out --calib-field" \
    gptq --model "$demo" --calib ids.json --calib-field body
test_case "the first windows are a choice"
run rtn --model "$demo" --calib ids.json --samples 2 --group 64 --out two --json
expect_code 0
expect_stderr "the first 2 of 3 windows of ids.json are used"
expect_json windows 2
expect_json texts 0
expect_json tokens_dropped 4

test_case "rtn says which options are about text that it does not read"
run rtn --model "$demo" --group 64 --seed 1 --dry-run
expect_code 0
expect_stderr "rtn reads no text without --calib: --seed changes nothing"
run rtn --model "$demo" --group 64 --dry-run
expect "nothing without them" test -z "$(grep 'changes nothing' stderr)"

# --- limits and short texts ---

printf 'A few words.' >short.txt
refused 3 "short.txt: 5 tokens do not make a single window of" "give --ctx 5 or less" \
    eval --model begins --text short.txt
refused 3 "short.txt: 5 tokens do not make a single window of" "give --seqlen 5 or less" \
    gptq --model begins --calib short.txt
refused 3 "tokens do not make a single window of 300" "give --ctx 4 or less" \
    compare --model "$demo" --reference "$demo" --text short.txt --ctx 300
refused 2 "text.txt: --max-tokens 30 leaves no whole window" "--max-tokens 64 or more, or --ctx 30" \
    eval --model "$demo" --text text.txt --ctx 64 --max-tokens 30
test_case "a limit is told from the end of the text"
run eval --model "$demo" --text text.txt --ctx 64 --max-tokens 150
expect_code 0
expect_stderr "--max-tokens 150: the other"
expect_stderr "22 tokens at the end fill no window: not scored"
run eval --model "$demo" --text text.txt --ctx 64 --max-tokens 100000
expect_stderr "--max-tokens 100000: there are only"

# --- kinds of files ---

printf '{"messages": [{"role": "user", "content": "Hello"}]}\n' >messages.jsonl
for name in messages.jsonl MESSAGES.JSONL messages.json messages.txt; do
    [ -e $name ] || cp messages.jsonl $name
    refused 3 "$name: line 1: $demo: the model has no chat template" \
        "chat_template.jinja" gptq --model "$demo" --calib $name
done
printf '{"body": "Hello"}\n' >body.jsonl
refused 3 'no "text": expected {"text": ...} or {"messages": [...]}, found the keys "body"' \
    "--calib-field KEY" gptq --model "$demo" --calib body.jsonl
refused 3 "no \"text\"" "--text-field KEY" eval --model "$demo" --text body.jsonl
refused 2 "text.txt: one text, not lines of JSON: --text-field would change nothing" \
    "leave out --text-field" eval --model "$demo" --text text.txt --text-field body
gzip -c text.txt >text.gz
head -c 100 text.gz >cut.gz
refused 3 "cut.gz: the end of what gzip packed is missing" "gzip -t" \
    eval --model "$demo" --text cut.gz
printf 'text,id\nHello,1\n' >table.CSV
refused 3 "table.CSV: a table" "read_csv" eval --model "$demo" --text table.CSV
{ printf '\377\376'; sed 's/./&\n/g' text.txt | head -c 200 | tr '\n' '\0'; } >wide.txt
refused 3 "wide.txt: the text is UTF-16" "iconv -f UTF-16" eval --model "$demo" --text wide.txt
: >empty.txt
refused 3 "empty.txt: the file is empty" "" eval --model "$demo" --text empty.txt

test_case "lines are lines, whatever the name"
run eval --model "$demo" --text full.jsonl --ctx 64 --json -q
lines=$("$json_get" nll <stdout)
cp full.jsonl full.JSONL
cp full.jsonl full.ndjson
cp full.jsonl full.json
cp full.jsonl full.txt
gzip -c full.jsonl >full.gz
{ printf '\357\273\277'; cat full.jsonl; } >marked.jsonl
for name in full.JSONL full.ndjson full.json full.txt full.gz marked.jsonl; do
    run eval --model "$demo" --text $name --ctx 64 --json -q
    expect_json nll "$lines"
done

test_case "conversations are read as the model's chat template writes them"
mkdir chats
for file in "$demo"/*; do
    ln -s "$file" chats/
done
printf '{%% for m in messages %%}\n{{ m.role }}: {{ m.content | trim }}\n{%% endfor %%}' \
    >chats/chat_template.jinja
sed 's/.*/{"messages": [{"role": "user", "content": " Say it. "}, {"role": "assistant", "content": "&"}]}/' \
    text.txt >chats.jsonl
sed 's/.*/{"body": "user: Say it.\\nassistant: &\\n"}/' text.txt >body.jsonl
run eval --model chats --text chats.jsonl --ctx 64 --json
expect_code 0
expect_stderr "texts are chats, written by the model's template"
chats=$("$json_get" nll <stdout)
run eval --model chats --text body.jsonl --text-field body --ctx 64 --json -q
expect_json nll "$chats"
run rtn --model chats --calib chats.jsonl --seqlen 64 --dry-run
expect_code 0
expect_stderr "texts are chats, written by the model's template"

test_case "windows of calibration are shown, of several files by weight"
run gptq --model begins --calib text.txt --seqlen 16 --show-calib 2
expect_code 0
expect_stdout "--- window 2 of "
expect_stdout "<|endoftext|>"
run gptq --model chats --calib chats.jsonl:3 --calib text.txt --samples 4 --seqlen 16 \
    --show-calib 9 --json
expect_code 0
expect_json total 4
expect_json windows 4
expect_json windows.0.tokens 16
refused 2 "--calib text.txt:0: a weight is a number above 0" "" \
    gptq --model "$demo" --calib text.txt:0 --show-calib 1
refused 2 "rtn reads no text without --calib" "" rtn --model "$demo" --show-calib 1

# --- a key twice ---

mkdir twice
for file in "$demo"/*; do
    ln -s "$file" twice/
done
rm twice/config.json
sed 's/^{/{"rope_theta": 5.0, "rope_theta": 10000.0,/' "$demo/config.json" >twice/config.json
refused 3 "twice/config.json: JSON, line 1 column 21: the key 'rope_theta' is given twice" \
    "take out the wrong one" eval --model twice --text text.txt
printf '{"text": "a", "t\\u0065xt": "b"}\n' >twice.jsonl
refused 3 "twice.jsonl: line 1: JSON, line 1 column 15: the key 't\\u0065xt' is given twice" "" \
    eval --model "$demo" --text twice.jsonl

# --- the inputs beside the repository, when they are there ---

cases=$shared/cases
stories=$shared/models/stories15M
if [ -d "$cases" ] && [ -d "$stories" ]; then
    test_case "llama.cpp's perplexity of stories15M"
    run eval --model "$stories" --text "$cases/llamacpp_convention/text.txt" --ctx 256 \
        --convention llamacpp --json -q
    expect "5.5318" test "$(printf '%.4f' "$("$json_get" ppl <stdout)")" = 5.5318
    expect_json tokens 1143
    run compare --model "$stories" --reference "$stories" --ctx 256 --convention llamacpp --json -q \
        --text "$cases/llamacpp_convention/text.txt"
    expect "5.5318" test "$(printf '%.4f' "$("$json_get" ppl_reference <stdout)")" = 5.5318

    test_case "the files of calib_files"
    for name in UP.JSONL bom.jsonl lines.json meta.jsonl textempty.jsonl; do
        run eval --model "$stories" --text "$cases/calib_files/$name" --ctx 16 --json -q
        expect_code 0
        expect_json tokens 1260
    done
    run eval --model "$stories" --text "$cases/calib_files/t1.txt" --ctx 11 --json
    expect_stderr "1 of 1 texts begin with the begin-of-text token"
    expect_json tokens 10
    refused 3 "messages.jsonl: line 1: $stories: the model has no chat template" "chat_template.jinja" \
        rtn --model "$stories" --group 32 --calib "$cases/calib_files/messages.jsonl"
    refused 3 "27 tokens do not make a single window of 256" "--ctx 27 or less" \
        eval --model "$stories" --text "$cases/short_text/short.txt"
    refused 3 "config.json: JSON, line 16 column 2: the key 'rope_theta' is given twice" "" \
        inspect "$cases/duplicate_key/model"
fi

finish
