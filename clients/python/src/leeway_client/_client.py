"""A client of the device agent, and of a fog host."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import urllib.parse
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Type, Union

import numpy as np

from . import _wire
from ._errors import InvalidAnswer, NotReached, refused


_Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class TensorMetadata:
    """An input or an output of a model."""

    name: str
    datatype: str
    shape: Tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """A model, its module, and what that is certified for."""

    name: str
    versions: Tuple[str, ...]
    digest: str
    fuel: int
    memory_bytes: int
    inputs: Tuple[TensorMetadata, ...]
    outputs: Tuple[TensorMetadata, ...]


@dataclass(frozen=True)
class Answer(Mapping[str, np.ndarray]):
    """The outputs of a model by name, and how they came about."""

    outputs: Dict[str, np.ndarray]
    """The outputs, in the order of the model. They cannot be written to."""
    version: str
    """The version that answered."""
    digest: str
    """Its module."""
    fuel: int
    """What it burned, which its certificate had said before."""
    compute_ns: int
    """How long it ran."""
    queue_ns: int
    """How long it waited, or was under way to a fog host."""
    decision: Optional[Dict[str, Any]]
    """What the device's offloader decided, and why; None where it has no fog host."""

    def __getitem__(self, name: str) -> np.ndarray:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("device", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """A client of one agent or fog host; it may be shared between threads.

    `address` is `unix:PATH`, `http://HOST:PORT` or `https://HOST:PORT`. Nothing is sent
    before the first question. `timeout` is the longest silence, in seconds.

    At `https`, `authority` is the file of the authority that must have signed the server's
    certificate, in PEM, in place of the system's; `certificate` has the files of the
    client's own certificate and its key. Or `ssl_context` says all of it.
    """

    def __init__(
        self,
        address: str = "unix:/run/leeway/device.sock",
        *,
        token: Optional[str] = None,
        timeout: float = 60.0,
        authority: Optional[_Path] = None,
        certificate: Optional[Tuple[_Path, _Path]] = None,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        url = urllib.parse.urlsplit(address)
        if url.scheme not in ("unix", "http", "https") or not (url.path or url.hostname):
            raise ValueError(f"{address!r} is no address: wanted unix:PATH or http(s)://HOST:PORT")
        if url.scheme == "http" and (authority or certificate or ssl_context):
            raise ValueError(f"{address!r} has no TLS: wanted https:// with these files")
        if ssl_context is not None and (authority or certificate):
            raise ValueError("an ssl_context and files are given: wanted one of them")
        if url.scheme == "https" and ssl_context is None:
            ssl_context = _context(authority, certificate)
        self._address, self._url, self._timeout = address, url, timeout
        self._ssl_context = ssl_context
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: Optional[str] = None,
        stream: Optional[str] = None,
    ) -> Answer:
        """Runs a model on arrays by the names of its inputs.

        ``stream`` names the stream of the device that the inputs belong to, where the
        model has several.
        """
        body, head_bytes = _wire.encode(inputs, {} if stream is None else {"stream": stream})
        headers = {
            "Content-Type": "application/octet-stream",
            _wire.HEADER_LENGTH: str(head_bytes),
        }
        path = self._model_path(model, version) + "/infer"
        answered, body = self._request("POST", path, body, headers)
        head, outputs = _wire.decode(body, answered.get(_wire.HEADER_LENGTH))
        try:
            decision = answered.get("leeway-decision")
            parameters = head["parameters"]
            return Answer(
                outputs=outputs,
                version=head.get("model_version", ""),
                digest=parameters["digest"],
                fuel=parameters["fuel"],
                compute_ns=parameters["compute_ns"],
                queue_ns=parameters["queue_ns"],
                decision=json.loads(decision) if decision else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidAnswer(f"the answer is not understood: {error!r}") from error

    def metadata(self, model: str, *, version: Optional[str] = None) -> ModelMetadata:
        """What a model takes and gives, and what it is certified for."""
        told = self._json(self._model_path(model, version))
        try:
            return ModelMetadata(
                name=told["name"],
                versions=tuple(told["versions"]),
                digest=told["parameters"]["digest"],
                fuel=told["parameters"]["fuel"],
                memory_bytes=told["parameters"]["memory_bytes"],
                inputs=_tensors(told["inputs"]),
                outputs=_tensors(told["outputs"]),
            )
        except (KeyError, TypeError) as error:
            raise InvalidAnswer(f"the answer is not understood: {error!r}") from error

    def is_ready(self, model: str) -> bool:
        """Whether a model serves."""
        return self._says_yes(self._model_path(model, None) + "/ready")

    def is_live(self) -> bool:
        """Whether somebody answers at all."""
        return self._says_yes("/v2/health/live")

    def status(self) -> Dict[str, Any]:
        """How a device is: its models, what serves, what is one step away."""
        return self._json("/v1/status")

    def _says_yes(self, path: str) -> bool:
        status, _, _ = self._exchange("GET", path, None, {})
        return status == 200

    def _json(self, path: str) -> Any:
        _, body = self._request("GET", path, None, {})
        try:
            return json.loads(body)
        except ValueError as error:
            raise InvalidAnswer(f"the answer is not understood: {error!r}") from error

    @staticmethod
    def _model_path(model: str, version: Optional[str]) -> str:
        path = "/v2/models/" + urllib.parse.quote(model, safe="")
        return path if version is None else f"{path}/versions/{urllib.parse.quote(version, safe='')}"

    def _request(
        self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str]
    ) -> Tuple[http.client.HTTPMessage, bytes]:
        """The headers and the body of a response that is a success."""
        status, answered, text = self._exchange(method, path, body, headers)
        if status == 200:
            return answered, text
        try:
            message = str(json.loads(text)["error"])
        except (ValueError, KeyError, TypeError):
            message = text.decode(errors="replace").strip()
        raise refused(status, message, answered.get("Retry-After"))

    def _exchange(
        self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str]
    ) -> Tuple[int, http.client.HTTPMessage, bytes]:
        headers = {**headers, **self._headers}
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._on(kept, method, path, body, headers)
            except (ConnectionError, http.client.RemoteDisconnected):
                # It was closed meanwhile. An inference may be asked for twice.
                kept.close()
        try:
            return self._on(self._connection(), method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"{self._address}: {error or type(error).__name__}") from error

    def _on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Optional[bytes],
        headers: Mapping[str, str],
    ) -> Tuple[int, http.client.HTTPMessage, bytes]:
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return response.status, response.headers, text

    def _connection(self) -> http.client.HTTPConnection:
        url = self._url
        if url.scheme == "unix":
            return _UnixConnection(self._address[len("unix:") :], self._timeout)
        if url.scheme == "https":
            return http.client.HTTPSConnection(
                url.hostname, url.port, timeout=self._timeout, context=self._ssl_context
            )
        return http.client.HTTPConnection(url.hostname, url.port, timeout=self._timeout)


def _context(
    authority: Optional[_Path], certificate: Optional[Tuple[_Path, _Path]]
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def _tensors(told: List[Dict[str, Any]]) -> Tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(t["name"], t["datatype"], tuple(t["shape"])) for t in told)
