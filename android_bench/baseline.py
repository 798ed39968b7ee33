"""The baseline that a project compares with, `tkd.baseline/1`: artifacts and their hashes, never numbers.

`tkd-bench baseline set` writes the file; `compare` takes the bundles that it names, and only those very bundles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from android_bench.errors import BaselineError, RecordError
from converters.bundle import Bundle, read_bundle
from converters.bundle_folder import DOCUMENT
from converters.errors import BundleError
from converters.files import sha256_of, write_text

FORMAT = "tkd.baseline/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineModel:
    """One artifact of a baseline.

    Attributes:
        name: the bundle's name.
        folder: where it is, relative to the baseline's file, with forward slashes.
        sha256: of model.tflite.
        document_sha256: of model.json, which holds the hashes of all other files.
        synthetic: whether the data behind its accuracy is synthetic.
    """

    name: str
    folder: str
    sha256: str
    document_sha256: str
    synthetic: bool

    def __post_init__(self) -> None:
        hashes = (self.sha256, self.document_sha256)
        if not self.name or any(len(each) != 64 for each in hashes):
            raise RecordError(f"baseline '{self.name}' has hashes {hashes}; expected 64 digits each")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a project compares with.

    Attributes:
        models: the artifacts, each name once.
        origin: where they are from, in words: a release, a commit.
        set_utc: ISO 8601.
        tool: name and version of what wrote it.
    """

    models: tuple[BaselineModel, ...]
    origin: str
    set_utc: str
    tool: str

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) < len(names):
            raise RecordError(f"a baseline of models {', '.join(names) or '(none)'}; expected at least one, each once")


def write_baseline(path: Path, bundles: Sequence[Bundle], origin: str, now_utc: str, tool: str) -> Baseline:
    """Names the bundles in the file at `path`, which replaces an older one as a whole.

    Raises:
        RecordError: there are no bundles, or two of one name.
    """
    made = Baseline(
        models=tuple(
            BaselineModel(
                name=bundle.name,
                folder=Path(os.path.relpath(bundle.folder.resolve(), path.resolve().parent)).as_posix(),
                sha256=bundle.sha256,
                document_sha256=sha256_of(bundle.folder / DOCUMENT),
                synthetic=bundle.synthetic,
            )
            for bundle in bundles
        ),
        origin=origin,
        set_utc=now_utc,
        tool=tool,
    )
    write_text(path, json.dumps({"format": FORMAT, **asdict(made)}, indent=1, ensure_ascii=False) + "\n")
    return made


def read_baseline(path: Path) -> Baseline:
    """The baseline in the file at `path`; `baseline_bundles` looks whether its artifacts are there.

    Raises:
        BaselineError: there is no such file.
        RecordError: it is damaged, or of another format or version.
    """
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise BaselineError(f"no baseline at {path}; name one with: tkd-bench baseline set BUNDLE") from cause
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    seen = record.get("format") if isinstance(record, dict) else None
    if seen != FORMAT:
        newer = "; update this toolkit" if isinstance(seen, str) and seen.startswith("tkd.baseline/") else ""
        raise RecordError(f"{path} has format {seen!r}, expected '{FORMAT}'{newer}")
    try:
        models = tuple(BaselineModel(**item) for item in record["models"])
        return Baseline(models=models, origin=record["origin"], set_utc=record["set_utc"], tool=record["tool"])
    except (KeyError, TypeError) as cause:
        raise RecordError(f"{path} is damaged ({cause!r}); set it again") from cause


def baseline_bundles(path: Path) -> list[Bundle]:
    """The bundles that the file at `path` names, after their hashes agreed with it.

    Raises:
        BaselineError: the file or a bundle is gone, or a bundle is not the one that was named.
        RecordError: the file is damaged, or of another format or version.
    """
    return [_bundle(path, model) for model in read_baseline(path).models]


def _bundle(path: Path, model: BaselineModel) -> Bundle:
    folder = path.parent / model.folder
    if not (folder / DOCUMENT).is_file():
        raise BaselineError(
            f"the baseline {model.name} of {path} is gone: no bundle at {folder}; bring it back, or set another one"
        )
    try:
        bundle = read_bundle(folder)
    except BundleError as cause:
        raise BaselineError(f"the baseline {model.name} of {path} cannot be used: {cause}") from cause
    seen = (bundle.sha256, sha256_of(folder / DOCUMENT))
    if seen != (model.sha256, model.document_sha256):
        what = "model.tflite" if seen[0] != model.sha256 else DOCUMENT
        raise BaselineError(
            f"{folder} is not the baseline {model.name} of {path}: its {what} has another hash; a baseline is an "
            "artifact that stays as it is: bring it back, or set this one with tkd-bench baseline set"
        )
    return bundle
