#!/usr/bin/env bash
# Builds Debian packages of the device agent, or of the fog host:
# packaging/deb.sh [--fog-host] [--no-build] [amd64|arm64]...
# Needs cargo-deb (cargo install cargo-deb). For arm64 on another machine it needs
# Debian's cross compiler and, where rustup has no library for aarch64, Debian's Rust:
#   dpkg --add-architecture arm64 && apt update
#   apt install gcc-aarch64-linux-gnu rustc-web libstd-rust-web-dev:arm64
# With --no-build it packages what was built before.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly arm64=aarch64-unknown-linux-gnu
build=yes
name=leeway-device
if [[ ${1:-} == --fog-host ]]; then
    name=leeway-fog-host
    shift
fi
if [[ ${1:-} == --no-build ]]; then
    build=no
    shift
fi

# Builds for the target that the arguments name, and packages it. Not built by cargo-deb,
# which would not hear of another compiler.
package() {
    [[ $build == no ]] || cargo build --release --locked --package $name "$@"
    cargo deb --no-build --package $name "$@"
}

for architecture in "${@:-$(dpkg --print-architecture)}"; do
    if [[ $architecture == "$(dpkg --print-architecture)" ]]; then
        package
    elif [[ $architecture == arm64 ]]; then
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
        export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
        if ! [[ -d $(rustc --print target-libdir --target $arm64) ]]; then
            export RUSTC=/usr/bin/rustc
        fi
        package --target $arm64
    else
        echo "deb.sh: it is not known how to build for $architecture here" >&2
        exit 2
    fi
done
