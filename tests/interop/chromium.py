"""Headless Chromium by the DevTools protocol, over a pair of pipes: no package is needed."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

WAIT_SECONDS = 60


class Chromium:
    """A browser with one page. Notes what the page loads and what goes wrong in it."""

    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise RuntimeError("no chromium here: .ci/setup installs it")
        self._profile = tempfile.TemporaryDirectory(prefix="leeway-chromium-")
        # The browser reads commands from its descriptor 3 and answers on 4.
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        flags = (
            "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run "
            "--disable-extensions --disable-background-networking --disable-sync "
            "--disable-component-update --mute-audio --remote-debugging-pipe"
        ).split()
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        command = ["sh", "-c", script, "sh", program, *flags]
        command += [f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.urls: list[str] = []
        self.problems: list[str] = []
        self.statuses: dict[str, int] = {}

    def __enter__(self) -> "Chromium":
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._send(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=WAIT_SECONDS)
        os.close(self._commands)
        os.close(self._answers)
        for _ in range(20):
            try:
                self._profile.cleanup()
                return
            except OSError:
                # Its children still write for a moment.
                time.sleep(0.2)

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise RuntimeError("chromium ended")
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: str | None, parameters: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.urls.append(parameters["request"]["url"])
        elif event == "Network.responseReceived":
            response = parameters["response"]
            self.statuses[response["url"]] = response["status"]
        elif event == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self._send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = WAIT_SECONDS) -> Any:
        """Wait until an expression holds. Returns its value, at the end whatever that is."""
        return wait_for(lambda: self.evaluate(expression), seconds)

    def text(self, selector: str) -> str:
        """The text of an element, as it is to be read."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")

    def click(self, selector: str) -> None:
        """Click an element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def show(self, scheme: str, width: int) -> None:
        """Have the page be light or dark, and so wide."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", features=features)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", **metrics)
        time.sleep(0.3)

    def screenshot(self, file: Path) -> None:
        """The whole page as PNG."""
        shot = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


def wait_for(holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Wait until something holds. Returns its last value, whatever that is."""
    end = time.monotonic() + seconds
    while True:
        value = holds()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.1)
