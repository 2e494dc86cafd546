#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Give the tree a version, wherever one is written: meson.build (with the date that the manual pages
# bear), include/llmq/version.h, the changelog's heading, and the changelog of the Debian package. Commit and tag what it did.
#
#     tools/set_version.sh 1.2.3 [YYYY-MM-DD]     the date: today
#     tools/set_version.sh --check                whether all of them say the same
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -n 1)
header=$(sed -n 's/^#define LLMQ_VERSION  *"\(.*\)"/\1/p' include/llmq/version.h)
packaged=$(sed -n '1s/^llmq (\([^)]*\)).*/\1/p' debian/changelog)
heading=$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
case ${1:-} in
--check)
    echo "meson.build $version, version.h $header, debian/changelog $packaged, CHANGELOG.md $heading"
    [ "$version" = "$header" ] && [ "$version" = "$packaged" ] && [ "$version" = "$heading" ]
    exit
    ;;
[0-9]*.[0-9]*.[0-9]*) ;;
*)
    echo "usage: $0 VERSION [DATE] | --check" >&2
    exit 2
    ;;
esac

date=${2:-$(date -u +%F)}
sed -i "s/^\( *version: \)'$version',/\1'$1',/; s/-DLLMQ_DATE=\"[-0-9]*\"/-DLLMQ_DATE=\"$date\"/" meson.build
echo "$1" | tr . ' ' | {
    read -r major minor patch
    sed -i -e "s/^\(#define LLMQ_VERSION_MAJOR \).*/\1$major/" \
        -e "s/^\(#define LLMQ_VERSION_MINOR \).*/\1$minor/" \
        -e "s/^\(#define LLMQ_VERSION_PATCH \).*/\1$patch/" \
        -e "s/^\(#define LLMQ_VERSION  *\"\).*/\1$1\"/" include/llmq/version.h
}
[ "$heading" = "$1" ] || sed -i "s/^## \[Unreleased\]$/&\n\n## [$1] – $date/" CHANGELOG.md
if [ "$packaged" != "$1" ]; then
    {
        printf 'llmq (%s) bookworm; urgency=medium\n\n  * New release, see CHANGELOG.md.\n\n' "$1"
        printf ' -- %s  %s\n\n' "$(sed -n 's/^Maintainer: //p' debian/control)" \
            "$(LC_ALL=C date -u -d "$date 12:00" +'%a, %d %b %Y %H:%M:%S +0000')"
        cat debian/changelog
    } >debian/changelog.new
    mv debian/changelog.new debian/changelog
fi
"$0" --check
