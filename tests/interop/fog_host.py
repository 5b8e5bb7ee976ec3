"""The fog host's program on a loopback port, and plain HTTP requests to it."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

START_SECONDS = 30
# The host gives accepted requests 30 s; with none it ends at once.
STOP_SECONDS = 10


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    body: dict


class FogHost:
    """A running `leeway-fog`, killed at the latest when the `with` block ends."""

    def __init__(
        self,
        binaries: Path,
        store: Path | str,
        log: Path,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._log = log
        command = [str(binaries / "leeway-fog"), "--listen", "127.0.0.1:0", "--store", str(store)]
        command += options
        defaults = {"NO_COLOR": "1", "RUST_LOG": "info"}
        environment = {**os.environ, **defaults, **(environment or {})}
        with log.open("w") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr, env=environment)

    def __enter__(self) -> "FogHost":
        try:
            self.address = self._await_address()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """What the host wrote to standard error."""
        return self._log.read_text()

    def _await_address(self) -> str:
        """The address that it listens on, which only its log says."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if found := re.search(r" serving address=(\S+)", self.log()):
                return found[1]
            time.sleep(0.02)
        raise RuntimeError(f"leeway-fog did not start: {self.log()}")

    def ask(self, method: str, path: str, body: bytes = b"", token: str | None = None) -> Answer:
        """A request, by the client with a token where there is one."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://{self.address}{path}"
        data = body if method in ("POST", "PUT") else None
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                text = response.read()
                return Answer(response.status, json.loads(text) if text else {})
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.load(error))

    def push(self, digest: str, component: bytes, token: str | None = None) -> Answer:
        """Push a module under a digest."""
        return self.ask("PUT", f"/v1/modules/{digest}", component, token)

    def alias(self, name: str, version: str, digest: str, token: str | None = None) -> Answer:
        """Make a version of a name stand for a module."""
        body = json.dumps({"digest": digest}).encode()
        return self.ask("PUT", f"/v1/models/{name}/versions/{version}", body, token)

    def terminate(self) -> int:
        """Send SIGTERM and return the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=STOP_SECONDS)
