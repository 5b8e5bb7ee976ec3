#!/usr/bin/env bash
# Installs a package of the device agent here, runs the agent from it, removes it and
# purges it: packaging/deb_check.sh PACKAGE.deb. As root, on a machine to try things on,
# with Debian's libfaketime; without systemd as its first process the agent is started by
# hand.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$1
leeway=${CARGO_TARGET_DIR:-target}/release/leeway
work=$(mktemp -d)
agent=
cleanup() {
    [[ -z $agent ]] || kill "$agent" 2>/dev/null || true
    dpkg --purge leeway-device >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "deb_check: $*" >&2
    exit 1
}

dpkg --install "$package"
getent group leeway >/dev/null || fail "no group leeway"
dpkg --verify leeway-device
systemd-analyze verify --recursive-errors=no leeway-device.service 2>"$work/verify" || true
! grep "leeway-device.service" "$work/verify" || fail "systemd does not like the unit"
exposure=$(systemd-analyze security --offline=yes leeway-device.service | tail -n 1)
echo "$exposure"
grep --quiet -E 'level for leeway-device.service: [01]\.' <<<"$exposure" || fail "too exposed"

# The configuration that came with it believes nobody: it takes no module.
"$leeway" build guest-models/mlp-digits/model.onnx -o "$work/m.wasm" --name digits --version 1
"$leeway" keygen "$work/release"
"$leeway" sign "$work/m.wasm" --key "$work/release.pem"
run_agent() {
    mkdir -p /run/leeway
    env "$@" leeway-device 2>>"$work/log" &
    agent=$!
    for _ in $(seq 200); do
        ! "$leeway" status >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    fail "the agent does not answer: $(cat "$work/log")"
}
stop_agent() {
    kill "$agent"
    wait "$agent" || true
    agent=
}
run_agent
! "$leeway" deploy "$work/m.wasm" 2>"$work/refused" || fail "a module was taken without a key"
grep --quiet "is a stranger" "$work/refused" || fail "refused otherwise: $(cat "$work/refused")"
stop_agent
cp "$work/release.pub.pem" /etc/leeway/
printf '[[trust.key]]\nname = "release"\nfile = "release.pub.pem"\n' >"$work/key"
sed -i "/^threshold = 1/r $work/key" /etc/leeway/device.toml
run_agent
"$leeway" deploy "$work/m.wasm"
stop_agent

# A new installation keeps the configuration and what serves.
before=$(sha256sum </etc/leeway/device.toml)
dpkg --install --force-confold "$package"
[[ $before == "$(sha256sum </etc/leeway/device.toml)" ]] || fail "the configuration was lost"
run_agent
"$leeway" status | grep --quiet "digits: " || fail "the model was lost"
stop_agent

# A device that has no battery wakes up in 1970: it serves, and takes the next release.
faketime=$(dpkg --listfiles libfaketime | grep '/libfaketimeMT\.so' || fail "needs libfaketime")
"$leeway" build guest-models/mlp-digits/model.onnx -o "$work/2.wasm" --name digits --version 2
"$leeway" sign "$work/2.wasm" --key "$work/release.pem"
run_agent LD_PRELOAD="$faketime" FAKETIME="@1970-01-02 00:00:00" DONT_FAKE_MONOTONIC=1
"$leeway" deploy "$work/2.wasm"
"$leeway" status --json >"$work/status"
grep --quiet '"at": *[0-9]\{1,6\}[,}]' "$work/status" || fail "its clock is not in 1970"
stop_agent
run_agent
"$leeway" status | grep --quiet "active     2 " || fail "the release of 1970 was lost"
stop_agent
dpkg --remove leeway-device
[[ -e /etc/leeway/device.toml && -d /var/lib/leeway ]] || fail "removing took configuration or state"
[[ ! -e /usr/bin/leeway-device ]] || fail "the agent is still there"
dpkg --purge leeway-device
[[ ! -e /etc/leeway/device.toml && ! -e /var/lib/leeway ]] || fail "purging left something"
rm -f /etc/leeway/release.pub.pem
rmdir --ignore-fail-on-non-empty /etc/leeway 2>/dev/null || true
echo "installed, run, upgraded, removed, purged"
