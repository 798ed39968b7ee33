"""Files and folders that appear whole or not at all, whatever ends the writer."""

from __future__ import annotations

import errno
import hashlib
import stat
from types import SimpleNamespace

import pytest

from converters import files
from converters.files import append_lines, sha256_of, whole_file, whole_folder, write_text

INTERRUPTIONS = [RuntimeError("a fault"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_with_its_parents_and_ordinary_rights(tmp_path):
    path = tmp_path / "deep" / "er" / "note.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert "whole" == path.read_text()
    assert ["note.txt"] == names(path.parent)
    assert 0o666 & ~files._umask() == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=lambda each: type(each).__name__)
def test_a_file_keeps_its_old_content_when_the_writer_is_ended(tmp_path, interruption):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(type(interruption)), whole_file(path) as partial:
        partial.write_text("half")
        raise interruption
    assert "old" == path.read_text()
    assert ["note.txt"] == names(tmp_path)


def test_a_disk_that_fills_while_flushing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    path.write_text("old")

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert "old" == path.read_text()
    assert ["note.txt"] == names(tmp_path)


LIBRARIES = [RuntimeError("unexpected pos 86848 vs 86744"), OSError("497840 requested and 367584 written")]


@pytest.mark.parametrize("write", [whole_file, whole_folder])
@pytest.mark.parametrize("said", LIBRARIES, ids=lambda each: type(each).__name__)
def test_what_a_library_says_of_a_full_disk_becomes_the_system_s_own_error(tmp_path, monkeypatch, write, said):
    path = tmp_path / "deep" / "result"
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left") as raised, write(path):
        raise said
    assert (errno.ENOSPC, str(path)) == (raised.value.errno, raised.value.filename)
    assert [] == names(path.parent)


@pytest.mark.parametrize("said", LIBRARIES, ids=lambda each: type(each).__name__)
def test_an_error_with_room_on_the_disk_is_left_as_it_is(tmp_path, said):
    with pytest.raises(type(said)) as raised, whole_file(tmp_path / "result"):
        raise said
    assert said is raised.value


@pytest.mark.parametrize("interruption", INTERRUPTIONS, ids=lambda each: type(each).__name__)
def test_a_folder_keeps_its_old_content_when_the_writer_is_ended(tmp_path, interruption):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "model").write_text("old")
    with pytest.raises(type(interruption)), whole_folder(path) as partial:
        (partial / "model").write_text("half")
        raise interruption
    assert "old" == (path / "model").read_text()
    assert ["bundle"] == names(tmp_path)


def test_a_folder_replaces_the_old_one_entirely(tmp_path):
    path = tmp_path / "bundle"
    for name in ("first", "second"):
        with whole_folder(path) as partial:
            (partial / name).write_text(name)
    assert ["second"] == names(path)
    assert ["bundle"] == names(tmp_path)
    assert 0o777 & ~files._umask() == stat.S_IMODE(path.stat().st_mode)


def test_the_old_folder_comes_back_when_the_last_rename_fails(tmp_path, monkeypatch):
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "model").write_text("old")
    rename = files.Path.rename

    def failing(self, target):
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(files.Path, "rename", failing)
    with pytest.raises(OSError, match="No space left"), whole_folder(path) as partial:
        (partial / "model").write_text("new")
    assert "old" == (path / "model").read_text()
    assert ["bundle"] == names(tmp_path)


def test_a_hash_is_that_of_the_whole_content(tmp_path):
    content = bytes(range(256)) * 5000
    path = tmp_path / "large"
    path.write_bytes(content)
    assert hashlib.sha256(content).hexdigest() == sha256_of(path)


def test_lines_behind_a_cut_one_are_whole_and_the_cut_one_goes(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"seed": 1}\n{"se', encoding="utf-8")
    append_lines(path, '{"seed": 2}\n')
    append_lines(path, '{"λ": 3}\n')
    assert '{"seed": 1}\n{"seed": 2}\n{"λ": 3}\n' == path.read_text(encoding="utf-8")
    append_lines(tmp_path / "new.jsonl", "4\n")
    assert "4\n" == (tmp_path / "new.jsonl").read_text(encoding="utf-8")
