"""What one request asks, and what is said to one that can't be answered."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One question to one of the server's models."""

    question: str
    model: str  # a name of `System`
    retrieval: bool = True  # False: closed book
    stream: bool = False  # the answer is told while it grows


class RequestError(Exception):
    """A request that is not answered: an HTTP status, and what to do about it."""

    def __init__(self, status: int, message: str, retry_seconds: int | None = None):
        """Args: retry_seconds: after which to ask again; None: not as it is."""
        super().__init__(message)
        self.status, self.message = status, message
        self.retry_seconds = retry_seconds

    @property
    def headers(self) -> dict[str, str]:
        """That go with the status."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        if self.retry_seconds is None:
            return {}
        return {"Retry-After": str(self.retry_seconds)}

    def to_record(self) -> dict[str, object]:
        """As OpenAI's API words it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {"message": self.message, "type": kind, "code": self.status},
        }
