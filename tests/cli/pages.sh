#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command lines of README.md and of the pages in docs/ do what the page says: each runs as it is
# written there, in a folder in which the models, texts and results that it names are three blocks
# of the bundled model, its text and one rounded result. What would take long is made smaller:
# windows, tokens, candidates, and texts that are generated.
. "$(dirname "$0")/lib.sh"
pin_kernels

PATH=$(dirname "$llmq"):$PATH
export PATH

# --- what the pages name ---

# The first three blocks of the bundled model, and a template, so that it speaks in turns.
mkdir speaking
ln -s "$demo"/* speaking
rm speaking/config.json
sed 's/"num_hidden_layers": 5/"num_hidden_layers": 3/' "$demo/config.json" >speaking/config.json
printf '%s' '{% for m in messages %}{{ m.content }} {% endfor %}' >speaking/chat_template.jinja
run rtn speaking --out rounded -q
expect_code 0
awk 'BEGIN {
    for (i = 0; i < 8 * 32; i++) printf "%s%d", i % 32 ? ", " : i ? "], [" : "[[", 7 * i % 997
    print "]]"
}' >windows.json
head -c 65536 "$demo/calibration.txt" >text
printf 'Q: Who are you?\nA:' >prompt.txt

# furnish FOLDER PAGE: make the folder and put there what a reader of the page has.
furnish() {
    mkdir "$1" "$1/docs" "$1/models"
    ln -s ../../speaking "$1/models/demo"
    for model in M R llama2-7b stories15M minimind2-small; do ln -s ../speaking "$1/$model"; done
    for result in A B C D; do ln -s ../rounded "$1/$result"; done
    for windows in WINDOWS EVAL windows calib_windows eval_windows \
        stories15M_calib_seed0_128x256 minimind2_calib_seed0_128x512; do
        ln -s ../windows.json "$1/$windows.json"
    done
    ln -s ../text "$1/T"
    ln -s ../prompt.txt "$1/prompt.txt"
    case $2 in
    docs/GENERATING.md) ln -s ../rounded "$1/M-gptq-w4g128" ;;
    docs/RECIPES.md) sed -n '/^```json/,/^```/{/^```/!p}' "$root/$2" >"$1/recipe.json" ;;
    esac
}

# commands_of PAGE: its command lines, without what is piped elsewhere.
commands_of() {
    sed -n 's/^    \(llmq [a-z].*\)/\1/p' "$root/$1" | grep -v '\[options\]' | sed 's/ | jq .*//'
}

# smaller COMMAND-LINE: the same with one value for each letter that stands for several, and short.
smaller() {
    line=$(printf '%s\n' "$1" | sed -e 's/--target-bits T/--target-bits 4.5/' \
        -e 's/--estimate E/--estimate block/' -e 's/--scheme S/--scheme FP8_DYNAMIC/' \
        -e 's/ --samples [0-9]*//; s/ --max-tokens [0-9]*//; s/--windows [0-9]*/--windows 1/' \
        -e 's/--candidates \([^,]*\),[^ ]*,/--candidates \1,/')
    case $line in
    *--table* | *"--reference R.reference") ;; # measured before, windows of its own
    *--calib*.json*) line=$(with "$line" '--samples 4') ;;
    'llmq gptq'* | 'llmq sensitivity'*) line=$(with "$line" '--samples 4 --seqlen 64') ;;
    'llmq generate'*) line=$(with "$line" '--max-tokens 8') ;;
    *) line=$(with "$line" '--max-tokens 512') ;;
    esac
    printf '%s\n' "$line"
}

# with COMMAND-LINE OPTIONS: behind its command, before what is redirected.
with() {
    printf '%s\n' "$1" | sed "s/^\(llmq [a-z]*\)/\1 $2/"
}

# --- run ---

for page in README.md docs/GENERATING.md docs/METHODS.md docs/NUMBERS.md docs/QUALITY.md \
    docs/RECIPES.md docs/SENSITIVITY.md; do
    folder=$(basename "$page" .md)
    furnish "$folder" "$page"
    commands_of "$page" >commands
    test_case "$page has commands"
    expect "at least one" test -s commands
    while read -r written <&3; do
        test_case "$page: $written"
        ran=$(smaller "$written")
        code=0
        # A result that the last command made would be in the way of the next of that name.
        (cd "$folder" && { [ -L M-gptq-w4g128 ] || rm -rf M-gptq-w4g128; } && eval "$ran") \
            >stdout 2>stderr </dev/null || code=$?
        expect_code 0
    done 3<commands
done

finish
