#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Wrong usage: exit code 2, nothing on stdout but the error where JSON is asked for, a message and a way
# out on stderr.
. "$(dirname "$0")/lib.sh"

# wrong "message" "hint, or nothing" ARGUMENTS...
wrong() {
    message=$1
    hint=$2
    shift 2
    test_case "wrong usage: llmq $*"
    run "$@"
    expect_code 2
    case " $* " in
    *' -- '*) expect_no_stdout ;;
    *' --json '*)
        expect_json error.exit_code 2
        expect_json error.code LLMQ_E_USAGE
        ;;
    *) expect_no_stdout ;;
    esac
    expect_stderr "llmq: $message"
    if [ -n "$hint" ]; then
        expect_stderr "hint: $hint"
    fi
}

# Commands and the options before them.
wrong "there is no command 'gptw'" "did you mean llmq gptq?" gptw
wrong "there is no command 'inspct'" "did you mean llmq inspect?" inspct m
wrong "there is no command 'frobnicate'" "'llmq --help' lists the commands" frobnicate
wrong "llmq has no option --versoin" "did you mean --version?" --versoin
wrong "llmq has no option -x" "'llmq --help' lists the commands" -x
wrong "--generate: 'pdf' is none of man|man-COMMAND|markdown|bash|zsh|fish" "" --generate pdf

# Names of options.
wrong "eval has no option --txt" "did you mean --text?" eval --txt x
wrong "gptq has no option --groups" "did you mean --group?" gptq --groups=64
wrong "gptq has no option --sampels" "did you mean --samples?" gptq --sampels 4
wrong "gptq has no option -x" "'llmq gptq --help' lists the options" gptq -x
wrong "gptq has no option -qv" "" gptq -qv

# A name is never abbreviated, even where one completion exists.
wrong "gptq has no option --act" "did you mean --act-order?" gptq --model m --act static
wrong "inspect has no option --tensor" "did you mean --tensors?" inspect m --tensor

# Values that are missing, or given where there is none.
wrong "--model needs a value" "" gptq --model
wrong "--model needs a value" "" gptq --model --bits 4
wrong "--out: the value is empty" "" gptq --out=
wrong "--force takes no value" "" gptq --force=1

# Sensitivity.
wrong "give --model M, or --table FILE" "" sensitivity --windows 4
wrong "give --model M, or --table FILE" "" sensitivity --model m --table t.json
wrong "--table: everything is measured" "" sensitivity --table t.json --windows 4
wrong "--out: a recipe is for --target-bits or --target-size" "" sensitivity --model m --out r.json
wrong "--dry-run measures nothing" "" sensitivity --model m --dry-run --target-bits 4
wrong "--target-bits and --target-size exclude each other" "" \
    sensitivity --model m --target-bits 4 --target-size 1G
wrong "--candidates: '3,4:' is no list of BITS or BITS:GROUP" "as in --candidates 2,3,4,8" \
    sensitivity --model "$demo" --candidates 3,4:
wrong "--candidates: '4:0' is no list of BITS or BITS:GROUP" "" \
    sensitivity --model "$demo" --candidates 4:0

# An option has one value; without a value it may be repeated.
wrong "--bits is given twice: '4' and '8'" "give it once" gptq --model m --bits 4 --bits 8
wrong "--bits is given twice: '4' and '4'" "give it once" gptq --bits=4 --model m --bits 4
wrong "--model is given twice: 'a' and 'b'" "" eval --model a --text t --model=b
wrong "--text is given twice: '-' and 'x'" "" tokenize --model m --text - --text x
wrong "--seed is given twice: '0' and '0'" "" awq --seed 0 --seed 0
wrong "--against is given twice: 'a' and 'b'" "" verify m --against a --against b
wrong "--sym and --asym exclude each other" "" rtn --sym --model m --asym
wrong "--asym and --sym exclude each other" "" rtn --asym --sym
test_case "the same word twice says no more than once"
run inspect --json "$demo" --json
expect_code 0
run eval -q --quiet --help
expect_code 0

# Words out of a list.
wrong "--act-order: 'stattic' is none of none|static|group-aware" "did you mean --act-order static?" \
    gptq --act-order stattic
wrong "--format: 'gptq-v2' is none of gptq|gptq_v2|awq|compressed-tensors|gguf|onnx" "did you mean --format gptq_v2?" \
    rtn --format gptq-v2
wrong "--convention: 'llama.cpp' is none of gptq|llamacpp" "did you mean --convention llamacpp?" \
    eval --convention llama.cpp
wrong "--bits: '5' is none of 2|3|4|8" "" rtn --bits 5

for command in gptq awq rtn eval compare; do
    wrong "--compute: 'bf17' is none of f32|bf16" "did you mean --compute bf16?" "$command" --compute bf17
done
wrong "score has no option --compute" "" score --compute bf16

wrong "--quality: 'good' is none of fast|balanced|best|max" "" gptq --quality good
wrong "--search: 'weight' is none of minmax|plain|weighted|percentile[:P]|entropy" "" rtn --search weight

for percentile in 50 101 -1 x "" 9e1 99%; do
    wrong "--search: 'percentile:$percentile': expected a number above 50, 100 at most, behind the colon" \
        "" rtn --search "percentile:$percentile"
done

# Strengths.
for strength in on 1.5 -1 0.5,2 0.5, 1,1,1 0.5x ,1; do
    wrong "--correct: '$strength' is not auto, off, or one or two numbers from 0 to 1" "" \
        gptq "--correct=$strength"
done

# Numbers.
wrong "--samples: '1e3' is not a whole number" "" gptq --samples 1e3
wrong "--samples: '12 ' is not a whole number" "" gptq --samples "12 "
wrong "--samples: 0 is out of range; expected 1 to" "" gptq --samples 0
wrong "--samples: '99999999999999999999' is not a whole number" "" \
    gptq --samples 99999999999999999999
wrong "--seqlen: 1 is out of range; expected 2 to" "" gptq --seqlen 1
wrong "--seed: -1 is out of range; expected 0 to" "" gptq --seed -1
wrong "--threads: 0 is out of range; expected 1 to" "" eval --threads 0
wrong "--damp: 'nan' is not a number" "" gptq --damp nan
wrong "--damp: '0x1p-4' is not a number" "" gptq --damp 0x1p-4
wrong "--damp: 0 is no value; it would stand for 'auto'" "" gptq --damp 0
wrong "--damp: 0.0e1 is no value" "" gptq --damp 0.0e1
wrong "--damp: -0.5 is out of range; expected 0 to 1" "" gptq --damp -0.5
wrong "--max-ppl: 'ten' is not a number" "" eval --max-ppl ten
wrong "--max-kl: -1 is out of range; expected 0 to" "" compare --max-kl -1

# Sizes.
wrong "--max-mem: '12Q' is not a size" "" gptq --max-mem 12Q
wrong "--max-mem: '1GBs' is not a size" "" gptq --max-mem 1GBs
wrong "--max-mem: '1iB' is not a size" "" gptq --max-mem 1iB
wrong "--max-mem: '-1G' is not a size" "" gptq --max-mem -1G
wrong "--max-mem: '17179869184G' is not a size" "" gptq --max-mem 17179869184G
wrong "--max-mem: '16777216t' is not a size" "" gptq --max-mem 16777216t
test_case "sizes by powers of 1024 and of 1000"
while read -r size bytes; do
    run rtn "$demo" --max-mem "$size" --dry-run -q
    expect_code 5
    expect_stderr "--max-mem $bytes bytes: "
done <<'END'
4096 4096
4K 4096
4k 4096
4KiB 4096
2MiB 2097152
4KB 4000
2mb 2000000
END
wrong "--shard-size: 0 is too small" "" gptq --shard-size 0

# Group sizes.
wrong "--group: 0 is out of range" "" gptq --group 0
wrong "--group: -2 is out of range" "" gptq --group -2
wrong "--group: 'aut-fit' is not a group size" "did you mean --group auto-fit?" gptq --group aut-fit
wrong "--group: 'auto-fit:' is not a group size" "" gptq --group auto-fit:
wrong "--group: -1 is out of range" "" gptq --group auto-fit:-1
wrong "--group: ',keep' is not a group size" "" gptq --group ,keep
wrong "--group: 'aut-fit' is not a group size" "did you mean --group auto-fit?" gptq \
    --group aut-fit,keep
wrong "--group: 'auto-fitting' is not a group size" "" gptq --group auto-fitting

test_case "a list of options has an end"
set --
while [ $# -lt 514 ]; do
    set -- "$@" --keep x
done
run rtn --model m "$@"
expect_code 2
expect_stderr "--keep: given more than 256 times"

# What is required, and arguments nobody expects.
wrong "gptq needs --model M" "'llmq gptq --help' explains it" gptq --bits 4
wrong "score needs --ids 1,2,3" "'llmq score --help' explains it" score --model m
wrong "compare needs --reference R" "'llmq compare --help' explains it" compare --model m
wrong "inspect needs --model M" "'llmq inspect --help' explains it" inspect --json
wrong "convert needs --format gptq|gptq_v2|awq|compressed-tensors|gguf|onnx|f16|bf16|f32" "" convert --model m
wrong "convert needs --out DIR" "" convert --model m --format awq
wrong "--format: 'bf17' is none of" "did you mean --format bf16?" convert --format bf17
wrong "verify needs --model M" "'llmq verify --help' explains it" verify --json
wrong "inspect does not expect the argument 'n'" "" inspect m n
wrong "inspect does not expect the argument '--json'" "" inspect m -- --json
wrong "gptq does not expect the argument 'm n'" "did you mean --calib 'm n'?" gptq m "m n"
wrong "--model is given twice: 'a' and 'b'" "" gptq a --model b
wrong "gptq does not expect the argument 'f'" "did you mean --calib f?" gptq --model m f
wrong "eval does not expect the argument 'f'" "did you mean --text f?" eval --model m f
wrong "compare needs --reference R" "'llmq compare --help' explains it" compare --model m r
wrong "verify does not expect the argument 'n'" "did you mean --against n?" verify m n

# What other tools call it.
while read -r command typed ours; do
    wrong "$command has no option $typed" "did you mean $ours?" "$command" "$typed" x
done <<'END'
gptq --model-path --model
gptq --model_name_or_path --model
gptq --output --out
gptq --outdir --out
gptq --output_dir --out
gptq --groupsize --group
gptq --group_size --group
awq --q_group_size --group
gptq --wbits --bits
awq --w_bit --bits
gptq --desc-act --act-order static
gptq --desc_act --act-order static
gptq --damp-percent --damp
gptq --percdamp --damp
gptq --nsamples --samples
gptq --num_calibration_samples --samples
gptq --max-seq-length --seqlen
gptq --calibration --calib
gptq --dataset --calib
eval --dataset --text
eval --ctx-size --ctx
eval --seqlen --ctx
eval -t --threads
convert --outtype --format
compare --base --reference
verify --original --against
awq --zero_point --asym
END
wrong "there is no command 'quantize'" "did you mean llmq gptq?" quantize m
wrong "there is no command 'perplexity'" "did you mean llmq eval?" perplexity
wrong "there is no command 'ppl'" "did you mean llmq eval?" ppl
wrong "there is no command 'info'" "did you mean llmq inspect?" info m
wrong "there is no command 'gptw'" "did you mean llmq gptq?" help gptw
wrong "there is no command 'version'" "did you mean llmq --version?" version
wrong "llmq has no option -v" "did you mean --version?" -v
wrong "--bits: '4bit' is none of 2|3|4|8" "did you mean --bits 4?" gptq --bits=4bit
wrong "--bits: 'int8' is none of 2|3|4|8" "did you mean --bits 8?" gptq --bits int8
wrong "--max-mem: 'G' is not a size" "" gptq --max-mem G
wrong "--format: 'fp16' is none of" "did you mean --format f16?" convert --format fp16
wrong "--format: 'auto_gptq' is none of" "did you mean --format gptq?" gptq --format auto_gptq
wrong "--act-order: 'true' is none of" "did you mean --act-order static?" gptq --act-order true

# Options that contradict the method.
wrong "--awq goes with gptq" "rounding to nearest after AWQ's scaling is llmq awq" \
    rtn --awq --model "$demo" -q

# Options that are another method's, or of no use here, are taken and named.
for method in rtn awq; do
    test_case "$method says which options change nothing"
    run $method --model "$demo" --dry-run --group 64 --no-progress --quality fast --descent 2 \
        --rounds 1 --act-order static --damp 0.1
    expect_code 0
    expect_stderr "--quality is gptq's: it changes nothing"
    for option in descent rounds act-order damp; do
        expect_stderr ": --$option changes nothing"
    done
    run $method --model "$demo" --dry-run --group 64 --no-progress
    expect "nothing without them" test -z "$(grep 'changes nothing' stderr)"
done
test_case "what the correction uses is not named"
run awq --model "$demo" --dry-run --group 64 --correct auto --damp 0.1 --act-order static
expect_code 0
expect "nothing" test -z "$(grep 'changes nothing' stderr)"
run gptq --model "$demo" --dry-run --group 64 --quality fast --descent 2 --rounds 1 --damp 0.1
expect "nothing in gptq" test -z "$(grep 'changes nothing' stderr)"
test_case "rtn without text"
run rtn --model "$demo" --dry-run --group 64 --samples 4 --format gguf --shard-size 1G
expect_stderr "rtn reads no text without --calib: --samples changes nothing"
expect_stderr "a GGUF file is not split: --shard-size changes nothing"

# Passes by number, or by the tokens.
run gptq --model "$demo" --dry-run --group 64 --samples 4 --seqlen 256 --descent auto --rounds 1
expect_code 0
expect_stdout "descent auto, rounds 1"
expect_stdout "curvature auto by 1024 tokens, restarts 0, token weights auto"
run gptq --model "$demo" --dry-run --group 64 --samples 4 --seqlen 256 --token-weights 0.5
expect_code 0
expect_stdout "curvature auto by 1024 tokens, restarts 0, token weights 0.5"
run gptq --model "$demo" --dry-run --group 64 --samples 4 --seqlen 256 --curvature-tokens all --token-weights auto
expect_stdout "curvature auto, restarts 0, token weights auto"
wrong "--token-weights: 1.5 is out of range; expected 0 to 1" "" gptq --token-weights 1.5
run gptq --model "$demo" --dry-run --group 64 --samples 4 --seqlen 256 --quality best
expect_stdout "descent 3, rounds 2, search weighted, correct auto, curvature on, restarts 2, token weights 0.5"
wrong "--descent: -1 is out of range; expected 0 to 100" "" gptq --descent -1
wrong "--rounds: 'automatic' is not a whole number" "" gptq --rounds automatic

# What the instruction set does not have.
if grep -qw avx2 /proc/cpuinfo; then
    for command in "eval" "gptq --out none" "compare --reference $demo"; do
        test_case "$command --compute bf16 without AVX512_BF16"
        cap=${LLMQ_CPU-}
        export LLMQ_CPU=avx2
        # shellcheck disable=SC2086 # a command and its options
        run $command --compute bf16 --model "$demo" -q
        LLMQ_CPU=$cap
        expect_code 3
        expect_no_stdout
        expect_stderr "bf16 products take a CPU with AVX512_BF16; the instruction set in use is avx2"
        expect_stderr "hint: --compute f32 runs everywhere"
    done
fi

# Several ranks, which are planned for.
wrong "--ranks: '1,x' is not a list of whole numbers" "" gptq --ranks 1,x
wrong "--ranks: '8,' is not a list of whole numbers" "" gptq --ranks 8,
wrong "--ranks: 0 is out of range; expected 1 to 65536" "" gptq --ranks 4,0
wrong "--link: 'fast' is not a rate" "" gptq --link fast
wrong "--link: '25GB' is not a rate" "" gptq --link 25GB
wrong "--link: '25G:' is not a rate" "" gptq --link 25G:
wrong "--link: '0' is not a rate" "" gptq --link 0
wrong "--link and --gflops go with --ranks" "" gptq "$demo" --dry-run --link 10G
wrong "--link and --gflops go with --ranks" "" gptq "$demo" --dry-run --gflops 100
wrong "--ranks only plans, with --dry-run" "a run over several processes is started by mpirun -n R llmq" gptq "$demo" --ranks 2 --out none

# Lists of ids.
wrong "--ids: not a list of token ids after 0 of them" "expected 1,2,3 or [1,2,3]" \
    score --model m --ids a,b
wrong "--ids: not a list of token ids after 2 of them" "expected 1,2,3 or [1,2,3]" \
    score --model m --ids "[1,2"
wrong "--ids: not a list of token ids after 1 of them" "" score --model m --ids "1,-2"
wrong "--ids: not a list of token ids after 0 of them" "" score --model m --ids 2147483648,1
wrong "--ids: a single token has nothing to predict" "" score --model m --ids 7

finish
