#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Write llmq-VERSION-linux-MACHINE.tar.gz and its .sha256: the last commit, built to run on any Linux
# of this machine's kind with the GNU C library of this machine's version or a later one. Everything
# else is linked in; cJSON, of which Debian has no static library, lies beside. With it come the demo,
# manual pages, completions, documents, the licences of all that is in it, and an SPDX list of that.
#
#     tools/release.sh [FOLDER]     the files go there (default: build/release)
#
# Run on Debian 12, for glibc 2.36. The same commit and packages give the same bytes; times are
# those of the commit, or SOURCE_DATE_EPOCH.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$top/build/release}"
out=$(cd "${1:-$top/build/release}" && pwd)
"$top"/tools/install_deps.sh release

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet --no-hardlinks "$top" "$work/source"
cd "$work/source"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C
umask 022
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -n 1)
name=llmq-$version-linux-$(uname -m)
tree=$work/$name

# The compiler adds libgomp, libgfortran and libquadmath by itself: the linker takes the first that it
# finds, so static ones are shown to it before all others.
mkdir "$work/static" "$work/maps"
for library in gomp gfortran quadmath; do
    ln -s "$(realpath "$(gcc -print-file-name=lib$library.a)")" "$work/static"
done

# run COMMAND...: what it says only when it fails.
run() {
    "$@" >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        exit 1
    }
}
echo "building $name"
run env CC=gcc \
    LDFLAGS="-L$work/static -static-libgcc -Wl,-Map=$work/maps -Wl,-rpath,\$ORIGIN/../lib" \
    meson setup "$work/build" --prefix=/usr/local -Dtests=disabled -Dprefer_static=true \
    -Ddefault_library=static # libgomp.a is of no use to a shared library
run ninja -C "$work/build"
run env DESTDIR="$work/staged" meson install -C "$work/build" --no-rebuild --strip

mv "$work/staged/usr/local" "$tree"
rm -r "${tree:?}/include" "${tree:?}/lib"
mkdir "$tree/lib"
cp -L "$(ldd "$work/build/src/cli/llmq" | sed -n 's/.*libcjson.* => \(.*\) (.*/\1/p')" "$tree/lib/"
mkdir -p "$tree/models" "$tree/tools"
cp -R models/demo "$tree/models/"
cp tools/demo.sh "$tree/tools/"
for file in calibration.txt eval.txt; do
    ln -sf "../../models/demo/$file" "$tree/share/llmq/$file"
done
ln -s share/doc/llmq/README.md share/doc/llmq/LICENSE "$tree"

# Nothing but the C library is looked for outside.
ldd "$tree/bin/llmq" | grep -vE "linux-vdso|/ld-linux|lib[cm]\.so\.6|$tree/bin/../lib/libcjson" && {
    echo "not static" >&2
    exit 1
}

map=$work/maps/llmq.map
licences=$tree/share/doc/llmq/licences
mkdir "$licences"
cp debian/copyright "$licences/llmq"
for package in $("$top"/tools/sbom.py --packages "$map" "$tree/bin/llmq"); do
    cp -L "/usr/share/doc/$package/copyright" "$licences/$package"
done
# The texts that these refer to.
grep -oh 'common-licenses/[-A-Za-z0-9.]*[A-Za-z0-9]' "$licences"/* | sort -u | while read -r text; do
    [ ! -e "/usr/share/$text" ] || cp -L "/usr/share/$text" "$licences/"
done

cd "$tree"
find . -type f -printf '%P\n' | sort >"$work/files"
xargs "$top"/tools/sbom.py "$version" "$map" bin/llmq <"$work/files" >"$work/spdx"
mv "$work/spdx" share/doc/llmq/llmq.spdx.json
find . -type f -printf '%P\n' | sort | xargs sha256sum >"$work/sums"
mv "$work/sums" SHA256SUMS

tar -C "$work" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
cd "$out"
sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256"
