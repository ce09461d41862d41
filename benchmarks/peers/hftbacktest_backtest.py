"""The process under test of `backtest`: hftbacktest, every trade through its exchange in Rust, bars of a minute by ours.

Runs in a venv of its own. It reads its own npz, not packed, and the strategy is compiled by numba before the clock
starts. It fills against quotes, not trades: those of the end of each minute, a cent around the last price. A position
is one bitcoin. It has no indicators, so they are written out.
"""

from pathlib import Path
from typing import Any

from benchmarks.asking import serve
from hftbacktest import GTC, MARKET, BacktestAsset, ROIVectorMarketDepthBacktest
from numba import njit

MINUTE_NS = 60_000_000_000
_MOST = 1 << 16


@njit
def run(hbt):  # type: ignore[no-untyped-def]
    trades = bars = trips = orders = seen = held = 0
    fast = slow = signal = macd_sum = up = down = last = 0.0
    side = 0
    hbt.elapse(1)  # to the first event: before it there is no time
    over = hbt.elapse(MINUTE_NS - hbt.current_timestamp % MINUTE_NS - 1)
    while True:
        found = hbt.last_trades(0)
        if len(found):
            close = found[len(found) - 1].px
            trades += len(found)
            bars += 1
            hbt.clear_last_trades(0)
            seen += 1
            # Seeded with means, as TA-Lib does it.
            if seen <= 26:
                slow += close / 26
                if seen > 14:
                    fast += close / 12
            else:
                fast += (close - fast) * 2 / 13
                slow += (close - slow) * 2 / 27
            macd = fast - slow
            if 26 <= seen <= 34:
                macd_sum += macd
                signal = macd_sum / 9
            elif seen > 34:
                signal += (macd - signal) * 2 / 10
            if seen > 1:
                change = close - last
                weight = 14 if seen > 15 else seen - 1
                up += (max(change, 0.0) - up) / weight
                down += (max(-change, 0.0) - down) / weight
            last = close
            if seen >= 34:
                was, side = side, 1 if macd > signal else -1
                if was and was != side:
                    rsi = 100 * up / (up + down)
                    agrees = 50 < rsi <= 70 if side > 0 else 30 <= rsi < 50
                    target = side if agrees else 0
                    if target != held:
                        orders += 1
                        if target > held:
                            hbt.submit_buy_order(0, orders, close, target - held, GTC, MARKET, False)
                        else:
                            hbt.submit_sell_order(0, orders, close, held - target, GTC, MARKET, False)
                        if held:
                            trips += 1
                        held = target
            hbt.clear_inactive_orders(0)
        if over:
            return trades, bars, trips, orders
        over = hbt.elapse(MINUTE_NS)


def backtest(path: Path) -> dict[str, Any]:
    asset = (
        BacktestAsset()
        .data(str(path))
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.001, 0.001)
        .tick_size(0.01)
        .lot_size(0.00001)
        .roi_lb(10_000.0)
        .roi_ub(200_000.0)
        .last_trades_capacity(_MOST)
    )
    hbt = ROIVectorMarketDepthBacktest([asset])
    trades, bars, trips, orders = run(hbt)
    state = hbt.state_values(0)
    filled = int(state.num_trades)
    hbt.close()
    if filled not in (orders, orders - 1):
        raise RuntimeError(f"{filled} of {orders} orders were filled")
    return {"entries": trades, "bars": bars, "trips": trips, "orders": orders}


if __name__ == "__main__":
    serve(backtest, __doc__)
