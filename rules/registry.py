"""Digest of an image in a registry: what a tag means today, without pulling it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request

_KINDS = ", ".join(
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)
_TIMEOUT_S = 30


class RegistryError(Exception):
    """A registry that gives no digest."""


def parts_of(image: str) -> tuple[str, str, str]:
    """Host, repository and tag (or digest) of an image's name, as Docker reads it.

    >>> parts_of("python:3.11-slim")
    ('registry-1.docker.io', 'library/python', '3.11-slim')
    """
    name, _, digest = image.partition("@")
    host, slash, rest = name.partition("/")
    if not slash or not (re.search("[.:]", host) or host == "localhost"):
        host, rest = "registry-1.docker.io", name if slash else f"library/{name}"
    elif host == "docker.io":
        host, rest = "registry-1.docker.io", rest if "/" in rest else f"library/{rest}"
    repository, _, tag = rest.partition(":")
    return host, repository, digest or tag or "latest"


def digest_of(image: str) -> str:
    """The digest, ``sha256:...``, that an image's name stands for.

    Raises
    ------
    RegistryError
        If the registry cannot be reached or does not have the image.
    """
    host, repository, tag = parts_of(image)
    if tag.startswith("sha256:"):
        return tag
    scheme = "http" if re.fullmatch(r"(localhost|127\.0\.0\.1)(:\d+)?", host) else "https"
    address = f"{scheme}://{host}/v2/{repository}/manifests/{tag}"
    try:
        try:
            return _digest(address, {})
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            token = _token(error.headers.get("WWW-Authenticate", ""))
            return _digest(address, {"Authorization": f"Bearer {token}"})
    except urllib.error.HTTPError as error:
        raise RegistryError(f"the registry answers {error.code} {error.reason}") from None
    except (OSError, ValueError, KeyError) as error:
        raise RegistryError(f"the registry cannot be asked ({getattr(error, 'reason', error)})") from None


def _digest(address: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(address, headers={"Accept": _KINDS} | headers, method="HEAD")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        digest = answer.headers.get("Docker-Content-Digest", "")
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError("no digest in its answer")
    return digest


def _token(challenge: str) -> str:
    """A token for anybody, from where the registry says."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({key: said[key] for key in ("service", "scope") if key in said})
    with urllib.request.urlopen(f"{said['realm']}?{query}", timeout=_TIMEOUT_S) as answer:
        body = json.load(answer)
    return body.get("token") or body["access_token"]
