"""Files and downloads: the right file is read, any other is refused. The server is one on this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import InputError
from trading.bars import format_times
from trading.sources import from_csv, from_download

BARS = b"timestamp,close\n2025-01-01T00:00:00Z,100\n2025-01-01T01:00:00Z,101.5\n"
HEADER = "open_time,open,high,low,close,volume,close_time,count\n"
MS = "1735689600000,100,102,99,101,5,1735693199999,7\n1735693200000,101,103,100,102.5,6,1735696799999,8\n"
US = MS.replace("00000,", "00000000,").replace("99999,", "99999999,")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(**files: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{name}.csv", data)
    return buffer.getvalue()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve a folder; `/short` announces more than it sends."""

    def do_GET(self) -> None:
        if self.path != "/short":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(BARS)))
        self.end_headers()
        self.wfile.write(BARS[:30])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Give bytes a URL."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

        def address(data: bytes) -> str:
            (folder / "file").write_bytes(data)
            return f"http://127.0.0.1:{server.server_port}/file"

        yield address
        server.shutdown()


def test_a_file_is_read_with_and_without_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(BARS)
    for sha256 in (None, digest(BARS), digest(BARS).upper()):
        assert from_csv(path, sha256).close.tolist() == [100.0, 101.5]


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(BARS)
    with pytest.raises(InputError, match=rf"{path}: SHA-256 is {digest(BARS)}, expected 0{{64}}"):
        from_csv(path, "0" * 64)


def test_a_file_that_is_not_there_and_a_hash_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        from_csv(tmp_path / "none.csv")
    (tmp_path / "mine.csv").write_bytes(BARS)
    with pytest.raises(InputError, match=r"market.csv.sha256: 'abc' is not a SHA-256"):
        from_csv(tmp_path / "mine.csv", "abc")


def test_a_csv_is_downloaded(serve: Callable[[bytes], str]) -> None:
    assert from_download(serve(BARS), digest(BARS)).close.tolist() == [100.0, 101.5]


@pytest.mark.parametrize("text", [MS, HEADER + MS, US, HEADER.replace("_", " ").title() + US])
def test_zipped_klines_are_downloaded_and_labelled_by_their_open_time(serve: Callable[[bytes], str], text: str) -> None:
    data = zipped(klines=text)
    bars = from_download(serve(data), digest(data))
    assert format_times(bars.time) == ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"]
    assert bars.close.tolist() == [101.0, 102.5]
    assert {name: values.tolist() for name, values in bars.extra.items()} == {
        **{"open": [100.0, 101.0], "high": [102.0, 103.0], "low": [99.0, 100.0], "volume": [5.0, 6.0]}
    }


def test_the_hash_is_checked_before_anything_is_parsed(serve: Callable[[bytes], str]) -> None:
    with pytest.raises(InputError, match="SHA-256 is"):
        from_download(serve(b"PK\x03\x04 not a zip, not a csv"), "0" * 64)


BAD_FILES = {
    "csv": (b"timestamp,close\nnoon,1\n", r"/file, line 2: timestamp 'noon' is not a time"),
    "two files": (zipped(a=MS, b=MS), r"/file: the ZIP holds 2 files"),
    "no file": (zipped(), r"/file: the ZIP holds 0 files"),
    "cells": (zipped(a="1735689600000,1,2\n"), r"/file, line 1: 3 cells, a kline has at least 6"),
    "columns": (zipped(a=HEADER.replace("open_time", "date") + MS), r"line 1: columns date, open"),
    "seconds": (zipped(a=MS.replace("00000,", "00,")), r"line 1: open time '1735689600' is neither"),
    "fraction": (
        zipped(a=MS.replace("600000,", "600001,")),
        r"line 1: open time '1735689600001' is not a whole",
    ),
    "price": (zipped(a=MS.replace("102.5", "0")), r"line 2: close is 0, a price must be above zero"),
    "order": (
        zipped(a="\n".join(reversed(MS.splitlines()))),
        r"line 2: time 2025-01-01T00:00:00Z comes after",
    ),
    "binary": (zipped(a=b"\xff\xfe\x81"), r"/file: the file in the ZIP is not a CSV"),
    "empty": (zipped(a=HEADER), r"/file: no bars in it"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_download_is_refused_with_its_address_and_line(serve: Callable[[bytes], str], case: str) -> None:
    data, words = BAD_FILES[case]
    with pytest.raises(InputError, match=words):
        from_download(serve(data), digest(data))


def test_a_damaged_zip_is_refused(serve: Callable[[bytes], str]) -> None:
    whole = bytearray(zipped(klines=MS * 50))
    whole[45:60] = bytes(15)
    with pytest.raises(InputError, match="cannot be read"):
        from_download(serve(bytes(whole)), digest(bytes(whole)))


def test_a_page_that_is_not_there_says_so(serve: Callable[[bytes], str]) -> None:
    with pytest.raises(InputError, match=r"/file/no: the server answered 404"):
        from_download(serve(BARS) + "/no", digest(BARS))


def test_a_download_that_breaks_off_is_not_taken_for_the_file(serve: Callable[[bytes], str]) -> None:
    with pytest.raises(InputError, match="/short: "):
        from_download(serve(BARS).replace("/file", "/short"), digest(BARS))


def test_a_port_that_nobody_listens_on_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses, and nobody else can take it
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(InputError, match="cannot be reached") as caught:
            from_download(url, digest(BARS))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["bars.csv", "file:///etc/hostname", "ftp://127.0.0.1/file"])
def test_only_web_addresses_are_downloaded(url: str) -> None:
    with pytest.raises(InputError, match="not an http or https address"):
        from_download(url, digest(BARS))
