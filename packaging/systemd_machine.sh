# A small Debian whose systemd runs in namespaces of its own, for the checks of units.
# Sourced by them, with $unit set to the unit and $package to what has it. As root, on a
# machine to try things on; needs debootstrap and a Debian archive ($MIRROR). With $ROOT
# set, the Debian is kept in that folder for the next time.
# shellcheck shell=bash
# The caller sets `unit` and `package`.
# shellcheck disable=SC2154
work=$(mktemp -d)
root=${ROOT:-$work/root}
system=

cleanup() {
    [[ -z $system ]] || kill -KILL "$system" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "$(basename "$0"): $*" >&2
    [[ -z $system ]] || inside journalctl --no-pager --unit "$unit" >&2 || true
    exit 1
}

# Makes the Debian, with a package in it. The one of an earlier run goes first.
install_in_machine() {
    if ! [[ -x $root/lib/systemd/systemd ]]; then
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus \
            bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap" ||
            { tail "$work/debootstrap" >&2 && exit 1; }
    fi
    chroot "$root" dpkg --purge "$package" >/dev/null 2>&1 || true
    cp "$1" "$root/root/package.deb"
    chroot "$root" dpkg --install /root/package.deb
}

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
# A command of this machine, on the network of that one.
on_its_network() {
    nsenter --target "$system" --net -- "$@"
}
property() {
    inside systemctl show --value --property "$1" "$unit"
}
# Waits until a property of the unit is this.
until_is() {
    for _ in $(seq 300); do
        [[ $(property "$1") != "$2" ]] || return 0
        sleep 0.1
    done
    fail "$1 is $(property "$1"), wanted $2"
}
# What the kernel says of the unit's process.
process() {
    inside sed -n "s/^$1:\s*//p" "/proc/$(property MainPID)/status"
}
# A command as the unit's user, in the file systems that its process sees.
as_it() {
    inside nsenter --target "$(property MainPID)" --mount \
        --setuid "$(process Uid | cut -f 1)" --setgid "$(process Gid | cut -f 1)" -- "$@"
}
# No capability, no new privilege, no writing outside of its own directories.
is_confined() {
    [[ $(process CapEff) =~ ^0+$ ]] || fail "capabilities: $(process CapEff)"
    [[ $(process NoNewPrivs) == 1 && $(process Seccomp) == 2 ]] || fail "not confined"
    ! as_it touch /usr/touched 2>/dev/null || fail "/usr can be written"
    ! as_it touch "$1/touched" 2>/dev/null || fail "$1 can be written"
}
stop_and_purge() {
    inside systemctl stop "$unit"
    [[ $(property Result) == success && $(property ActiveState) == inactive ]] ||
        fail "it stops with $(property Result)"
    inside dpkg --purge "$package" >/dev/null
    echo "stopped, purged"
}
