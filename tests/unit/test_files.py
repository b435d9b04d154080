"""JSON files that cannot be read are one line that names the file and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InputError
from common.files import read_json, read_jsonl

DEEP, LONG = b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"\0", DEEP, LONG, b"[]", b"null"])
def test_what_is_no_json_object_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"one\.json: (not JSON|JSON, but no object).*Delete it and make it again\.$"):
        read_json(path)


@pytest.mark.parametrize("content", [b"{", b"\0", DEEP, LONG, b"[]", b"null"])
def test_a_line_that_is_no_json_object_is_refused_by_its_number(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"{}\n" + content + b"\n")
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: not a JSON object .*Make the file again\.$"):
        read_jsonl(path)
