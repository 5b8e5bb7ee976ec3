"""The Open Inference Protocol v2 with binary tensors: bodies from arrays and back."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from ._errors import InvalidAnswer

HEADER_LENGTH = "Inference-Header-Content-Length"

# BF16 has no type in numpy: its bits.
_DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}


def encode(inputs: Mapping[str, Any], parameters: Mapping[str, Any]) -> Tuple[bytes, int]:
    """The body of a request, and the length of its JSON part."""
    heads, data = [], []
    for name, value in inputs.items():
        array = np.asarray(value)
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise TypeError(f"input {name!r} has elements of {array.dtype}, wanted numbers")
        raw = np.ascontiguousarray(array, dtype).tobytes()
        heads.append(
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": _NAMES[dtype],
                "parameters": {"binary_data_size": len(raw)},
            }
        )
        data.append(raw)
    head = {"parameters": {**parameters, "binary_data_output": True}, "inputs": heads}
    text = json.dumps(head).encode()
    return b"".join([text, *data]), len(text)


def decode(body: bytes, head_bytes: Optional[str]) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """The JSON part of a response, and its outputs in the order of the model."""
    try:
        length = len(body) if head_bytes is None else int(head_bytes)
        if not 0 <= length <= len(body):
            raise InvalidAnswer(f"the JSON part shall have {length} bytes, there are {len(body)}")
        head = json.loads(body[:length])
        outputs: Dict[str, np.ndarray] = {}
        at = length
        for output in head["outputs"]:
            dtype, shape = _DTYPES[output["datatype"]], tuple(output["shape"])
            size = int(output["parameters"]["binary_data_size"])
            if size < 0 or at + size > len(body):
                raise InvalidAnswer(f"output {output['name']!r} is cut")
            array = np.frombuffer(body, dtype, size // dtype.itemsize, at)
            outputs[output["name"]] = array.reshape(shape)
            at += size
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidAnswer(f"the answer is not understood: {error!r}") from error
    if at != len(body):
        raise InvalidAnswer(f"{len(body) - at} bytes are left over")
    return head, outputs
