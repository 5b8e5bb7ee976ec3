"""Modules in a real OCI registry and in bundles, with stock tools.

Starts Debian's docker-registry, pushes a module with `leeway push`, and has skopeo
copy it to a layout and back; then the bundle that `leeway bundle` writes goes into the
registry by skopeo, and comes out by `leeway pull`. Last, the module gets a signature by
OpenSSL that is laid out as `cosign sign --key --tlog-upload=false` does it, and `leeway
verify` checks that.
"""

import base64
import hashlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

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
    return checks + check_cosign(folder, host)


def put(url, data, kind):
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method="PUT")
    urllib.request.urlopen(request).close()


def upload(host, name, data, kind):
    """Brings a blob in. Returns its descriptor."""
    start = urllib.request.Request(f"http://{host}/v2/{name}/blobs/uploads/", b"", method="POST")
    with urllib.request.urlopen(start) as answer:
        place = answer.headers["Location"]
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    put(f"{place}{'&' if '?' in place else '?'}digest={digest}", data, "application/octet-stream")
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def cosign_key(folder, name):
    """A key pair of the kind that `cosign generate-key-pair` makes: ECDSA P-256."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
    run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    return private, public


def cosign_sign(folder, host, name, manifest, private):
    """What cosign's SIGNATURE_SPEC says: the tag beside the manifest, with a layer that has
    the payload, and its signature in an annotation."""
    payload = folder / "payload.json"
    critical = {
        "identity": {"docker-reference": f"{host}/{name}"},
        "image": {"docker-manifest-digest": manifest},
        "type": "cosign container image signature",
    }
    payload.write_text(json.dumps({"critical": critical, "optional": None}))
    signature = folder / "payload.sig"
    run("openssl", "dgst", "-sha256", "-sign", private, "-out", signature, payload)
    kind = "application/vnd.dev.cosign.simplesigning.v1+json"
    layer = upload(host, name, payload.read_bytes(), kind)
    text = base64.b64encode(signature.read_bytes()).decode()
    layer["annotations"] = {"dev.cosignproject.cosign/signature": text}
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": rootfs})
    config = upload(host, name, config.encode(), "application/vnd.oci.image.config.v1+json")
    kind = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
    tag = manifest.replace(":", "-") + ".sig"
    put(f"http://{host}/v2/{name}/manifests/{tag}", json.dumps(document).encode(), kind)


def check_cosign(folder, host):
    """Without any network but the registry's: no transparency log, no certificate."""
    (private, public), (_, stranger) = cosign_key(folder, "cosign"), cosign_key(folder, "stranger")
    reference = f"oci://{host}/digits:1.2.0"

    def refused(key, wanted):
        command = [LEEWAY, "verify", reference, "--cosign-key", str(key)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 1 and wanted in result.stdout + result.stderr, result

    manifest = json.loads(run(LEEWAY, "push", folder / "digits.wasm", reference, "--json"))["manifest"]
    refused(public, ".sig")
    cosign_sign(folder, host, "digits", manifest, private)
    run(LEEWAY, "verify", reference, "--cosign-key", public)
    run(LEEWAY, "pull", reference, "-o", folder / "verified.wasm", "--cosign-key", public)
    assert digest(folder / "verified.wasm") == digest(folder / "digits.wasm")
    refused(stranger, "not by the given key")
    # It is of the manifest that the tag named then, and of nothing else.
    other = folder / "other.wasm"
    run(LEEWAY, "build", MODEL, "-o", other, "--name", "digits", "--version", "1.2.1")
    run(LEEWAY, "push", other, reference)
    refused(public, ".sig")
    return 4


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
