#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Build llmq, quantize the bundled model to 4 bits with rounding and with GPTQ, and compare the
# perplexity of the three on text none of them has seen. Takes a minute or two.
#
#     LLMQ=llmq tools/demo.sh          with that program instead of building one; in what
#                                      tools/release.sh made it is bin/llmq
#     OUT=/tmp/demo tools/demo.sh      with the results there instead of in build/demo
set -eu
cd "$(dirname "$0")/.."

model=models/demo
text=$model/eval.txt
calibration=$model/calibration.txt
[ ! -x bin/llmq ] || : "${LLMQ:=bin/llmq}"
llmq=${LLMQ:-build/src/cli/llmq}
out=${OUT:-build/demo}

if [ -z "${LLMQ:-}" ]; then
    tools/install_deps.sh build
    [ -f build/build.ninja ] || meson setup build --buildtype=release
    ninja -C build src/cli/llmq
fi

mkdir -p "$out"
"$llmq" rtn --model "$model" --bits 4 --group 128 --out "$out/rtn" --force
"$llmq" gptq --model "$model" --bits 4 --group 128 --calib "$calibration" --out "$out/gptq" --force

# field KEY: the number of that key in the JSON on standard input.
field() {
    sed -n 's/.*"'"$1"'":[[:space:]]*\([-+.0-9eE]*\).*/\1/p' | head -n 1
}

perplexity() {
    "$llmq" eval --model "$1" --text "$text" --json | field ppl
}

bits() {
    "$llmq" inspect "$1" --json | field bits_per_weight
}

original=$(perplexity "$model")
rtn=$(perplexity "$out/rtn")
gptq=$(perplexity "$out/gptq")

echo
echo "perplexity on $text"
printf '%-28s %15s %12s %10s\n' '' 'bits per weight' perplexity loss
row() {
    printf '%-28s %15.2f %12.4f %10s\n' "$1" "$2" "$3" \
        "$(awk -v a="$3" -v b="$original" 'BEGIN { printf "%+.4f", a - b }')"
}
row 'original' "$(bits "$model")" "$original"
row 'rounded to nearest, W4 g128' "$(bits "$out/rtn")" "$rtn"
row 'GPTQ, W4 g128' "$(bits "$out/gptq")" "$gptq"
awk -v o="$original" -v r="$rtn" -v g="$gptq" 'BEGIN {
    if (!(g - o < r - o)) {
        print "GPTQ is not closer to the original than rounding"
        exit 1
    }
    if (r > o)
        printf "GPTQ loses %.0f %% of what rounding loses.\n", 100 * (g - o) / (r - o)
}'
