# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU 10.0, as Debian 13 has it (stock) and with our series (patched), built the same way.
#
# One work tree serves both. It is brought to the wanted state by copying over only the files that
# differ, so ninja recompiles only what a series touches: the patched build after the stock one, and
# each new version of the series, take a fraction of a full build. A full build's absolute paths stay
# true because the tree stays where it is; what the cache entry keeps is the programs.

qemu_tree=$cache/tree-qemu
qemu_series=$root/qemu-patches/10.0
qemu_recipe=1 # raise when this file builds in another way
qemu_configure=(
    --python=/usr/bin/python3 --target-list=x86_64-softmmu --without-default-features
    --enable-kvm --enable-tcg --enable-vhost-user --enable-vhost-kernel --enable-vhost-net
    --enable-pixman --enable-zstd --enable-gnutls --enable-virtfs --enable-attr --enable-cap-ng --enable-libpmem
    --enable-replication --enable-tools --disable-fdt
    --disable-docs --disable-install-blobs --enable-trace-backends=log --disable-debug-info
    --firmwarepath=/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu)

# os_id: the Debian release; what is built on one does not run on another
os_id() { (. /etc/os-release && echo "$ID$VERSION_ID"); }

# qemu_names: the names of the two cache entries
qemu_names() {
    qemu_stock=qemu-stock-$(hash_of "$qemu_version" "$(os_id)" "$qemu_recipe" "${qemu_configure[@]}")
    qemu_patched=qemu-patched-$(hash_of "$qemu_stock" "$(series_hash "$qemu_series")")
}

# meson_for_qemu: sees to a meson that QEMU accepts (1.5): if the system's is older, one from Debian 13,
# unpacked into the cache; qemu_env is the prefix of commands that are to find it
qemu_env=(env)
meson_for_qemu() {
    local have entry=meson-${meson_version//[!0-9.]/-}
    have=$(/usr/bin/python3 -c 'import mesonbuild.coredata as c; print(c.version)' 2>/dev/null || echo 0)
    [[ $(printf '%s\n' 1.5.0 "$have" | sort -V | head -n 1) != 1.5.0 ]] || return 0
    if ! cache_has "$entry"; then
        cache_begin "$entry"
        fetch "meson $meson_version" download "meson=$meson_version"
        deb_contents "$new"/meson_*.deb | tar -x -C "$new"
        rm "$new"/meson_*.deb
        cache_finish "$entry" meson
    fi
    qemu_env=(env "PYTHONPATH=$cache/$entry/usr/lib/python3/dist-packages" "PATH=$cache/$entry/usr/bin:$PATH")
}

# qemu_download: the source package; its directory is in $source
qemu_download() {
    local entry
    entry=source-qemu-$(hash_of "$qemu_version")
    source=$cache/$entry
    cache_has "$entry" && return
    cache_begin "$entry"
    fetch "the source of QEMU $qemu_version (40 MB)" source --download-only "qemu=$qemu_version"
    cache_finish "$entry" source-qemu
}

# qemu_sources [SERIES]: brings the work tree to Debian's source plus the series
qemu_sources() {
    qemu_download
    say "unpacking QEMU $qemu_version"
    rm -rf "$qemu_tree/new"
    mkdir -p "$qemu_tree"
    dpkg-source --no-check -x "$source"/*.dsc "$qemu_tree/new" >"$cache/log/qemu-unpack.log" 2>&1 || {
        tail -n 5 "$cache/log/qemu-unpack.log" >&2
        die "cannot unpack the source of QEMU in $qemu_tree"
    }
    (($# == 0)) || (apply_series "$1" "$qemu_tree/new" "QEMU $qemu_version") ||
        use_older $? qemu-10.0 "$qemu_version" "$1"
    if [[ -d $qemu_tree/src ]]; then
        rsync -rlpc --delete --exclude=/build "$qemu_tree/new/" "$qemu_tree/src/"
        rm -rf "$qemu_tree/new"
    else
        mv "$qemu_tree/new" "$qemu_tree/src"
    fi
}

# qemu_targets: what to build: the emulator, a vhost-user backend (one of QEMU's tools), QEMU's own tests of migration, and
# ours, so far as this tree has them
qemu_targets() {
    ninja -C "$qemu_tree/src/build" -t targets all |
        sed -n -E 's/^(qemu-system-x86_64|contrib\/vhost-user-blk\/vhost-user-blk|tests\/qtest\/(migration-test|qmp-cmd-test|test-hmp|[a-z0-9-]*poison[a-z0-9-]*)|tests\/unit\/[a-z0-9-]*poison[a-z0-9-]*): .*/\1/p'
}

# qemu_compile LABEL: configures if need be, and compiles
qemu_compile() {
    local build=$qemu_tree/src/build targets configuration log=$cache/log/${1// /-}.log
    configuration=$(hash_of "$qemu_version" "$(os_id)" "$qemu_recipe" "${qemu_configure[@]}")
    if [[ $(cat "$build/.configured" 2>/dev/null) != "$configuration" ]]; then
        rm -rf "$build"
        mkdir "$build"
        say "configuring QEMU"
        must_run "configuring QEMU" "$cache/log/qemu-configure.log" \
            env -C "$build" "${qemu_env[@]}" ../configure "${qemu_configure[@]}"
        echo "$configuration" >"$build/.configured"
    fi
    must_run "generating the build of $1" "$log" "${qemu_env[@]}" ninja -C "$build" build.ninja
    mapfile -t targets < <(qemu_targets)
    must_run "compiling $1" "$log" "${qemu_env[@]}" ninja -C "$build" "${targets[@]}"
}

# qemu_install DIRECTORY: the programs that were built. Where they were built, they look for firmware in the build only.
qemu_install() {
    local file build=$qemu_tree/src/build
    for file in $(cd "$build" && qemu_targets); do
        install -D -s "$build/$file" "$1/$file"
    done
}

# qemu_store ENTRY KIND: keeps the programs that were built
qemu_store() {
    cache_begin "$1"
    qemu_install "$new"
    mkdir "$new/scripts"
    cp "$qemu_tree"/src/scripts/{checkpatch.pl,vmstate-static-checker.py} "$new/scripts/"
    "$new/qemu-system-x86_64" -machine none -accel help >/dev/null || die "the QEMU that was built does not run"
    cache_finish "$1" "$2"
}

# build_qemu stock|patched: the cache entry, built if it is not there
build_qemu() {
    local entry kind=qemu-$1 series=()
    qemu_names
    [[ $1 == stock ]] && entry=$qemu_stock || entry=$qemu_patched
    cache_has "$entry" && return
    install_packages "${packages_build[@]}" "${packages_qemu[@]}" "${packages_run[@]}"
    cache_lock build
    cache_has "$entry" && return
    [[ -d $qemu_tree/src/build ]] || need_room 700 "building QEMU"
    meson_for_qemu
    [[ $1 == stock ]] || series=("$qemu_series")
    qemu_sources "${series[@]}"
    qemu_names # the series may have been edited meanwhile; what is built must be what the name says
    [[ $entry == "$qemu_stock" || $entry == "$qemu_patched" ]] ||
        die "the series was changed while it was applied; run this again"
    say "compiling $1 QEMU $qemu_version"
    qemu_compile "$1 QEMU"
    qemu_store "$entry" "$kind"
    say "$1 QEMU is ready"
}
