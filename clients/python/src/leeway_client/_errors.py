"""Why there was no answer."""

from __future__ import annotations

from typing import Optional


class LeewayError(Exception):
    """The base of all errors here."""


class NotReached(LeewayError):
    """Nobody answers at the address, or the connection broke."""


class InvalidAnswer(LeewayError):
    """The answer is not what the protocol says."""


class Refused(LeewayError):
    """The server said no."""

    def __init__(self, status: int, message: str, retry_after: Optional[float] = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        """The HTTP status."""
        self.message = message
        """The server's words."""
        self.retry_after = retry_after
        """After how many seconds to try again, where the server said so."""


class BadRequest(Refused):
    """The request is wrong: other inputs than the model's."""


class Unauthorised(Refused):
    """The token is missing or wrong."""


class NotFound(Refused):
    """There is no such model."""


class Busy(Refused):
    """The server has too much to do; trying again later may help."""


_BY_STATUS = {
    400: BadRequest,
    401: Unauthorised,
    403: Unauthorised,
    404: NotFound,
    429: Busy,
    503: Busy,
}


def refused(status: int, message: str, retry_after: Optional[str]) -> Refused:
    """The error for a status."""
    try:
        seconds = float(retry_after) if retry_after is not None else None
    except ValueError:
        seconds = None
    return _BY_STATUS.get(status, Refused)(status, message, seconds)
