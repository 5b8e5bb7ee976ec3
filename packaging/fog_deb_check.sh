#!/usr/bin/env bash
# Installs a package of the fog host here, serves a model from it, removes it and purges
# it: packaging/fog_deb_check.sh PACKAGE.deb. As root, on a machine to try things on;
# without systemd as its first process the host is started by hand, as its user and with
# the options of the package.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$1
leeway=${CARGO_TARGET_DIR:-target}/release/leeway
readonly url=http://127.0.0.1:8080
work=$(mktemp -d)
host=
cleanup() {
    [[ -z $host ]] || kill "$host" 2>/dev/null || true
    dpkg --purge leeway-fog-host >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "fog_deb_check: $*" >&2
    exit 1
}

dpkg --install "$package"
getent passwd leeway-fog >/dev/null || fail "no user leeway-fog"
dpkg --verify leeway-fog-host
systemd-analyze verify --recursive-errors=no leeway-fog.service 2>"$work/verify" || true
! grep "leeway-fog.service" "$work/verify" || fail "systemd does not like the unit"
exposure=$(systemd-analyze security --offline=yes leeway-fog.service | tail -n 1)
echo "$exposure"
grep --quiet -E 'level for leeway-fog.service: [01]\.' <<<"$exposure" || fail "too exposed"

"$leeway" build guest-models/mlp-digits/model.onnx -o "$work/m.wasm" --name digits --version 1
digest=sha256:$(sha256sum "$work/m.wasm" | cut -d' ' -f1)
run_host() {
    # As the unit has it.
    install --directory --owner=leeway-fog --group=leeway-fog --mode=700 /var/lib/leeway-fog
    (
        . /etc/default/leeway-fog-host
        # shellcheck disable=SC2086
        exec setpriv --reuid leeway-fog --regid leeway-fog --clear-groups --no-new-privs \
            /usr/bin/leeway-fog $OPTIONS
    ) 2>>"$work/log" &
    host=$!
    for _ in $(seq 200); do
        ! curl --silent --fail --output /dev/null $url/v2/health/ready || return 0
        sleep 0.1
    done
    fail "the host does not answer: $(cat "$work/log")"
}
stop_host() {
    kill "$host"
    wait "$host" || fail "it did not end well: $(cat "$work/log")"
    host=
}
answers() {
    local input zeros
    # Name, type and shape are the model's own; it has 784 pixels.
    input=$(curl --silent $url/v2/models/digits | sed 's/.*"inputs":\[{\([^}]*\)}.*/\1/')
    zeros=$(printf '0,%.0s' $(seq 783))0
    curl --silent --fail $url/v2/models/digits/infer \
        -d "{\"inputs\": [{$input, \"data\": [$zeros]}]}" >"$work/answer" &&
        grep --quiet '"outputs"' "$work/answer"
}
run_host
curl --silent --fail --output /dev/null -T "$work/m.wasm" "$url/v1/modules/$digest"
curl --silent --fail --output /dev/null -X PUT "$url/v1/models/digits/versions/1" \
    -H 'content-type: application/json' -d "{\"digest\": \"$digest\"}"
answers || fail "no answer"
stop_host

# A new installation keeps the options, modules and names.
sed -i 's/^OPTIONS="/&--queue 7 /' /etc/default/leeway-fog-host
before=$(sha256sum </etc/default/leeway-fog-host)
dpkg --install --force-confold "$package"
[[ $before == "$(sha256sum </etc/default/leeway-fog-host)" ]] || fail "the options were lost"
run_host
answers || fail "the model was lost"
stop_host
dpkg --remove leeway-fog-host
[[ -e /etc/default/leeway-fog-host && -d /var/lib/leeway-fog ]] ||
    fail "removing took options or modules"
[[ ! -e /usr/bin/leeway-fog ]] || fail "the host is still there"
dpkg --purge leeway-fog-host
[[ ! -e /etc/default/leeway-fog-host && ! -e /var/lib/leeway-fog ]] || fail "purging left something"
echo "installed, run, upgraded, removed, purged"
