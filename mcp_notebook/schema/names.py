"""Strangers' names as Python identifiers, and the nearest name to a mistyped one."""

from __future__ import annotations

import difflib
import keyword
import unicodedata
from collections.abc import Collection, Iterable

_MAX_LENGTH = 100


def identifier(name: str) -> str | None:
    """Returns the identifier that stands for a name, or ``None`` where the name is too odd.

    ``Notion-Version`` becomes ``Notion_Version``, ``from`` becomes ``from_``, ``2fa`` becomes
    ``n2fa``. It never begins with an underscore: Python and IPython call methods named so.
    """
    if len(name) > _MAX_LENGTH:
        return None
    # Python reads identifiers in NFKC (PEP 3131), so two spellings may be one name.
    normal = unicodedata.normalize("NFKC", name)
    plain = "".join(letter if f"x{letter}".isidentifier() else "_" for letter in normal)
    plain = plain.lstrip("_")
    if not plain:
        return None
    if not plain.isidentifier():
        plain = f"n{plain}"
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def identifiers(names: Iterable[str], *, taken: Collection[str] = ()) -> dict[str, str]:
    """Returns identifier -> name. A name that is an identifier already is never displaced.

    Where several names would share an identifier, the first has it and the others have none.

    Args:
        names: The names, in their order.
        taken: Identifiers that mean something else here; such a name gets an underscore.
    """
    names = list(names)
    claims = [(identifier(name), name) for name in names]
    claims = [(claim, name) for claim, name in claims if claim is not None]
    found: dict[str, str] = {}
    for own in (True, False):
        for claim, name in claims:
            assert claim is not None
            claim = f"{claim}_" if claim in taken else claim
            if (claim == name) is own:
                found.setdefault(claim, name)
    return found


def displaced(names: Iterable[str], *, taken: Collection[str] = ()) -> dict[str, str]:
    """Returns the names whose identifier stands for another name -> that identifier."""
    names = list(names)
    found = identifiers(names, taken=taken)
    reached = set(found.values())
    claims = {name: identifier(name) for name in names if name not in reached}
    return {name: claim for name, claim in claims.items() if claim in found}


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Returns the name a person most likely meant, or ``None`` where none is near."""
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(_fold(name), name)
    close = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def _fold(name: str) -> str:
    return name[:_MAX_LENGTH].casefold().replace("-", "_")
