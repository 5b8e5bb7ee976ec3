"""Inference on a Leeway device or fog host: numpy arrays in and out."""

from ._client import Answer, Client, ModelMetadata, TensorMetadata
from ._errors import (
    BadRequest,
    Busy,
    InvalidAnswer,
    LeewayError,
    NotFound,
    NotReached,
    Refused,
    Unauthorised,
)

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BadRequest",
    "Busy",
    "Client",
    "InvalidAnswer",
    "LeewayError",
    "ModelMetadata",
    "NotFound",
    "NotReached",
    "Refused",
    "TensorMetadata",
    "Unauthorised",
]
