"""Bodies: every type goes through, and what is wrong is an error."""

import json

import numpy as np
import pytest

from leeway_client import InvalidAnswer
from leeway_client._wire import _DTYPES, decode, encode


def answer(arrays, **changes):
    """A response with these outputs, as a server writes it."""
    heads, data = [], b""
    for name, (datatype, array) in arrays.items():
        raw = array.tobytes()
        head = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        heads.append({**head, "parameters": {"binary_data_size": len(raw)}, **changes})
        data += raw
    text = json.dumps({"outputs": heads, "parameters": {}}).encode()
    return text + data, str(len(text))


@pytest.mark.parametrize("datatype", sorted(_DTYPES))
def test_every_type_comes_back_to_the_bit(datatype):
    array = np.arange(6).astype(_DTYPES[datatype]).reshape(2, 3)
    _, outputs = decode(*answer({"y": (datatype, array)}))
    assert outputs["y"].dtype == array.dtype and outputs["y"].tobytes() == array.tobytes()
    assert outputs["y"].shape == (2, 3)


def test_a_request_names_shapes_types_and_sizes():
    inputs = {"a": np.ones((2, 3), ">f4").T, "b": [1, 2], "c": np.float32(3)}
    body, length = encode(inputs, {"timeout": 5})
    head = json.loads(body[:length])
    assert head["parameters"] == {"timeout": 5, "binary_data_output": True}
    shapes = [(i["name"], i["shape"], i["datatype"]) for i in head["inputs"]]
    assert shapes == [("a", [3, 2], "FP32"), ("b", [2], "INT64"), ("c", [], "FP32")]
    assert body[length : length + 4] == np.float32(1).tobytes()
    assert len(body) == length + 24 + 16 + 4


@pytest.mark.parametrize("value", [["text"], np.array([None]), np.array([1j])])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="'x'"):
        encode({"x": value}, {})


def test_a_cut_or_lying_answer_is_an_error():
    body, length = answer({"y": ("FP32", np.ones((2, 2), np.float32))})
    for cut in range(len(body)):
        with pytest.raises(InvalidAnswer):
            decode(body[:cut], length)
    for wrong in [
        (body + b"x", length),
        (body, "many"),
        (body, "-1"),
        answer({"y": ("FP32", np.ones((2, 2), np.float32))}, shape=[3, 3]),
        answer({"y": ("FP33", np.ones((2, 2), np.float32))}),
        (b"[]", None),
    ]:
        with pytest.raises(InvalidAnswer):
            decode(*wrong)
