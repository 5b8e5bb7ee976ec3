#!/usr/bin/env bash
# The fog host's unit under a real systemd: packaging/fog_systemd_check.sh PACKAGE.deb
# Installs the package in a small Debian, boots its systemd, and looks at what comes of the
# unit: confined, serving, reloaded, killed, stopped. What it needs, systemd_machine.sh
# says; and curl, and a release build of `leeway`.
set -euo pipefail
cd "$(dirname "$0")/.."
leeway=${CARGO_TARGET_DIR:-target}/release/leeway
readonly url=http://127.0.0.1:8080
unit=leeway-fog
package=leeway-fog-host
. packaging/systemd_machine.sh

# The status of a request to the host.
ask() {
    on_its_network curl --silent --output "$work/answer" --write-out '%{http_code}' \
        --max-time 60 --header "authorization: Bearer ${token:-}" "$@" || true
}
until_ready() {
    until_is ActiveState active
    for _ in $(seq 200); do
        [[ $(ask $url/v2/health/ready) != 200 ]] || return 0
        sleep 0.1
    done
    fail "the host does not answer"
}
wants() {
    local wanted=$1 seen
    shift
    seen=$(ask "$@")
    [[ $seen == "$wanted" ]] || fail "$seen, wanted $wanted: $(cat "$work/answer")"
}
infers() {
    local input zeros
    wants 200 $url/v2/models/digits
    # Name, type and shape are the model's own; it has 784 pixels.
    input=$(sed 's/.*"inputs":\[{\([^}]*\)}.*/\1/' "$work/answer")
    zeros=$(printf '0,%.0s' $(seq 783))0
    wants 200 $url/v2/models/digits/infer -d "{\"inputs\": [{$input, \"data\": [$zeros]}]}"
    grep --quiet '"outputs"' "$work/answer" || fail "no outputs: $(cat "$work/answer")"
}

install_in_machine "$1"
clients=/etc/leeway-fog/clients.toml
entry() {
    printf '[[token]]\nname = "%s"\nsha256 = "%s"\nscopes = ["admin"]\n' \
        "$1" "$(printf %s "$1" | sha256sum | cut -d' ' -f1)"
}
mkdir -p "$root/etc/leeway-fog"
entry first >"$root$clients"
sed -i "s|^OPTIONS=\"|&--clients $clients |" "$root/etc/default/leeway-fog-host"
boot
until_ready

# What the process may do.
inside id --user leeway-fog >"$work/user"
[[ $(process Uid | cut -f 1) == "$(cat "$work/user")" ]] || fail "runs as $(process Uid)"
is_confined /etc/leeway-fog
as_it test -d /var/lib/leeway-fog/repository || fail "no directory of its own"
echo "ready as user $(cat "$work/user"), confined"

# It serves: what is pushed is compiled by the program that its own unit confines.
"$leeway" build guest-models/mlp-digits/model.onnx -o "$work/m.wasm" --name digits --version 1
digest=sha256:$(sha256sum "$work/m.wasm" | cut -d' ' -f1)
wants 401 -T "$work/m.wasm" "$url/v1/modules/$digest"
token=first
wants 201 -T "$work/m.wasm" "$url/v1/modules/$digest"
wants 200 -X PUT "$url/v1/models/digits/versions/1" -d "{\"digest\": \"$digest\"}"
infers
echo "pushed, serves"

# Clients change with a reload.
entry second >"$root$clients"
before=$(property MainPID)
inside systemctl reload leeway-fog || fail "it does not reload"
[[ $(property MainPID) == "$before" ]] || fail "a reload is no restart"
token=second
for _ in $(seq 100); do
    [[ $(ask $url/v2) != 200 ]] || break
    sleep 0.1
done
infers
token=first
wants 401 $url/v2
token=second
echo "reloaded"

# Killed, it serves again by itself, with what was pushed.
inside systemctl kill --signal KILL leeway-fog
until_is NRestarts 1
until_ready
infers
echo "killed, serves again"

stop_and_purge
! [[ -e $root/var/lib/leeway-fog ]] || fail "purging left modules"
