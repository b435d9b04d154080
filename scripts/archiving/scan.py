"""What must never be published: secrets, tokens, folders of a person's home, names of machines."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from archiving.collect import WEIGHTS

# Tokens whose form gives them away, wherever they stand.
TOKENS = {
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "an AWS key": rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "an API key": rb"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}",
    "a Google key": rb"\bAIza[A-Za-z0-9_-]{35}",
    "a Slack token": rb"\bxox[abposr]-[A-Za-z0-9-]{20,}",
    "a PyPI token": rb"\bpypi-[A-Za-z0-9_-]{50,}",
    "a password in an address": rb"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}$]+:[^\s/@\"'<>{}$]{3,}@",
}
# What only the run's own files are searched for: in program texts such words mean other things.
ASSIGNED = rb"(?i)(?:password|passwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token|[?&]token)[\"']?\s*[=:]\s*"
FACTS = {
    "a secret": ASSIGNED + rb"[\"']?[A-Za-z0-9/+_.~-]{8,}",
    "a home folder": rb"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[A-Za-z0-9_.-]+",
}
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
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
    """

    home: str
    hosts: tuple[str, ...]
    environment: Mapping[str, str]
    _everywhere: dict[str, re.Pattern[bytes]] = field(init=False, default_factory=dict)
    _facts: dict[str, re.Pattern[bytes]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        everywhere = dict(TOKENS)
        values = {v for k, v in self.environment.items() if SECRET_NAME.search(k) and len(v) >= 8 and "/" not in v}
        if values:
            everywhere["a secret of this environment"] = b"|".join(re.escape(v.encode()) for v in sorted(values))
        facts = dict(FACTS)
        home = self.home.rstrip("/")
        if len(PurePath(home).parts) > 2:
            everywhere["the home folder"] = re.escape(home.encode()) + rb"(?![A-Za-z0-9_-])"
        elif len(home) > 1:  # such as /root, which program texts may name for reasons of their own
            facts["the home folder"] = rb"(?<![A-Za-z0-9_.<-])" + re.escape(home.encode()) + rb"(?=[/\"'\s]|$)"
        hosts = {h for host in self.hosts for h in (host, host.partition(".")[0]) if h and h not in ORDINARY_HOSTS}
        if hosts:
            names = b"|".join(re.escape(host.encode()) for host in sorted(hosts, key=lambda h: (-len(h), h)))
            facts["the name of this machine"] = rb"(?<![A-Za-z0-9_.-])(?:" + names + rb")(?![A-Za-z0-9_-])"
            everywhere["the name of this machine"] = rb"(?<=@)(?:" + names + rb")(?![A-Za-z0-9_-])"
        self._everywhere.update({what: re.compile(pattern) for what, pattern in everywhere.items()})
        self._facts.update({what: re.compile(pattern) for what, pattern in (everywhere | facts).items()})

    def problems(self, texts: Iterable[tuple[str, bytes]], program_text: bool = False) -> list[str]:
        """One line for each thing found in each text, with its place, never the thing itself.

        Parameters
        ----------
        texts
            Name and content.
        program_text
            Whether these are sources, which are searched for tokens only.
        """
        patterns = self._everywhere if program_text else self._facts
        found = []
        for name, text in texts:
            # In JSON a line's end is two letters, of which the second is none of the word behind it.
            content = text.replace(b"\\n", b"  ").replace(b"\\t", b"  ")
            for what, pattern in patterns.items():
                match = pattern.search(content)
                if match:
                    line = content.count(b"\n", 0, match.start()) + 1
                    start = match[0][:4].decode("utf-8", "replace")
                    found.append(f"{name}, line {line}: {what} ({start}...)")
        return found


def readable(name: str, content: Path | bytes) -> Iterator[tuple[str, bytes]]:
    """What a file says: of a PowerPoint file its parts, of a picture its notes, of weights and images nothing.

    They are noise, in which any short name turns up sooner or later, and compressed pixels are, too; and many are too
    large to be read whole. A git bundle is searched as the texts that it holds.
    """
    if WEIGHTS.fullmatch(name) or name.endswith((".sif", ".bundle")):
        return
    blob = content if isinstance(content, bytes) else content.read_bytes()
    if name.endswith(".pptx"):
        with zipfile.ZipFile(io.BytesIO(blob)) as deck:
            for part in deck.namelist():
                yield from readable(f"{name}, {part}", deck.read(part))
    elif name.endswith(".png"):
        yield name, b"\n".join(png_notes(blob))
    else:
        yield name, blob


def png_notes(blob: bytes) -> Iterator[bytes]:
    """The texts in a PNG file."""
    at = 8
    while at + 8 <= len(blob):
        size, kind = struct.unpack(">I4s", blob[at : at + 8])
        data = blob[at + 8 : at + 8 + size]
        at += 12 + size
        if kind in (b"zTXt", b"iTXt"):
            keyword, _, rest = data.partition(b"\0")
            try:
                packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[2]
                data = keyword + b" " + zlib.decompress(packed)
            except (zlib.error, IndexError):
                pass  # an iTXt need not be compressed
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            yield data
