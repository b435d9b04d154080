"""Which slime is installed, by the files of its repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slime_engine.commit import WRITTEN_AGAINST, said, slime_commit

OTHER = "ab" * 20


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"HEAD": WRITTEN_AGAINST}, WRITTEN_AGAINST),  # after git checkout of a tag or a commit
        ({"HEAD": "ref: refs/heads/main", "refs/heads/main": OTHER}, OTHER),
        ({"HEAD": "ref: refs/heads/main", "packed-refs": f"# pack-refs\n{OTHER} refs/heads/main\n"}, OTHER),
        ({"HEAD": "ref: refs/heads/main", "packed-refs": f"{OTHER} refs/heads/other\n"}, None),
        ({"HEAD": "ref: refs/heads/main"}, None),
        ({"HEAD": "something else"}, None),
        ({}, None),
    ],
)
def test_the_commit_is_read_where_slime_is_a_git_checkout(
    files: dict[str, str], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        path = tmp_path / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (tmp_path / "slime").mkdir()
    (tmp_path / "slime" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slime", raising=False)
    assert slime_commit() == expected


def test_another_commit_than_the_one_written_against_is_warned_of_in_one_line() -> None:
    assert said(WRITTEN_AGAINST) == [f"slime's commit is {WRITTEN_AGAINST}"]
    assert said(None) == ["slime's commit is not known: its sources are no git checkout"]
    plain, warning = said(OTHER)
    assert plain == f"slime's commit is {OTHER}"
    assert warning.startswith(f"train: warning: slime is at commit {OTHER}, this project was written against ")
    assert WRITTEN_AGAINST in warning
    assert "\n" not in warning
