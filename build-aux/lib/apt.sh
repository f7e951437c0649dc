# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian packages: those that must be installed, and those that are only read.
#
# What must be installed is installed by the system's own apt, only if missing. Sources of QEMU and
# Linux, Debian's kernel images and a newer meson come from Debian 13 and its backports through an apt
# configuration of our own: own sources, lists, package state and download directory, all in the cache.
# Proxies and credentials of the system's configuration still count, because that is read first and only
# the places are replaced (apt-get -c).

apt_release=trixie
apt_backports=trixie-backports # has the newer Linux
apt_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
apt_dir=$cache/apt
apt_conf=$apt_dir/apt.conf
versions=$cache/versions

# What each part needs. One list for both Debian 12 and 13.
packages_build=(build-essential pkg-config meson ninja-build git
    libglib2.0-dev libjson-glib-dev libseccomp-dev libsystemd-dev)
packages_qemu=(dpkg-dev debian-archive-keyring ca-certificates xz-utils patch rsync python3
    python3-venv perl libpixman-1-dev zlib1g-dev libzstd-dev libattr1-dev libcap-ng-dev
    libgnutls28-dev libtasn1-6-dev libpmem-dev)
packages_linux=(flex bison bc libelf-dev liburing-dev)
packages_run=(seabios qemu-system-data ipxe-qemu busybox-static cpio openssl iproute2)
packages_lint=(shellcheck python3 perl git)

# ---- packages to install ------------------------------------------------------------------------

# missing_packages NAME...: those that are not installed
missing_packages() {
    local name
    local -A installed=()
    while read -r name; do installed[${name%%:*}]=1; done < <(
        dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p')
    for name; do [[ ${installed[$name]-} ]] || echo "$name"; done
}

# become_root COMMAND...: sets as_root, the prefix that runs a command as root, or says which command
# somebody has to run
become_root() {
    as_root=(env DEBIAN_FRONTEND=noninteractive)
    ((EUID == 0)) && return
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; then
        as_root=(sudo "${as_root[@]}")
    else
        die "packages are missing, and this is neither root nor may it use sudo" "run as root: $*"
    fi
}

# install_packages NAME...: installs what is missing, with the system's own apt and sources
install_packages() {
    local missing log=$cache/log/packages.log
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "this is not a Debian system (no apt-get)"
    local install=(apt-get install -y --no-install-recommends "${missing[@]}")
    become_root "${install[@]}"
    cache_lock packages
    install+=(-o DPkg::Lock::Timeout=300) # for automatic upgrades that are just running
    say "installing ${#missing[@]} packages: ${missing[*]}"
    run_job "installing packages" "$log" "${as_root[@]}" "${install[@]}" && return
    # most likely the lists are old or were never fetched
    run_job "apt-get update" "$cache/log/packages-update.log" "${as_root[@]}" apt-get update ||
        warn "apt-get update failed; see $cache/log/packages-update.log"
    run_job "installing packages" "$log" "${as_root[@]}" "${install[@]}" && return
    grep -E '^(E|W|Err)' "$log" | head -n 8 >&2
    die "apt-get could not install: ${missing[*]}" "the whole output is in $log"
}

# keyring_ready: sees to a keyring that knows Debian 13: an early Debian 12 has one that does not
keyring_ready() {
    install_packages debian-archive-keyring
    compgen -G "/usr/share/keyrings/debian-archive-$apt_release-automatic.*" >/dev/null && return
    local log=$cache/log/packages.log upgrade=(apt-get install -y debian-archive-keyring)
    become_root "${upgrade[@]}"
    say "the keyring does not know Debian $apt_release yet; upgrading debian-archive-keyring"
    run_job "apt-get update" "$log" "${as_root[@]}" apt-get update || true
    must_run "upgrading debian-archive-keyring" "$log" "${as_root[@]}" "${upgrade[@]}"
}

# ---- our own configuration ----------------------------------------------------------------------

# mirror LABEL PATTERN...: the URI of Debian's archive with that label among the system's sources.
# Where lists were never fetched, labels are not known, and then the first URI is taken that was
# configured like one of the patterns: what there is in the place of URI and suite.
mirror() {
    local found pattern
    # shellcheck disable=SC2016  # apt expands these, not the shell
    found=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 2>/dev/null |
        sed -n "s/^Debian|$1|//p" | sort -u)
    for pattern in "${@:2}"; do
        [[ $found ]] || found=$(apt-get update --print-uris 2>/dev/null |
            sed -n "s|^'\($pattern\)/InRelease'.*|\1|p" | sed 's|/dists/[^/]*$||')
    done
    head -n 1 <<<"${found%/}"
}

# debian_mirrors: the URIs of the Debian archive and of its security updates
debian_mirrors() {
    mirror Debian '.*/dists/[a-z]*-updates' '.*/debian/*/dists/[a-z]*'
    mirror Debian-Security '.*/dists/[a-z]*-security'
}

# apt_stanza URI SUITE...: a sources entry
apt_stanza() {
    printf 'Types: deb deb-src\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "${*:2}"
    printf 'Targets: Packages Sources\nSigned-By: %s\n\n' "$apt_keyring"
}

# apt_configure: writes the configuration; the mirrors are left in $mirrors
apt_configure() {
    [[ $(dpkg --print-architecture) == amd64 ]] || die "this needs an amd64 Debian system"
    mapfile -t mirrors < <(debian_mirrors)
    # Systems from a bare debootstrap have no security updates; beside Debian's own archive there are some
    [[ ${mirrors[1]-} || ${mirrors[0]-} != *://deb.debian.org/debian ]] || mirrors[1]=${mirrors[0]}-security
    [[ ! ${HWP_MIRROR-} ]] || mirrors=("${HWP_MIRROR%/}" "${HWP_SECURITY_MIRROR-}")
    [[ ${mirrors[0]} ]] || die "the system's apt sources name no Debian archive" \
        "set HWP_MIRROR (and HWP_SECURITY_MIRROR) to the URI of one"
    mkdir -p "$apt_dir"/{lists/partial,state,cache/archives/partial,sources.d}
    : >"$apt_dir/status"
    {
        apt_stanza "${mirrors[0]}" "$apt_release" "$apt_release-updates" "$apt_backports"
        [[ ! ${mirrors[1]-} ]] || apt_stanza "${mirrors[1]}" "$apt_release-security"
    } >"$apt_dir/sources.d/debian.sources"
    cat >"$apt_conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt_dir/sources.d";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt_dir/state";
Dir::State::lists "$apt_dir/lists";
Dir::State::status "$apt_dir/status";
Dir::Cache "$apt_dir/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Get::List-Cleanup "true";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
}

# our_apt TOOL ARGUMENT...: apt-get, apt-cache with our configuration
our_apt() { "$1" -q -c "$apt_conf" "${@:2}"; }

# apt_refresh: fetches the lists
apt_refresh() {
    local log=$cache/log/apt.log
    need_room 200 "the package lists of Debian $apt_release"
    apt_configure
    say "looking at what Debian $apt_release has (${mirrors[0]})"
    our_apt apt-get update -o APT::Update::Error-Mode=any >"$log" 2>&1 || {
        grep -E '^(E|W|Err)' "$log" | head -n 6 >&2
        die "cannot reach the Debian mirror ${mirrors[*]}" \
            "is there a network? A proxy goes into /etc/apt/apt.conf.d or http_proxy;" \
            "another mirror into HWP_MIRROR and HWP_SECURITY_MIRROR"
    }
}

# newest PATTERN: the newest version on stdin that matches
newest() { grep -E "^$1" | sort -V | tail -n 1; }

# What our series do not apply to: lines "PROGRAM VERSION HASH", the hash being that of the series
unfit=$cache/unfit

# not_unfit PROGRAM SERIES: of the versions on stdin those that the series is not known not to apply to
not_unfit() {
    grep -vxF -f <(sed -n "s/^$1 \(.*\) $(series_hash "$2")\$/\1/p" "$unfit" 2>/dev/null) || true
}

# use_older STATUS PROGRAM VERSION SERIES: what to do when apply_series has ended with STATUS: makes the program start
# again without that version, if this is why. Debian releases new ones before a series is rebased, and keeps some of those
# before.
use_older() {
    (($1 == patches_unfit)) || exit "$1"
    shift
    say "looking for a $1 before $2"
    echo "$1 $2 $(series_hash "$3")" >>"$unfit"
    rm -f "$versions"
    cache_unlock
    exec "$0" "${arguments[@]}"
}

# versions_of PACKAGE: all versions of a binary package
versions_of() { our_apt apt-cache madison "$1" | awk -F' *[|] *' '$3 ~ / Packages$/ { print $2 }'; }

# kernel_package VERSION: the package with the image of Debian's own kernel; newer ones have it apart from
# the package that one installs
kernel_package() {
    local package
    package=$(our_apt apt-cache show "linux-image-amd64=$1" |
        sed -n 's/^Depends:.* \(linux-image-[0-9][^ ]*\).*/\1/p')
    our_apt apt-cache show "$package=$1" | sed -n 's/^Depends:.* \(linux-binary-[^ ]*\).*/\1/p' | grep . || echo "$package"
}

# find_versions: the record, on stdout. Backports let go of a Linux when the next one is out: then its
# value is empty, and only those who need it are told (linux_select).
find_versions() {
    local base version
    printf 'qemu_version=%q\n' "$(our_apt apt-cache showsrc --only-source qemu |
        sed -n 's/^Version: //p' | not_unfit qemu-10.0 "$root/qemu-patches/10.0" | newest '1:10\.0\.')"
    printf 'meson_version=%q\n' "$(versions_of meson | grep -v '~bpo' | newest '1\.')"
    for base in "${linux_bases[@]}"; do
        version=$(versions_of "linux-source-$base" | not_unfit "linux-$base" "$root/kernel-patches/$base" |
            newest "${base/./\\.}\.") || true
        printf 'linux_version_%s=%q\n' "${base/./_}" "$version"
        printf 'image_package_%s=%q\n' "${base/./_}" "${version:+$(kernel_package "$version")}"
    done
}

# versions_known: whether the record has all that find_versions writes; one of an earlier commit may not
versions_known() {
    local base
    for base in "${linux_bases[@]}"; do [[ -v linux_version_${base/./_} ]] || return; done
    [[ ${qemu_version-} && ${meson_version-} ]]
}

# apt_versions: decides which upstream versions are used, and records that, so that it stays so until
# --refresh is asked for. Sets the variables of the record.
apt_versions() {
    # shellcheck source=/dev/null
    [[ ! -s $versions ]] || source "$versions"
    if [[ $refresh ]] || ! versions_known; then
        apt_refresh
        find_versions >"$versions.new"
        # shellcheck source=/dev/null
        source "$versions.new"
        [[ $qemu_version && $meson_version ]] || die "${mirrors[0]} has no QEMU 10.0 or meson for $apt_release"
        mv "$versions.new" "$versions"
        refresh=
    fi
}

# fetch LABEL APT-GET-ARGUMENT...: downloads into $new. If the version has gone from
# the mirror, the program starts again and takes the newer one.
fetch() {
    local label=$1 log=$cache/log/download.log
    [[ -s $apt_conf ]] || apt_refresh
    say "downloading $label"
    (cd "$new" && our_apt apt-get "${@:2}" >"$log" 2>&1) && return
    apt_refresh
    (cd "$new" && our_apt apt-get "${@:2}" >"$log" 2>&1) && return
    if grep -q -E 'was not found|Unable to (locate|find)|Ignore unavailable version' "$log" && [[ ! ${HWP_RESTARTED-} ]]; then
        say "$label is no longer on the mirror; looking for a newer one"
        rm -f "$versions"
        cache_unlock
        HWP_RESTARTED=1 exec "$0" "${arguments[@]}"
    fi
    grep -E '^(E|W|Err)' "$log" | head -n 6 >&2
    die "cannot download $label from ${mirrors[*]-the mirror}" "the whole output is in $log"
}

# deb_contents FILE.deb: its files as a tar archive on stdout
deb_contents() { dpkg-deb --fsys-tarfile "$1"; }
