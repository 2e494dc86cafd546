#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The same model written in every format, read back by tools/check_formats.py, which shares nothing
# with llmq: codes, zero points and scales are the same to the bit.
. "$(dirname "$0")/lib.sh"
pin_kernels

check=$root/tools/check_formats.py
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
    echo "SKIP: no Python 3.8 or later"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

# quantize FORMAT OPTIONS...: the demo model as FORMAT/.
quantize() {
    as=$1
    shift
    run rtn --model "$demo" --out "$as" --format "$as" --force -q "$@"
    expect_code 0
}

# compare FOLDER OTHER CODE
compare() {
    code=0
    python3 "$check" "$1" "$2" >stdout 2>stderr || code=$?
    ran="check_formats.py $1 $2"
    expect_code "$3"
}

test_case "4 bits, symmetric, in groups that two blocks of ONNX make: the same in every format"
quantize gptq --group auto-fit:512
for other in gptq_v2 compressed-tensors onnx; do
    quantize "$other" --group auto-fit:512
    compare gptq "$other" 0
    expect_stdout "35 linears"
    expect_stdout "the same"
done

test_case "4 bits, asymmetric: the same in every format with all zero points"
quantize gptq_v2 --asym
for other in awq compressed-tensors onnx; do
    quantize "$other" --asym
    compare gptq_v2 "$other" 0
done

test_case "8 bits: the same as gptq and as compressed-tensors"
quantize gptq --bits 8
quantize compressed-tensors --bits 8
compare gptq compressed-tensors 0

test_case "rules: bits of their own, plain linears and a packed head, the same in both formats"
for format in gptq compressed-tensors; do
    quantize "$format" --group 32 --set 'down_proj:bits=8' --keep 'layers\.[0-2]\.' \
        --set 'lm_head:bits=4,group=64'
done
compare gptq compressed-tensors 0
expect_stdout "18 linears"

test_case "3 bits: the same in both versions of gptq"
quantize gptq --bits 3
quantize gptq_v2 --bits 3
compare gptq gptq_v2 0

test_case "one flipped bit is found, in codes, zero points and scales"
flip() {
    python3 - "$root/tools" "$1" "$2" <<'END'
import sys
from pathlib import Path
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import check_formats
tensor = check_formats.read_tensors(Path(sys.argv[2]))["model.layers.1.mlp.up_proj." + sys.argv[3]]
with open(tensor.path, "r+b") as file:
    file.seek(tensor.begin + tensor.size // 2)
    byte = file.read(1)[0]
    file.seek(-1, 1)
    file.write(bytes([byte ^ 4]))
END
}
for change in qweight:codes "qzeros:zero points" scales:scales; do
    flip gptq_v2 "${change%%:*}"
    compare gptq gptq_v2 1
    expect_stdout "model.layers.1.mlp.up_proj: ${change#*:} differ"
    expect "nothing else differs" test "$(grep -c 'differ$' stdout)" -eq 1
    flip gptq_v2 "${change%%:*}"
done
compare gptq gptq_v2 0

test_case "floats: what convert decodes is what the files hold"
for scheme in FP8_DYNAMIC FP8_BLOCK MXFP4A16 NVFP4A16; do
    run rtn --model "$demo" --out "$scheme" --scheme "$scheme" --force -q
    expect_code 0
    run convert --model "$scheme" --out "$scheme-f32" --format f32 --force -q
    expect_code 0
    compare "$scheme" "$scheme-f32" 0
    expect_stdout "35 linears"
    case $scheme in
    FP8*) flip "$scheme" weight ;;
    *) flip "$scheme" weight_packed ;;
    esac
    compare "$scheme" "$scheme-f32" 1
    expect_stdout "model.layers.1.mlp.up_proj: weights differ"
done

test_case "a folder that is no checkpoint: exit code 2"
compare gptq . 2
expect_no_stdout

finish
