"""The manifests, the container file and the dashboard, against what there is: Kubernetes'
own schemas, the options and routes of `leeway-fog`, and the names at `/metrics`.
"""

import argparse
import json
import re
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from fog_host import FogHost
from leeway import ROOT, Leeway, default_binaries
from page_check import post, request_of
from tally import Tally

FOLDER = ROOT / "kubernetes"
DOCUMENTATION = ROOT / "docs" / "fog-host.md"
KUBERNETES = "1.31"
# What Kubernetes itself has no schema for: its extensions'.
EXTENSIONS = {
    "kustomize.config.k8s.io/v1beta1",
    "monitoring.coreos.com/v1",
    "serving.kserve.io/v1alpha1",
    "serving.kserve.io/v1beta1",
}
METRIC = re.compile(r"\bleeway_[a-z_]+")
# The adapter makes it of others.
DERIVED = {"leeway_queue_seconds_mean"}


def documents() -> list[tuple[str, dict[str, Any]]]:
    """All documents of all manifests, with their files' names."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        found += [(file.name, one) for one in yaml.safe_load_all(file.read_text()) if one]
    return found


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a workload or a serving runtime."""
    spec = document.get("spec", {})
    return spec.get("containers") or spec.get("template", {}).get("spec", {}).get("containers", [])


class Check:
    """The checks, with what `leeway-fog` has."""

    def __init__(self, binaries: Path, tally: Tally) -> None:
        self.binaries = binaries
        self.tally = tally
        usage = subprocess.run(
            [str(binaries / "leeway-fog"), "--help"], capture_output=True, text=True, check=True
        )
        self.options = set(re.findall(r"--[a-z-]+", usage.stdout))
        description = json.loads((ROOT / "fog-host" / "openapi.json").read_text())
        self.paths = set(description["paths"])

    def manifests(self) -> None:
        """Schemas, options, probes, references between manifests."""
        all_documents = documents()
        self.tally.check("there are manifests", len(all_documents) >= 10, len(all_documents))
        for file, document in all_documents:
            what = f"{file}: {document.get('kind')}"
            if document.get("apiVersion") not in EXTENSIONS and "rules" not in document:
                with self.tally.guard(what):
                    kubernetes_validate.validate(document, KUBERNETES, strict=True)
                    self.tally.check(what, True)
            for container in containers(document):
                self.container(what, container)
        kustomization = next(d for f, d in all_documents if d.get("kind") == "Kustomization")
        for name in kustomization["resources"]:
            self.tally.check(f"{name} is there", (FOLDER / name).is_file())
        names = {(d["kind"], d["metadata"]["name"]) for _, d in all_documents if "metadata" in d}
        for _, document in all_documents:
            target = document.get("spec", {}).get("scaleTargetRef")
            if target:
                found = (target["kind"], target["name"]) in names
                self.tally.check("what is scaled is there", found, target)

    def container(self, what: str, container: dict[str, Any]) -> None:
        """A container's options and probes are the program's, and it is closed."""
        for argument in container["args"]:
            option = argument.split("=")[0]
            self.tally.check(f"{what}: {option}", option in self.options, argument)
        ports = {port["name"] for port in container["ports"]}
        ports |= {port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if get := container.get(probe, {}).get("httpGet"):
                known = get["path"] in self.paths and get["port"] in ports
                self.tally.check(f"{what}: {probe}", known, get)
        context = container["securityContext"]
        closed = not context["allowPrivilegeEscalation"] and context["capabilities"]["drop"]
        self.tally.check(f"{what}: no privileges", closed == ["ALL"], context)

    def container_file(self) -> None:
        """The container file's options are the program's; it runs as nobody."""
        text = (FOLDER / "Containerfile").read_text()
        command = " ".join(re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", text, re.MULTILINE))
        for option in re.findall(r"--[a-z-]+", command):
            self.tally.check(f"container: {option}", option in self.options, command)
        self.tally.check("container: a user of its own", "USER 65532" in text)

    def metrics(self) -> None:
        """Every metric that a dashboard, a rule or the documentation names is there."""
        used: dict[str, str] = {}
        for file in [*FOLDER.glob("*.yaml"), *FOLDER.glob("*.json"), DOCUMENTATION]:
            for name in METRIC.findall(file.read_text()):
                if name not in DERIVED and name != "leeway_fog":
                    used.setdefault(name, file.name)
        with tempfile.TemporaryDirectory(prefix="leeway-kubernetes-") as folder:
            work = Path(folder)
            model = ROOT / "guest-models" / "mlp-digits" / "model.onnx"
            component = Leeway(self.binaries, work).build(model, name="mlp-digits")
            with FogHost(self.binaries, work / "store", work / "log") as host:
                host.push(component.digest, component.path.read_bytes())
                url = f"http://{host.address}/v2/models/{component.digest}/infer"
                status = post(url, request_of(component, timeout=10_000_000))
                self.tally.check("an inference", status == 200, status)
                with urllib.request.urlopen(f"http://{host.address}/metrics") as answer:
                    text = answer.read().decode()
        there = set(METRIC.findall(text))
        self.tally.check("there are metrics", len(there) > 20, there)
        for name, file in sorted(used.items()):
            self.tally.check(f"{file}: {name} is at /metrics", name in there)

    def dashboard(self) -> None:
        """The dashboard is Grafana's, without two panels in one place."""
        dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
        panels = dashboard["panels"]
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            fits = place["x"] + place["w"] <= 24 and not cells & taken
            self.tally.check(f"dashboard: {panel['title']}", fits and panel["targets"], place)
            taken |= cells
        ids = [panel["id"] for panel in panels]
        self.tally.check("dashboard: ids differ", len(set(ids)) == len(ids) > 10)


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=default_binaries())
    arguments = parser.parse_args()
    tally = Tally()
    check = Check(arguments.binaries, tally)
    for part in (check.manifests, check.container_file, check.dashboard, check.metrics):
        with tally.guard(part.__name__):
            part()
    tally.exit()


if __name__ == "__main__":
    main()
