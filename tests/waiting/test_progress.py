"""How far long work is: small whatever comes, looked at by whoever waits."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest
from mcp_types import LoggingMessageNotificationParams

from mcp_notebook.config.servers import Server
from mcp_notebook.ipython.line import ProgressLine, line
from mcp_notebook.waiting.progress import LINES, PATIENCE, Progress, Progressing
from mcp_notebook.workspace import Workspace
from tests.asking import Noting, asking
from tests.peers import serve_authority, serve_tools, visit

# The SDK's servers say so whenever one logs; the older era goes on, and so do its servers.
pytestmark = pytest.mark.filterwarnings("ignore:The logging capability is deprecated")


@pytest.fixture(params=[False, True], ids=["2026", "2025"])
def legacy(request) -> bool:
    return request.param


def said(data, level="info"):
    return LoggingMessageNotificationParams(level=level, data=data)


# -- from real servers ------------------------------------------------------------------------


def test_a_call_reports_to_the_thread_that_waits(legacy):
    front_end = Noting()
    with asking(front_end, legacy=legacy) as (session, _):
        assert session.tools.slow(seconds=1.2, steps=4).data == "done"
    fractions = [seen.fraction for seen in front_end.seen if seen.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) >= 3
    assert any(seen.message == "step 2 of 4" for seen in front_end.seen)
    last = front_end.seen[-1]
    assert (last.title, last.over, last.failed) == ("shop · slow", True, False)
    assert last.elapsed >= 1
    assert front_end.threads == {threading.current_thread()}


class SlowPerson(Noting):
    """Signs in, but not at once; notes what is shown as progress meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.since = 0.0
        self.meanwhile: list[Progressing] = []

    def look(self, session) -> None:
        sign_in = session.sign_in
        if sign_in is None or not sign_in.url:
            return
        self.since = self.since or time.monotonic()
        if time.monotonic() - self.since > PATIENCE + 0.2:
            visit(sign_in.url)

    def progress(self, progress: Progress) -> None:
        if progress.worth_showing:
            self.meanwhile.append(progress.look())


def test_a_call_that_waits_for_more_permissions_is_no_long_work():
    front_end = SlowPerson()
    with serve_authority() as authority, serve_tools(authority) as tools:
        space = Workspace(front_end=front_end)
        space.book.add(Server(name="notes", url=tools.url))
        session = space.connect("notes").wait()
        front_end.since = 0.0
        assert session.tools.secret_tool().text
        assert front_end.since  # the person was needed
        session.disconnect()
    assert front_end.meanwhile == []


def test_what_a_server_logs_comes_along(legacy):
    front_end = Noting()
    with asking(front_end, legacy=legacy) as (session, _):
        session.tools.chat(lines=3)
    assert front_end.seen[-1].lines == ("line 0", "line 1", "line 2")


def test_log_lines_go_to_the_call_that_caused_them(legacy):
    with asking(legacy=legacy) as (session, _):
        calls = []
        begin = session.wait_for_call

        def note(work, call, **options):
            calls.append(call)
            return begin(work, call, **options)

        session.wait_for_call = note
        first = session.tools.slow._begin((), {"seconds": 1, "steps": 1})
        second = session.tools.chat._begin((), {"lines": 2})
        third = session.tools.slow._begin((), {"seconds": 1, "steps": 1})
        for wait in (first, second, third):
            wait.result()
    assert [len(call.progress.look().lines) for call in calls] == [0, 2, 0]


def test_a_flood_of_log_lines_is_capped_and_counted(legacy):
    front_end = Noting()
    with asking(front_end, legacy=legacy) as (session, _):
        session.tools.chat(lines=500)
    last = front_end.seen[-1]
    assert len(last.lines) == LINES
    assert last.lines[-1] == "line 499"
    assert last.dropped == 500 - LINES


def test_a_failed_call_is_over_and_failed(legacy):
    front_end = Noting()
    with asking(front_end, legacy=legacy) as (session, _), pytest.raises(Exception, match="broke"):
        session.tools.fail()
    assert (front_end.seen[-1].over, front_end.seen[-1].failed) == (True, True)


# -- the value --------------------------------------------------------------------------------


def test_a_hundred_thousand_reports_leave_one():
    progress = Progress("work")
    began = time.monotonic()
    for number in range(100_000):
        progress.report(number, 100_000, "x" * 1_000_000)
    assert time.monotonic() - began < 10
    now = progress.look()
    assert now.done == 99_999
    assert len(now.message) <= 200


def test_log_data_of_any_kind_and_size_becomes_a_short_line():
    progress = Progress("work")
    progress.log(said("a\x1b[31mb\nc" + "d" * 10_000_000))
    progress.log(said({"event": "begun", "parts": [1, 2], "rest": {"x": 1}}))
    progress.log(said(["x"] * 1_000_000))
    progress.log(said("token=abcdefgh123", level="error"))
    lines = progress.look().lines
    assert lines[0].startswith("ab cd")
    assert all(len(text) <= 210 for text in lines)
    assert lines[1] == "event=begun parts=… rest=…"
    assert lines[3] == "error: token=***"


@pytest.mark.parametrize(
    ("done", "total", "fraction", "count"),
    [
        (1, 4, 0.25, "1 of 4"),
        (5, 4, 1.0, "5 of 4"),
        (-1, 4, 0.0, "-1 of 4"),
        (3, None, None, "3"),
        (3, 0, None, "3"),
        (None, None, None, ""),
        (1234, 10_000, 0.1234, "1,234 of 10,000"),
    ],
)
def test_a_fraction_is_between_nothing_and_all(done, total, fraction, count):
    now = Progressing(title="w", done=done, total=total)
    assert now.fraction == fraction
    assert now.count == count


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_ignored(odd):
    progress = Progress("work")
    progress.report(1, 2)
    progress.report(odd, 2)
    progress.report(2, odd)
    assert progress.look().done == 1


def test_the_clock_is_for_people():
    assert Progressing(title="w", elapsed=7.9).clock == "7 s"
    assert Progressing(title="w", elapsed=185).clock == "3:05 min"


def test_the_time_that_a_person_takes_to_answer_is_not_the_works(monkeypatch):
    now = 1_000.0
    monkeypatch.setattr("mcp_notebook.waiting.progress.time.monotonic", lambda: now)
    progress = Progress("work")
    progress.begin()
    now += 3
    progress.hold()
    now += 100
    progress.release()
    now += 4
    progress.end()
    assert progress.look().elapsed == 7


def test_work_is_shown_once_it_reports_or_lasts_until_it_is_over(monkeypatch):
    progress = Progress("work")
    assert not progress.worth_showing
    progress.begin()
    assert not progress.worth_showing
    progress.report(0)
    assert progress.worth_showing
    progress.hold()
    assert not progress.worth_showing
    progress.release()
    assert progress.worth_showing
    progress.end()
    assert not progress.worth_showing
    silent = Progress("work")
    silent.begin()
    monkeypatch.setattr("mcp_notebook.waiting.progress.PATIENCE", 0.0)
    assert silent.worth_showing


# -- in a terminal ----------------------------------------------------------------------------


def test_a_terminal_has_one_line_that_is_written_over_and_taken_away(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    progress, shown = Progress("shop · slow"), ProgressLine()
    progress.begin()
    progress.report(1, 4, "first")
    shown.paint(progress)
    shown.paint(progress)
    progress.log(said("hello"))
    progress.report(2, 4, "second")
    shown.paint(progress)
    shown.wipe()
    shown.wipe()
    text = out.getvalue()
    assert text.count("first") == 1
    assert text.index("hello\x1b[0m\n") < text.index("second")
    assert text.endswith("\r\x1b[K")
    assert text.count("\r\x1b[K") == 3


def test_a_line_fits_the_terminal():
    now = Progressing(title="shop · slow", done=1, total=4, message="m" * 200)
    assert len(line(now, 60)) < 60
    assert "█████░" in line(now, 200)
    assert " 25%" in line(now, 200)
