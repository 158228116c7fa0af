"""An answer read like its value: ``answer["key"]``, ``for row in answer``, ``answer == 5``.

What is beyond doubt works. Where Python would let a person go on with something else than they
meant (the names of an object's members as if they were its rows, an answer that is true although
its value is not), it is refused and the way to say it is told.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from mcp_notebook.errors import AnswerUseError, UnknownNameError
from mcp_notebook.redaction import printable

_FRAMES = frozenset({"df", "frame", "dataframe", "to_dataframe", "to_pandas", "to_df"})
_TABULAR = frozenset(
    {
        *("agg", "apply", "columns", "describe", "dropna", "dtypes", "fillna", "filter"),
        *("groupby", "head", "iloc", "info", "join", "loc", "mean", "merge", "plot", "query"),
        *("sample", "shape", "sort_values", "sum", "tail", "to_csv", "to_excel", "value_counts"),
    }
)
_LISTED = 8


class ValueLike:
    """What has its value in `data` and is read like it."""

    data: Any

    def __getitem__(self, key: Any) -> Any:
        """Returns a member of an object, or an item of a list, of the value.

        Raises:
            UnknownNameError: The object has no such member.
            AnswerUseError: The value is neither, or is asked for the other's.
        """
        value = self.data
        if isinstance(value, dict) and isinstance(key, str):
            if key in value:
                return value[key]
            close = difflib.get_close_matches(key[:100], list(value)[:1000], n=1)
            meant = f"Did you mean {printable(close[0], 60)!r}? " if close else ""
            raise UnknownNameError(
                f"The answer has no {printable(key, 60)!r}.", hint=f"{meant}{_described(value)}"
            )
        if isinstance(value, list | str) and isinstance(key, int | slice):
            return value[key]
        if isinstance(value, list) and isinstance(key, str):
            raise AnswerUseError(
                "The answer is a list, and a list has no names.",
                hint=f"As a table: .to_frame()[{printable(key, 60)!r}]",
            )
        raise AnswerUseError(
            f"The answer has no item {printable(repr(key), 60)}.", hint=_described(value)
        )

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list("be gone through"))

    def __len__(self) -> int:
        return len(self._list("have a length"))

    def _list(self, what: str) -> list[Any]:
        if isinstance(self.data, list):
            return self.data
        table = " As a table: .to_frame()" if isinstance(self.data, dict | str) else ""
        raise AnswerUseError(
            f"Only an answer that is a list can {what}.", hint=_described(self.data) + table
        )

    def __contains__(self, item: object) -> bool:
        return isinstance(self.data, dict | list | str) and item in self.data

    def __eq__(self, other: object) -> bool:
        return bool(self.data == (other.data if isinstance(other, ValueLike) else other))

    def __bool__(self) -> bool:
        raise AnswerUseError(
            "Whether an answer is true could mean two things.",
            hint="Whether its value is: if answer.data: … Whether there is one: "
            "if answer is not None: …",
        )

    def __await__(self) -> NoReturn:
        raise AnswerUseError(
            "This is the answer already; there is nothing to await.",
            hint="Leave out await. Other tasks go on meanwhile with: await TOOL.aio(…)",
        )

    def __json_value__(self) -> Any:
        """What it is as another tool's argument; None where it has no value."""
        return self.data

    if not TYPE_CHECKING:  # type checkers are to find what is mistyped

        def __getattr__(self, name: str) -> Any:
            # IPython, copy and pickle look for names with underscores on everything they see.
            if name.startswith("_") or name == "data" or not vars(self):
                raise AttributeError(name)
            if name in _FRAMES:
                hint = "A DataFrame is made by .to_frame()"
            elif name in _TABULAR:
                hint = f"A DataFrame has: .to_frame().{name}"
            elif isinstance(self.data, dict) and name in self.data:
                hint = f"A member of the value is an item: [{name!r}]"
            else:
                hint = (
                    "The value is .data, the text .text, pictures .images, a DataFrame .to_frame()"
                )
            raise UnknownNameError(f"A {type(self).__name__} has no {name!r}.", hint=hint)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.data) if isinstance(self.data, dict) else []


def _described(value: Any) -> str:
    """Says what a value is, so that a person can go on."""
    if isinstance(value, dict):
        names = ", ".join(repr(printable(name, 40)) for name in list(value)[:_LISTED])
        return f"It is an object with {names}{', …' if len(value) > _LISTED else ''}."
    if isinstance(value, list):
        return f"It is a list of {len(value):,}."
    if value is None:
        return "It has no value."
    kind = "text" if isinstance(value, str) else f"of type {type(value).__name__}"
    return f"It is {kind}: .data"
