"""The fog host's page in headless Chromium, with real hosts, devices and traffic.

What the page shows is read from its DOM; nothing may be loaded from elsewhere, and
nothing may go wrong in it. With --screenshots, pictures of it are left in a folder.
"""

import argparse
import http.client
import json
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from chromium import Chromium, wait_for
from fog_host import FogHost
from leeway import ROOT, Component, Leeway, default_binaries
from tally import Tally

# What a client may say of itself and what a page must not believe.
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
SCHEMES = (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390))


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class Device:
    """A running `leeway-device` that reports to a fog host under its name."""

    def __init__(self, binaries: Path, folder: Path, name: str, engine: str, fog: str) -> None:
        folder.mkdir()
        self.socket = folder / "device.sock"
        config = folder / "device.toml"
        config.write_text(
            f'root = "state"\nsocket = "device.sock"\nengine = "{engine}"\n'
            "[trust]\nallow_unsigned = true\nthreshold = 0\n"
            f'[fog]\nurl = "http://{fog}"\nreport = "{name}"\n'
        )
        command = [str(binaries / "leeway-device"), "--config", str(config)]
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._log = folder / "log"

    def __enter__(self) -> "Device":
        if not wait_for(self.socket.exists, 30):
            raise RuntimeError(f"leeway-device did not start: {self._log.read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def deploy(self, leeway: Leeway, component: Component) -> None:
        """Have the device serve a component."""
        done = leeway.execute("deploy", component.path, "--to", f"unix:{self.socket}")
        if done.returncode != 0:
            raise RuntimeError(f"deploy: {done.stderr}\n{self._log.read_text()}")

    def infer(self, model: str, request: bytes) -> int:
        """Ask the device for an inference; the status of its answer."""
        connection = UnixConnection(self.socket)
        try:
            connection.request("POST", f"/v2/models/{model}/infer", request)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


def request_of(component: Component, **parameters: object) -> bytes:
    """An inference request of zeros."""
    inputs = []
    for spec in component.certificate["stages"][0]["inputs"]:
        shape = spec["shape"]
        elements = 1
        for size in shape:
            elements *= size
        inputs.append(
            {"name": spec["name"], "shape": shape, "datatype": "UINT8", "data": [128] * elements}
        )
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def post(url: str, body: bytes, **headers: str) -> int:
    """POST a body; the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


class Check:
    """The checks, and the folder for pictures."""

    def __init__(self, binaries: Path, work: Path, pictures: Path | None) -> None:
        self.binaries = binaries
        self.work = work
        self.pictures = pictures
        self.tally = Tally()
        self.leeway = Leeway(binaries, work)
        self.models = {
            name: self.leeway.build(ROOT / "guest-models" / name / "model.onnx", name=name)
            for name in ("mlp-digits", "cnn-digits")
        }

    def picture(self, browser: Chromium, name: str) -> None:
        """Pictures of the page in all schemes and widths; it must fit into each width."""
        for scheme, width in SCHEMES:
            browser.show(scheme, width)
            fits = browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
            self.tally.check(f"{name} fits into {width} pixels", fits)
            if self.pictures:
                browser.screenshot(self.pictures / f"{name}-{scheme}-{width}.png")
        browser.show(*SCHEMES[0])

    def clean(self, browser: Chromium, origin: str) -> None:
        """Nothing came from elsewhere and nothing went wrong."""
        foreign = [url for url in browser.urls if not url.startswith((origin, "about:"))]
        self.tally.check("nothing is loaded from elsewhere", not foreign, foreign)
        self.tally.check("nothing goes wrong in the page", not browser.problems, browser.problems)

    def empty(self) -> None:
        """A host that has seen nothing."""
        with FogHost(self.binaries, self.work / "empty", self.work / "empty.log") as host:
            with Chromium() as browser:
                browser.open(f"http://{host.address}/")
                check = self.tally.check
                check("it is live", browser.wait_for("document.querySelector('#state.live')?.id"))
                for part, wanted in (
                    ("#flow", "No device has reported yet"),
                    ("#models", "No model is here yet"),
                    ("#latency", "No inference has been answered"),
                    ("#events", "Nothing was pushed"),
                ):
                    check(f"{part} is empty", wanted in browser.text(part), browser.text(part))
                check("no login, no logout", browser.evaluate("logout.hidden") is True)
                self.picture(browser, "empty")
                self.clean(browser, f"http://{host.address}/")

    def loaded(self) -> None:
        """Devices, clients with deadlines, overload, swaps and refusals."""
        log = self.work / "loaded.log"
        options = ("--workers", "1", "--queue", "8")
        with ExitStack() as stack:
            host = stack.enter_context(FogHost(self.binaries, self.work / "loaded", log, options))
            base = f"http://{host.address}"
            self.push(host)
            stop = threading.Event()
            threads = []
            for name, engine, model in (
                ("press-4", "pulley", "cnn-digits"),
                ("gate-north", "native", "mlp-digits"),
            ):
                folder = self.work / name
                device = Device(self.binaries, folder, name, engine, host.address)
                stack.enter_context(device)
                device.deploy(self.leeway, self.models[model])
                request = request_of(self.models[model])
                threads.append(spawn(stop, 0.1, lambda d=device, m=model, r=request: d.infer(m, r)))
            url = f"{base}/v2/models/digits/infer"
            request = request_of(self.models["cnn-digits"], timeout=20_000)
            agent = {"User_Agent": HOSTILE}
            threads.append(spawn(stop, 0.05, lambda: post(url, request, **agent)))
            browser = stack.enter_context(Chromium())
            browser.open(f"{base}/")
            self.devices(browser)
            self.refusals(browser, host, url)
            self.report_of_hostile_device(browser, base)
            self.swap(browser, host)
            browser.wait_for("document.querySelectorAll('#flow .bar').length > 12")
            time.sleep(20)
            browser.wait_for("document.querySelector('#state.live')?.id")
            self.picture(browser, "loaded")
            self.choose(browser)
            self.clean(browser, f"{base}/")
            stop.set()
            for thread in threads:
                thread.join()

    def push(self, host: FogHost) -> None:
        """Modules, and names for them."""
        for name, component in self.models.items():
            pushed = host.push(component.digest, component.path.read_bytes())
            self.tally.check(f"{name} is pushed", pushed.status == 201, pushed)
        for version, name in (("1.0.0", "mlp-digits"), ("1.1.0", "cnn-digits")):
            named = host.alias("digits", version, self.models[name].digest)
            self.tally.check(f"digits {version}", named.status == 200, named)

    def devices(self, browser: Chromium) -> None:
        """Both devices are there, with what they decided."""
        check = self.tally.check
        for name in ("press-4", "gate-north"):
            row = f"[data-device={name}]"
            seen = browser.wait_for(
                f"/ms|µs/.test(document.querySelector('{row} td:nth-child(9)')?.innerText)"
            )
            check(f"{name} is there", seen, browser.text("#devices"))
        row = browser.wait_for(
            "/[1-9]\\d* %/.test(document.querySelector('[data-device=press-4]')?.innerText)"
        )
        check("the slow device asks the fog host", row, browser.text("[data-device=press-4]"))
        row = browser.text("[data-device=gate-north]")
        check("it tells its model and policy", "mlp-digits" in row and "deadline-aware" in row, row)
        bars = browser.wait_for("document.querySelectorAll('#flow .bar.fog').length")
        check("the flow is drawn", bars, browser.text("#flow"))
        lines = "document.querySelectorAll('#times path.lines[d]:not([d=\"\"])').length"
        check("T_L and T_F are drawn", browser.wait_for(f"{lines} >= 2"), browser.text("#times"))
        models = browser.text("#models")
        for wanted in ("digits", "1.0.0", "1.1.0", "current", "exact fuel"):
            check(f"the models' table has {wanted!r}", wanted in models, models)
        digest = self.models["cnn-digits"].digest.removeprefix("sha256:")[:12]
        check("and the digest", digest in models, models)
        panels = browser.count("[data-panel] .bar")
        check("latencies are drawn", panels > 0, panels)
        deadlines = browser.wait_for("document.querySelectorAll('[data-panel] .deadline').length")
        check("against deadlines", deadlines == 3, deadlines)

    def refusals(self, browser: Chromium, host: FogHost, url: str) -> None:
        """A wrong module and requests that cannot be answered in time are refused and shown."""
        wrong = host.push("sha256:" + "0" * 64, b"no module")
        self.tally.check("a wrong module is refused", wrong.status >= 400, wrong)
        seen = browser.wait_for("document.querySelector('#events .badge.bad')?.innerText")
        self.tally.check("the refusal is shown", seen == "refused: push", seen)
        request = request_of(self.models["cnn-digits"], timeout=1)
        late = post(url, request)
        self.tally.check("one that would be late is refused", late in (429, 503, 504), late)
        tile = "[...document.querySelectorAll('.tile')].find((t) => /Refusals/.test(t.innerText))"
        seen = browser.wait_for(f"/deadline|module/.test({tile}?.innerText)")
        self.tally.check("refusals are counted", seen, browser.text("#tiles"))

    def report_of_hostile_device(self, browser: Chromium, base: str) -> None:
        """What devices and clients call themselves is shown as text."""
        model = {"name": HOSTILE, "digest": "sha256:" + "1" * 64, "policy": HOSTILE, "wcet_ns": 1}
        report = json.dumps({"models": [{**model, "local": 1, "deadline_ns": 1000}]}).encode()
        status = post(f"{base}/v1/devices/hostile/report", report)
        self.tally.check("the report is taken", status == 204, status)
        text = browser.wait_for("document.querySelector('[data-device=hostile]')?.innerText")
        self.tally.check("markup is shown as text", HOSTILE in (text or ""), text)
        # Everybody here has one address; the client that asked last is shown.
        seen = browser.wait_for("/onerror/.test(document.querySelector('#clients')?.innerText)")
        self.tally.check("also that of clients", seen, browser.text("#clients"))
        images = browser.count("main img")
        self.tally.check("and is no element", images == 0, images)
        title = browser.evaluate("document.title")
        self.tally.check("no script of theirs runs", title == "Leeway fog host", title)

    def swap(self, browser: Chromium, host: FogHost) -> None:
        """A swap is seen, and what is current."""
        host.alias("digits", "2.0.0", self.models["cnn-digits"].digest)
        current = "document.querySelector('[data-model=digits] [data-version=\"2.0.0\"]')?.innerText"
        seen = browser.wait_for(f"/current/.test({current})")
        self.tally.check("the swap is seen", seen, browser.text("#models"))
        event = browser.text("#events li")
        self.tally.check("and among the events", "swap" in event and "2.0.0" in event, event)

    def choose(self, browser: Chromium) -> None:
        """A device that is chosen has its own flow shown."""
        browser.click("[data-device=press-4] button")
        seen = browser.wait_for("/press-4/.test(document.querySelector('#flow-of')?.innerText)")
        self.tally.check("a device can be chosen", seen, browser.text("#flow-of"))
        browser.click("#flow-all")
        seen = browser.wait_for("/all/.test(document.querySelector('#flow-of')?.innerText)")
        self.tally.check("and all again", seen, browser.text("#flow-of"))

    def login(self) -> None:
        """Where clients must be known, the page is behind a login."""
        clients = self.work / "clients.toml"
        tokens = {}
        with clients.open("w") as file:
            for name, scopes in (("operator", "view"), ("camera", "infer")):
                command = [str(self.binaries / "leeway-fog"), "token", name, "--scopes", scopes]
                entry = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                tokens[name] = re.search(r"[0-9a-f]{64}", entry)[0]
                file.write(entry)
        log = self.work / "login.log"
        options = ("--clients", str(clients))
        with FogHost(self.binaries, self.work / "login", log, options) as host:
            base = f"http://{host.address}"
            with Chromium() as browser:
                check = self.tally.check
                browser.open(f"{base}/")
                check("the way is to the login", browser.evaluate("location.pathname") == "/login")
                self.picture(browser, "login")
                for token, wanted in ((tokens["camera"], "scope"), ("0" * 64, "No client")):
                    self.enter(browser, token)
                    seen = browser.wait_for("document.querySelector('.wrong')?.innerText")
                    check("a wrong token is refused", wanted in (seen or ""), seen)
                browser.problems.clear()  # The browser notes a status of 401.
                self.enter(browser, tokens["operator"])
                browser.wait_for("location.pathname === '/'")
                live = browser.wait_for("document.querySelector('#state.live')?.id")
                check("the right one is let in", live, browser.text("body"))
                about = browser.text("#about")
                check("and the page knows whose it is", "operator" in about, about)
                cookie = browser.evaluate("document.cookie")
                check("no script sees the login", cookie == "", cookie)
                events = browser.text("#events")
                check("refused logins are in the audit log", "refused: login" in events, events)
                form = f"token={tokens['operator']}".encode()
                status = post(f"{base}/login", form, Origin="http://example.org")
                check("another site cannot log in", status == 400, status)
                status = post(f"{base}/v1/modules/x", b"", Cookie=f"leeway={tokens['operator']}")
                check("a login changes nothing", status in (401, 405), status)
                browser.click("#logout button")
                left = browser.wait_for("location.pathname === '/login'")
                check("one can log out", left)
                browser.open(f"{base}/")
                path = browser.evaluate("location.pathname")
                check("and is out then", path == "/login", path)
                self.clean(browser, f"{base}/")

    def enter(self, browser: Chromium, token: str) -> None:
        """Send the login's form."""
        browser.evaluate("document.querySelector('.wrong')?.remove()")
        browser.evaluate(f"document.querySelector('#token').value = '{token}'")
        browser.click("form button")


def spawn(stop: threading.Event, pause: float, work: object) -> threading.Thread:
    """A thread that does something again and again."""

    def run() -> None:
        while not stop.wait(pause):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=default_binaries())
    parser.add_argument("--screenshots", type=Path)
    arguments = parser.parse_args()
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="leeway-page-") as work:
        check = Check(arguments.binaries, Path(work), arguments.screenshots)
        for part in (check.empty, check.loaded, check.login):
            with check.tally.guard(part.__name__):
                part()
        check.tally.exit()


if __name__ == "__main__":
    main()
