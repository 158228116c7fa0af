"""What was said of one tool, as it is kept on disk: fingerprints, and short texts.

A fingerprint tells that something is different; the texts tell what. Long descriptions are kept
by a fingerprint of each sentence, so that a sentence that was added is found wherever it stands
and no file holds what a server wrote at length.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.toolbox import effects

if TYPE_CHECKING:
    import mcp_types

_ABOUT = 300
_READ = 20_000
_SENTENCE = 300
_SENTENCES = 100
_ARGUMENT = 120
_ARGUMENTS = 60
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument as it was.

    Attributes:
        text: As the signature has it.
        needed: Whether a call has to give it.
        about: The fingerprint of what the server says of it.
        said: What the server says of it; empty where only the fingerprint was kept.
    """

    text: str
    needed: bool
    about: str
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tool as it was.

    Attributes:
        fingerprint: Of all the server says of it.
        about: The beginning of its description; None where only the fingerprint was kept.
        sentences: The description's sentences by their fingerprints; empty where only that was
            kept.
        arguments: By their names.
        answers: The fingerprint of the schema of what it returns.
        effects: What the server says about side effects.
        gone: Whether it was not offered any more when the tools were listed last.
        returns: Whether it has been gone and come back, as it does where a server offers its tools
            bit by bit: its going is no news any more.
    """

    fingerprint: str
    about: str | None = None
    sentences: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    answers: str = ""
    effects: str = ""
    gone: bool = False
    returns: bool = False

    @classmethod
    def of(cls, tool: mcp_types.Tool) -> Self:
        """Returns what a server says of a tool now."""
        hints = tool.annotations.model_dump(exclude_none=True) if tool.annotations else None
        about = clean_lines((tool.description or tool.title or "")[:_READ])
        return cls(
            fingerprint=_fingerprint(
                [tool.title, tool.description, tool.input_schema, tool.output_schema, hints], 64
            ),
            about=about[:_ABOUT],
            sentences=_sentences(about),
            arguments=_arguments(tool),
            answers=_fingerprint(tool.output_schema),
            effects=effects(tool),
        )

    @classmethod
    def read(cls, kept: Any) -> Self | None:
        """Returns what was kept, or None where it cannot be understood."""
        if not isinstance(kept, dict) or not isinstance(kept.get("fingerprint"), str):
            return None
        about = kept.get("about")
        known = kept.get("sentences")
        fingerprints = [f for f in known if isinstance(f, str)] if isinstance(known, list) else []
        beginning = _sentences(about) if isinstance(about, str) else {}
        arguments = kept.get("arguments")
        arguments = arguments if isinstance(arguments, dict) else {}
        return cls(
            fingerprint=kept["fingerprint"],
            about=clean_lines(about) if isinstance(about, str) else None,
            sentences={one: beginning.get(one, "") for one in fingerprints},
            arguments={
                printable(name, 60): _argument(one)
                for name, one in arguments.items()
                if isinstance(one, dict)
            },
            answers=str(kept.get("answers", "")),
            effects=printable(str(kept.get("effects", "")), 60),
            gone=kept.get("gone") is True,
            returns=kept.get("returns") is True,
        )

    def kept(self, *, short: bool = False) -> dict[str, Any]:
        """Returns what is written down, as JSON; nothing but the fingerprint where `short`."""
        kept: dict[str, Any] = {"fingerprint": self.fingerprint}
        if self.about is not None and not short:
            kept |= {
                "about": self.about,
                "sentences": list(self.sentences),
                "arguments": {
                    name: {"text": one.text, "needed": one.needed, "about": one.about}
                    for name, one in self.arguments.items()
                },
                "answers": self.answers,
                "effects": self.effects,
            }
        flags = {"gone": self.gone, "returns": self.returns}
        return kept | {name: True for name, is_so in flags.items() if is_so}

    @property
    def whole(self) -> bool:
        """Whether `about` is the whole description."""
        return self.about is not None and len(self.about) < _ABOUT


def _arguments(tool: mcp_types.Tool) -> dict[str, Argument]:
    parameters = Parameters.of(tool.name, tool.input_schema)
    found = {}
    for one in list(parameters.all.values())[:_ARGUMENTS]:
        name = one.identifier or one.name
        python = parameters.signature.parameters.get(name)
        found[printable(name, 60)] = Argument(
            text=printable(str(python or name), _ARGUMENT),
            needed=one.required and not one.has_default,
            about=_fingerprint(one.about),
            said=one.about,
        )
    return found


def _argument(kept: dict[str, Any]) -> Argument:
    return Argument(
        text=printable(str(kept.get("text", "")), _ARGUMENT),
        needed=kept.get("needed") is True,
        about=str(kept.get("about", "")),
    )


def _sentences(text: str) -> dict[str, str]:
    parts = (printable(part, _SENTENCE) for part in _SENTENCE_END.split(text))
    kept = [part for part in parts if part][:_SENTENCES]
    return {_fingerprint(part): part for part in kept}


def _fingerprint(value: Any, length: int = 12) -> str:
    try:
        text = json.dumps(value, sort_keys=True)
    except (RecursionError, ValueError):
        text = ""
    return hashlib.sha256(text.encode()).hexdigest()[:length]
