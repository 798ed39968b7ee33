"""Whether a folder may be filled by `tkd-data`: it is free, holds the same thing already, or holds something else.

Used by everything that makes a data set (`tkd.data.synth`, `tkd.data.events`, `tkd.data.noisy`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tkd.errors import DataError


def is_made(folder: Path, manifest: str, made_with: Mapping[str, Any], *, force: bool) -> bool:
    """Whether a folder holds exactly what is about to be made; False when it is free to be written.

    Args:
        folder: where the data set is to go.
        manifest: name of the file that says how a data set was made.
        made_with: `format` and `settings` that it must have.
        force: replace something else.

    Raises:
        DataError: the folder holds something else, and replacing that was not asked for or would be a disaster.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; expected a folder that does not exist yet; give another --out")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    seen = _settings(folder / manifest, made_with["format"])
    if seen == made_with["settings"] and not force:
        return True
    here = folder.resolve()
    if here in (Path.home(), Path.cwd(), *Path.cwd().parents):
        raise DataError(f"{folder} is not replaced, even with --force: the work happens in it; give another --out")
    if force:
        return False
    if seen is None:
        raise DataError(
            f"{folder} is not empty and was not made by tkd-data like this; give another --out, "
            "or --force to replace it"
        )
    different = {name: value for name, value in seen.items() if made_with["settings"].get(name) != value}
    listed = ", ".join(f"{name} {value}" for name, value in different.items())
    raise DataError(
        f"{folder} holds a data set of other settings ({listed}); give another --out, or --force to replace it"
    )


def _settings(path: Path, expected_format: str) -> dict[str, Any] | None:
    """The settings in a manifest, None when there is none of this format."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != expected_format:
        return None
    settings = manifest.get("settings")
    return settings if isinstance(settings, dict) else None
