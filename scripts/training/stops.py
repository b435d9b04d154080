"""A training that its own watch stopped stays stopped: tried again as it was, it would wait for GPUs to stop again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json, write_json
from grpo.stability import WatchError

MARKER = "stopped.json"
# What decides when a training stops, whether or not it is in the key, and how far it is to go.
WATCHING = (
    *("iterations", "spike_threshold", "spike_floor", "spike_action", "spike_limit", "straggler_ratio"),
    *("slime_straggler_window", "slime_straggler_limit"),
)


@contextlib.contextmanager
def remembered(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Leave a marker in the training's folder if its watch stops it in the block; with one, do not begin.

    Parameters
    ----------
    folder
        The training's own.
    settings
        Of train.py: those of `WATCHING` are compared with the marker's, and a marker of others is deleted.

    Raises
    ------
    InputError
        If the watch stops the training, or did so before with the same settings; names the marker.
    """
    if os.environ.get("RANK", "0") != "0":  # the first process does it for all
        yield
        return
    marker, watching = folder / MARKER, {name: settings[name] for name in WATCHING if name in settings}
    if marker.exists():
        stopped = read_json(marker)
        if stopped.get("settings") == watching:
            raise InputError(f"{stopped.get('reason')} {_until(marker)}")
        marker.unlink()
    try:
        yield
    except WatchError as stop:
        write_json(marker, {"reason": str(stop), "settings": watching})
        raise InputError(f"{stop} {_until(marker)}") from None


def _until(marker: Path) -> str:
    return f"Until that changes each new attempt ends with this line; delete {marker} to go on nevertheless."
