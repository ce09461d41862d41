import pytest

from cryptostream.errors import UsageError
from cryptostream.sim.faults import KINDS, Faults


class At:
    """A hand to set the time with."""

    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


@pytest.fixture
def at():
    return At()


@pytest.fixture
def faults(at):
    made = Faults(seed=1, now_s=at)
    made.struck = []
    made.on_strike = lambda fault: made.struck.append(fault.kind)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_injected_by_its_name(faults, kind):
    faults.inject(kind, **({"pair": "BTCUSDT"} if kind == "break" else {}))


def test_a_strike_without_a_start_hits_before_inject_returns(faults):
    faults.inject("drop")
    assert faults.struck == ["drop"] and faults.active == []


def test_a_strike_with_a_start_waits_for_it(faults, at):
    faults.inject("drop@5s")
    at.s += 4.9
    faults.strike()
    assert faults.struck == []
    at.s += 0.2
    faults.strike()
    assert faults.struck == ["drop"]


def test_a_strike_repeats_every_so_often(faults, at):
    faults.inject("close@1s,code=1012,every=10s,count=3")
    for _ in range(100):
        at.s += 1.0
        faults.strike()
    assert faults.struck == ["close"] * 3 and faults.active == []


def test_a_flaw_without_a_chance_hits_one_event(faults):
    faults.inject("skip")
    assert [len(faults.flaws("BTCUSDT")) for _ in range(3)] == [1, 0, 0]


def test_a_flaw_with_a_count_hits_so_many_events(faults):
    fault = faults.inject("skip", count=2)
    assert [len(faults.flaws("BTCUSDT")) for _ in range(3)] == [1, 1, 0]
    assert fault.fired == 2


def test_a_flaw_with_a_chance_hits_about_so_many_and_the_same_ones_again(at):
    hits = []
    for _ in range(2):
        faults = Faults(seed=7, now_s=at)
        faults.inject("duplicate:10%")
        hits.append([bool(faults.flaws("BTCUSDT")) for _ in range(2_000)])
    assert hits[0] == hits[1]
    assert sum(hits[0]) == pytest.approx(200, abs=50)


def test_a_flaw_can_be_aimed_at_one_pair(faults):
    faults.inject("skip:100%,pair=ETHUSDT")
    assert faults.flaws("BTCUSDT") == [] and len(faults.flaws("ETHUSDT")) == 1


def test_a_state_holds_until_it_is_cleared(faults, at):
    fault = faults.inject("refuse")
    at.s += 1e6
    faults.strike()
    assert faults.holding("refuse")
    assert faults.clear(fault.id) == 1
    assert faults.holding("refuse") is None


def test_a_state_ends_by_itself_when_it_has_a_length(faults, at):
    faults.inject("rest@1s,for=2s,answer=429,retry_after=3,path=klines")
    assert faults.state("rest", path="/api/v3/klines") is None
    at.s += 1.5
    assert faults.state("rest", path="/api/v3/trades") is None
    assert faults.state("rest", path="/api/v3/klines").option("retry_after") == "3"
    at.s += 2
    assert faults.state("rest", path="/api/v3/klines") is None


def test_a_state_with_a_count_holds_for_so_many_requests(faults):
    faults.inject("handshake,status=429,count=2")
    assert [faults.state("handshake") is not None for _ in range(3)] == [True, True, False]


def test_holes_are_a_fixed_share_of_the_ids(faults):
    faults.inject("hole:2%")
    lost = [trade_id for trade_id in range(10_000) if faults.lost("BTCUSDT", trade_id)]
    assert len(lost) == pytest.approx(200, abs=60)
    assert lost == [trade_id for trade_id in range(10_000) if faults.lost("BTCUSDT", trade_id)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dorp", 'unknown fault "dorp"'),
        ("drop@soon", "not a duration"),
        ("duplicate:110%", "from 0 to 100%"),
        ("duplicate:1.2.3%", "not a chance"),
        ("close,kode=1", 'no option "kode"'),
        ("close,code", "has no value"),
        ("close,code=1006", "close code that may be sent"),
        ("rest,answer=200", "a status, junk, huge or cut"),
        ("handshake,status=99", "a status from 400 to 599"),
        ("garbage,how=odd", "one of any, text"),
        ("skip,count=many", "a whole number"),
        ("late,by=x", "not a duration"),
        ("break", "needs pair="),
        ("drop 5s", "not a fault"),
    ],
)
def test_a_fault_that_cannot_be_read_says_what_is_wrong(faults, spec, message):
    with pytest.raises(UsageError, match=message):
        faults.inject(spec)
    assert faults.active == []
