# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Linux: the kernels of the virtual hosts, the kernel's own tests, and Debian's own images.
#
# There is a base for each upstream version that we have a series for, and of each base three flavours:
# patched with the series, stock without, debug with the series and the kernel's own checkers. They are
# built from Debian's source with everything off except what linux*.config ask for, without modules: the
# virtual hosts need little, and it compiles in a few minutes.
#
# There is one work tree. The flavours of a base follow each other in it (stock, patched, debug), so that
# it is unpacked once and make compiles only what differs; setup removes it at its end.

linux_bases=(6.12 7.3)
linux_tree=$cache/tree-linux
linux_recipe=2 # raise when this file builds in another way

# The kernel's own tests that are compared on the stock and the patched kernel, below
# tools/testing/selftests: so many of these as a base has. tests/hosts/cases/selftests.py runs them.
linux_tests=(
    mm/{cow,guard-regions,gup_test,hugetlb-madvise,hugetlb-read-hwpoison,khugepaged,madv_populate}
    mm/{memory-failure,mremap_test,pagemap_ioctl,soft-dirty,split_huge_page_test,uffd-unit-tests,uffd-wp-mremap}
    kvm/{demand_paging_test,dirty_log_test,guest_memfd_test,kvm_create_max_vcpus,kvm_page_table_test}
    kvm/{memslot_modification_stress_test,pre_fault_memory_test,set_memory_region_test}
    kvm/x86{,_64}/{set_sregs_test,state_test,svm_nested_shutdown_test,svm_vmcall_test,sync_regs_test})

# linux_select BASE [FLAVOUR]: sets what the functions below work with: $base, $flavour, the series, the
# configuration, and the names of the cache entries; fails if there is no such Linux
linux_select() {
    base=$1 flavour=${2-patched}
    local version=linux_version_${base/./_} package=image_package_${base/./_} parts
    linux_version=${!version-} image_package=${!package-}
    [[ $linux_version ]] || return
    linux_series=$root/kernel-patches/$base
    linux_config=("$root"/build-aux/linux{,"-$base"}.config)
    # options that the series adds
    [[ $flavour == stock || ! -f $linux_series/config ]] || linux_config+=("$linux_series/config")
    [[ $flavour != debug ]] || linux_config+=("$root/build-aux/linux-debug.config")
    parts=("$linux_version" "$(os_id)" "$linux_recipe" "$(cat "${linux_config[@]}" | sha256sum)")
    if [[ $flavour == stock ]]; then parts+=("${linux_tests[@]}"); else parts+=("$(series_hash "$linux_series")"); fi
    linux_kind=linux-$base-$flavour
    linux=$linux_kind-$(hash_of "${parts[@]}")
    image=debian-kernel-$base-$(hash_of "$image_package" "$linux_version")
}

# linux_must_select BASE [FLAVOUR]: the same, and the end of the program if there is no such Linux
linux_must_select() {
    linux_select "$@" || die "Debian $apt_release and $apt_backports have no Linux $1 (any more) that the series applies to" \
        "an older state of the archive has: set HWP_MIRROR to one of snapshot.debian.org, and use --refresh"
}

# linux_download: the package with the source; its path is in $source
linux_download() {
    local entry
    entry=source-linux-$base-$(hash_of "$linux_version")
    source=$cache/$entry/linux-source.deb
    cache_has "$entry" && return
    cache_begin "$entry"
    fetch "the source of Linux $linux_version (150 MB)" download "linux-source-$base=$linux_version"
    mv "$new"/*.deb "$new/linux-source.deb"
    cache_finish "$entry" "source-linux-$base"
}

# What is left out of the tree: the code of hardware that no virtual host has, half of all bytes. Kconfig
# and make files stay, so the configuration is the same, and the headers that tests of VFIO share with
# network drivers.
linux_without=(sound drivers/{media,gpu/drm,infiniband,net/wireless})
linux_without=("${linux_without[@]/%//*.[chS]}" 'drivers/net/ethernet/*.c' 'arch/arm*/boot/dts/*.dts*')
linux_without=("${linux_without[@]/#/--exclude=*/}")

# linux_unpack: a fresh tree
linux_unpack() {
    linux_download
    say "unpacking Linux $linux_version"
    rm -rf "$linux_tree"
    mkdir "$linux_tree"
    deb_contents "$source" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dcT0 |
        tar -x -C "$linux_tree" --strip-components=1 "${linux_without[@]}"
}

# linux_sources: brings the tree to the selected source, with the series but for the stock kernel. What
# is in it is on record only while that is true.
linux_sources() {
    local record=$linux_tree/.hwpoisond stock="$linux_version stock" wanted have
    wanted=$stock
    [[ $flavour == stock ]] || wanted="$linux_version $(series_hash "$linux_series")"
    have=$(cat "$record" 2>/dev/null) || true
    [[ $have != "$wanted" ]] || return 0
    [[ $have == "$stock" ]] || linux_unpack
    rm -f "$record"
    [[ $flavour == stock ]] || (apply_series "$linux_series" "$linux_tree" "Linux $linux_version") ||
        use_older $? "linux-$base" "$linux_version" "$linux_series"
    echo "$wanted" >"$record"
}

# linux_configure: everything off but the fragments; checks that Kconfig really took them, as it drops
# silently what has an unmet dependency
linux_configure() {
    local line missing=() all=$linux_tree/.hwpoisond-config
    cat "${linux_config[@]}" >"$all"
    must_run "configuring Linux" "$cache/log/linux-configure.log" \
        make -C "$linux_tree" KCONFIG_ALLCONFIG="$all" allnoconfig
    while IFS= read -r line; do
        case $line in
        CONFIG_*=n) grep -q "^${line%=n}=[ym]" "$linux_tree/.config" && missing+=("$line") ;;
        CONFIG_*=*) grep -qxF "$line" "$linux_tree/.config" || missing+=("$line") ;;
        '# CONFIG_'*' is not set')
            line=${line#\# }
            grep -q "^${line% is not set}=[ym]" "$linux_tree/.config" && missing+=("# $line")
            ;;
        esac
    done <"$all"
    ((${#missing[@]} == 0)) || die "Linux $linux_version did not take these lines of ${linux_config[*]##*/}" "${missing[@]}"
}

# linux_tests_of PATCH...: the selftests that these patches add or change, as far as they are there
linux_tests_of() {
    sed -n 's|^+++ b/tools/testing/selftests/\([^/]*/.*\)\.c$|\1|p' "$@" /dev/null | sort -u | linux_programs
}

# linux_programs: of the selftests on stdin those that the tree has; other files are parts of programs
linux_programs() {
    local test
    while read -r test; do
        grep -sqE '\bmain\(|^TEST_HARNESS_MAIN' "$linux_tree/tools/testing/selftests/$test.c" && echo "$test"
    done || true
}

# linux_own_tests: the tests to be built of the selected flavour: the kernel's own of a stock one, and of
# the others those that the series adds or changes
linux_own_tests() {
    local patches
    mapfile -t patches < <(series_patches "$linux_series")
    if [[ $flavour == stock ]]; then
        printf '%s\n' "${linux_tests[@]}" | linux_programs
    else
        linux_tests_of "${patches[@]}"
    fi
}

# linux_compile_tests OUTPUT: builds these tests. Ours are static, to run also where there is nothing but the
# kernel; of the kernel's own, khugepaged of 6.12.117 does not include what defines KSFT_SKIP.
linux_compile_tests() {
    local test collection tests wanted_tests output=$1 flags=-static
    [[ $flavour != stock ]] || flags=-DKSFT_SKIP=4
    mapfile -t tests < <(linux_own_tests)
    must_run "installing the headers of Linux" "$cache/log/linux-headers.log" \
        make -C "$linux_tree" headers_install INSTALL_HDR_PATH="$output/usr"
    for collection in $(printf '%s\n' "${tests[@]%%/*}" | sort -u); do
        mkdir -p "$output/$collection"
        mapfile -t wanted_tests < <(printf '%s\n' "${tests[@]}" | grep "^$collection/")
        must_run "compiling tests of Linux" "$cache/log/linux-tests-$collection.log" \
            make -C "$linux_tree/tools/testing/selftests/$collection" -j"$(nproc)" top_srcdir="$linux_tree" \
            OUTPUT="$output/$collection" KHDR_INCLUDES="-isystem $output/usr/include" EXTRA_CFLAGS="$flags" \
            "${wanted_tests[@]/#/$output/}"
    done
    for test in "${tests[@]}"; do install -D -s "$output/$test" "$new/selftests/$test"; done
}

# build_linux FLAVOUR BASE: the cache entry of a kernel, built if it is not there
build_linux() {
    linux_must_select "$2" "$1"
    cache_has "$linux" && return
    install_packages "${packages_build[@]}" "${packages_qemu[@]}" "${packages_linux[@]}"
    cache_lock build
    cache_has "$linux" && return
    [[ -d $linux_tree ]] || need_room 1300 "building Linux"
    local wanted=$linux
    linux_sources
    say "compiling $flavour Linux $linux_version"
    linux_configure
    linux_select "$base" "$flavour" # the files may have been edited meanwhile; what is built must be what the name says
    [[ $linux == "$wanted" ]] || die "the series or the configuration was changed while it was applied; run this again"
    must_run "compiling Linux" "$cache/log/$linux_kind.log" make -C "$linux_tree" -j"$(nproc)" \
        KBUILD_BUILD_USER=hwpoisond KBUILD_BUILD_HOST=hwpoisond bzImage
    cache_begin "$linux"
    cp "$linux_tree/arch/x86/boot/bzImage" "$linux_tree/System.map" "$new/"
    cp "$linux_tree/.config" "$new/config"
    install -D -t "$new/scripts" "$linux_tree"/scripts/{checkpatch.pl,spelling.txt,const_structs.checkpatch}
    linux_compile_tests "$linux_tree/tests-$flavour"
    cache_finish "$linux" "$linux_kind"
    say "$flavour Linux $linux_version is ready"
}

# linux_end: removes the work tree, which is large, if this run has built
linux_end() { [[ ! ${cache_locks[build]-} ]] || rm -rf "$linux_tree"; }

# fetch_debian_kernel BASE: the cache entry with Debian's own kernel image, unpacked if it is not there
fetch_debian_kernel() {
    linux_must_select "$1"
    cache_has "$image" && return
    install_packages "${packages_qemu[@]}"
    cache_lock build
    cache_has "$image" && return
    need_room 300 "Debian's kernel image"
    cache_begin "$image"
    fetch "Debian's kernel, $image_package" download "$image_package=$linux_version"
    deb_contents "$new"/*.deb | tar -xO --wildcards './boot/vmlinuz-*' './usr/lib/modules/*/vmlinuz' >"$new/vmlinuz" 2>/dev/null ||
        [[ -s $new/vmlinuz ]] || die "there is no kernel in $image_package" # one of the two names is never there
    rm "$new"/*.deb
    cache_finish "$image" "debian-kernel-$base"
}
