"""Modules in a real OCI registry and in bundles, with stock tools.

Starts Debian's docker-registry, pushes a module with `leeway push`, and has skopeo
copy it to a layout and back; then the bundle that `leeway bundle` writes goes into the
registry by skopeo, and comes out by `leeway pull`.
"""

import hashlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

LEEWAY = "target/release/leeway"
MODEL = "guest-models/mlp-digits/model.onnx"


def run(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}")
    return result.stdout


def start_registry(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder / 'storage'}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["docker-registry", "serve", str(config)], **quiet)
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"127.0.0.1:{port}"
        time.sleep(0.02)
    process.kill()
    sys.exit("the registry does not start")


def digest(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def check(folder, host):
    module = folder / "digits.wasm"
    run(LEEWAY, "build", MODEL, "-o", module, "--name", "digits", "--version", "1.2.0")
    signature = folder / "digits.wasm.sig"
    signature.write_text('{"payload": "", "signatures": []}')
    checks = 0

    pushed = json.loads(run(LEEWAY, "push", module, f"oci://{host}/digits:1.2.0", "--json"))
    assert pushed["component"] == digest(module), pushed
    assert pushed["signatures"] == 1, pushed
    manifest = json.loads(run("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{host}/digits:1.2.0"))
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json", manifest
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/wasm"], manifest
    checks += 1

    layout = folder / "layout"
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{host}/digits:1.2.0", f"oci:{layout}:digits")
    blob = layout / "blobs" / "sha256" / pushed["component"].removeprefix("sha256:")
    assert digest(blob) == pushed["component"]
    checks += 1

    pulled = folder / "pulled.wasm"
    run(LEEWAY, "pull", f"oci://{host}/digits@{pushed['manifest']}", "-o", pulled)
    assert digest(pulled) == pushed["component"]
    assert (folder / "pulled.wasm.sig").read_bytes() == signature.read_bytes()
    checks += 1

    bundle = folder / "stick.tar"
    run(LEEWAY, "bundle", module, "-o", bundle)
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci-archive:{bundle}:digits:1.2.0", f"docker://{host}/from-stick:1")
    run(LEEWAY, "pull", f"oci://{host}/from-stick:1", "-o", folder / "stick.wasm")
    assert digest(folder / "stick.wasm") == pushed["component"]
    out = folder / "out"
    run(LEEWAY, "bundle", bundle, "--extract", out)
    assert digest(out / "digits-1.2.0.wasm") == pushed["component"]
    assert (out / "digits-1.2.0.wasm.sig").read_bytes() == signature.read_bytes()
    checks += 1

    archive = folder / "skopeo.tar"
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{host}/digits:1.2.0", f"oci-archive:{archive}:digits:1.2.0")
    assert pushed["component"] in run(LEEWAY, "bundle", archive, "--list")
    checks += 1
    return checks


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        process, host = start_registry(folder)
        try:
            checks = check(folder, host)
        finally:
            process.kill()
    print(f"{checks} checks of registry and bundle passed")


if __name__ == "__main__":
    main()
