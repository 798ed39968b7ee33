"""The files of a virtual phone: where they may be, and that no path leads out."""

import errno
import os

import pytest

from android_bench.virtual_phone.files import PhoneFiles


@pytest.fixture
def files(tmp_path) -> PhoneFiles:
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "root").mkdir()
    return PhoneFiles(tmp_path / "root")


def write(files: PhoneFiles, path: str) -> None:
    os.close(files.open_for_writing(path, 0o644))


def refusal(work, *arguments) -> int | None:
    with pytest.raises(OSError) as caught:
        work(*arguments)
    return caught.value.errno


@pytest.mark.parametrize(
    "path", ["/data/local/tmp/a", "/data/local/tmp/deep/er/a", "/sdcard/a", "/data/local/tmp/x/../a"]
)
def test_the_writable_folders_take_files(files, path):
    write(files, path)

    assert files.stat(path).mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "path",
    [
        "/", "/etc/a", "/data/local/a", "/data/local/tmpfoo/a", "/data/local/tmp/../a", "/sdcard/../etc/a",
        "/data/local/tmp", "/sdcard/", "../../outside", "/../outside", "",
    ],
)  # fmt: skip
def test_nothing_is_written_anywhere_else(files, path):
    assert refusal(files.open_for_writing, path, 0o644) in (errno.EACCES, errno.EISDIR)
    assert (files.root.parent / "outside").read_text() == "secret"


@pytest.mark.parametrize("target", ["/outside", "../../../../outside", "{top}/outside", "{top}"])
def test_links_are_not_followed_in_either_direction(files, target):
    link = files.root / "data/local/tmp/link"
    link.symlink_to(target.format(top=files.root.parent))

    for path in ("/data/local/tmp/link", "/data/local/tmp/link/outside"):
        assert refusal(files.open_for_reading, path) in (errno.ELOOP, errno.ENOTDIR)
        assert refusal(files.open_for_writing, path, 0o644) in (errno.ELOOP, errno.ENOTDIR)
    assert (files.root.parent / "outside").read_text() == "secret"


def test_dots_stop_at_the_root(files):
    (files.root / "top").write_text("top")

    with os.fdopen(files.open_for_reading("/../../../top")) as stream:
        assert stream.read() == "top"


def test_what_is_no_file_is_not_read(files):
    os.mkfifo(files.root / "pipe")

    assert refusal(files.open_for_reading, "/pipe") == errno.EINVAL
    assert refusal(files.open_for_reading, "/data") == errno.EISDIR
    assert refusal(files.open_for_reading, "/") == errno.EISDIR
    assert refusal(files.open_for_reading, "/none") == errno.ENOENT


def test_a_pipe_is_not_written_to(files):
    os.mkfifo(files.root / "sdcard/pipe")

    assert refusal(files.open_for_writing, "/sdcard/pipe", 0o644) in (errno.ENXIO, errno.EINVAL)


@pytest.mark.parametrize("path", ["/sdcard/\0", "/sdcard/" + "x" * 1024])
def test_impossible_paths_are_refused(files, path):
    assert refusal(files.open_for_writing, path, 0o644) == errno.EINVAL


def test_no_descriptor_is_left_open(files):
    (files.root / "top").write_text("")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    for path in ("/top/x", "/none/x", "/data/x", "/data/local"):
        for work in (files.stat, files.entries, files.open_for_reading):
            try:
                found = work(path)
            except OSError:
                continue
            assert not isinstance(found, int)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
