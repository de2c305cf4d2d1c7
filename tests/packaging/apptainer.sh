#!/usr/bin/env bash
# Makes what packaging/apptainer.def describes without Apptainer: Debian 12 in a folder, %files, %post and %test run in it. Needs root,
# debootstrap and 3 GB; ten minutes on two cores. By hand, before a release:
#
#   bash tests/packaging/apptainer.sh [FOLDER [cuda=yes]]        default: build/apptainer, without CUDA
#
# This machine's settings of apt and pip are copied, where it has any of its own. The folder is left to look at.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

root="${1:-build/apptainer}"
arguments=("${@:2}")
definition=packaging/apptainer.def

section() {
    python3 tests/packaging/definition.py "$definition" "$1" ${arguments[@]+"${arguments[@]}"}
}

inside() {
    chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "${pip_settings[@]}" "$@"
}

# Certificates, package indexes and the like, by the names that pip and apt take them from.
copy_settings() {
    local path
    for path in /etc/resolv.conf /etc/pip.conf /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/auth.conf.d /etc/apt/keyrings \
        /etc/ssl/certs /usr/local/share/ca-certificates "${PIP_CERT:-}" "${PIP_FIND_LINKS:-}"; do
        if [ -e "$path" ]; then
            mkdir -p "$root$(dirname "$path")"
            cp -rL --remove-destination "$path" "$root$(dirname "$path")/" # a link there may lead to the file here
        fi
    done
    mapfile -t pip_settings < <(env | grep -E '^(PIP_|https?_proxy=|SSL_CERT)' || true)
}

echo "== Debian 12 in $root"
mkdir -p "$root"
[ -x "$root/bin/sh" ] || debootstrap --variant=minbase bookworm "$root" > "$root.log"
pip_settings=()
copy_settings
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT

echo "== %files"
rm -rf "$root/opt/fedbpt"
mkdir -p "$root/opt/fedbpt"
git clone -q --bare . "$root/opt/fedbpt/source.git"

echo "== %post"
section post > "$root/opt/post.sh"
inside /bin/bash /opt/post.sh
echo "== %test"
section test > "$root/opt/test.sh"
inside /bin/sh /opt/test.sh
du -shx "$root"
