"""Container images: made where they are missing, base first, or taken from a folder, and listed with their SHA-256.

`make containers` calls it; with --software-deployment-method apptainer, Snakemake does before the first job.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from images import FOLDER, ROOT, image_path, read_definition, root_arguments, with_bases
from isolation import arguments, scratch_folder
from registry import RegistryError, digest_of
from sums import SUMS, base_sha256, listed, read_sums, sha256, sha256_of

# Fast: half a minute of CPU less, 6% more bytes. gzip is what every cluster's kernel reads.
_COMPRESSION = {"APPTAINER_MKSQUASHFS_ARGS": "-Xcompression-level 1"}


class ContainerError(Exception):
    """An image that cannot be had; the message is one line that says why and what to do."""


def given_arguments(project: Path, bootstrap: str, base: str | None, folder: Path | None) -> dict[str, str]:
    """Build arguments of the root definition from the configuration, with the digest of a given image.

    Without one where that is neither there nor known: :func:`provide` refuses it then, and a run that needs no image
    does not care.

    Parameters
    ----------
    project
        The project's folder.
    bootstrap, base
        The configuration's.
    folder
        Where finished images lie, if the configuration names a folder.
    """
    given = root_arguments(bootstrap, base)
    if bootstrap == "localimage" and base is not None:
        digest = base_sha256(project, base, project / FOLDER, folder)
        given |= {"digest": f"sha256:{digest}"} if digest else {}
    return given


def provide(
    project: Path,
    names: Iterable[str],
    given: Mapping[str, str],
    folder: Path | None = None,
    scratch: str | None = None,
) -> list[Path]:
    """See to it that images are there.

    Parameters
    ----------
    project
        The project's folder.
    names
        Names of definitions.
    given
        Build arguments of the root definition, by :func:`given_arguments`.
    folder
        Where finished images lie, with their SHA256SUMS; None to build what is missing.
    scratch
        Where temporary files go; None for TMPDIR.

    Returns
    -------
    list[Path]
        The images that were made now.

    Raises
    ------
    ContainerError
        If an image cannot be built, or is missing in `folder` or another one than its SHA256SUMS says.
    """

    def missing_of(some: Iterable[str]) -> list[str]:
        return [name for name in dict.fromkeys(some) if not (project / image_path(project, name, given)).exists()]

    names = list(names)
    if given["bootstrap"] == "localimage" and "digest" not in given and ROOT in with_bases(project, names):
        raise ContainerError(
            f"containers.base: {given.get('base')} is not there, and no {SUMS} says what it was: images are named after"
            f" its content. Copy it there, or the {SUMS} of where they were made to {folder or FOLDER}."
        )
    missing = missing_of(names)
    if folder is not None:
        return [_taken(folder, project / image_path(project, name, given)) for name in missing]
    missing = missing_of(with_bases(project, missing))
    if missing and not shutil.which("apptainer"):
        raise ContainerError(
            "apptainer: not found. Install Apptainer 1.2 or newer, or name a folder of finished images in"
            " containers.folder."
        )
    made: list[Path] = []
    while missing:  # first what the others are built on, then two at a time: half of a build keeps one core busy
        ready = [name for name in missing if read_definition(project, name).base not in missing]
        with ThreadPoolExecutor(max_workers=2) as pool:
            made += pool.map(lambda name: _built(project, name, given, scratch), ready)
        missing = [name for name in missing if name not in ready]
    return made


def record(project: Path, images: Iterable[str], file: Path) -> None:
    """Add images to a results' list of images: file name to SHA-256, as they are now.

    Raises
    ------
    ContainerError
        If one is not what it was when it was made or taken.
    """
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    sums = read_sums(project / FOLDER)
    for image in images:
        path = project / image
        found = sha256_of(path, path.parent)
        if sums.get(path.name, found) != found:
            raise ContainerError(
                f"{image}: its SHA-256 is {found}, {FOLDER}/{SUMS} says {sums[path.name]}: it was changed since it was"
                " made. Delete it, and the next run has it anew; if the change was meant, delete its line there."
            )
        known[path.name] = found if path.name in sums else listed(path, found)
    text = json.dumps(dict(sorted(known.items())), indent=2) + "\n"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)


def _built(project: Path, name: str, given: Mapping[str, str], scratch: str | None) -> Path:
    """Build one image, run its %test, and only then give it its name."""
    definition, image = read_definition(project, name), project / image_path(project, name, given)
    chosen = dict(definition.arguments) | (dict(given) if name == ROOT else {})
    chosen["version"] = image.stem.rpartition("-")[2]
    chosen |= _base(project, definition.base, given, chosen)
    log, partial = image.with_suffix(".log"), image.with_name(f".{image.stem}.{os.getpid()}.partial.sif")
    print(f"Building {image.name}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=scratch) as folder, open(log, "w", encoding="utf-8") as output:
        mounts, environment = pip_settings(project, Path(folder))
        settings = [part for key, value in chosen.items() for part in ("--build-arg", f"{key}={value}")]
        # --force: labels of the base are replaced.
        build = ["build", "--force", "--notest", *mounts, *settings]
        isolated = arguments("", project, scratch_folder(project, scratch), [], gpu=False).split(" ")
        try:
            _apptainer([*build, str(partial), f"{FOLDER}/{name}.def"], project, environment, output)
            _apptainer(["test", *isolated, str(partial)], project, {}, output)
            partial.replace(image)
        except subprocess.CalledProcessError:
            raise ContainerError(
                f"{FOLDER}/{name}.def: not built ({_cause(log)}). All that was said is in {FOLDER}/{log.name}."
            ) from None
        finally:
            partial.unlink(missing_ok=True)
    listed(image)
    print(f"{image.name}: {image.stat().st_size / 1e6:.0f} MB, {time.monotonic() - start:.0f} s", flush=True)
    return image


def _cause(log: Path) -> str:
    """The last line of a build that says something; Apptainer's own ones name an exit status."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line and not re.match("INFO:|WARNING:|FATAL: +While performing build|[+] ", line)]
    return said[-1] if said else "it said nothing"


def _base(project: Path, base: str | None, given: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Build arguments that say exactly what an image is built on, and its digest.

    The image keeps them: they name files from the project's folder on, where it is built, and not this machine's paths.
    """
    if base is not None:
        name = image_path(project, base, given)
        image = project / name
        return {"base": name, "digest": f"sha256:{read_sums(project / FOLDER).get(image.name) or listed(image)}"}
    if chosen["bootstrap"] == "localimage":
        given_image, link = (project / chosen["base"]).absolute(), project / FOLDER / ".given.sif"
        if not given_image.is_file():
            raise ContainerError(
                f"containers.base: {chosen['base']} is not there, and images have to be built on it. Copy it there, or"
                " take finished ones (containers.folder)."
            )
        link.unlink(missing_ok=True)
        link.symlink_to(given_image)
        return {"base": f"{FOLDER}/{link.name}"}
    if chosen["bootstrap"] == "docker":
        try:
            digest = digest_of(chosen["base"])
        except RegistryError as error:
            raise ContainerError(
                f"{chosen['base']}: {error}. Check the name and the connection, or set containers.bootstrap or"
                " containers.folder (config/README.md)."
            ) from None
        name = re.sub(":[^:/]+$", "", chosen["base"].partition("@")[0])
        return {"base": f"{name}@{digest}", "digest": digest}
    return {"digest": "none"}


def pip_settings(project: Path, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Mounts and variables that let pip in a build use this machine's cache, wheels and certificates.

    Only mount points that every image has: /mnt and /srv.
    """
    cache = project / FOLDER / ".pip"
    cache.mkdir(exist_ok=True)
    mounts = ["--bind", f"{cache}:/mnt"]
    told = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and "CONFIG" not in name}
    told |= {"PIP_CACHE_DIR": "/mnt/cache", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    wheels = Path(told.get("PIP_FIND_LINKS", "none"))
    if wheels.is_dir():
        mounts, told = [*mounts, "--bind", f"{wheels}:/srv:ro"], told | {"PIP_FIND_LINKS": "/srv"}
    certificates = told.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if certificates and Path(certificates).is_file():
        shutil.copy(certificates, cache / "certificates.crt")
        told["PIP_CERT"] = "/mnt/certificates.crt"
    return mounts, {f"APPTAINERENV_{name}": value for name, value in told.items()} | {"APPTAINER_TMPDIR": str(folder)}


def _apptainer(command: list[str], project: Path, environment: Mapping[str, str], output: TextIO) -> None:
    subprocess.run(
        ["apptainer", *command],
        cwd=project,
        env=_COMPRESSION | os.environ | dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        check=True,
    )


def _taken(folder: Path, image: Path) -> Path:
    """Take a finished image, if it is the one that its list says."""
    source, wanted = folder / image.name, read_sums(folder).get(image.name)
    if not source.is_file() or wanted is None:
        what = f"no {image.name}" if not source.is_file() else f"{SUMS} does not list {image.name}"
        raise ContainerError(
            f"{folder}: {what}. Build it where that is possible (make containers), and copy containers/*.sif and"
            f" containers/{SUMS}."
        )
    partial = image.with_name(f".{image.stem}.{os.getpid()}.partial.sif")
    print(f"Taking {image.name} from {folder}", flush=True)
    try:
        try:
            os.link(source, partial)
        except OSError:  # on another disk
            shutil.copyfile(source, partial)
            partial.chmod(0o755)
        found = sha256(partial)
        if found != wanted:
            raise ContainerError(f"{source}: its SHA-256 is {found}, {SUMS} says {wanted}. Copy it again.")
        partial.replace(image)
    finally:
        partial.unlink(missing_ok=True)
    listed(image, found)
    return image


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the container images that are missing.")
    parser.add_argument("--bootstrap", default="docker", help="docker, debootstrap or localimage")
    parser.add_argument("--base", help="image, Debian mirror or SIF that the root image starts from")
    parser.add_argument("--folder", type=Path, help="take finished images from there, checked by its SHA256SUMS")
    parser.add_argument("--scratch", help="folder for temporary files")
    parser.add_argument("names", nargs="+", help="definitions in containers/, without .def")
    options = parser.parse_args()
    try:
        given = given_arguments(Path.cwd(), options.bootstrap, options.base, options.folder)
        made = provide(Path.cwd(), options.names, given, options.folder, options.scratch)
    except (ContainerError, OSError) as error:
        sys.exit(f"containers: error: {error}")
    print(f"Containers: {len(made)} made, the others were there." if made else "Containers: all are there.")


if __name__ == "__main__":
    main()
