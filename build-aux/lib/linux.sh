# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Linux 6.12: our patched kernel of the virtual hosts, and Debian's own image.
#
# The kernel is built from Debian's source with everything off except what linux-6.12.config asks
# for, without modules: the virtual hosts need little, and it compiles in a few minutes.

linux_series=$root/kernel-patches/6.12
linux_config=$root/build-aux/linux-6.12.config
linux_tree=$cache/tree-linux
linux_recipe=1 # raise when this file builds in another way

# linux_name: the name of the cache entry
linux_name() {
    [[ -f $linux_config ]] || die "$linux_config is missing"
    linux=linux-$(hash_of "$linux_version" "$(os_id)" "$linux_recipe" \
        "$(sha256sum <"$linux_config")" "$(series_hash "$linux_series")")
    image=debian-kernel-$(hash_of "$image_package" "$linux_version")
}

# linux_download: the package with the source; its path is in $source
linux_download() {
    local entry
    entry=source-linux-$(hash_of "$linux_version")
    source=$cache/$entry/linux-source.deb
    cache_has "$entry" && return
    cache_begin "$entry"
    fetch "the source of Linux $linux_version (150 MB)" download "linux-source-6.12=$linux_version"
    mv "$new"/*.deb "$new/linux-source.deb"
    cache_finish "$entry" source-linux
}

# What is left out of the tree: the code of hardware that no virtual host has, half of all bytes. Kconfig
# and make files stay, so the configuration is the same.
linux_without=(sound drivers/{media,gpu/drm,infiniband,net/ethernet,net/wireless})
linux_without=("${linux_without[@]/#/--exclude=*/}")
linux_without=("${linux_without[@]/%//*.[chS]}" --exclude='*/arch/arm*/boot/dts/*.dts*')

# linux_unpack: a fresh tree with our series
linux_unpack() {
    linux_download
    say "unpacking Linux $linux_version"
    rm -rf "$linux_tree"
    mkdir "$linux_tree"
    deb_contents "$source" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dcT0 |
        tar -x -C "$linux_tree" --strip-components=1 "${linux_without[@]}"
    apply_series "$linux_series" "$linux_tree" "Linux $linux_version"
}

# linux_configure: everything off but the fragment; checks that Kconfig really took it, as it drops
# silently what has an unmet dependency
linux_configure() {
    local line missing=()
    must_run "configuring Linux" "$cache/log/linux-configure.log" \
        make -C "$linux_tree" KCONFIG_ALLCONFIG="$linux_config" allnoconfig
    while IFS= read -r line; do
        case $line in
        CONFIG_*=n) grep -q "^${line%=n}=[ym]" "$linux_tree/.config" && missing+=("$line") ;;
        CONFIG_*=*) grep -qxF "$line" "$linux_tree/.config" || missing+=("$line") ;;
        '# CONFIG_'*' is not set')
            line=${line#\# }
            grep -q "^${line% is not set}=[ym]" "$linux_tree/.config" && missing+=("# $line")
            ;;
        esac
    done <"$linux_config"
    ((${#missing[@]} == 0)) || die "Linux $linux_version did not take these lines of ${linux_config##*/}" "${missing[@]}"
}

# build_linux: the cache entry of our kernel, built if it is not there
build_linux() {
    linux_name
    cache_has "$linux" && return
    install_packages "${packages_build[@]}" "${packages_qemu[@]}" "${packages_linux[@]}"
    cache_lock build
    cache_has "$linux" && return
    need_room 1100 "building Linux"
    local wanted=$linux
    linux_unpack
    say "compiling Linux $linux_version"
    linux_configure
    linux_name # the files may have been edited meanwhile; what is built must be what the name says
    [[ $linux == "$wanted" ]] || die "the series or the configuration was changed while it was applied; run this again"
    must_run "compiling Linux" "$cache/log/linux.log" make -C "$linux_tree" -j"$(nproc)" \
        KBUILD_BUILD_USER=hwpoisond KBUILD_BUILD_HOST=hwpoisond bzImage
    cache_begin "$linux"
    cp "$linux_tree/arch/x86/boot/bzImage" "$linux_tree/System.map" "$new/"
    cp "$linux_tree/.config" "$new/config"
    install -D -t "$new/scripts" "$linux_tree"/scripts/{checkpatch.pl,spelling.txt,const_structs.checkpatch}
    cache_finish "$linux" linux
    rm -rf "$linux_tree"
    say "Linux is ready"
}

# fetch_debian_kernel: the cache entry with Debian's own kernel image, unpacked if it is not there
fetch_debian_kernel() {
    linux_name
    cache_has "$image" && return
    install_packages "${packages_qemu[@]}"
    cache_lock build
    cache_has "$image" && return
    need_room 300 "Debian's kernel image"
    cache_begin "$image"
    fetch "Debian's kernel, $image_package (110 MB)" download "$image_package=$linux_version"
    deb_contents "$new"/*.deb | tar -x -C "$new" --strip-components=2 --wildcards './boot/*'
    rm "$new"/*.deb
    mv "$new"/vmlinuz-* "$new/vmlinuz"
    cache_finish "$image" debian-kernel
}
