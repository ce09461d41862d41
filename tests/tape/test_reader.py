"""Files that hold tapes: found by content, read to the first place that is not whole."""

import gzip
import os
from pathlib import Path

import pytest

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.tape import lines as lines_module
from cryptostream.tape.frames import read
from cryptostream.tape.reader import Line, find, recognise

FRAMES = b'1000 {"n":1}\n2000 {"n":2}\n3000 {"n":3}\n'
ENTRIES = b'{"stream":"trades:BTCUSDT","id":"5-1","price":"1"}\n'
READ = [Line(1000, b'{"n":1}', 1), Line(2000, b'{"n":2}', 2), Line(3000, b'{"n":3}', 3)]


def file(folder: Path, content: bytes, name: str = "tape") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def whole(path: Path, *, skip_bad: bool = False) -> tuple[list[Line[bytes]], str]:
    """What is whole in a file, and what its damage says."""
    found: list[Line[bytes]] = []
    try:
        found.extend(read(path, skip_bad=skip_bad))
    except DataQuality as damage:
        return found, str(damage)
    return found, ""


@pytest.mark.parametrize("name", ["tape", "tape.gz", "tape.txt"])
def test_plain_and_gzip_are_told_by_content(tmp_path: Path, name: str) -> None:
    assert whole(file(tmp_path, FRAMES, name)) == (READ, "")
    assert whole(file(tmp_path, gzip.compress(FRAMES[:13]) + gzip.compress(FRAMES[13:]), name)) == (READ, "")


ENDINGS = {
    "no newline, but a whole frame": (FRAMES[:-1], 3, ""),
    "inside a frame": (FRAMES[:-3], 2, "line 3, byte 36: the file ends inside a line"),
    "inside a receive time": (FRAMES[:-10], 2, "line 3, byte 29: the file ends inside a line"),
    "nothing": (b"", 0, ""),
}


@pytest.mark.parametrize(("content", "frames", "said"), ENDINGS.values(), ids=ENDINGS)
def test_a_cut_file_gives_what_is_whole_and_names_the_place(
    tmp_path: Path, content: bytes, frames: int, said: str
) -> None:
    path = file(tmp_path, content)
    found, damage = whole(path)

    assert found == READ[:frames]
    assert damage.endswith(said) and damage.startswith(str(path) if said else "")


def test_a_cut_gzip_names_line_and_byte(tmp_path: Path) -> None:
    one, two = gzip.compress(FRAMES[:26]), gzip.compress(FRAMES[26:])
    path = file(tmp_path, one + two[:12])

    assert whole(path) == (
        READ[:2],
        f"{path} is damaged at line 3, byte {len(one) + 12}: the file ends inside a gzip member",
    )


def test_a_bad_line_ends_the_tape_unless_it_is_skipped(tmp_path: Path) -> None:
    path = file(tmp_path, FRAMES[:13] + b"\nnonsense\n" + FRAMES[13:])
    tape = read(path, skip_bad=True)

    assert whole(path) == (READ[:1], f"{path}: line 2 cannot be read: it does not start with a receive time")
    assert [line.item for line in tape] == [line.item for line in READ]
    assert tape.bad == 2


def test_skipping_goes_on_behind_a_damaged_gzip_member(tmp_path: Path) -> None:
    members = [gzip.compress(FRAMES[at : at + 13]) for at in (0, 13, 26)]
    members[1] = members[1][:-6] + b"\0\0" + members[1][-4:]
    path = file(tmp_path, b"".join(members))
    tape = read(path, skip_bad=True)

    assert [line.at for line in tape] == [1000, 3000]
    assert tape.bad >= 1


def test_skipping_a_cut_end_counts_it(tmp_path: Path) -> None:
    tape = read(file(tmp_path, FRAMES[:-3]), skip_bad=True)

    assert [line.at for line in tape] == [1000, 2000]
    assert tape.bad == 1


def test_a_line_without_end_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_LINE", 1000)
    monkeypatch.setattr(lines_module, "_PIECE", 100)
    path = file(tmp_path, FRAMES + b"4000 " + b"x" * 5000 + b"\n" + b"5000 {}\n")

    assert whole(path)[0] == READ
    assert "a line of more than" in whole(path)[1]
    assert [line.at for line in whole(path, skip_bad=True)[0]] == [1000, 2000, 3000, 5000]


def test_position_ends_at_the_size(tmp_path: Path) -> None:
    tape = read(file(tmp_path, gzip.compress(FRAMES)))
    assert (tape.position, tape.size) == (0, len(gzip.compress(FRAMES)))

    assert len(list(tape)) == 3
    assert tape.position == tape.size


def test_a_tape_can_be_read_twice(tmp_path: Path) -> None:
    tape = read(file(tmp_path, FRAMES[:13] + b"bad\n" + FRAMES[13:]), skip_bad=True)

    assert list(tape) == list(tape)
    assert tape.bad == 1


def test_entries_are_no_frames(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no frames"):
        read(file(tmp_path, ENTRIES))


def test_a_folder_gives_its_tapes_and_names_the_rest(tmp_path: Path) -> None:
    file(tmp_path, FRAMES, "b/deep.raw")
    file(tmp_path, gzip.compress(FRAMES), "a.txt")
    file(tmp_path, ENTRIES, "c.jsonl")
    other = file(tmp_path, b"# What lies here\n\nTapes.\n", "README.md")
    found = find([tmp_path])

    assert [tape.path.name for tape in found.frames] == ["a.txt", "deep.raw"]
    assert [tape.path.name for tape in found.entries] == ["c.jsonl"]
    assert found.others == [(other, "not a tape")]


def test_a_tape_that_is_named_twice_is_found_once(tmp_path: Path) -> None:
    path = file(tmp_path, FRAMES)

    assert len(find([path, tmp_path, tmp_path / "." / "tape"]).frames) == 1


def test_a_damaged_start_is_a_tape_whose_reading_tells(tmp_path: Path) -> None:
    path = file(tmp_path, gzip.compress(FRAMES)[:11])
    (tape,) = find([tmp_path]).frames

    with pytest.raises(DataQuality, match=f"{path.name} is damaged"):
        list(tape)


def test_links_out_of_a_folder_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = file(tmp_path, FRAMES, "outside/secret")
    inside = file(tmp_path, FRAMES, "in/tape").parent
    (inside / "link").symlink_to(secret)
    (inside / "folder").symlink_to(secret.parent)
    (inside / "twin").symlink_to(inside / "tape")
    os.mkfifo(inside / "pipe")
    found = find([inside])

    assert [tape.path.name for tape in found.frames] == ["tape"]
    assert {path.name: reason for path, reason in found.others} == {
        "link": "a link out of the folder",
        "pipe": "not a regular file",
    }


def test_a_pipe_that_is_named_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="not a regular file"):
            find([path])


def test_a_named_file_that_is_no_tape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a tape"):
        find([file(tmp_path, b"hello\n")])


def test_nothing_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        find([tmp_path / "absent"])
    with pytest.raises(NotFound, match="no tape in"):
        find([tmp_path])


def test_a_form_is_looked_for_behind_a_bad_start(tmp_path: Path) -> None:
    tape = recognise(file(tmp_path, b"\n\n" + ENTRIES))

    assert tape is not None and tape.form.name == "entries"
