#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The pages and the program agree:
#   - what is between the two marker lines of docs/REFERENCE.md is what `llmq --generate markdown` writes
#   - every option in a command line of a page exists
#   - every file of this repository that a page links to is there
#
#     tools/check_docs.sh LLMQ             check
#     tools/check_docs.sh LLMQ --update    write the reference anew
set -eu
llmq=$(realpath "${1:?usage: check_docs.sh LLMQ [--update]}")
cd "$(dirname "$0")/.."

page=docs/REFERENCE.md
begin='<!-- reference: written by llmq --generate markdown -->'
end='<!-- end of reference -->'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for marker in "$begin" "$end"; do
    grep -qxF -- "$marker" "$page" || {
        echo "$page: there is no line '$marker'"
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
    }' "$page" >"$work/page"

if [ "${2:-}" = --update ]; then
    cp "$work/page" "$page"
    exit 0
fi

failed=0
fail() {
    echo "$1"
    failed=1
}

diff -u "$page" "$work/page" ||
    fail "$page: the reference is not what the program says; run $0 LLMQ --update"

commands=$("$llmq" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for command in $commands; do
    "$llmq" "$command" --help | sed -n 's/^  \(-., \)\{0,1\}\(--[a-z][a-z-]*\).*/\2/p' |
        sort -u >"$work/options.$command"
done

# check_commands PAGE: command lines are indented or in a fence, perhaps after a prompt or a path.
check_commands() {
    for command in $commands; do
        grep -E "^ *(\\$ )?([^ ]*/)?llmq $command( |$)" "$1" | grep -oE -- ' --[a-z][a-z-]*' |
            tr -d ' ' | sort -u >"$work/used" || true
        for option in $(comm -13 "$work/options.$command" "$work/used"); do
            fail "$1: a command line uses llmq $command $option, which does not exist"
        done
    done
}

# check_links PAGE: the targets of [text](target) and [text]: target.
check_links() {
    sed -n -e 's/^\[[^]]*\]: \([^ ]*\)$/\1/p' "$1" >"$work/links"
    grep -oE '\]\([^)]*\)' "$1" | sed 's/^](//; s/)$//' >>"$work/links" || true
    while read -r link; do
        case $link in
        http:* | https:* | '#'*) ;;
        *) [ -e "$(dirname "$1")/${link%%#*}" ] || fail "$1: $link, which is linked to, is not there" ;;
        esac
    done <"$work/links"
}

for page in README.md CHANGELOG.md docs/*.md src/quant/FIDELITY.md; do
    check_commands "$page"
    check_links "$page"
done

[ "$failed" -eq 0 ] || exit 1
echo "documentation: pages and program agree"
