"""What may be shown, logged or saved: credentials are taken out, foreign text is harmless."""

from __future__ import annotations

import logging

import pytest

from mcp_notebook.redaction import RedactingFilter, clean_lines, conceal, printable, redact


@pytest.mark.parametrize(
    "text",
    [
        "GET /callback?code=s3cr3t-value&x=1",
        "state=s3cr3t-value",
        '{"access_token": "s3cr3t-value", "expires_in": 3600}',
        "{'refresh_token': 's3cr3t-value'}",
        "Authorization: Bearer s3cr3t-value",
        "authorization: basic s3cr3t-value==",
        "DPoP s3cr3t-value",
        "client_secret=s3cr3t-value",
        'HTTP Request: POST https://a.example/messages?session_id=s3cr3t-value "HTTP/1.1 202"',
        '{"code": "s3cr3t-value-of-20-characters"}',
        "GET /mcp?exaApiKey=s3cr3t-value&sig=s3cr3t-value",
        "Received session ID: s3cr3t-value",
        "[(b'Content-Type', b'x'), (b'Set-Cookie', b'sid=s3cr3t-value; Path=/'), (b'A', b'b')]",
        '[(b"mcp-session-id", b"s3cr3t-value")]',
    ],
)
def test_what_looks_like_a_credential_is_taken_out(text):
    assert "s3cr3t" not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "POST https://as.example/token 400 invalid_grant expires_in=3600",
        "the program ended, code=127, state=gone",
        '{"code": "NOT_FOUND", "state": "closed", "signature": "def find(name: str)"}',
    ],
)
def test_what_is_no_credential_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\there", "two lines here"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil.example\x07link\x1b]8;;\x07", "link"),
        ("abc\u202edcba", "abcdcba"),
        ("zero\u200bwidth\x00", "zerowidth"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_foreign_text_becomes_one_harmless_line(foreign, shown):
    assert printable(foreign) == shown


def test_an_error_description_is_ascii_only():
    assert printable("naïve ✓ ok", ascii_only=True) == "nave ok"


def test_lines_stay_and_what_overwrites_them_does_not():
    assert clean_lines("one\r\ntwo\rthree\x1b[2J\tfour") == "one\ntwo\nthree\tfour"


def test_a_known_value_is_taken_out_and_a_plain_word_is_not():
    for value in ("design", "everything", "k3y", "s3cr3t-one-and-more", "s3cr3t-one"):
        conceal(value)
    text = "design everything k3y"
    assert redact(f"{text} s3cr3t-one s3cr3t-one-and-more") == f"{text} *** ***"


def test_only_the_latest_values_are_known():
    for number in range(300):
        conceal(f"s3cr3t-number-{number}")
    assert redact("s3cr3t-number-299") == "***"


def test_a_log_record_loses_its_credentials_and_its_traceback(caplog):
    logger = logging.getLogger("tests.redaction")
    redacting = RedactingFilter()
    logger.addFilter(redacting)
    try:
        with caplog.at_level(logging.DEBUG, logger.name):
            logger.debug("sent %s", "Bearer s3cr3t-value")
            try:
                raise ValueError("input_value={'access_token': 's3cr3t-value'}")
            except ValueError:
                logger.exception("the answer was wrong")
    finally:
        logger.removeFilter(redacting)
    assert "s3cr3t" not in caplog.text
    assert "the answer was wrong (ValueError)" in caplog.text
