#!/bin/sh
# The README and the program agree:
#   - the README's reference, between its two marker lines, is what `llmq --generate markdown` writes
#   - every option in a command line of the README exists
#
#     tools/check_docs.sh LLMQ             check
#     tools/check_docs.sh LLMQ --update    write the reference anew
set -eu
llmq=$(realpath "${1:?usage: check_docs.sh LLMQ [--update]}")
cd "$(dirname "$0")/.."

readme=README.md
begin='<!-- reference: written by llmq --generate markdown -->'
end='<!-- end of reference -->'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for marker in "$begin" "$end"; do
    grep -qxF -- "$marker" "$readme" || {
        echo "$readme: there is no line '$marker'"
        exit 1
    }
done
"$llmq" --generate markdown >"$work/reference"
awk -v begin="$begin" -v end="$end" -v reference="$work/reference" '
    $0 == end { skip = 0 }
    !skip
    $0 == begin {
        skip = 1
        print ""
        while ((getline line < reference) > 0) print line
        print ""
    }' "$readme" >"$work/readme"

if [ "${2:-}" = --update ]; then
    cp "$work/readme" "$readme"
    exit 0
fi

failed=0
diff -u "$readme" "$work/readme" || {
    echo "$readme: the reference is not what the program says; run $0 LLMQ --update"
    failed=1
}

# Command lines of the README: indented or in a fence, perhaps after a prompt or a path.
commands=$("$llmq" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for command in $commands; do
    "$llmq" "$command" --help | sed -n 's/^  \(-., \)\{0,1\}\(--[a-z][a-z-]*\).*/\2/p' |
        sort -u >"$work/options"
    grep -E "^ *(\\$ )?([^ ]*/)?llmq $command( |$)" "$readme" | grep -oE -- ' --[a-z][a-z-]*' |
        tr -d ' ' | sort -u >"$work/used" || true
    for option in $(comm -13 "$work/options" "$work/used"); do
        echo "$readme: a command line uses llmq $command $option, which does not exist"
        failed=1
    done
done

[ "$failed" -eq 0 ] || exit 1
echo "documentation: README and program agree"
