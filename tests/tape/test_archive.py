"""Daily files of trades as exchanges publish them: every shape they come in, and what is no such file."""

import gzip
import hashlib
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.model.events import TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.tape import archive
from cryptostream.tape.archive import Archive, checksum, subject

TRADES = Subscription("binance", Channel.TRADES, "BTCUSDT")
AGGREGATES = Subscription("binance", Channel.AGG_TRADES, "BTCUSDT")
ROWS = (
    "3735683259,61837.63000000,0.02000000,1236.75260000,1723161255342,True,True\n"
    "3735683260,61837.64000000,0.00100000,61.83764000,1723161255342,False,True\n"
)
HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"
Pack = Callable[[Path, str], Path]


def bare(folder: Path, text: str) -> Path:
    path = folder / "BTCUSDT-trades-2024-08-08.csv"
    path.write_text(text)
    return path


def zipped(folder: Path, text: str) -> Path:
    path = folder / "BTCUSDT-trades-2024-08-08.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("BTCUSDT-trades-2024-08-08.csv", text)
    return path


def gzipped(folder: Path, text: str) -> Path:
    path = folder / "BTCUSDT-trades-2024-08-08.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def read(path: Path, subscription: Subscription = TRADES) -> list[TradeRecord]:
    return [trade for page in Archive(path, subscription) for trade in page]


@pytest.mark.parametrize("pack", [bare, zipped, gzipped])
@pytest.mark.parametrize("text", [ROWS, HEADER + ROWS, ROWS.rstrip(), ROWS.replace("\n", "\r\n")])
def test_a_file_is_read_however_it_is_packed_and_written(tmp_path: Path, pack: Pack, text: str) -> None:
    first, second = read(pack(tmp_path, text))

    assert (first.trade_id, first.price, first.qty, first.side) == (3735683259, "61837.63000000", "0.02000000", "sell")
    assert (second.trade_id, second.ts, second.side) == (3735683260, 1723161255342000, "buy")


@pytest.mark.parametrize("time", ["1723161255342", "1723161255342000", "1723161255342000000"])
def test_the_unit_of_a_time_is_told_by_its_size(tmp_path: Path, time: str) -> None:
    [trade] = read(bare(tmp_path, f"1,1.0,1.0,1.0,{time},true,true\n"))

    assert trade.ts == 1723161255342000


def test_aggregated_trades_have_their_own_columns(tmp_path: Path) -> None:
    [trade] = read(bare(tmp_path, "26129,0.01633102,4.70443515,27781,27783,1498793709153,True,True\n"), AGGREGATES)

    assert (trade.trade_id, trade.qty, trade.ts, trade.side) == (26129, "4.70443515", 1498793709153000, "sell")


def test_a_long_file_comes_in_pages(tmp_path: Path) -> None:
    path = zipped(tmp_path, "".join(f"{n},1.5,0.1,0.15,1723161255342,False,True\n" for n in range(1, 2502)))
    pages = list(Archive(path, TRADES))

    assert [len(page) for page in pages] == [1000, 1000, 501]
    assert [page[0].trade_id for page in pages] == [1, 1001, 2001]


BROKEN = {
    "a column short": ("1,1.0,1.0,1.0,1723161255342,True\n", "line 1 is no trade: 6 columns instead of 7"),
    "a price that is none": ("1,x,1.0,1.0,1723161255342,True,True\n", "line 1"),
    "a time of no unit": ("1,1.0,1.0,1.0,17231612553,True,True\n", "line 1 is no trade: time '17231612553'"),
    "a side that is none": ("1,1.0,1.0,1.0,1723161255342,yes,True\n", "line 1"),
    "ids that step back": (ROWS + ROWS, "line 3 is no trade: trade 3735683259 after 3735683260"),
    "a header further down": (ROWS + HEADER, "line 3"),
    "a row without end": ("1" * 10_000, "a row of more than 4,096 bytes"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_trade_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataQuality, match=said):
        read(bare(tmp_path, text))


def test_a_zip_with_a_flipped_bit_is_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path, ROWS * 1)
    body = bytearray(path.read_bytes())
    body[body.index(b".csv") + 20] ^= 0xFF
    path.write_bytes(body)

    with pytest.raises(DataQuality, match="is damaged"):
        read(path)


def test_a_zip_that_is_cut_is_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path, ROWS)
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(DataQuality, match="is damaged"):
        read(path)


def test_a_zip_holds_one_file(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("one.csv", ROWS)
        packed.writestr("two.csv", ROWS)

    with pytest.raises(DataQuality, match="2 files in it instead of one"):
        read(path)


def test_a_zip_that_expands_without_end_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, (" " * 4000 + "\n") * 5_000)

    with pytest.raises(DataQuality, match="expands more than 200 times"):
        read(path)


def test_a_zip_bomb_of_good_rows_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_RATIO", 3)
    path = zipped(tmp_path, "".join(f"{n},1.5,0.1,0.15,1723161255342,False,True\n" for n in range(1, 200_000)))

    with pytest.raises(DataQuality, match="expands more than 3 times"):
        read(path)


def test_what_a_zip_says_of_its_own_size_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_PIECE", 1 << 10)  # less than zipfile reads ahead, so that it does not meet the end
    path = zipped(tmp_path, (" " * 4000 + "\n") * 5_000)
    body = bytearray(path.read_bytes())
    directory = body.index(b"PK\x01\x02")
    body[directory + 20 : directory + 24] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(body)
    with zipfile.ZipFile(path) as packed:
        assert packed.infolist()[0].compress_size == 1 << 30

    with pytest.raises(DataQuality, match="expands more than 200 times"):
        read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_packed_as_no_exchange_does_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("odd.csv", ROWS)

    with pytest.raises(DataQuality, match=rf"odd\.zip is damaged: it is packed by method {method}"):
        read(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, ROWS)
    body = bytearray(path.read_bytes())
    body[body.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(body)

    with pytest.raises(DataQuality, match="is damaged: it is encrypted"):
        read(path)


def test_a_damaged_zip_is_a_damaged_file_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    chance = random.Random(7)
    rows = "".join(f"{n},61837.{n % 90 + 10},0.02,1,1723161255342,True,True\n" for n in range(1, 40))
    bodies = [packed_by(tmp_path, method, rows) for method in (*archive._METHODS, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    path = tmp_path / "damaged.zip"
    refused = 0
    for _ in range(1500):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.randint(1, 3)):
            # anywhere, in the directory at the end, or in the header at the beginning
            at = chance.choice([chance.randrange(len(body)), -1 - chance.randrange(80), chance.randrange(50)])
            body[at] = chance.randrange(256)
        path.write_bytes(body)
        try:
            read(path)
        except DataQuality as error:
            assert str(error).startswith(str(path))
            assert not str(error).endswith(": ")
            refused += 1
    assert refused > 1000


def packed_by(folder: Path, method: int, text: str) -> bytes:
    path = folder / "whole.zip"
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("rows.csv", text)
    return path.read_bytes()


@pytest.mark.parametrize("wrong", ["\xff\xfe", ""], ids=["a name that is no text", "no name"])
def test_a_zip_whose_directory_lies_about_a_name_is_damaged(tmp_path: Path, wrong: str) -> None:
    path = zipped(tmp_path, ROWS)
    body = bytearray(path.read_bytes())
    at = body.index(b"PK\x01\x02")
    body[at + 9] |= 0x08  # says that the name is UTF-8
    body[at + 46 : at + 46 + len(wrong)] = wrong.encode("latin-1")
    if not wrong:
        body[at + 28 : at + 30] = b"\0\0"
    path.write_bytes(body)

    with pytest.raises(DataQuality, match="is damaged"):
        read(path)


def test_a_folder_is_no_file_of_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="not a regular file"):
        checksum(Path())
    with pytest.raises(NotFound):
        checksum(tmp_path / "absent.zip")


def test_a_path_inside_a_zip_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "inside" / "evil.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("../../outside.csv", ROWS)

    assert len(read(path)) == 2
    assert [found.name for found in tmp_path.rglob("*.csv")] == []


def test_the_checksum_beside_a_file(tmp_path: Path) -> None:
    path = zipped(tmp_path, ROWS)
    assert checksum(path) is None

    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert checksum(path) is True

    beside.write_text(f"{'0' * 64}  {path.name}\n")
    assert checksum(path) is False


NAMES = {
    "BTCUSDT-trades-2024-08-08.zip": (Channel.TRADES, "BTCUSDT"),
    "BTCUSDT-aggTrades-2024-08.csv": (Channel.AGG_TRADES, "BTCUSDT"),
    "币安人生USDT-trades-2025-12-02.zip": (Channel.TRADES, "币安人生USDT"),
    "BTCUSDT-1m-2024-08-08.zip": None,
    "trades.csv": None,
}


@pytest.mark.parametrize(("name", "told"), NAMES.items(), ids=NAMES)
def test_what_a_file_is_about_its_name_says(name: str, told: tuple[Channel, str] | None) -> None:
    assert subject(name) == told
