"""Who made the archive, and how it is cited: CITATION.cff, codemeta.json, Zenodo's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from archiving.cards import NOT_STATED
from archiving.source import Source
from common.errors import InputError

LICENCES = "https://spdx.org/licenses/"


def citation(text: bytes) -> dict[str, Any]:
    """CITATION.cff as it is read.

    Raises
    ------
    InputError
        If it lacks what the other descriptions are made of.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"CITATION.cff: not YAML ({' '.join(str(error).split())}).") from None
    for key in ("title", "abstract", "authors", "license"):
        if not isinstance(found, Mapping) or not found.get(key):
            raise InputError(f"CITATION.cff: no {key}. The archive says who made it and under which licence.")
    return dict(found)


def cited(text: bytes, source: Source, version: str) -> bytes:
    """CITATION.cff of an archive: with the commit that it is of, and a version where it states none of its own."""
    found = citation(text)
    if "commit" in found:
        raise InputError("CITATION.cff: names a commit, which cannot be its own. Delete the line; the archive adds it.")
    own = {"version": version, "commit": source.commit}
    stated = "".join(f'{key}: "{value}"\n' for key, value in own.items() if key not in found)
    whole = text.rstrip(b"\n") + b"\n" + stated.encode()
    if citation(whole) != own | found:
        raise InputError(
            "CITATION.cff: is in a form that nothing can be added to. Write each key on a line of its own."
        )
    return whole


def author_name(author: Mapping[str, Any]) -> str:
    """As Zenodo writes it: family name first, or the name of a group."""
    names = [author[key] for key in ("family-names", "given-names") if author.get(key)]
    return ", ".join(names) or str(author.get("name", "unknown"))


def codemeta(cff: Mapping[str, Any], version: str) -> dict[str, Any]:
    """codemeta.json, version 3.0."""
    people = []
    for author in cff["authors"]:
        if author.get("family-names"):
            person = {
                "@type": "Person",
                "familyName": author["family-names"],
                "givenName": author.get("given-names", ""),
            }
        else:
            person = {"@type": "Organization", "name": author_name(author)}
        people.append(person | ({"@id": author["orcid"]} if author.get("orcid") else {}))
    found = {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": cff["title"],
        "description": " ".join(cff["abstract"].split()),
        "author": people,
        "license": f"{LICENCES}{cff['license']}",
        "version": version,
        "programmingLanguage": "Python",
        "runtimePlatform": "Python 3.11",
        "operatingSystem": "Linux",
        "keywords": cff.get("keywords", []),
    }
    return found | ({"codeRepository": cff["repository-code"]} if cff.get("repository-code") else {})


def zenodo(cff: Mapping[str, Any], title: str, version: str, description: str, data: str | None) -> dict[str, Any]:
    """.zenodo.json: what Zenodo's form asks for.

    Parameters
    ----------
    data
        Licence of the data in it; None if nobody stated one: then the form must not say that all of it is free.
    """
    creators = []
    for author in cff["authors"]:
        creator = {"name": author_name(author)}
        creator |= {key: author[key] for key in ("affiliation",) if author.get(key)}
        creator |= {"orcid": author["orcid"].rpartition("/")[2]} if author.get("orcid") else {}
        creators.append(creator)
    return {
        "upload_type": "dataset",
        "title": title,
        "version": version,
        "description": description,
        "creators": creators,
        "license": data.lower() if data else "other-closed",
        "notes": f"Licence of the sources: {cff['license']}; of the market's data: {data or NOT_STATED}.",
        "access_right": "open",
        "keywords": cff.get("keywords", []),
    }
