#!/usr/bin/env bash
# The agent's unit under a real systemd: packaging/systemd_check.sh PACKAGE.deb
# Makes a small Debian in a folder, installs the package there, boots its systemd in
# namespaces of its own, and looks at what comes of the unit: ready, reloaded, hardened,
# killed, hung, stopped. As root, on a machine to try things on; needs debootstrap, a
# Debian archive ($MIRROR), and a release build of `leeway`. With $ROOT set, the Debian
# is kept in that folder for the next time.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$1
leeway=${CARGO_TARGET_DIR:-target}/release/leeway
work=$(mktemp -d)
root=${ROOT:-$work/root}
system=

cleanup() {
    [[ -z $system ]] || kill -KILL "$system" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "systemd_check: $*" >&2
    inside journalctl --no-pager --unit leeway-device >&2 || true
    exit 1
}

if ! [[ -x $root/lib/systemd/systemd ]]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps \
        bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap" ||
        { tail "$work/debootstrap" >&2 && exit 1; }
fi
# The one of an earlier run goes first.
chroot "$root" dpkg --purge leeway-device >/dev/null 2>&1 || true
cp "$package" "$root/root/agent.deb"
cp "$leeway" "$root/usr/bin/leeway"
chroot "$root" dpkg --install /root/agent.deb

# A process that is the first in its namespace, with file systems as a container has them.
cat >"$work/boot" <<'BOOT'
set -euo pipefail
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for path in run tmp; do mount -t tmpfs tmpfs "$root/$path"; done
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    mknod -m 666 "$root/dev/$device" c $(stat --format "%Hr %Lr" "/dev/$device")
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
cd "$root"
mkdir -p before
pivot_root . before
umount --lazy /before
export container=leeway
exec /lib/systemd/systemd --system systemd.unit=multi-user.target </dev/null
BOOT
boot() {
    unshare --pid --fork --mount --uts --ipc --cgroup --net --kill-child \
        bash "$work/boot" "$root" >"$work/console" 2>&1 &
    local outer=$!
    for _ in $(seq 100); do
        system=$(pgrep --parent "$outer" || true)
        if [[ -n $system ]] && inside systemctl is-system-running --wait >/dev/null 2>&1; then
            return
        fi
        # A small Debian may be "degraded" for a reason of its own.
        [[ -z $system || $(inside systemctl is-system-running 2>/dev/null) != degraded ]] || return 0
        sleep 0.2
    done
    cat "$work/console" >&2
    fail "systemd does not start"
}
inside() {
    nsenter --target "$system" --mount --uts --ipc --net --pid --root --wd -- "$@"
}
unit() {
    inside systemctl show --value --property "$1" leeway-device
}
# Waits until a property of the unit is this.
until_is() {
    for _ in $(seq 300); do
        [[ $(unit "$1") != "$2" ]] || return 0
        sleep 0.1
    done
    fail "$1 is $(unit "$1"), wanted $2"
}
# What the kernel says of the agent's process.
process() {
    inside sed -n "s/^$1:\s*//p" "/proc/$(unit MainPID)/status"
}

boot
until_is ActiveState active
until_is StatusText "models serve"
[[ $(unit Type) == notify ]] || fail "the unit does not wait until models serve"

# What the process may do.
[[ $(process Uid | cut -f 1) -ge 61184 ]] || fail "no dynamic user: $(process Uid)"
[[ $(process CapEff) =~ ^0+$ ]] || fail "capabilities: $(process CapEff)"
[[ $(process NoNewPrivs) == 1 && $(process Seccomp) == 2 ]] || fail "not confined"
agent_sees() {
    inside nsenter --target "$(unit MainPID)" --mount -- "$@"
}
! agent_sees touch /usr/touched 2>/dev/null || fail "/usr can be written"
! agent_sees touch /etc/leeway/touched 2>/dev/null || fail "/etc can be written"
agent_sees test -d /var/lib/leeway/blobs || fail "no directory of its own"
[[ $(unit OOMPolicy) == continue ]] || fail "a compilation without memory ends the agent"
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
before=$(unit MainPID)
inside systemctl reload leeway-device
[[ $(unit MainPID) == "$before" ]] || fail "a reload is no restart"
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
hung=$(unit MainPID)
sleep 3
[[ $(unit MainPID) == "$hung" ]] || fail "it gives no signs of life"
inside kill -STOP "$hung"
until_is NRestarts 1
until_is ActiveState active
inside journalctl --unit leeway-device --grep "[Ww]atchdog timeout" >/dev/null || fail "no word of the watchdog"
inside leeway status | grep --quiet "digits: " || fail "the model was lost"
rm -r "$root/etc/systemd/system/leeway-device.service.d"
inside systemctl daemon-reload
echo "hung, the watchdog has it serve again"

inside systemctl stop leeway-device
[[ $(unit Result) == success && $(unit ActiveState) == inactive ]] || fail "it stops with $(unit Result)"
inside dpkg --purge leeway-device >/dev/null
echo "stopped, purged"
