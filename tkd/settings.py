"""Settings: TOML files and `--set` options become frozen dataclasses, or a sentence that says why not.

A dataclass is the schema: its fields give the keys, the types and the defaults.
Before this: a file or a command line. After this: whoever asked for the record (`tkd.train.config`).
Tested in `tests/tkd/test_settings.py`.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from converters.command_line import did_you_mean
from tkd.errors import SettingsError

Record = TypeVar("Record")


def load_settings(path: Path, schema: type[Record], overrides: Iterable[str] = ()) -> Record:
    """The record that a TOML file and `--set` options describe.

    Args:
        path: a TOML file; its tables are the record's nested dataclasses.
        schema: a dataclass, every field of which has a type that TOML can say.
        overrides: `table.key=value` strings, the value in TOML's own notation (bare words are taken as strings).

    Raises:
        SettingsError: the file is missing or no TOML; a key is unknown; a value has the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise SettingsError(f"there is no configuration file {path}") from cause
    except OSError as cause:
        raise SettingsError(f"{path} cannot be read ({cause.strerror}); expected a TOML file") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise SettingsError(f"{path} is not valid TOML: {cause}") from cause
    for override in overrides:
        _apply(table, override)
    return from_table(schema, table, str(path))


def from_table(schema: type[Record], table: Mapping[str, Any], where: str) -> Record:
    """The record that a nested mapping describes; `where` names the source in messages.

    >>> from tkd.settings import from_table
    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Size:
    ...     width: float
    >>> from_table(Size, {"width": 2}, "example")
    Size(width=2.0)
    """
    hints = typing.get_type_hints(schema)
    names = [field.name for field in dataclasses.fields(schema)]  # type: ignore[arg-type]  # callers give dataclasses
    values = {}
    for key, value in table.items():
        if key not in hints:
            raise SettingsError(f"{where}: {did_you_mean(key, names, 'setting')}")
        values[key] = _convert(value, hints[key], f"{where}: {key}")
    required = [
        field.name
        for field in dataclasses.fields(schema)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise SettingsError(f"{where}: missing setting{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    return schema(**values)


def to_table(record: Any) -> dict[str, Any]:
    """The inverse of `from_table`, for writing a record into JSON or a checkpoint."""
    return dataclasses.asdict(record)


def _convert(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{where}: expected a table, saw {value!r}")
        return from_table(hint, value, where)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        return None if value is None else _convert(value, inner[0], where)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise SettingsError(f"{where}: {did_you_mean(str(value), map(str, choices), 'choice')}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SettingsError(f"{where}: expected a list, saw {value!r}")
        return tuple(_convert(item, typing.get_args(hint)[0], f"{where}[{i}]") for i, item in enumerate(value))
    return _scalar(value, hint, where)


def _scalar(value: Any, hint: type, where: str) -> Any:
    # bool is a subclass of int in Python: `steps = true` must not become 1.
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise SettingsError(f"{where}: expected {hint.__name__}, saw {value!r}")


def _apply(table: dict[str, Any], override: str) -> None:
    """Puts one `table.key=value` into a nested dictionary."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise SettingsError(f"--set {override}: expected table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    inner = table
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {override}: '{key}' is a value, not a table")
    inner[keys[-1]] = value
