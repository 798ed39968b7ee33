from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from tkd.errors import SettingsError
from tkd.settings import from_table, load_settings, to_table


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"
    on: bool = False


@dataclass(frozen=True)
class Outer:
    name: str
    steps: int = 3
    weights: tuple[float, ...] = (0.0,)
    inner: Inner = field(default_factory=Inner)
    note: str | None = None


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_a_record_with_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "x"\nweights = [0, 0.5]\n[inner]\nrate = 1\n')
    assert load_settings(path, Outer) == Outer(name="x", weights=(0.0, 0.5), inner=Inner(rate=1.0))


def test_overrides_win_over_the_file_and_take_bare_words_as_strings(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "x"\n')
    loaded = load_settings(path, Outer, ["name=runs/other", "inner.rate=0.3", "weights=[1]", "inner.on=true"])
    assert loaded == Outer(name="runs/other", weights=(1.0,), inner=Inner(rate=0.3, on=True))


def test_a_record_survives_the_way_to_a_table_and_back() -> None:
    record = Outer(name="x", weights=(0.0, 1.0), inner=Inner(kind="b"))
    assert from_table(Outer, to_table(record), "test") == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\nstepz = 3', "no setting is called 'stepz'; did you mean 'steps'?"),
        ('name = "x"\n[inner]\nrat = 3', "no setting is called 'rat'; did you mean 'rate'?"),
        ('name = "x"\nsteps = "3"', "steps: expected int, saw '3'"),
        ('name = "x"\nsteps = true', "steps: expected int, saw True"),
        ('name = "x"\nsteps = 3.5', "steps: expected int, saw 3.5"),
        ('name = "x"\nweights = 3', "weights: expected a list, saw 3"),
        ('name = "x"\nweights = ["a"]', "weights[0]: expected float, saw 'a'"),
        ('name = "x"\ninner = 3', "inner: expected a table, saw 3"),
        ('name = "x"\n[inner]\nkind = "c"', "no choice is called 'c'"),
        ("steps = 3", "missing setting name"),
        ("name = ", "is not valid TOML"),
    ],
)
def test_a_bad_setting_is_named_with_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text), Outer)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no configuration file .*nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml", Outer)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "expected table.key=value"),
        ("=3", "expected table.key=value"),
        ("name.x=3", "is a value, not a table"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, 'name = "x"'), Outer, [override])
    assert message in str(caught.value)
