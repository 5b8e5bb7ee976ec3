"""Fog hosts that share an S3 bucket: moto's server from PyPI.

Any host serves what was pushed to another, aliases that several hosts write at the same
time all stay, and a host that begins later has everything. What a client may keep counts
on all hosts together, also where two take the last place at the same time.
"""

import argparse
import hashlib
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from chromium import wait_for
from fog_host import Answer, FogHost
from leeway import ROOT, Component, Leeway, default_binaries
from page_check import post, request_of
from tally import Tally

# One request at a time: moto compares and writes in two steps, S3 does so in one.
SERVER = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
application = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=False)
"""
BUCKET = "leeway"
WRITES = 12


class Store:
    """A running S3-compatible server with an empty bucket."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with log.open("w") as file:
            command = [sys.executable, "-c", SERVER, str(port)]
            self._process = subprocess.Popen(command, stdout=file, stderr=file)
        self._log = log
        self.environment = {
            "AWS_ACCESS_KEY_ID": "leeway",
            "AWS_SECRET_ACCESS_KEY": "leeway",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self.url,
            "AWS_ALLOW_HTTP": "true",
        }

    def __enter__(self) -> "Store":
        if not wait_for(self._make_bucket):
            raise RuntimeError(f"no S3 server: {self._log.read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _make_bucket(self) -> bool:
        request = urllib.request.Request(f"{self.url}/{BUCKET}", method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def objects(self) -> str:
        """The bucket's list, in XML."""
        with urllib.request.urlopen(f"{self.url}/{BUCKET}", timeout=10) as response:
            return response.read().decode()


def entry(name: str, scope: str, more: str) -> str:
    """A client whose token is its name."""
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return f'[[token]]\nname = "{name}"\nsha256 = "{sha256}"\nscopes = ["{scope}"]\n{more}'


def versions(host: FogHost, name: str) -> set[str]:
    """The versions of a name, as a host knows them."""
    models = host.ask("GET", "/v1/models").body["models"]
    return {version for model in models if model["name"] == name for version in model["versions"]}


def infer(host: FogHost, name: str, component: Component) -> int:
    """Ask for an inference; the status."""
    return post(f"http://{host.address}/v2/models/{name}/infer", request_of(component))


class Check:
    """Two hosts on one bucket, and a third one later."""

    def __init__(self, binaries: Path, work: Path, tally: Tally) -> None:
        self.binaries = binaries
        self.work = work
        self.tally = tally
        leeway = Leeway(binaries, work)
        self.models = [
            leeway.build(ROOT / "guest-models" / name / "model.onnx", name=name)
            for name in ("mlp-digits", "cnn-digits")
        ]

    def host(
        self, name: str, store: Store, prefix: str = "production/fog", *more: str
    ) -> FogHost:
        """A host on the bucket, under a prefix."""
        options = ("--local", str(self.work / name), "--follow", "0.2", *more)
        url = f"s3://{BUCKET}/{prefix}"
        log = self.work / f"{name}.log"
        return FogHost(self.binaries, url, log, options, store.environment)

    def run(self) -> None:
        """All checks."""
        check = self.tally.check
        with ExitStack() as stack:
            store = stack.enter_context(Store(self.work / "moto.log"))
            first = stack.enter_context(self.host("first", store))
            second = stack.enter_context(self.host("second", store))
            mlp, cnn = self.models
            for host, component in ((first, mlp), (second, cnn)):
                pushed = host.push(component.digest, component.path.read_bytes())
                check("a module is pushed", pushed.status == 201, pushed)
            listed = store.objects()
            check("it is in the bucket", "production/fog/modules/" in listed, listed)
            for host, component in ((first, cnn), (second, mlp)):
                status = infer(host, component.digest, component)
                check("what was pushed to the other host runs", status == 200, status)
            self.write_together(first, second)
            self.follow(first, second)
            third = stack.enter_context(self.host("third", store))
            wanted = versions(first, "digits")
            check("a host that begins later has all", versions(third, "digits") == wanted)
            ready = wait_for(lambda: third.ask("GET", "/v2/health/ready").status == 200)
            check("and is ready", ready, third.ask("GET", "/v2/health/ready"))
            status = infer(third, "digits", cnn)
            check("and serves", status == 200, status)
            self.quotas(store)

    def write_together(self, first: FogHost, second: FogHost) -> None:
        """Both hosts have versions of one name set at the same time; none is lost."""
        refused = []

        def write(host: FogHost, side: int) -> None:
            for number in range(WRITES):
                component = self.models[side]
                answer = host.alias("digits", f"{side}.{number}", component.digest)
                if answer.status != 200:
                    refused.append(answer)

        sides = enumerate((first, second))
        threads = [threading.Thread(target=write, args=(host, side)) for side, host in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.tally.check("aliases are written by both hosts", not refused, refused)
        wanted = {f"{side}.{number}" for side in (0, 1) for number in range(WRITES)}
        for host in (first, second):
            seen = wait_for(lambda host=host: versions(host, "digits") == wanted)
            self.tally.check("none of them is lost", seen, versions(host, "digits"))

    def follow(self, first: FogHost, second: FogHost) -> None:
        """A swap on one host is one on the other."""
        mlp, cnn = self.models
        for component in (mlp, cnn):
            first.alias("digits", "now", component.digest)

            def swapped(digest: str = component.digest) -> bool:
                metadata = second.ask("GET", "/v2/models/digits").body
                models = second.ask("GET", "/v1/models").body["models"]
                named = {m["name"]: m for m in models}["digits"]
                return named["versions"].get("now") == digest and "inputs" in metadata

            self.tally.check("a swap is followed", wait_for(swapped), second.ask("GET", "/v1/models"))

    def quotas(self, store: Store) -> None:
        """Two hosts count together what a client keeps, and what it gives back."""
        sizes = [component.path.stat().st_size for component in self.models]
        clients = self.work / "clients.toml"
        small = f"module_bytes = {max(sizes)}\nnames = 1\n"
        clients.write_text(entry("small", "admin", small) + entry("other", "push", ""))
        options = ("--clients", str(clients))
        check = self.tally.check
        with ExitStack() as stack:
            hosts = [
                stack.enter_context(self.host(name, store, "quotas", *options))
                for name in ("fourth", "fifth")
            ]

            def push(side: int, token: str) -> Answer:
                component = self.models[side]
                return hosts[side].push(component.digest, component.path.read_bytes(), token)

            def usage(host: FogHost) -> dict:
                return host.ask("GET", "/v1/usage", token="small").body

            with ThreadPoolExecutor() as pool:
                pushed = list(pool.map(push, (0, 1), ("small", "small")))
            statuses = sorted(answer.status for answer in pushed)
            check("of two pushes at once, one finds room", statuses == [201, 507], pushed)
            won = [answer.status for answer in pushed].index(201)
            lost = 1 - won
            for host in hosts:
                kept = usage(host)
                right = (kept["bytes"], kept["modules"]) == (sizes[won], 1)
                check("each host knows what is kept", right, kept)
            answer = push(lost, "other")
            check("another client has room of its own", answer.status == 201, answer)
            first, second = self.models[won].digest, self.models[lost].digest
            for name, wanted in (("a", 200), ("b", 507)):
                answer = hosts[won].alias(name, "1", first, "small")
                check(f"names are counted: {name}", answer.status == wanted, answer)
            answer = hosts[lost].alias("b", "1", first, "small")
            check("by the other host, too", answer.status == 507, answer)
            for path in ("models/a/versions/1", f"modules/{first}", f"modules/{second}"):
                answer = hosts[lost].ask("DELETE", f"/v1/{path}", token="small")
                check(f"{path} is removed", answer.status == 204, answer)
            kept = usage(hosts[won])
            check("what is removed is given back", (kept["bytes"], kept["names"]) == (0, 0), kept)
            answer = push(lost, "small")
            check("and there is room again", answer.status == 201, answer)


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=default_binaries())
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="leeway-bucket-") as work:
        with tally.guard("the bucket"):
            Check(arguments.binaries, Path(work), tally).run()
        tally.exit()


if __name__ == "__main__":
    main()
