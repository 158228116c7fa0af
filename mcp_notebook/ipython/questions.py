"""A server's question at a prompt: field by field, in the cell that waits for the call.

Only the thread that waits may read from the person, or the next cell's input would be stolen. A
prompt nobody answers must not hold the kernel for ever, so `_Reader` ends the reading when the
question is over: its time is up, or the call ended. Passwords and keys are read masked, after a
warning, and pressing Enter declines them.
"""

from __future__ import annotations

import getpass
import os
import signal
import textwrap
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self
from urllib.parse import urlsplit

from IPython.core.error import StdinNotImplementedError

from mcp_notebook.errors import AnswerError
from mcp_notebook.redaction import printable
from mcp_notebook.schema.fields import MISSING, Field, Kind
from mcp_notebook.schema.schemas import MisfitError
from mcp_notebook.waiting.elicitation import Asking
from mcp_notebook.waiting.questions import Question

MAX_CHOICES = 40
"""Choices that are listed; the others can be typed all the same."""

HELP = "!decline says no, !cancel gives no answer, !back returns to the question before."

_BOLD, _DIM, _RED, _END = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"


class _OverError(Exception):
    """The question ended elsewhere while it was read."""


class _Declined(Exception):  # noqa: N818 -- a way out, not an error
    """The person said no."""


class _Cancelled(Exception):  # noqa: N818
    """The person gives no answer."""


class _Back(Exception):  # noqa: N818
    """The person wants the field before again."""


def prompt(asking: Asking, *, page: Callable[[], None] | None = None) -> None:
    """Asks at a prompt and settles the question.

    Args:
        asking: The question.
        page: Shows the page to open, for a question that has one; the terminal's text otherwise.
    """
    question = asking.question
    try:
        with _Reader(asking) as reader:
            if question.url is not None:
                (page or (lambda: _say(url_text(question))))()
                reader.line("Press Enter when you are done there, or type !decline: ")
                asking.accept()
            else:
                _say(heading(question))
                _accept(asking, reader)
    except _Declined:
        asking.decline()
        _say(f"{_DIM}Declined.{_END}")
    except _Cancelled:
        asking.cancel()
    except (EOFError, StdinNotImplementedError):
        asking.cancel("nobody can be asked here")
    except _OverError:
        _say(f"\n{_DIM}The question is over: there was no answer in time, or the call ended.{_END}")


def _accept(asking: Asking, reader: _Reader) -> None:
    while True:
        values = _fill_in(asking.question, reader)
        try:
            asking.accept(values)
        except AnswerError as error:
            _say(f"  {error.message}")
        else:
            return


def _fill_in(question: Question, reader: _Reader) -> dict[str, Any]:
    """Reads the fields one by one, and lets the person go back before anything is sent."""
    fields = question.fields
    values: dict[str, Any] = {}
    place = 0
    while True:
        try:
            if place < len(fields):
                value = _read_field(fields[place], reader)
                values.pop(fields[place].name, None)
                if value is not MISSING:
                    values[fields[place].name] = value
            elif len(fields) == 1:
                return values
            else:
                what = "Enter sends this" if fields else "Enter agrees"
                reader.line(f"{what}, !back changes it, !decline says no: ")
                return values
            place += 1
        except _Back:
            place = max(0, place - 1)


def _read_field(item: Field, reader: _Reader) -> Any:
    _say(describe(item))
    while True:
        text = reader.line(_label(item), masked=item.secret)
        if not text.strip():
            if item.secret:
                raise _Declined
            if item.default is not MISSING:
                return item.default
            if not item.required:
                return MISSING
        try:
            if not text.strip() and item.kind is not Kind.CHOICES:
                raise MisfitError("is needed")
            return item.read(text)
        except MisfitError as misfit:
            _say(f"  {item.title} {misfit}.")


# -- words ------------------------------------------------------------------------------------


def heading(question: Question) -> str:
    """Returns who asks what, and how to say no."""
    lines = [f"{_BOLD}{question.server} asks{_in(question)}{_END}"]
    lines.append(textwrap.indent(question.message or "(no words)", "  "))
    if question.secret:
        lines.append(
            f"{_RED}  Careful: this looks like a password, a key or a card number, and "
            f"{question.server} would get it.\n  Enter alone declines.{_END}"
        )
    lines.append(f"{_DIM}  {HELP}{_END}")
    return "\n".join(lines)


def url_text(question: Question) -> str:
    """Returns the page a server wants to be opened: the whole address, with its host marked."""
    before, host, after = split_url(question.url or "")
    lines = [
        f"{_BOLD}{question.server} asks you to open a page{_in(question)}{_END}",
        textwrap.indent(question.message, "  "),
        f"  {before}{_BOLD}{host}{_END}{after}",
        f"  The page is on {_BOLD}{host}{_END}.",
    ]
    if question.caution:
        lines.append(f"{_RED}  Careful: {question.caution}{_END}")
    return "\n".join(line for line in lines if line.strip())


def split_url(url: str) -> tuple[str, str, str]:
    """Returns an address in three parts: before its host, the host with its port, after it."""
    netloc = urlsplit(url).netloc
    before, _, after = url.partition(netloc)
    return before, netloc, after


def describe(item: Field) -> str:
    """Returns what a field is about: its description, its bounds, its choices."""
    remarks = [item.about, "" if item.required else "optional"]
    if item.kind is Kind.CHOICES:
        remarks.append("several with commas between")
    about = "; ".join(remark for remark in remarks if remark)
    head = " ".join(part for part in (item.description, f"({about})" if about else "") if part)
    lines = [f"  {_DIM}{head}{_END}"] if head else []
    width = len(str(min(len(item.choices), MAX_CHOICES)))
    for number, choice in enumerate(item.choices[:MAX_CHOICES], 1):
        lines.append(f"  {number:>{width}}  {choice.title}")
    if len(item.choices) > MAX_CHOICES:
        lines.append(f"  {_DIM}… {len(item.choices):,} in all{_END}")
    return "\n".join(lines)


def _label(item: Field) -> str:
    hint = ""
    if item.default is not MISSING and not item.secret:
        hint = f" [{printable(item.shown(item.default), 60)}]"
    elif item.kind is Kind.BOOLEAN:
        hint = " (y/n)"
    return f"{item.title}{hint}: "


def _in(question: Question) -> str:
    return f", in {printable(question.tool, 60)}:" if question.tool else ":"


def _say(text: str) -> None:
    if text:
        print(text)  # noqa: T201 -- the cell's own output, in the thread that waits


# -- reading ----------------------------------------------------------------------------------


class _Reader:
    """Reads lines for one question, and stops reading when the question ends elsewhere.

    A blocked `input()` is ended by SIGINT, the one thing that reaches it in kernels and terminals
    alike. The handler raises only while a line is read and the question is over; Stop works as
    it does otherwise. In another thread than the main one there are no signals: the end is
    noticed after Enter.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._thread = threading.get_ident()
        self._reading = False
        self._left = False
        self._leaving = threading.Lock()
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        if self._before is not None:
            signal.signal(signal.SIGINT, self._interrupted)
            self._asking.when_over(self._wake)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        with self._leaving:  # a signal on its way has come before this, and none comes after
            self._left = True
        signal.signal(signal.SIGINT, self._before)

    def line(self, label: str, *, masked: bool = False) -> str:
        """Reads a line; the ways out are exceptions."""
        read = getpass.getpass if masked else input
        self._reading = True
        try:
            if self._asking.over:
                raise _OverError
            text = read(label)
        except KeyboardInterrupt:
            if not self._asking.over:
                raise
            raise _OverError from None
        finally:
            self._reading = False
        if self._asking.over:
            raise _OverError
        match text.strip().lower():
            case "!decline":
                raise _Declined
            case "!cancel":
                raise _Cancelled
            case "!back":
                raise _Back
        return text

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if not self._asking.over:
            signal.default_int_handler(number, frame)
        elif self._reading:
            raise KeyboardInterrupt

    def _wake(self) -> None:
        with self._leaving:
            if self._left or threading.get_ident() == self._thread:
                return
            if os.name == "posix":
                signal.pthread_kill(self._thread, signal.SIGINT)
            else:
                signal.raise_signal(signal.SIGINT)
