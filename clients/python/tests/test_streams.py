"""Streams of a real agent: an input belongs to one, and is answered as was promised to it,
or turned away."""

import threading

import numpy as np
import pytest

from conftest import Device, free_port
from leeway_client import BadRequest, Busy, Client

SETTINGS = """
[[stream]]
name = "left"
period_ms = 20
deadline_ms = 20000

[[stream]]
name = "right"
# One input may wait for its time; of more, each is one too many.
period_ms = 10000
deadline_ms = 10000
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    device = Device(tmp_path_factory.mktemp("streams"), f"127.0.0.1:{free_port()}")
    device.build()
    (device.folder / "settings.toml").write_text(SETTINGS)
    deploy = ["deploy", "digits.wasm", "--to", device.address, "--settings", "settings.toml"]
    device.leeway(*deploy)
    yield device
    device.stop()


@pytest.fixture()
def client(agent):
    with Client(agent.address) as client:
        yield client


@pytest.fixture()
def image(client):
    told = client.metadata("digits").inputs[0]
    return {told.name: np.zeros(told.shape, np.uint8)}


def test_an_input_is_answered_as_its_stream_s(client, image):
    answer = client.infer("digits", image, stream="left")
    assert answer.decision["task"] == "left" and answer.decision["outcome"] == "local"
    assert answer.decision["deadline_ns"] == 20_000_000_000
    with pytest.raises(BadRequest, match="left.*right"):
        client.infer("digits", image)
    with pytest.raises(BadRequest, match="middle"):
        client.infer("digits", image, stream="middle")


def test_an_input_too_many_is_turned_away_with_429(client, image):
    wanted = client.infer("digits", image, stream="right")
    answers, errors = [], []

    def ask():
        try:
            answers.append(client.infer("digits", image, stream="right"))
        except Busy as error:
            errors.append(error)

    # Both come before the next input's time.
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (answer,), (error,) = answers, errors
    assert error.status == 429 and "period" in error.message
    assert all(answer[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_a_stream_that_nothing_can_be_promised_to_is_refused_with_503(agent, client, image):
    assert client.status()["streams"]["left"]["promised"] is not None
    # The device has become so slow that no deadline is kept.
    agent.stop()
    config = agent.folder / "device.toml"
    settings = config.read_text()
    config.write_text(settings + "[executor]\ndispatch_us = 60000000\n")
    agent.start()
    try:
        with pytest.raises(Busy) as caught:
            client.infer("digits", image, stream="left")
        assert caught.value.status == 503 and "left" in caught.value.message
        assert client.status()["streams"]["left"]["promised"] is None
    finally:
        agent.stop()
        config.write_text(settings)
        agent.start()
    assert client.infer("digits", image, stream="left").version == "1.2.0"
