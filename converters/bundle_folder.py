"""What every kind of bundle is as a folder: written over with care, and read with every hash checked.

Used by `converters.bundle` and `converters.stream_bundle`. Standard library, numpy and `converters.files` only.
Tested in `tests/converters/test_bundle.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from converters.bundle_contents import Array
from converters.errors import BundleError
from converters.files import sha256_of

DOCUMENT = "model.json"
STREAM_FORMAT = "tkd.stream/1"
# What a folder of the one kind is good for, where the other was expected.
_HINTS = {
    STREAM_FORMAT: "a stream, which is run hop by hop; give it to tkd-eval --stream or tkd-bench stream",
    "tkd.bundle/1": "a model of whole clips, no stream; export one with tkd-export --streaming",
}


def bundle_folders(folder: Path) -> list[Path]:
    """The folders directly inside `folder` that hold a model.json, by name."""
    # Half-written folders have hidden names (converters.files); they are no bundles.
    return sorted(path.parent for path in folder.glob(f"*/{DOCUMENT}") if not path.parent.name.startswith("."))


def is_stream(folder: Path) -> bool:
    """Whether a folder holds a model that is run hop by hop, which `converters.stream_bundle` reads."""
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    seen = document.get("format") if isinstance(document, dict) else None
    return isinstance(seen, str) and seen.startswith(STREAM_FORMAT.partition("/")[0] + "/")


def check_overwrite(folder: Path, parents: Mapping[str, Any], files: Sequence[str], kind: str, *, force: bool) -> None:
    """Raises BundleError unless a bundle of these parents may be written at `folder`.

    Args:
        folder: where.
        parents: what the new bundle is made from.
        files: every file of a bundle of this kind, besides model.json.
        kind: its format and version.
        force: a bundle of other parents, or a damaged one, may go.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is in the way: expected a bundle or nothing; choose another --output")
    present = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in present if name not in (*files, DOCUMENT)]
    if present and DOCUMENT not in present:
        raise BundleError(f"{folder} is in the way: it is no bundle (no {DOCUMENT}); choose another --output")
    if foreign:
        raise BundleError(f"{folder} holds files that are no part of a bundle: {', '.join(foreign)}; move them away")
    if force or not present:
        return
    before = read_document(folder, kind, hint="--force overwrites it").get("parents", {})
    if not isinstance(before, Mapping):
        raise BundleError(f"{folder / DOCUMENT} is damaged (no parents); --force overwrites it")
    after = json.loads(json_text(parents, "parents"))
    differing = [
        f"{key} {_short(before.get(key))} → {_short(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    if differing:
        raise BundleError(f"{folder} was made from something else ({'; '.join(differing)}); --force overwrites it")


def read_document(folder: Path, kind: str, hint: str = "export the model again") -> dict[str, Any]:
    """The content of model.json, which has to be of this format and version, such as `tkd.bundle/1`."""
    path = folder / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise BundleError(f"{folder} is no bundle: it has no {DOCUMENT}; tkd-export writes one") from cause
    except ValueError as cause:
        raise BundleError(f"{path} is damaged (not JSON: {cause}); {hint}") from cause
    seen = document.get("format") if isinstance(document, dict) else None
    if seen == kind:
        return cast("dict[str, Any]", document)
    if isinstance(seen, str) and seen.startswith(kind.partition("/")[0] + "/"):
        raise BundleError(f"{folder} has format {seen}, expected {kind}; update this toolkit, or {hint}")
    if isinstance(seen, str) and seen in _HINTS:
        raise BundleError(f"{folder} holds {_HINTS[seen]}")
    raise BundleError(f"{path} is no bundle document: format {seen!r}, expected '{kind}'; {hint}")


def check_hash(path: Path, expected: str) -> None:
    """Raises BundleError unless the file is there and has this SHA-256."""
    if not path.is_file():
        raise BundleError(f"{path.parent} misses {path.name}; export the model again")
    seen = sha256_of(path)
    if seen != expected:
        raise BundleError(
            f"{path} was altered after the export: sha256 {seen}, expected {expected}; export the model again"
        )


def read_array(folder: Path, name: str, *, mapped: bool = False) -> Array:
    """An array of a bundle."""
    try:
        return cast("Array", np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False))
    except (ValueError, EOFError) as cause:
        raise BundleError(f"{folder / name} is no numpy array ({cause}); export the model again") from cause


def read_lines(path: Path) -> list[str]:
    """The lines of a text file of a bundle."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def json_text(content: Mapping[str, Any], name: str) -> str:
    """JSON of finite numbers, text and lists, for the file `name`."""
    try:
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    except (TypeError, ValueError) as cause:
        raise BundleError(
            f"{name} cannot be written as JSON ({cause}); expected finite numbers, text and lists"
        ) from cause


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"seen a {type(value).__name__}")


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
