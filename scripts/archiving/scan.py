"""What must never be published: secrets, tokens, folders of a person's home, names of machines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

# Tokens whose form gives them away, wherever they stand.
TOKENS = {
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "an AWS key": rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "an API key": rb"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}",
    "a Google key": rb"\bAIza[A-Za-z0-9_-]{35}",
    "a Slack token": rb"\bxox[abposr]-[A-Za-z0-9-]{20,}",
    "a Slack address": rb"\bhooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,}",
    "a Docker token": rb"\bdckr_pat_[A-Za-z0-9_-]{20,}",
    "a Weights & Biases key": rb"\bwandb_v\d_[A-Za-z0-9_]{30,}",
    "a web token": rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}",
    "a password of .netrc": rb"\bmachine\s+\S+\s+login\s+\S+\s+password\s+[^\s<{$]{6,}",
    "a PyPI token": rb"\bpypi-[A-Za-z0-9_-]{50,}",
    "an authorization header": rb"(?i)(?:\bbearer|\bauthorization\W{1,6}(?:basic|token))\s+"
    rb"(?=[A-Za-z._~+/=-]*\d)[A-Za-z0-9._~+/=-]{12,}",
    "a password in an address": rb"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}$]+:[^\s/@\"'<>{}$]{3,}@",
}
# What only the run's own files are searched for: in program texts such words mean other things.
ASSIGNED = (
    rb"(?i)(?:password|passwd|secret|api[_-]?key|access[_-]?(?:token|key)|auth[_-]?token|[?&]token)[\"']?\s*[=:]\s*"
)
FACTS = {
    "a secret": ASSIGNED + rb"[\"']?[A-Za-z0-9/+_.~-]{8,}",
    "a home folder": rb"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[A-Za-z0-9_.-]+",
}
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
# Where a file says who made it: of a deck, a picture, a drawing.
SIGNED = re.compile(r"docProps/|\.png$|, metadata$")
ORDINARY_USERS = frozenset({"root", "user", "runner", "nobody"})
ORDINARY_HOSTS = frozenset({"localhost", "localdomain", "ip6-localhost"})


@dataclass(frozen=True)
class Scanner:
    """Finds what must not be published.

    Parameters
    ----------
    home
        The user's home folder.
    hosts
        Names of this machine.
    environment
        Variables; the values of those named like secrets are searched for.
    project
        The project's folder.
    user
        Who is logged in: looked for in absolute paths and where a file says who made it.
    """

    home: str
    hosts: tuple[str, ...]
    environment: Mapping[str, str]
    project: str = ""
    user: str = ""
    _everywhere: dict[str, re.Pattern[bytes]] = field(init=False, default_factory=dict)
    _facts: dict[str, re.Pattern[bytes]] = field(init=False, default_factory=dict)
    _names: dict[str, re.Pattern[bytes]] = field(init=False, default_factory=dict)
    _signed: dict[str, re.Pattern[bytes]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        everywhere = dict(TOKENS)
        values = {v for k, v in self.environment.items() if SECRET_NAME.search(k) and len(v) >= 8 and "/" not in v}
        if values:
            everywhere["a secret of this environment"] = b"|".join(re.escape(v.encode()) for v in sorted(values))
        facts, in_names = dict(FACTS), {}
        home, project = self.home.rstrip("/"), self.project.rstrip("/")
        if len(PurePath(project).parts) > 2:
            facts["the project's folder"] = (
                rb"(?<![A-Za-z0-9_.-])" + re.escape(project.encode()) + rb"(?![A-Za-z0-9_-])"
            )
        if len(PurePath(home).parts) > 2:
            everywhere["the home folder"] = re.escape(home.encode()) + rb"(?![A-Za-z0-9_-])"
            parts = rb"[^A-Za-z0-9]+".join(re.escape(part.encode()) for part in PurePath(home).parts[1:])
            in_names["the home folder"] = rb"(?<![A-Za-z0-9])" + parts + rb"(?![A-Za-z0-9])"
        elif len(home) > 1:  # such as /root, which program texts may name for reasons of their own
            facts["the home folder"] = rb"(?<![A-Za-z0-9_.<-])" + re.escape(home.encode()) + rb"(?=[/\"'\s]|$)"
        hosts = {h for host in self.hosts for h in (host, host.partition(".")[0]) if h and h not in ORDINARY_HOSTS}
        if hosts:
            names = b"|".join(re.escape(host.encode()) for host in sorted(hosts, key=lambda h: (-len(h), h)))
            facts["the name of this machine"] = rb"(?<![A-Za-z0-9_.-])(?:" + names + rb")(?![A-Za-z0-9_-])"
            everywhere["the name of this machine"] = rb"(?<=@)(?:" + names + rb")(?![A-Za-z0-9_-])"
            in_names["the name of this machine"] = rb"(?<![A-Za-z0-9])(?:" + names + rb")(?![A-Za-z0-9])"
        signed = {}
        if self.user and self.user not in ORDINARY_USERS:
            user = re.escape(self.user.encode())
            absolute = rb"(?<![A-Za-z0-9_.:/<-])(?:/[A-Za-z0-9_.-]+){0,4}/"
            facts["the user's name"] = absolute + user + rb"(?![A-Za-z0-9_.-])"
            signed["the user's name"] = rb"(?<![A-Za-z0-9_.-])" + user + rb"(?![A-Za-z0-9_-])"
        self._everywhere.update({what: re.compile(pattern) for what, pattern in everywhere.items()})
        self._facts.update({what: re.compile(pattern) for what, pattern in (everywhere | facts).items()})
        self._signed.update({what: re.compile(pattern) for what, pattern in (everywhere | facts | signed).items()})
        self._names.update({what: re.compile(pattern) for what, pattern in (everywhere | facts | in_names).items()})

    def problems(self, texts: Iterable[tuple[str, bytes]], program_text: bool = False) -> list[str]:
        """One line for each thing found in each text, with its place, never the thing itself.

        Parameters
        ----------
        texts
            Name and content.
        program_text
            Whether these are sources, which are searched for tokens only.
        """
        found = []
        for name, text in texts:
            patterns = self._everywhere if program_text else self._signed if SIGNED.search(name) else self._facts
            for what, match, line in _matches(text, patterns):
                start = match[:4].decode("utf-8", "replace")
                found.append(f"{name}, line {line}: {what} ({start}...)")
        return found

    def name_problems(self, names: Iterable[str]) -> list[str]:
        """One line for each thing found in the names of files, in which a dash or a line stands for a slash, too."""
        return [f"{name}: {what} in its name" for name in names for what, _, _ in _matches(name.encode(), self._names)]


def _matches(text: bytes, patterns: Mapping[str, re.Pattern[bytes]]) -> Iterator[tuple[str, bytes, int]]:
    """What is found in a text, each thing once: what it is, how it is written, and its line."""
    # In JSON a line's end is two letters, of which the second is none of the word behind it; a slash may be two, too.
    plain = text.replace(b"\\n", b"  ").replace(b"\\t", b"  ").replace(b"\\/", b"/")
    forms = [plain, plain.replace(b"\0", b"")] if b"\0" in plain else [plain]  # UTF-16 has a zero beside each letter
    for what, pattern in patterns.items():
        match = next(filter(None, map(pattern.search, forms)), None)
        if match:
            yield what, match[0], match.string.count(b"\n", 0, match.start()) + 1
