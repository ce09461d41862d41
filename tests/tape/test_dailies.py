"""A venue's daily trades as a backtest reads them: by line, in order, with a gap wherever a trade is missing."""

import gzip
import io
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.model.events import Gap, Micros, Trade
from cryptostream.tape import dailies, gunzip, unpacked
from cryptostream.tape.series import find

DAY_MS = 1_731_542_400_000  # 2024-11-14T00:00:00Z
DAY = "BTCUSDT-trades-2024-11-14.csv"
NEXT_DAY = "BTCUSDT-trades-2024-11-15.csv"
NAMES = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"


def line(number: int, ms: int | None = None, *, price: str = "61234.50000000", maker: str = "True") -> str:
    return f"{number},{price},0.12300000,7531.84350000,{DAY_MS + number if ms is None else ms},{maker},True\n"


def lines(first: int, last: int, shift_ms: int = 0) -> str:
    return "".join(line(number, DAY_MS + shift_ms + number) for number in range(first, last + 1))


def file(folder: Path, text: str, name: str = DAY) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(text.encode(), name))
    return path


def packed(text: bytes, name: str) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(text)
    return zipped({name.replace(".zip", ".csv"): text}) if name.endswith(".zip") else text


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


def events(paths: Sequence[Path], **how: int) -> list[Trade | Gap]:
    (series,) = find(paths, **how)
    return [event for block in series.blocks() for event in block.events()]


def trade(number: int, ms: int | None = None, *, clamped: int | None = None, **more: object) -> Trade:
    ms = DAY_MS + number if ms is None else ms
    entry_id = f"{ms if clamped is None else clamped}-{number}"
    told = {"price": 61234.5, "qty": 0.123, "side": "sell", "trade_id": number, "ts": Micros(ms * 1000)}
    return Trade(entry_id, "binance", "BTCUSDT", **{**told, **more})


def numbers(found: Iterable[Trade | Gap]) -> list[int]:
    return [event.trade_id for event in found if isinstance(event, Trade)]


def test_a_line_is_a_trade(tmp_path: Path) -> None:
    path = file(tmp_path, line(7) + line(8, maker="False", price="61234.51"))

    assert events([path]) == [trade(7), trade(8, price=61234.51, side="buy")]


def test_its_stream_is_that_of_the_pair(tmp_path: Path) -> None:
    (series,) = find([file(tmp_path, lines(1, 1000))])

    assert (series.exchange, series.pair, series.stream) == ("binance", "BTCUSDT", "trades:BTCUSDT")
    assert series.size == 1000


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip"])
def test_packed_or_not_it_reads_the_same(tmp_path: Path, suffix: str) -> None:
    path = file(tmp_path, lines(1, 30_000), DAY.replace(".csv", suffix))
    (series,) = find([path])

    assert numbers(events([path])) == list(range(1, 30_001))
    assert 27_000 < series.size < 33_000


HEADS = {
    "none": ("", "{0},2.5,3.5,8.75,{1},true,true\n"),
    "as published": (NAMES, "{0},2.5,3.5,8.75,{1},True,True\n"),
    "other words": ("trade_id,price,quantity,quoteQty,timestamp,isBuyerMaker\n", "{0},2.5,3.5,8.75,{1},TRUE\n"),
    "another order": ("time,is_buyer_maker,price,qty,id\r\n", "{1},1,2.5,3.5,{0}\r\n"),
    "futures": ("", "{0},2.5,3.5,8.75,{1},true\n"),
}


@pytest.mark.parametrize(("names", "row"), HEADS.values(), ids=HEADS)
def test_with_names_and_without(tmp_path: Path, names: str, row: str) -> None:
    text = names + "".join(row.format(number, DAY_MS + number) for number in (1, 2))

    assert events([file(tmp_path, text)]) == [trade(1, price=2.5, qty=3.5), trade(2, price=2.5, qty=3.5)]


@pytest.mark.parametrize("suffix", [".csv", ".zip"])
@pytest.mark.parametrize("names", ["", NAMES], ids=["no names", "names"])
def test_a_mark_of_its_encoding_is_no_part_of_the_text(tmp_path: Path, names: str, suffix: str) -> None:
    path = file(tmp_path, "\ufeff" + names + lines(1, 3), DAY.replace(".csv", suffix))

    assert events([path]) == [trade(1), trade(2), trade(3)]


def test_a_mark_of_its_encoding_is_no_line(tmp_path: Path) -> None:
    with pytest.raises(DataQuality, match="line 2 cannot be read"):
        events([file(tmp_path, "\ufeff" + lines(1, 1) + "nonsense\n")])


@pytest.mark.parametrize("suffix", [".zip", ".csv.gz"])
def test_what_is_not_packed_as_its_name_says_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / DAY.replace(".csv", suffix)
    path.write_text("<html>not found</html>\n")

    with pytest.raises(DataQuality, match=f"is no {path.suffix} file"):
        events([path])
    path.write_text(lines(1, 3))
    assert numbers(events([path])) == [1, 2, 3]


@pytest.mark.parametrize(("unit", "micros"), [(1, 5_000), (1000, 5_321), (10**6, 5_321)], ids=["ms", "us", "ns"])
def test_the_length_of_a_time_tells_its_unit(tmp_path: Path, unit: int, micros: int) -> None:
    time = (DAY_MS * 1000 + 5_321) * unit // 1000

    (found,) = events([file(tmp_path, line(1, time))])
    assert (found.ts, found.entry_id) == (DAY_MS * 1000 + micros, f"{DAY_MS + 5}-1")


def test_a_year_may_turn_within_a_file(tmp_path: Path) -> None:
    found = events([file(tmp_path, line(1) + line(2, (DAY_MS + 2) * 1000))])

    assert found == [trade(1), trade(2)]


def test_ids_never_fall_below_the_trade_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "PIECE", 100)
    later = DAY_MS + 90
    text = line(1, later) + line(2, later - 5) + line(3, later + 1) + line(4, later) + line(5, later + 2)

    clamped = {1: later, 2: later, 3: later + 1, 4: later + 1, 5: later + 2}
    times = {1: later, 2: later - 5, 3: later + 1, 4: later, 5: later + 2}
    expected = [trade(number, times[number], clamped=clamped[number]) for number in clamped]
    assert events([file(tmp_path, text)]) == expected


def test_a_missing_trade_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "PIECE", 100)
    found = events([file(tmp_path, lines(1, 4) + lines(8, 8) + lines(10, 12))])

    def gap(first: int, last: int) -> Gap:
        before = DAY_MS + first - 1
        return Gap(f"{before}-{first}", "binance", "BTCUSDT", first, last, "missing in the file", Micros(before * 1000))

    trades = {number: trade(number) for number in (1, 2, 3, 4, 8, 10, 11, 12)}
    expected = [*(trades[n] for n in (1, 2, 3, 4)), gap(5, 7), trades[8], gap(9, 9), *(trades[n] for n in (10, 11, 12))]
    assert found == expected


def test_days_follow_each_other_and_what_is_missing_between_them_is_a_gap(tmp_path: Path) -> None:
    file(tmp_path, lines(11, 12, 86_400_000), NEXT_DAY)
    file(tmp_path, lines(1, 9))
    found = events([tmp_path])

    assert numbers(found) == [*range(1, 10), 11, 12]
    assert [(event.gap_from, event.gap_to) for event in found if isinstance(event, Gap)] == [(10, 10)]


def test_a_month_reads_as_a_day_does(tmp_path: Path) -> None:
    file(tmp_path, lines(1, 3), "BTCUSDT-trades-2024-11.zip")
    file(tmp_path, lines(4, 5, 20 * 86_400_000), "BTCUSDT-trades-2024-12-04.csv")

    assert numbers(events([tmp_path])) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("block", [1 << 20, 100, 300], ids=["at once", "line by line", "a few lines"])
@pytest.mark.parametrize(("first", "last"), [(0, 50), (3, 3), (4, 7), (8, 9), (9, 20), (21, 50), (0, 0)])
def test_times_bound_it_both_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, last: int, block: int
) -> None:
    path = file(tmp_path, lines(1, 4) + lines(8, 12) + lines(14, 20))
    whole = events([path])
    monkeypatch.setattr(unpacked, "PIECE", block)
    inside = [event for event in whole if first <= int(event.entry_id.partition("-")[0]) - DAY_MS <= last]

    found = events([path], since_ms=DAY_MS + first, until_ms=DAY_MS + last)
    assert found == (inside if numbers(inside) else [])


def test_days_out_of_its_time_are_not_opened(tmp_path: Path) -> None:
    file(tmp_path, lines(1, 9))
    file(tmp_path, "nonsense\n", NEXT_DAY)

    assert len(events([tmp_path], until_ms=DAY_MS + 86_399_999)) == 9
    with pytest.raises(DataQuality, match="2024-11-15"):
        events([tmp_path], until_ms=DAY_MS + 86_400_000)


BAD = {
    "a word for a price": ("3,cheap,1,1,1731542400003,True,True\n", "cheap"),
    "no price": ("3,,1,1,1731542400003,True,True\n", "price|double"),
    "no id": (",1,1,1,1731542400003,True,True\n", "int64"),
    "no side": ("3,1,1,1,1731542400003,,True\n", "bool"),
    "not a number": ("3,nan,1,1,1731542400003,True,True\n", "a price that is no positive number"),
    "endless": ("3,1,inf,1,1731542400003,True,True\n", "a qty that is no positive number"),
    "below zero": ("3,-1,1,1,1731542400003,True,True\n", "a price that is no positive number"),
    "an id that is none": ("3.5,1,1,1,1731542400003,True,True\n", "3.5"),
    "a negative id": ("-3,1,1,1,1731542400003,True,True\n", "a trade_id below zero"),
    "neither true nor false": ("3,1,1,1,1731542400003,maybe,True\n", "maybe"),
    "too few columns": ("3,1,1,1,1731542400003\n", "Expected 7 columns, got 5"),
    "too many": ("3,1,1,1,1731542400003,True,True,True\n", "Expected 7 columns, got 8"),
    "the same trade again": (line(2), "trade 2 comes after trade 2"),
    "an older trade": (line(1), "trade 1 comes after trade 2"),
    "zeros": ("\0\0\0\n", "Expected 7 columns, got 1"),
}


@pytest.mark.parametrize("head", ["", NAMES, "\n"], ids=["no names", "names", "an empty line"])
@pytest.mark.parametrize("block", [1 << 20, 100], ids=["at once", "line by line"])
@pytest.mark.parametrize(("bad", "why"), BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_read_is_told_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, why: str, block: int, head: str
) -> None:
    path = file(
        tmp_path, (NAMES if head == NAMES else "") + line(1) + head.replace(NAMES, "") + line(2) + bad + lines(4, 9)
    )
    monkeypatch.setattr(unpacked, "PIECE", block)

    with pytest.raises(DataQuality, match=why) as error:
        events([path])
    assert str(error.value).startswith(f"{path}: line {3 + bool(head)}")


def test_an_order_that_breaks_between_days_names_the_second(tmp_path: Path) -> None:
    file(tmp_path, lines(1, 9))
    later = file(tmp_path, lines(9, 12, 86_400_000), NEXT_DAY)

    with pytest.raises(DataQuality, match="trade 9 comes after trade 9") as error:
        events([tmp_path])
    assert str(error.value).startswith(f"{later}: line 1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<html>\n", "line 1: no trade_id and no price"),
        ("1,2,3\n", "line 1: 3 columns, and not 6 or 7"),
        ("id,price,qty\n1,2,3\n", "line 1: no time and no is_buyer_maker among the columns"),
    ],
)
def test_a_file_of_something_else_is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataQuality, match=why):
        events([file(tmp_path, text)])


def test_a_line_without_end_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, lines(1, 9) + "1" * 5000)
    monkeypatch.setattr(unpacked, "PIECE", 1000)

    with pytest.raises(DataQuality, match="a line of more than 1"):
        events([path])


def test_a_file_that_ends_inside_a_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataQuality, match="line 9 cannot be read"):
        events([file(tmp_path, lines(1, 9)[:-20])])
    assert numbers(events([file(tmp_path, lines(1, 9)[:-1])])) == list(range(1, 10))


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert events([file(tmp_path, "")]) == events([file(tmp_path, NAMES)]) == []


def test_packed_files_that_are_cut_or_changed_are_damaged(tmp_path: Path) -> None:
    for suffix in (".csv.gz", ".zip"):
        path = file(tmp_path / suffix, lines(1, 30_000), DAY.replace(".csv", suffix))
        content = bytearray(path.read_bytes())
        path.write_bytes(content[:-40])
        with pytest.raises(DataQuality, match=f"{path.name} is damaged"):
            events([path])
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(DataQuality, match=path.name):
            events([path])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (zipped({"a.csv": b"1", "b.csv": b"2"}), "it holds 2 files and not one"),
        (zipped({}), "it holds 0 files and not one"),
        (zipped({"a.csv": b"0" * 10_000_000}), "it expands to 10,000,000 bytes"),
        (zipped({"a.csv": line(1).encode()}, zipfile.ZIP_LZMA), "packed in a way that is not read here"),
    ],
)
def test_an_archive_of_something_else_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / DAY.replace(".csv", ".zip")
    path.write_bytes(content)

    with pytest.raises(DataQuality, match=why) as error:
        events([path])
    assert path.name in str(error.value)


def test_what_expands_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, lines(1, 30_000), DAY + ".gz")
    monkeypatch.setattr(gunzip, "MAX_BYTES", 1_000_000)

    with pytest.raises(DataQuality, match="expands"):
        events([path])


def test_of_a_file_and_the_same_packed_one_is_read(tmp_path: Path) -> None:
    for suffix in (".zip", ".csv", ".csv.gz"):
        file(tmp_path, lines(1, 3), DAY.replace(".csv", suffix))
    (series,) = find([tmp_path])

    assert [path.name for path in series.files] == [DAY]


def test_one_day_in_two_folders_is_refused(tmp_path: Path) -> None:
    file(tmp_path / "spot", lines(1, 3))
    file(tmp_path / "futures", lines(1, 3))

    with pytest.raises(UsageError, match="are of one pair and day"):
        find([tmp_path])


def test_a_folder_holds_several_pairs_and_other_files(tmp_path: Path) -> None:
    file(tmp_path / "a", lines(1, 3))
    file(tmp_path / "b", lines(1, 3), "币安人生USDT-trades-2024-11-14.csv")
    for name in ("BTCUSDT-aggTrades-2024-11-14.csv", "BTCUSDT-trades-2024-13-14.csv", "notes.csv", f"{DAY}.CHECKSUM"):
        file(tmp_path, "nonsense", name)

    assert [series.pair for series in find([tmp_path])] == ["BTCUSDT", "币安人生USDT"]
    assert [series.pair for series in find([tmp_path], pairs=["BTCUSDT"])] == ["BTCUSDT"]


def test_a_named_file_whose_name_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not say what it holds") as error:
        find([file(tmp_path, lines(1, 3), "trades.csv")])
    assert DAY in error.value.hint


def test_a_series_is_pickled_and_read_again(tmp_path: Path) -> None:
    path = file(tmp_path, lines(1, 9))
    (series,) = find([path])
    again = pickle.loads(pickle.dumps(series))

    assert len(pickle.dumps(series)) < 1000
    for one in (series, again, again):
        assert [event for block in one.blocks() for event in block.events()] == events([path])
    path.unlink()
    with pytest.raises(NotFound, match="no such file"):
        list(again.blocks())


AMOUNTS = st.decimals("0.00000001", 10**12, places=8).map(lambda value: f"{value:f}")
TEXTS = AMOUNTS | st.floats(1e-300, 1e300).map(repr) | st.sampled_from(["1", "0.1", "1e5", "123456789012345678901.1"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30))
def test_floats_are_those_of_the_texts(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    rows = [f"{number},{price},{qty},1,{DAY_MS},True,True\n" for number, (price, qty) in enumerate(texts)]
    path = tmp_path_factory.getbasetemp() / DAY
    path.write_text("".join(rows))

    assert [(each.price, each.qty) for each in events([path])] == [(float(price), float(qty)) for price, qty in texts]


def test_many_lines_cross_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, lines(1, 300))
    whole = events([path])
    for size in (90, 1000, 4097):
        monkeypatch.setattr(unpacked, "PIECE", size)
        assert events([path]) == whole


def test_a_name_says_pair_and_day() -> None:
    assert dailies.parse("ETHBTC-trades-2024-02.zip") == ("ETHBTC", "2024-02", ".zip")
    assert dailies.Name("ETHBTC", "2024-02", "").span_ms == (1_706_745_600_000, 1_709_251_200_000 - 1)
    assert dailies.Name("ETHBTC", "2024-12", "").span_ms[1] == 1_735_689_600_000 - 1
