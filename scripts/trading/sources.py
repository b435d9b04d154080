"""Where real bars come from: a file, a downloaded file, or downloaded exchange klines."""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from common.errors import InputError
from common.files import sha256 as sha256_of
from trading.bars import Bars, checked_bars, read_bars

TIMEOUT_S = 30
_CHUNK = 1 << 20
_KLINE_COLUMNS = ("open_time", "open", "high", "low", "close", "volume")


def from_csv(path: Path, sha256: str | None = None, gaps: str = "refuse") -> Bars:
    """Bars from a file of the user's.

    Parameters
    ----------
    path
        CSV as `trading.bars.read_bars` reads it.
    sha256
        What the file must hash to, in hexadecimal; None: anything.
    gaps
        `refuse` or `allow`.

    Raises
    ------
    InputError
        If the file is missing, is another one than `sha256` says, or breaks a rule for bars.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check market.csv.path.")
    if sha256 is not None:
        _check_hash(sha256_of(path), _hash(sha256, "market.csv.sha256"), str(path))
    return read_bars(path, gaps)


def from_download(url: str, sha256: str, gaps: str = "refuse") -> Bars:
    """Bars from the network: a CSV as `read_bars` reads it, or a ZIP with one file of klines.

    Klines are what exchanges such as Binance publish: open time (milliseconds or microseconds since 1970),
    open, high, low, close, volume, and columns that are ignored; with or without a header. A bar's timestamp
    is its open time; its close is known when it ends.

    Parameters
    ----------
    url
        http or https.
    sha256
        What the downloaded file must hash to; nothing of it is read before that.
    gaps
        `refuse` or `allow`.

    Raises
    ------
    InputError
        If the file cannot be had, is another one than `sha256` says, or breaks a rule for bars.
    """
    expected = _hash(sha256, "market.download.sha256")
    with tempfile.TemporaryDirectory(prefix="download-") as folder:
        file = Path(folder) / "download"
        _check_hash(_fetch(url, file), expected, url)
        if zipfile.is_zipfile(file):
            return checked_bars(_klines(file, url), url, gaps)
        return read_bars(file, gaps, name=url)


def _fetch(url: str, file: Path) -> str:
    """Download to `file` in pieces; return its SHA-256."""
    if not url.startswith(("http://", "https://")):
        raise InputError(
            f"{url}: not an http or https address. Check market.download.url, or use source csv for a file."
        )
    digest = hashlib.sha256()
    with open(file, "wb") as handle:
        for piece in _pieces(url):
            digest.update(piece)
            handle.write(piece)
    return digest.hexdigest()


def _pieces(url: str) -> Iterator[bytes]:
    """The body of the answer; errors of the network, and only those, become one clear line."""
    advice = "Check the address and the network, or fetch the file by hand and use source csv."
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            while piece := answer.read(_CHUNK):
                yield piece
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: the server answered {error.code} {error.reason}. {advice}") from None
    except urllib.error.URLError as error:
        raise InputError(f"{url}: cannot be reached ({error.reason}). {advice}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{url}: the download broke off ({error or type(error).__name__}). {advice}") from None


def _klines(file: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each kline in a ZIP with one file."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise InputError(f"{name}: the ZIP holds {len(members)} files, expected one CSV of klines.")
            with archive.open(members[0]) as raw:
                reader = csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), strict=True)
                for cells in reader:
                    place = f"{name}, line {reader.line_num}"
                    if not cells or (reader.line_num == 1 and _is_header(cells, place)):
                        continue
                    if len(cells) < len(_KLINE_COLUMNS):
                        raise InputError(
                            f"{place}: {len(cells)} cells, a kline has at least {len(_KLINE_COLUMNS)} "
                            f"({', '.join(_KLINE_COLUMNS)}). Give a ZIP of klines."
                        )
                    row = dict(zip(_KLINE_COLUMNS[1:], cells[1:6], strict=True))
                    yield reader.line_num, {"timestamp": _open_time(cells[0], place), **row}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"{name}: the ZIP cannot be read ({error}). Give a plain, whole ZIP.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name}: the file in the ZIP is not a CSV ({error}). Give a ZIP of klines.") from None


def _is_header(cells: list[str], place: str) -> bool:
    """Whether the first line names columns; refuse one that names others than a kline's."""
    if cells[0].strip().isdigit():
        return False
    names = tuple(re.sub(r"\W", "_", cell.strip().lower()) for cell in cells[:6])
    if names != _KLINE_COLUMNS:
        raise InputError(f"{place}: columns {', '.join(names)}, expected {', '.join(_KLINE_COLUMNS)}. Give klines.")
    return True


def _open_time(text: str, place: str) -> str:
    """ISO time of a kline's open time, which is in milliseconds, or in microseconds (Binance since 2025)."""
    units = {13: 1000, 16: 1_000_000}
    digits = text.strip()
    unit = units.get(len(digits)) if digits.isdigit() else None
    if unit is None:
        raise InputError(f"{place}: open time {text!r} is neither milliseconds nor microseconds. Give klines.")
    if int(digits) % unit:
        raise InputError(f"{place}: open time {text!r} is not a whole second. Give klines of an hour.")
    return datetime.fromtimestamp(int(digits) // unit, UTC).isoformat()


def _hash(text: str, key: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise InputError(f"{key}: {text!r} is not a SHA-256, which has 64 hexadecimal digits. Take it from sha256sum.")
    return text.lower()


def _check_hash(found: str, expected: str, name: str) -> None:
    if found != expected:
        raise InputError(
            f"{name}: SHA-256 is {found}, expected {expected}. It is not the file that was meant: get that "
            "one, or set the new hash if the change is intended."
        )
