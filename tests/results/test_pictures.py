"""Pictures and sounds: what they are is read from their bytes."""

from __future__ import annotations

import base64
import io
import struct

import pytest
from PIL import Image

from mcp_notebook.results.pictures import MAX_BYTES, read_picture, read_sound


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def drawn(kind: str, width: int = 31, height: int = 17, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind, **options)
    return file.getvalue()


SAMPLES = {
    "png": (drawn("PNG"), "image/png"),
    "jpeg": (drawn("JPEG"), "image/jpeg"),
    "progressive jpeg": (
        drawn("JPEG", progressive=True, exif=b"Exif\0\0" + b"x" * 300),
        "image/jpeg",
    ),
    "gif": (drawn("GIF"), "image/gif"),
    "lossy webp": (drawn("WEBP"), "image/webp"),
    "lossless webp": (drawn("WEBP", lossless=True), "image/webp"),
    "extended webp": (drawn("WEBP", exif=b"Exif\0\0" + b"x" * 30), "image/webp"),
}


@pytest.mark.parametrize(("data", "mime"), SAMPLES.values(), ids=SAMPLES)
def test_kind_and_size_come_from_the_bytes_and_not_from_the_server(data, mime):
    picture = read_picture(encoded(data), "text/html")
    assert (picture.mime, picture.width, picture.height, picture.problem) == (mime, 31, 17, "")
    assert picture.data == data
    assert set(picture._repr_mimebundle_()) == {"text/plain", mime}


@pytest.mark.parametrize(("data", "mime"), SAMPLES.values(), ids=SAMPLES)
def test_a_picture_cut_anywhere_in_its_header_is_refused_quietly(data, mime):
    for length in range(min(len(data), 40)):
        picture = read_picture(encoded(data[:length]), mime)
        assert picture.problem or picture.width == 31


@pytest.mark.parametrize(
    "said", ["text/html", "application/javascript", "image/png", "x/\x1b[31m", ""]
)
def test_bytes_of_no_known_kind_are_never_shown(said):
    picture = read_picture(encoded(b"<script>alert(1)</script>"), said)
    assert picture.problem
    assert set(picture._repr_mimebundle_()) == {"text/plain"}
    assert "\x1b" not in repr(picture)


def test_svg_is_text():
    source = "<svg><script>alert(1)</script></svg>"
    picture = read_picture(encoded(source.encode()), "image/svg+xml")
    assert picture.source == source
    assert set(picture._repr_mimebundle_()) == {"text/plain"}


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(
        ">IIBBBBB", width, height, 8, 2, 0, 0, 0
    )


def test_a_picture_that_unfolds_to_billions_of_pixels_is_not_shown():
    assert (
        "million pixels" in read_picture(encoded(png_header(40_000, 40_000)), "image/png").problem
    )
    assert read_picture(encoded(png_header(5_000, 5_000)), "image/png").problem == ""
    assert read_picture(encoded(png_header(0, 5)), "image/png").problem


def test_a_first_frame_larger_than_the_screen_of_a_gif_counts():
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"\x21\xfe\x02hi\x00" + frame
    assert "million pixels" in read_picture(encoded(data), "image/gif").problem


def test_a_picture_larger_than_ten_mebibytes_is_kept_and_not_shown():
    data = drawn("PNG") + bytes(MAX_BYTES)
    picture = read_picture(encoded(data), "image/png")
    assert "larger than 10.0 MiB" in picture.problem
    assert picture.data == data


@pytest.mark.parametrize("text", ["a", "ä", "====="])
def test_what_is_no_base64_is_a_problem_and_no_exception(text):
    assert read_picture(text, "image/png").problem
    assert read_sound(text, "audio/wav").problem


def test_sounds_are_wav_and_mp3_by_their_bytes():
    assert read_sound(encoded(b"RIFF\0\0\0\0WAVEfmt "), "text/html").mime == "audio/wav"
    assert read_sound(encoded(b"ID3\4"), "text/html").mime == "audio/mpeg"
    assert read_sound(encoded(b"\xff\xfb\x90"), "text/html").mime == "audio/mpeg"
    for data in (b"<html>", b"\xff", b"", b"OggS"):
        assert read_sound(encoded(data), "audio/wav").problem
