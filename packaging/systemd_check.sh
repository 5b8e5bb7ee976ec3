#!/usr/bin/env bash
# The agent's unit under a real systemd: packaging/systemd_check.sh PACKAGE.deb
# Makes a small Debian in a folder, installs the package there, boots its systemd in
# namespaces of its own, and looks at what comes of the unit: ready, reloaded, hardened,
# killed, hung, stopped. What it needs, systemd_machine.sh says; and a release build of
# `leeway`.
set -euo pipefail
cd "$(dirname "$0")/.."
leeway=${CARGO_TARGET_DIR:-target}/release/leeway
unit=leeway-device
package=leeway-device
. packaging/systemd_machine.sh

install_in_machine "$1"
cp "$leeway" "$root/usr/bin/leeway"
boot
until_is ActiveState active
until_is StatusText "models serve"
[[ $(property Type) == notify ]] || fail "the unit does not wait until models serve"

# What the process may do.
[[ $(process Uid | cut -f 1) -ge 61184 ]] || fail "no dynamic user: $(process Uid)"
is_confined /etc/leeway
as_it test -d /var/lib/leeway/blobs || fail "no directory of its own"
[[ $(property OOMPolicy) == continue ]] || fail "a compilation without memory ends the agent"
echo "ready as user $(process Uid | cut -f 1), confined"

# A key comes with a reload, and a module that it signed is taken.
"$leeway" build guest-models/mlp-digits/model.onnx -o "$root/root/m.wasm" --name digits --version 1
(cd "$root/root" && rm -f release.pem release.pub.pem)
"$leeway" keygen "$root/root/release"
"$leeway" sign "$root/root/m.wasm" --key "$root/root/release.pem"
! inside leeway deploy /root/m.wasm 2>/dev/null || fail "a module was taken without a key"
cp "$root/root/release.pub.pem" "$root/etc/leeway/"
printf '[[trust.key]]\nname = "release"\nfile = "release.pub.pem"\n' >"$work/key"
sed -i "/^threshold = 1/r $work/key" "$root/etc/leeway/device.toml"
before=$(property MainPID)
inside systemctl reload leeway-device
[[ $(property MainPID) == "$before" ]] || fail "a reload is no restart"
inside leeway deploy /root/m.wasm
echo "reloaded, deployed"

# Killed, it serves again by itself.
inside systemctl kill --signal KILL leeway-device
until_is NRestarts 1
until_is ActiveState active
inside leeway status | grep --quiet "digits: " || fail "the model was lost"
echo "killed, serves again"

# Hung, it is found out by the watchdog.
mkdir -p "$root/etc/systemd/system/leeway-device.service.d"
printf '[Service]\nWatchdogSec=2s\n' >"$root/etc/systemd/system/leeway-device.service.d/short.conf"
inside systemctl daemon-reload
inside systemctl restart leeway-device
until_is ActiveState active
hung=$(property MainPID)
sleep 3
[[ $(property MainPID) == "$hung" ]] || fail "it gives no signs of life"
inside sh -c "kill -STOP $hung"
until_is NRestarts 1
until_is ActiveState active
inside journalctl --unit leeway-device --grep "[Ww]atchdog timeout" >/dev/null || fail "no word of the watchdog"
inside leeway status | grep --quiet "digits: " || fail "the model was lost"
rm -r "$root/etc/systemd/system/leeway-device.service.d"
inside systemctl daemon-reload
echo "hung, the watchdog has it serve again"

stop_and_purge
