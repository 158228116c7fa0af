"""The parts of an answer (content blocks and resources) as text and HTML, in the server's order.

Nothing a server refers to is ever fetched: links are shown as they are written, icons and web
sites of a resource are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_notebook.redaction import printable
from mcp_notebook.results import html, rendering
from mcp_notebook.results.html import Html
from mcp_notebook.results.pictures import (
    Picture,
    Sound,
    binary_size,
    read_picture,
    read_resource_picture,
    read_sound,
)

if TYPE_CHECKING:
    from mcp_types import (
        BlobResourceContents,
        ContentBlock,
        ResourceLink,
        TextResourceContents,
    )

_MAX_BLOCKS = 50
_MAX_MEDIA_BYTES = 20 * 1024 * 1024


class Shown(NamedTuple):
    """One part, for a terminal and for a front end."""

    plain: str
    markup: Html


def json_value(text: str) -> tuple[bool, Any]:
    """Tells whether a text is JSON (RFC 8259, so no NaN), and which value.

    A text nested too deeply for the parser, or with a number of thousands of digits, is no JSON.
    """
    if not text.strip()[:1] or text.strip()[0] not in '{["-0123456789tfn':
        return False, None
    try:
        return True, json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False, None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def show_value(value: Any) -> Shown:
    """Shows a JSON value: a table, text, or a tree."""
    rest = ".text" if isinstance(value, str) else ".data"
    return Shown(rendering.value_text(value, rest=rest), html.value(value, rest=rest))


def show_text(text: str, *, rest: str = ".text") -> Shown:
    """Shows a text: an object or list in JSON as its value, any other as it is."""
    found, value = json_value(text) if text.lstrip()[:1] in {"{", "["} else (False, None)
    shown = value if found else text
    return Shown(rendering.value_text(shown, rest=rest), html.value(shown, rest=rest))


def show_blocks(blocks: Sequence[ContentBlock], *, source: str) -> Iterator[Shown]:
    """Shows content blocks; neighbouring pictures stand side by side.

    Args:
        blocks: The blocks, in the server's order.
        source: Who made them, for the pictures' text alternative.
    """
    room = _MAX_MEDIA_BYTES
    row: list[Shown] = []
    pictures, sounds = count(1), count(1)
    for block in blocks[:_MAX_BLOCKS]:
        media = _media(block)
        if isinstance(media, Picture):
            room -= 0 if media.problem else len(media.data)
            row.append(_picture(media, f"Picture {next(pictures)}", source, room))
            continue
        if row:
            yield _side_by_side(row)
            row = []
        if isinstance(media, Sound):
            room -= 0 if media.problem else len(media.data)
            yield _sound(media, f"Recording {next(sounds)}", room)
        elif block.type == "text":
            yield show_text(block.text)
        elif block.type == "resource_link":
            yield _link(block)
        elif block.type == "resource":
            yield show_resource(block.resource)
    if row:
        yield _side_by_side(row)
    if len(blocks) > _MAX_BLOCKS:
        line = f"… {len(blocks) - _MAX_BLOCKS:,} parts more: .raw.content has them all"
        yield Shown(line, html.remark(line))


def show_resource(
    resource: TextResourceContents | BlobResourceContents, *, opened: bool = False
) -> Shown:
    """Shows a resource's contents: text folded under its address, a picture as one, else its size.

    Args:
        resource: The contents, with their address.
        opened: Whether a text begins unfolded.
    """
    address = printable(resource.uri, 200)
    kind = printable(resource.mime_type or "", 60)
    label = f"{address} ({kind})" if kind else address
    text = getattr(resource, "text", None)
    if text is not None:
        plain, markup = show_text(text, rest=".text")
        return Shown(f"[{label}]\n{plain}", html.details(label, markup, opened=opened))
    picture = read_resource_picture(resource)
    if picture is not None:
        return _picture(picture, "Picture", address, _MAX_MEDIA_BYTES)
    size = binary_size(len(getattr(resource, "blob", "")) * 3 // 4)
    return Shown(f"[{label}, {size}]", html.remark(f"{label}, {size}"))


def _media(block: ContentBlock) -> Picture | Sound | None:
    if block.type == "image":
        return read_picture(block.data, block.mime_type)
    if block.type == "audio":
        return read_sound(block.data, block.mime_type)
    return read_resource_picture(block.resource) if block.type == "resource" else None


def _picture(picture: Picture, label: str, source: str, room: int) -> Shown:
    if room < 0:
        line = f"{label}: {picture.size}. Not shown: the output is full, .images has it"
        return Shown(f"[{line}]", html.remark(line))
    markup = html.figure(picture, label, source)
    if picture.source:
        text = rendering.value_text(picture.source, rest=".images")
        return Shown(f"[{label}: {picture.size}]\n{text}", markup)
    problem = f". Not shown: {picture.problem}" if picture.problem else ""
    return Shown(f"[{label}: {picture.size}{problem}]", markup)


def _sound(sound: Sound, label: str, room: int) -> Shown:
    if room < 0:
        line = f"{label}: {sound.size}. Not shown: the output is full, .audio has it"
        return Shown(f"[{line}]", html.remark(line))
    problem = f". Not played: {sound.problem}" if sound.problem else ""
    return Shown(f"[{label}: {sound.size}{problem}]", html.player(sound, label))


def _side_by_side(row: list[Shown]) -> Shown:
    markup = html.tag("div", *(shown.markup for shown in row), class_="mcpnb-pictures")
    return Shown("\n".join(shown.plain for shown in row), markup)


def _link(link: ResourceLink) -> Shown:
    name = printable(link.title or link.name, 100)
    facts = [printable(link.mime_type or "", 60)]
    facts.append(binary_size(link.size) if link.size is not None and link.size >= 0 else "")
    facts.append(printable(link.description or "", 300))
    about = " · ".join(fact for fact in facts if fact)
    plain = f"[{name}: {printable(link.uri, 500)}{f' ({about})' if about else ''}]"
    return Shown(
        plain, html.tag("div", html.join([name, ": ", html.link(link.uri)]), html.remark(about))
    )
