"""Every error edgellm raises on purpose. Anything else that escapes is a bug.

                           exit  http
    EdgellmError              1   500
    ├── BadRequest            2   400   the caller's words don't parse, or are out of bounds
    │   └── ContextTooLong    2   400   prompt plus answer exceed the sequence's context
    ├── ModelNotFound         3   404
    ├── BadGGUF               4   422   the file is not what it says, or not whole
    ├── BadBundle             4   422   the same of a bundle of models
    ├── DoesNotFit            5   507   no plan within this machine's memory
    ├── Overloaded            7   429   the queue is full: come back later
    │   └── QuotaExceeded     7   429   one key has used what it may: the others may go on
    ├── DeadlinePassed       13   504   the request's own deadline, before a word was said
    ├── WorkerDied            8   502   the model's process ended under a request
    ├── NetworkError          9   502   the hub can't be reached, or broke off
    │   ├── Offline           9   403   network is forbidden, by --offline
    │   ├── WrongContent      9   502   a file that came whole, and is not the hub's
    │   └── TransientError    9   502   the network's or the hub's mood: worth another try
    ├── StorageError         10   507   disk full, no permission, a file that can't be read
    ├── AddressInUse         11   500   somebody else listens on that port
    ├── NotServing           12   503   no server answers, or its model is not ready
    └── ConfigError          78   500   a setting that can't be (sysexits.h EX_CONFIG)

A message says what happened and the numbers that prove it; `hint` says what to do next. `code` is
what clients know a refusal by, whatever its status; a kind without one of its own has its parent's.
"""

from typing import Final


class EdgellmError(Exception):
    exit_code = 1
    http_status = 500
    code: str | None = None

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.param = param


class BadRequest(EdgellmError):
    exit_code, http_status = 2, 400


class ContextTooLong(BadRequest):
    """`sizes`: the prompt's and the context's, in tokens, where both are known."""

    code = "context_length_exceeded"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        sizes: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, param=param)
        self.sizes = sizes


class ModelNotFound(EdgellmError):
    exit_code, http_status = 3, 404
    code = "model_not_found"


class BadGGUF(EdgellmError):
    exit_code, http_status = 4, 422


class BadBundle(EdgellmError):
    exit_code, http_status = 4, 422


class DoesNotFit(EdgellmError):
    exit_code, http_status = 5, 507


class Overloaded(EdgellmError):
    exit_code, http_status = 7, 429
    code = "queue_full"


class QuotaExceeded(Overloaded):
    """`retry_after_s`: then it may go on."""

    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, param=param)
        self.retry_after_s = retry_after_s


class DeadlinePassed(EdgellmError):
    exit_code, http_status = 13, 504
    code = "deadline_passed"


class WorkerDied(EdgellmError):
    exit_code, http_status = 8, 502
    code = "worker_died"


class NetworkError(EdgellmError):
    exit_code, http_status = 9, 502


class Offline(NetworkError):
    exit_code, http_status = 9, 403


class WrongContent(NetworkError):
    """`file`: its path in the repository."""

    def __init__(
        self, message: str, *, hint: str = "", param: str | None = None, file: str = ""
    ) -> None:
        super().__init__(message, hint=hint, param=param)
        self.file = file


class TransientError(NetworkError):
    """`retry_after_s`: when, if the hub says so."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, param=param)
        self.retry_after_s = retry_after_s


class StorageError(EdgellmError):
    exit_code, http_status = 10, 507


class AddressInUse(EdgellmError):
    exit_code, http_status = 11, 500


class NotServing(EdgellmError):
    exit_code, http_status = 12, 503
    code = "model_not_ready"


class KeyRefused(NotServing):
    """A server is there, and opens to another API key than it was shown."""


class ConfigError(EdgellmError):
    exit_code, http_status = 78, 500


BY_CODE: Final = {
    kind.code: kind
    for kind in (
        ContextTooLong, ModelNotFound, Overloaded, QuotaExceeded, WorkerDied, DeadlinePassed,
        NotServing,
    )
}  # fmt: skip
# Of a refusal without a code: what a server of models means by its status.
BY_STATUS: Final[dict[int, type[EdgellmError]]] = {
    kind.http_status: kind
    for kind in (BadRequest, ModelNotFound, Overloaded, WorkerDied, NotServing, DeadlinePassed)
}
