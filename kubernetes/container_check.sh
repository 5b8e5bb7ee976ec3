#!/usr/bin/env bash
# Builds the container file, and starts what it made as a cluster would: as its own user,
# without capabilities, with a root that cannot be written.
#   kubernetes/container_check.sh [--built target/release/leeway-fog]
# No registry of images is asked: the two that the file begins with are made here, from
# debootstrap and this machine's Rust. With --built, a program that was built on this
# machine takes the place of what the first stage would build, and all else is as it is.
# As root; needs podman, crun, debootstrap, a Debian archive ($MIRROR), curl, and a release
# build of `leeway`. With $STORAGE set, images stay in that folder.
set -euo pipefail
cd "$(dirname "$0")/.."

# crun wants cgroups of the second version, or none that it sees.
if [[ $(stat --file-system --format %T /sys/fs/cgroup) != cgroup2fs && -z ${UNSHARED:-} ]]; then
    export UNSHARED=1
    exec unshare --mount --cgroup bash -c '
        umount --recursive /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$0" "$@"
    ' "$PWD/kubernetes/container_check.sh" "$@"
fi

built=
[[ ${1:-} != --built ]] || built=$(realpath "$2")

leeway=${CARGO_TARGET_DIR:-target}/release/leeway
readonly debian=docker.io/library/debian:bookworm-slim rust=docker.io/library/rust:1.95-bookworm
readonly image=localhost/leeway-fog:check name=leeway-fog-check
work=$(mktemp -d)
storage=${STORAGE:-$work/storage}
pods() {
    podman --root "$storage" --runroot "$work/run" "$@"
}
cleanup() {
    pods rm --force --ignore $name >/dev/null 2>&1 || true
    [[ -n ${STORAGE:-} ]] || pods system reset --force >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "container_check: $*" >&2
    pods logs $name >&2 || true
    exit 1
}

# The images that the container file begins with.
for base in $debian $rust; do
    grep --quiet "^FROM $base" kubernetes/Containerfile || fail "the file does not begin with $base"
done
if ! pods image exists $debian; then
    debootstrap --variant=minbase bookworm "$work/debian" \
        "${MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap" ||
        { tail "$work/debootstrap" >&2 && exit 1; }
    tar --directory "$work/debian" --create . | pods import --quiet - $debian
fi
if ! pods image exists $rust; then
    pods build --quiet --isolation chroot --pull=never --tag $rust --file - "$work" <<FROM
FROM $debian
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev binutils
ENV PATH=/usr/local/rust/bin:/usr/bin:/bin CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true
FROM
fi

if [[ -n $built ]]; then
    mkdir -p "$work/rust/bin"
    cp "$built" "$work/rust/leeway-fog"
    printf '#!/bin/sh\ninstall -D /usr/local/rust/leeway-fog target/release/leeway-fog\n' \
        >"$work/rust/bin/cargo"
    chmod +x "$work/rust/bin/cargo"
    toolchain=$work/rust
else
    cargo fetch --locked
    toolchain=$(rustc --print sysroot)
fi
pods build --isolation chroot --pull=never --no-cache --tag $image \
    --file kubernetes/Containerfile --volume "$toolchain:/usr/local/rust:ro" \
    --volume "${CARGO_HOME:-$HOME/.cargo}:/usr/local/cargo" .
echo "built"

# As kubernetes/deployment.yaml has it: user, root, capabilities.
start() {
    pods rm --force --ignore $name >/dev/null
    pods run --detach --name $name --network none --cgroups disabled --read-only \
        --cap-drop all --security-opt no-new-privileges --tmpfs /tmp \
        --ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit nproc=1024:1024 \
        $image "$@" >/dev/null
}
inspect() {
    pods inspect --format "{{.State.$1}}" $name
}
# The status of a request to the host.
ask() {
    nsenter --target "$(inspect Pid)" --net -- curl --silent --output "$work/answer" \
        --write-out '%{http_code}' --max-time 60 "$@" || true
}
readonly url=http://127.0.0.1:8080

# On an open address it does not start without TLS and clients.
start
[[ $(pods wait $name) != 0 ]] || fail "it has started without TLS"
pods logs $name 2>&1 | grep --quiet -- "--without-tls" || fail "it does not say what is missing"
echo "closed by default"

start --store /var/lib/leeway --without-tls --without-authentication
for _ in $(seq 300); do
    [[ $(inspect Running) == true ]] || fail "it does not run"
    [[ $(ask $url/v2/health/ready) != 200 ]] || break
    sleep 0.1
done
[[ $(ask $url/v2/health/ready) == 200 ]] || fail "it does not get ready"
status() {
    sed -n "s/^$1:\s*//p" "/proc/$(inspect Pid)/status"
}
[[ $(status Uid) == 65532* && $(status Gid) == 65532* ]] || fail "runs as $(status Uid)"
[[ $(status CapEff) =~ ^0+$ && $(status NoNewPrivs) == 1 ]] || fail "it has capabilities"
! pods exec $name touch /touched 2>/dev/null || fail "its root can be written"
echo "ready as user 65532, with a root that cannot be written"

# The volume can: a pushed module is compiled, stored and served.
"$leeway" build guest-models/mlp-digits/model.onnx -o "$work/m.wasm" --name digits --version 1
digest=sha256:$(sha256sum "$work/m.wasm" | cut -d' ' -f1)
[[ $(ask -T "$work/m.wasm" "$url/v1/modules/$digest") == 201 ]] || fail "$(cat "$work/answer")"
[[ $(ask "$url/v2/models/$digest/ready") == 200 ]] || fail "$(cat "$work/answer")"
echo "pushed"

pods stop --time 40 $name >/dev/null
[[ $(inspect ExitCode) == 0 ]] || fail "SIGTERM ends it with $(inspect ExitCode)"
echo "stopped"
