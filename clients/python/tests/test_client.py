"""Against a real agent: over its Unix socket and over TCP."""

import ssl
import threading

import numpy as np
import pytest

from conftest import TOKEN, tls_file
from leeway_client import BadRequest, Client, NotFound, NotReached, Refused, Unauthorised


@pytest.fixture(params=["unix", "tcp"])
def client(device, request):
    address = device.address if request.param == "unix" else device.url
    with Client(address, token=TOKEN if request.param == "tcp" else None) as client:
        yield client


@pytest.fixture()
def image(client):
    told = client.metadata("digits").inputs[0]
    shape, generator = told.shape, np.random.default_rng(1)
    return {told.name: generator.integers(0, 256, shape, np.uint8)}


def test_metadata_is_the_certificate_s(device, client):
    told = client.metadata("digits")
    assert told.versions == ("1.2.0",) and told.digest.startswith("sha256:")
    assert told.inputs[0].datatype == "UINT8"
    assert client.is_ready("digits") and not client.is_ready("nothing")
    assert client.status()["models"]["digits"]["serving"] == told.digest


def test_an_answer_is_the_command_s_to_the_bit(device, client, image, tmp_path):
    answer = client.infer("digits", image)
    (name, array), = image.items()
    np.save(tmp_path / "x.npy", array)
    device.leeway(
        "run", "digits.wasm", "--input", f"{name}={tmp_path / 'x.npy'}",
        "--output-dir", str(tmp_path),
    )
    for output in answer:
        wanted = np.load(tmp_path / f"{output}.npy")
        assert answer[output].dtype == wanted.dtype
        assert answer[output].tobytes() == wanted.tobytes()
    assert answer.version == "1.2.0" and answer.fuel == client.metadata("digits").fuel
    assert answer.digest == client.metadata("digits").digest
    assert answer.compute_ns > 0 and answer.decision is None


def test_what_is_wrong_has_its_own_error(client, image):
    (name, array), = image.items()
    with pytest.raises(NotFound, match="digits") as caught:
        client.infer("digit", image)
    assert caught.value.status == 404
    with pytest.raises(BadRequest, match="FP64"):
        client.infer("digits", {name: array.astype(np.float64)})
    with pytest.raises(BadRequest):
        client.infer("digits", {"other": array})
    with pytest.raises(BadRequest):
        client.infer("digits", {name: array[..., :3]})
    with pytest.raises(ValueError, match="unix:PATH"):
        Client("ftp://somewhere")


def test_the_token_is_needed_on_tcp(device):
    for token in [None, "another-token-of-some-length"]:
        with Client(device.url, token=token) as client, pytest.raises(Unauthorised):
            client.metadata("digits")


def test_threads_share_a_client(client, image):
    wanted = client.infer("digits", image)
    wrong = []

    def ask():
        for _ in range(20):
            answer = client.infer("digits", image)
            wrong.extend(o for o in answer if answer[o].tobytes() != wanted[o].tobytes())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_agent_that_restarts_is_asked_again_and_one_that_is_gone_is_named(device, image):
    with Client(device.address, timeout=10) as client:
        before = client.infer("digits", image)
        device.stop()
        with pytest.raises(NotReached, match="device.sock"):
            client.infer("digits", image)
        device.start()
        after = client.infer("digits", image)
        assert all(before[o].tobytes() == after[o].tobytes() for o in before)
    # The error of the protocol's own kind, too.
    assert issubclass(NotFound, Refused)


def test_a_device_far_away_is_reached_by_tls(secure):
    authority, pair = tls_file("ca.pem"), (tls_file("operator.pem"), tls_file("operator.key"))
    with Client(secure.url, authority=authority, certificate=pair) as client:
        assert client.status()["models"] == {}
    with Client(secure.url, authority=authority, token=TOKEN) as client:
        assert client.status()["models"] == {}
    context = ssl.create_default_context(cafile=authority)
    with Client(secure.url, token=TOKEN, ssl_context=context) as client:
        assert client.is_live()
    with Client(secure.url, authority=authority) as client, pytest.raises(Unauthorised):
        client.status()


def test_who_is_not_believed_gets_no_connection(secure):
    stranger = (tls_file("stranger.pem"), tls_file("stranger.key"))
    authority = tls_file("ca.pem")
    with Client(secure.url, authority=authority, certificate=stranger, token=TOKEN) as client:
        with pytest.raises(NotReached):
            client.status()
    # Nor is a device that shows another authority's certificate.
    for other in [tls_file("other-ca.pem"), None]:
        with Client(secure.url, authority=other, token=TOKEN) as client:
            with pytest.raises(NotReached, match="(?i)certificate"):
                client.status()
    with Client(secure.url.replace("https", "http"), token=TOKEN) as client:
        with pytest.raises(BadRequest, match="TLS"):
            client.status()
    with pytest.raises(ValueError, match="https"):
        Client(secure.url.replace("https", "http"), authority=authority)
