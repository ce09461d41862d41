"""Reading gzip files that were torn, bent or made to explode."""

import gzip
import io
import random
import zlib

import pytest

from cryptostream.tape import gunzip
from cryptostream.tape.gunzip import HELD, Damaged, Gunzip

ONE, TWO, THREE = (gzip.compress(text * 50, mtime=0) for text in (b"one\n", b"two\n", b"three\n"))
WHOLE = (b"one\n" * 50, b"two\n" * 50, b"three\n" * 50)


def noise(size: int) -> bytes:
    """Text that hardly compresses."""
    return random.Random(1).randbytes(size // 2).hex().encode()


def read(data: bytes) -> tuple[bytes, Damaged | None]:
    """All that is whole, and the damage behind it."""
    found = b""
    try:
        for piece in Gunzip(io.BytesIO(data)).pieces():
            found += piece
    except Damaged as damage:
        return found, damage
    return found, None


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


SOUND = {
    "empty file": (b"", b""),
    "one member": (ONE, WHOLE[0]),
    "three members": (ONE + TWO + THREE, b"".join(WHOLE)),
    "an empty member": (ONE + gzip.compress(b"") + TWO, WHOLE[0] + WHOLE[1]),
    "zeros as padding": (ONE + b"\0" * 40_000 + TWO, WHOLE[0] + WHOLE[1]),
    "a large member": (gzip.compress(noise(3 * HELD)), noise(3 * HELD)),
}


@pytest.mark.parametrize(("data", "expected"), SOUND.values(), ids=SOUND)
def test_sound_files_read_like_gzip(data: bytes, expected: bytes) -> None:
    assert read(data) == (expected, None)


def test_position_counts_the_bytes_of_the_file() -> None:
    source = Gunzip(io.BytesIO(ONE + TWO))

    assert len([*source.pieces()]) == 2
    assert source.position == len(ONE + TWO)


def test_a_torn_member_gives_what_it_holds() -> None:
    torn = gzip.compress(noise(100_000))[:30_000]
    found, damage = read(ONE + torn)

    assert found.startswith(WHOLE[0] + noise(100_000)[:40_000])
    assert damage is not None and damage.offset == len(ONE) + 30_000
    assert "ends inside a gzip member" in damage.reason


def test_every_torn_length_gives_the_members_before_it() -> None:
    for length in range(1, len(TWO)):
        found, damage = read(ONE + TWO[:length])
        assert found.startswith(WHOLE[0]) and (WHOLE[0] + WHOLE[1]).startswith(found)
        assert damage is not None and damage.offset == len(ONE) + length


def test_no_flipped_byte_of_a_small_member_becomes_data() -> None:
    two, last = b"two %d\n" * 50 % (*range(50),), noise(50_000)
    packed, rest = gzip.compress(two), gzip.compress(last)
    damages = 0
    for at in range(10, len(packed)):  # the ten bytes before are the header, most of which nobody reads
        found, damage = read(ONE + flipped(packed, at) + rest)
        assert found == (WHOLE[0] if damage else WHOLE[0] + two + last), f"byte {at}"
        damages += damage is not None
    assert damages >= len(packed) - 11  # the last bits of a deflate stream can be padding


def test_damage_names_the_member_and_the_byte() -> None:
    _, damage = read(ONE + flipped(TWO, len(TWO) - 6) + THREE)

    assert damage is not None
    assert damage.reason == f"incorrect data check in the gzip member at byte {len(ONE):,}"
    assert len(ONE) < damage.offset <= len(ONE + TWO)


def test_a_large_member_gives_all_that_inflates_before_the_damage() -> None:
    text = noise(4 * HELD)
    packed = gzip.compress(text)
    spoilt = packed[: len(packed) * 3 // 4] + b"\xff" * 64 + packed[len(packed) * 3 // 4 + 64 :]
    found, damage = read(spoilt)

    assert damage is not None and damage.offset >= len(packed) * 3 // 4
    assert len(found) > len(text) * 0.7
    assert found[: len(text) * 7 // 10] == text[: len(text) * 7 // 10]


def test_garbage_behind_a_member_is_damage() -> None:
    found, damage = read(ONE + b"garbage")

    assert found == WHOLE[0]
    assert damage is not None and "incorrect header check" in damage.reason


@pytest.mark.parametrize("spoilt", [flipped(TWO, len(TWO) - 6), TWO[:-9], b"garbage", gunzip.MAGIC + b"\0" * 9])
def test_resync_goes_on_at_the_next_member(spoilt: bytes) -> None:
    source = Gunzip(io.BytesIO(ONE + spoilt + THREE))
    found = b""
    damages = 0
    while True:
        try:
            found += b"".join(source.pieces())
            break
        except Damaged:
            damages += 1
            assert source.resync()

    assert found.endswith(WHOLE[2])
    assert damages >= 1


def test_resync_without_a_member_behind_says_so() -> None:
    source = Gunzip(io.BytesIO(b"\x1f\x8b\x08" + b"x" * 50_000))
    with pytest.raises(Damaged):
        list(source.pieces())

    assert not source.resync()


def test_a_bomb_is_refused_by_its_ratio() -> None:
    found, damage = read(gzip.compress(b"\0" * (64 << 20)))

    assert damage is not None and "more than 200 times" in damage.reason
    assert len(found) < 40 << 20


def test_a_bomb_of_many_members_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunzip, "MAX_BYTES", 1 << 20)
    _, damage = read(gzip.compress(noise(300_000)) * 5)

    assert damage is not None and "expands to more than" in damage.reason


def test_any_bytes_end_in_data_or_damage() -> None:
    chance = random.Random(2)
    for _ in range(300):
        data = bytearray(ONE + TWO + THREE)
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        read(bytes(data[: chance.randrange(len(data) + 1)]))


def test_what_is_read_is_what_zlib_reads() -> None:
    text = noise(200_000)
    assert read(gzip.compress(text, 1) + gzip.compress(text, 9))[0] == zlib.decompress(gzip.compress(text), 31) * 2
