"""Every error a person can meet, each with a hint that says what to do next.

    MCPNotebookError
    ├── CommandError                 a %mcp line that cannot be understood
    ├── ServerConfigError            a server that is unknown, or described wrongly
    ├── ConnectionFailedError        (ConnectionError) the server was not reached, a call got lost
    │   └── RequestTimeoutError      (TimeoutError) the server did not answer in time
    ├── ServerError                  the server answered a request with an error of the protocol
    ├── SignInError                  signing in did not work
    │   ├── SignInNeededError        a person has to sign in, and nobody is doing so
    │   ├── SignInDeniedError        the person, or the authorization server, said no
    │   ├── SignInExpiredError       (TimeoutError) nobody answered in time
    │   └── AuthorizationServerError the authorization server is unreachable, or answers wrongly
    ├── TokenStoreError              tokens could not be kept or read
    ├── ExecutorError                the executor of a batch cannot be used, or its workers are gone
    ├── UnknownNameError             (AttributeError, KeyError) no such prompt, template or member
    ├── NotRecordedError             a replay was asked for what is not in the recording
    └── ToolError
        ├── UnknownToolError         (AttributeError, KeyError) no such tool
        ├── ToolArgumentError        (TypeError) the arguments do not fit the tool; nothing was sent
        ├── AnswerError              (ValueError) an answer does not fit what the server asked
        ├── AnswerUseError           (TypeError) a tool's answer was used as what it is not
        └── ToolFailedError          the tool ran and answered with an error

Errors are values with facts as attributes; the sentence is made in ``__str__``. They are raised
``from None``: an SDK, pydantic or HTTP exception in the chain could show a token (it is saved with
the notebook), and an ``ExceptionGroup`` anywhere in it makes IPython ignore `_render_traceback_`.
"""

from __future__ import annotations

from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)


class MCPNotebookError(Exception):
    """The base of all errors of this package.

    Attributes:
        message: What went wrong, one sentence.
        hint: What to do about it, one sentence; empty where there is nothing to add.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # An error may come from another process, and the constructors differ.
        return _revived, (type(self), self.args, vars(self))

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines in place of a traceback: the sentence and the hint."""
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(f"  → {self.hint}")
        return lines


def _revived(kind: type[E], args: tuple[Any, ...], facts: dict[str, Any]) -> E:
    """Returns a pickled error as it was, whatever its constructor takes."""
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(facts)
    return error


class CommandError(MCPNotebookError):
    """A ``%mcp`` line that cannot be understood."""


class ServerConfigError(MCPNotebookError):
    """A server that is unknown, or whose description is wrong."""


class ConnectionFailedError(MCPNotebookError, ConnectionError):
    """The server could not be reached, or the answer to one call got lost.

    Attributes:
        status: The HTTP status, where the server gave one.
        retry_after: How many seconds the server asked to wait, where it did.
        may_have_run: Whether the server may have carried out the call all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        may_have_run: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after
        self.may_have_run = may_have_run


class RequestTimeoutError(ConnectionFailedError, TimeoutError):
    """The server did not answer in time; the call may have run."""


class ServerError(MCPNotebookError):
    """The server answered a request with an error: it does not know the tool, say.

    Attributes:
        code: The JSON-RPC error code (JSON-RPC 2.0 §5.1).
        data: What the server says beside the message, as it came.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = 0, data: object = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.data = data


class SignInError(MCPNotebookError):
    """Signing in did not work."""


class SignInNeededError(SignInError):
    """A person has to sign in before this can go on.

    Attributes:
        challenge: The server's Bearer challenge, an `auth.metadata.Challenge`, where it sent one.
        step_up: Whether a token is there but grants too little (RFC 6750 §3.1,
            ``insufficient_scope``).
    """

    def __init__(
        self, message: str, *, hint: str = "", challenge: object = None, step_up: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.challenge = challenge
        self.step_up = step_up


class SignInDeniedError(SignInError):
    """The person or the authorization server refused the sign-in.

    Attributes:
        code: The OAuth error code (RFC 6749 §4.1.2.1), such as ``access_denied``.
    """

    def __init__(self, message: str, *, hint: str = "", code: str = "access_denied") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class SignInExpiredError(SignInError, TimeoutError):
    """Nobody finished the sign-in in time."""


class AuthorizationServerError(SignInError):
    """The authorization server is unreachable or gives an answer that cannot be used.

    Attributes:
        code: The OAuth error code it gave (RFC 6749 §5.2, RFC 7591 §3.2.2), or ``""``.
        status: The HTTP status, where there was one.
        retry_after: How many seconds it asked to wait, where it did.
        passing: Whether the same request may succeed later: unreachable, 429 or 5xx.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        passing: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.retry_after = retry_after
        self.passing = passing


class TokenStoreError(MCPNotebookError):
    """Tokens could not be kept or read."""


class NotRecordedError(MCPNotebookError):
    """A notebook is replayed, and what was asked is not in the recording."""


class ExecutorError(MCPNotebookError):
    """The executor of a batch cannot be used, or its workers are gone."""


class UnknownNameError(MCPNotebookError, AttributeError, KeyError):
    """There is no prompt, resource template, or member of an answer or session, of that name."""


class ToolError(MCPNotebookError):
    """Something about one tool."""


class UnknownToolError(ToolError, AttributeError, KeyError):
    """The server has no such tool."""


class ToolArgumentError(ToolError, TypeError):
    """The arguments do not fit the tool's schema; nothing was sent."""


class AnswerError(ToolError, ValueError):
    """An answer does not fit what the server asked in the middle of a call; it was not sent."""


class AnswerUseError(ToolError, TypeError):
    """A tool's answer was used as what its value is not; the hint says how it can be used."""


class ToolFailedError(ToolError):
    """The tool ran and answered with an error.

    Attributes:
        tool: The tool's name.
        result: The answer as a `ToolResult`, for its text and pictures.
    """

    def __init__(
        self, message: str, *, hint: str = "", tool: str = "", result: object = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.tool = tool
        self.result = result
