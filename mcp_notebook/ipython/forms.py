"""A server's question as a form in the output, where an ``await`` lets the kernel handle clicks.

Like the card: widgets are set from the background loop only, handlers hand a wish to it. The form
is empty when it is displayed and emptied when the question is over, so neither a saved output nor
the state of its widgets holds an answer or a page's address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import ipywidgets

from mcp_notebook.background import background
from mcp_notebook.errors import AnswerError
from mcp_notebook.ipython.card import STYLE
from mcp_notebook.ipython.questions import split_url
from mcp_notebook.results import html
from mcp_notebook.results.html import Html, tag
from mcp_notebook.schema.fields import MISSING, Field, Kind
from mcp_notebook.schema.schemas import MisfitError
from mcp_notebook.waiting.elicitation import Asking
from mcp_notebook.waiting.questions import Question

_UNSET = "—"
_FEW = 7
_FIELD, _WRONG = "mcpnb-field", "mcpnb-misfit"
_WIDE = {"width": "min(30em, 95%)", "margin": "0 0 .3em 0"}


class _Quiet(ipywidgets.HTML):
    def __repr__(self) -> str:
        return "<a part of a question>"


class Page(ipywidgets.VBox):
    """The page a server wants to be opened: who asks, the whole address, its host marked."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._face = _Quiet(layout={"margin": "0"})
        super().__init__([self._face])
        self.add_class("mcpnb-card")
        self.add_class("mcpnb-card-asking")

    def __repr__(self) -> str:
        return f"{self._asking.question.server} asks something"

    def follow(self) -> None:
        """Fills the form, and empties it when the question is over; runs on the loop."""
        question = self._asking.question
        self._face.value = _form_face(question) if question.url is None else _page_face(question)
        self._asking.when_over(lambda: background().post(self._finish))

    def _finish(self) -> None:
        self._face.value = _styled(tag("div", _outcome(self._asking), class_="mcpnb-dim"))
        self.remove_class("mcpnb-card-asking")


class Form(Page):
    """A question with fields, or a page with buttons."""

    def __init__(self, asking: Asking) -> None:
        super().__init__(asking)
        self._inputs = [_Input(item) for item in asking.question.fields]
        self._complaint = _Quiet(layout={"margin": "0"})
        self._left = _Quiet(layout={"margin": "0 0 0 .4em"})
        go = "Done" if asking.question.url is not None else "Send"
        self._row = ipywidgets.HBox(
            [
                self._button(go, self._submit, "primary"),
                self._button("Decline", asking.decline),
                self._left,
            ],
            layout={
                "flex_flow": "row wrap",
                "grid_gap": ".4em",
                "margin": ".5em 0 0",
                "align_items": "center",
            },
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def inputs(self) -> list[Any]:
        """The widgets that a person fills in."""
        return [holder for line in self._inputs for holder in line.holders]

    def follow(self) -> None:
        """Fills the form, counts the time down, and empties it when the question is over."""
        super().follow()
        parts = [part for line in self._inputs for part in (line.label, line.widget)]
        self.children = [self._face, *parts, self._complaint, self._row]
        self._task = asyncio.get_running_loop().create_task(self._count_down())

    async def _count_down(self) -> None:
        while not self._asking.over:
            left = self._asking.seconds_left
            words = f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"
            self._left.value = _face(tag("span", words, class_="mcpnb-dim"))
            await asyncio.sleep(1 if left < 90 else 15)

    def _finish(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for line in self._inputs:
            line.clear()
        super()._finish()
        self.children = [self._face]

    def _button(self, label: str, wish: Callable[[], None], style: str = "") -> Any:
        button = ipywidgets.Button(
            description=label,
            button_style=style,
            layout={"width": "auto", "margin": "0"},
        )
        button.on_click(lambda _: background().post(wish))
        return button

    def _submit(self) -> None:
        values: dict[str, Any] = {}
        for line in self._inputs:
            try:
                value = line.read()
            except MisfitError as misfit:
                self._complain(f"{line.field.title} {misfit}.", line)
                return
            if value is not MISSING:
                values[line.field.name] = value
        try:
            self._asking.accept(values)
        except AnswerError as error:
            self._complain(error.message)

    def _complain(self, text: str, about: _Input | None = None) -> None:
        """Says what is wrong, and leads to the field: it may be far above."""
        for line in self._inputs:
            line.mark(wrong=line is about)
        self._complaint.value = _face(tag("div", text, class_="mcpnb-wrong", role="alert"))


class _Input:
    """One field of a form: its label and the widget a person fills in.

    There are no ``<select>`` elements: JupyterLab takes the arrow keys and letters that are pressed
    in one for commands, so they cannot be used without a mouse.
    """

    def __init__(self, item: Field) -> None:
        self.field = item
        self.holders: list[Any] = []
        notes = [item.description, item.about, "" if item.required else "optional"]
        about = " · ".join(note for note in notes if note)
        self.label = _Quiet(
            value=_face(tag("b", item.title), " ", tag("span", about, class_="mcpnb-dim")),
            layout={"margin": ".3em 0 0 0"},
        )
        self.widget = self._widget()
        self.widget.add_class(_FIELD)

    def _widget(self) -> Any:
        item = self.field
        default = None if item.default is MISSING else item.default
        if item.kind is Kind.BOOLEAN:
            return self._buttons([("yes", True), ("no", False)], default)
        if item.kind is Kind.CHOICE and len(item.choices) <= _FEW:
            places = [(choice.title, place) for place, choice in enumerate(item.choices)]
            return self._buttons(places, self._place(default))
        if item.kind is Kind.CHOICES:
            return self._boxes([self._place(value) for value in default or []])
        # The description is what a screen reader calls the field; seen is the label above it.
        about: dict[str, Any] = {"description": item.title, "layout": _WIDE}
        if item.kind is Kind.CHOICE:
            titles = [choice.title for choice in item.choices]
            value = "" if default is None else item.shown(default)
            hint = f"one of {len(titles)}: type, or choose"
            widget = ipywidgets.Combobox(options=titles, value=value, placeholder=hint, **about)
        elif item.kind is Kind.JSON:
            widget = ipywidgets.Textarea(placeholder="JSON", **about)
        elif item.secret:
            widget = ipywidgets.Password(**about)
        else:
            widget = ipywidgets.Text(value="" if default is None else str(default), **about)
        self.holders = [widget]
        return widget

    def _buttons(self, options: list[tuple[str, Any]], value: Any) -> Any:
        if not self.field.required:
            options = [(_UNSET, None), *options]
        tips = [f"{self.field.title}: {label}" for label, _ in options]
        buttons = ipywidgets.ToggleButtons(
            options=options,
            value=value,
            tooltips=tips,
            layout=_WIDE,
            style={"button_width": "auto"},
        )
        self.holders = [buttons]
        return buttons

    def _boxes(self, chosen: list[int | None]) -> Any:
        self.holders = [
            ipywidgets.Checkbox(
                description=choice.title,
                value=place in chosen,
                indent=False,
                layout={"width": "auto", "margin": "0 1em 0 0"},
            )
            for place, choice in enumerate(self.field.choices)
        ]
        flow = {"flex_flow": "row wrap", "max_height": "12em", "overflow": "auto"}
        return ipywidgets.HBox(self.holders, layout={**_WIDE, **flow})

    def _place(self, value: Any) -> int | None:
        # By place, not by value: JSON's 1 and true are the same to a widget.
        places = (n for n, choice in enumerate(self.field.choices) if choice.value == value)
        return None if value is None else next(places, None)

    def read(self) -> Any:
        """Returns the value, or `MISSING` where nothing was filled in.

        Raises:
            MisfitError: It does not fit, or is needed and missing.
        """
        value = self._chosen() if self.field.kind is Kind.CHOICES else self._given()
        if value is MISSING and self.field.required:
            raise MisfitError("is needed")
        return value

    def _chosen(self) -> Any:
        boxes = zip(self.field.choices, self.holders, strict=True)
        chosen = [choice.value for choice, box in boxes if box.value]
        return self.field.check(chosen) if chosen or self.field.required else MISSING

    def _given(self) -> Any:
        item, given = self.field, self.widget.value
        if given is None or (isinstance(given, str) and not given.strip()):
            return MISSING
        if item.kind is Kind.BOOLEAN:
            return item.check(given)
        if item.kind is Kind.CHOICE and isinstance(given, int):
            return item.check(item.choices[given].value)
        for choice in item.choices:  # a title first: it may be another's number
            if choice.title == given:
                return item.check(choice.value)
        return item.read(given)

    def mark(self, *, wrong: bool) -> None:
        """Marks the field and puts the cursor into it, or takes the mark away."""
        if not wrong:
            self.widget.remove_class(_WRONG)
            return
        self.widget.add_class(_WRONG)
        self.holders[0].focus()

    def clear(self) -> None:
        """Takes what was filled in out of the widgets, which are saved, and ends them."""
        for holder in self.holders:
            if hasattr(holder, "options"):
                holder.options = ()
            holder.value = {bool: False, str: ""}.get(type(holder.value))
            holder.close()
        self.widget.close()
        self.label.close()


def _form_face(question: Question) -> Html:
    parts = [_who(question, "asks"), _message(question)]
    if question.secret:
        parts.append(
            _careful(
                "this looks like a password, a key or a card number, and "
                f"{question.server} would get it. If you are not sure, decline."
            )
        )
    return _styled(*parts)


def _page_face(question: Question) -> Html:
    before, host, after = split_url(question.url or "")
    link = tag(
        "a",
        before,
        tag("b", host),
        after,
        href=question.url or "",
        target="_blank",
        rel="noopener noreferrer",
        style="color:var(--jp-content-link-color,#3b82c4);text-decoration:underline",
    )
    parts = [
        _who(question, "asks you to open a page"),
        _message(question),
        tag("div", link),
        tag("div", "The page is on ", tag("b", host), ".", class_="mcpnb-dim"),
    ]
    if question.caution:
        parts.append(_careful(question.caution))
    return _styled(*parts)


def _who(question: Question, what: str) -> Html:
    where = f", in {question.tool}" if question.tool else ""
    return tag("div", tag("b", question.server), f" {what}", tag("span", where, class_="mcpnb-dim"))


def _message(question: Question) -> Html:
    return tag("div", question.message, style="white-space:pre-wrap;margin:.3em 0")


def _careful(text: str) -> Html:
    return tag("div", f"Careful: {text}", class_="mcpnb-wrong")


def _outcome(asking: Asking) -> Html:
    did = {"accept": "answered", "decline": "declined", "cancel": "not answered"}[asking.action]
    return html.join(
        [tag("b", asking.question.server), f" asked: {asking.question.message[:200]} — {did}."]
    )


def _styled(*parts: object) -> Html:
    return Html(f"<style>{STYLE}</style>{_face(*parts)}")


def _face(*parts: object) -> Html:
    return tag("div", *parts, class_="mcpnb-face")
