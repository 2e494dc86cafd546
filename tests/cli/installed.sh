#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is installed: complete, found again where it was moved to, and of use to other programs,
# linked with the shared library and with the static one.
build=$(realpath "$3")
. "$(dirname "$0")/lib.sh"
ran='what was installed'
export OMP_WAIT_POLICY=passive # which a host has to see to: llmq/context.h
: >stdout
: >stderr

DESTDIR=$work/staged meson install -C "$build" --no-rebuild --quiet >stdout 2>stderr
installed=$?
prefix=$work/staged$(sed -n 's/^prefix=//p' "$build/meson-private/llmq.pc")

test_case "everything is installed"
expect "no error" test $installed -eq 0
for file in bin/llmq share/llmq/calibration.txt share/llmq/eval.txt share/man/man1/llmq.1 \
    share/man/man1/llmq-gptq.1 share/doc/llmq/LICENSE share/doc/llmq/docs/REFERENCE.md \
    include/llmq/quantize.h share/bash-completion/completions/llmq.bash; do
    expect "$file" test -s "$prefix/$file"
done
for page in $(sed -n 's/^\.BR \(llmq\)\\-\([a-z]*\) (1)$/\1-\2/p' "$prefix/share/man/man1/llmq.1"); do
    expect "the page $page(1)" test -s "$prefix/share/man/man1/$page.1"
done

library=$(dirname "$(find "$prefix" -name libllmq.so | head -n 1)")
test_case "no file says where it was built"
for file in "$prefix/bin/llmq" "$library/libllmq.so"; do
    strip -o stripped "$file" # of what only a debugger reads
    expect "$file" test "$(grep -caF -e "$root/" -e "$build/" stripped)" -eq 0
done

test_case "a program that was moved finds its texts"
mv "$prefix" "$work/moved"
prefix=$work/moved
llmq=$prefix/bin/llmq
library=$(dirname "$(find "$prefix" -name libllmq.so | head -n 1)")
run eval --model "$demo" --max-tokens 600 -q
expect_code 0
rm "$prefix/share/llmq/eval.txt"
run eval --model "$demo" --max-tokens 600 -q
expect_code 3
expect_stderr "the bundled text is not at $prefix/bin/../share/llmq/eval.txt"

PKG_CONFIG_PATH=$library/pkgconfig
export PKG_CONFIG_PATH
# flags OPTION...: of pkg-config, for where the files are now.
flags() {
    pkg-config --define-variable=prefix="$prefix" "$@" llmq
}

# Columns to ask for, and a request that is none; what is served does not depend on the library.
printf '0\n5\nnone\n99999\n' >requests

for kind in shared static; do
    test_case "programs are linked with the $kind library"
    libraries=$(flags --libs)
    # Without its name for the linker there is no shared library to link with.
    [ $kind = shared ] || { rm "$library/libllmq.so" && libraries=$(flags --static --libs); }
    for example in quantize product; do
        # shellcheck disable=SC2046,SC2086 # lists of words
        ${CC:-cc} -std=c99 -Wall -Wextra -pedantic-errors -Werror $(flags --cflags) \
            "$root/examples/$example.c" $libraries -lm -o "$example-$kind" >stdout 2>stderr
        code=$?
        expect "$example" test $code -eq 0
    done
    LD_LIBRARY_PATH=$library "./quantize-$kind" "$demo" "out-$kind" "$demo/eval.txt" >stdout 2>stderr
    code=$?
    expect_code 0
    expect_stdout "out-$kind: 35 modules, 0 blocks from an earlier run"
    code=0
    LD_LIBRARY_PATH=$library "./product-$kind" "out-$kind" <requests >stdout 2>stderr || code=$?
    expect_code 0
    expect_stdout "model.layers.0.self_attn.q_proj: ["
    expect_stdout "largest difference"
    expect "four answers" test "$(grep -c '^[0-9?]' stdout)" -eq 4
    expect "two of them refusals" test "$(grep -c '^?' stdout)" -eq 2
done
expect "the same weights" cmp -s out-shared/model.safetensors out-static/model.safetensors

test_case "a program stops a run where its callback wants it, and goes on there"
code=0
LD_LIBRARY_PATH=$library ./quantize-shared "$demo" out-stopped "$demo/eval.txt" 50 \
    >stdout 2>stderr || code=$?
expect_code 130
expect_stderr "interrupted"
expect "an unfinished result" test -d out-stopped.partial
LD_LIBRARY_PATH=$library ./quantize-shared "$demo" out-stopped "$demo/eval.txt" >stdout 2>stderr
code=$?
expect_code 0
expect "blocks from the run before" grep -q ' modules, [1-9] blocks from an earlier run' stdout
expect "the same weights" cmp -s out-shared/model.safetensors out-stopped/model.safetensors

test_case "a checkpoint that has nothing packed is said to have none"
code=0
LD_LIBRARY_PATH=$library ./product-shared "$demo" <requests >stdout 2>stderr || code=$?
expect_code 3
expect_stderr "no module is packed"

test_case "docs/LIBRARY.md shows what is in the examples"
sed -n '/^```c/,/^```/{/^```/!p}' "$root/docs/LIBRARY.md" | grep -v '^$' >shown
expect "ten lines at least" test "$(wc -l <shown)" -gt 10
cat "$root"/examples/*.c >examples
grep -vxFf examples shown >stdout
expect "each of them" test ! -s stdout

test_case "the shared library shows what is public, and only that"
sed -n 's/.*\(llmq_[a-z0-9_]*\)(.*/\1/p' "$root"/include/llmq/*.h | sort -u >declared
nm -D --defined-only "$(readlink -f "$library"/libllmq.so.0)" | sed -n 's/.* T //p' | sort -u >exported
expect "no name beside llmq_" test -z "$(grep -v '^llmq_' exported)"
comm -13 declared exported >stdout
expect "each is declared in a header" test ! -s stdout
sed -n 's/^ \(llmq_[a-z0-9_]*\)@Base .*/\1/p' "$root/debian/libllmq0.symbols" | sort -u >promised
diff promised exported >stdout
code=$?
expect "debian/libllmq0.symbols has them all, and only them" test $code -eq 0

finish
