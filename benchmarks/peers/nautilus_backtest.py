"""The process under test of `backtest`: NautilusTrader, which makes bars of the trades it is fed, as ours does.

Runs in a venv of its own. Trades are in its own catalogue, which is read in Rust and is quicker than its wranglers; it is
made before the clock starts. Its own MACD, RSI and EMA; an order is filled by the engine that it simulates, at the last
trade; one bitcoin a position, in a margin account so that it may be short. Bars are closed by its clock.
"""

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
from benchmarks.asking import serve
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.indicators import (
    ExponentialMovingAverage,
    MovingAverageConvergenceDivergence,
    MovingAverageType,
    RelativeStrengthIndex,
)
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import PositionClosed
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.persistence.wranglers import TradeTickDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

INSTRUMENT = TestInstrumentProvider.btcusdt_binance()
BARS = BarType.from_str(f"{INSTRUMENT.id}-1-MINUTE-LAST-INTERNAL")


class MacdRsi(Strategy):  # type: ignore[misc]
    """MACD crosses its signal, and RSI agrees."""

    def __init__(self) -> None:
        super().__init__(StrategyConfig())
        self.macd = MovingAverageConvergenceDivergence(12, 26, MovingAverageType.EXPONENTIAL)
        self.rsi = RelativeStrengthIndex(14, MovingAverageType.WILDER)
        self.signal = ExponentialMovingAverage(9)
        self.above: bool | None = None
        self.held = 0
        self.bars = self.trips = 0

    def on_start(self) -> None:
        self.register_indicator_for_bars(BARS, self.macd)
        self.register_indicator_for_bars(BARS, self.rsi)
        self.subscribe_bars(BARS)

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        if not self.macd.initialized:
            return
        self.signal.update_raw(self.macd.value)
        if not self.signal.initialized:
            return
        above, was = self.macd.value > self.signal.value, self.above
        self.above = above
        if was is None or above == was:
            return
        rsi = self.rsi.value * 100
        agrees = 50 < rsi <= 70 if above else 30 <= rsi < 50
        target = (1 if above else -1) if agrees else 0
        if target != self.held:
            self._order(target - self.held)
            self.held = target

    def on_position_closed(self, _event: PositionClosed) -> None:
        self.trips += 1

    def _order(self, amount: int) -> None:
        side = OrderSide.BUY if amount > 0 else OrderSide.SELL
        quantity = Quantity(abs(amount), INSTRUMENT.size_precision)
        self.submit_order(self.order_factory.market(INSTRUMENT.id, side, quantity))


def backtest(path: Path) -> dict[str, Any]:
    config = BacktestEngineConfig(
        logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False
    )
    engine = BacktestEngine(config)
    engine.add_venue(
        Venue("BINANCE"),
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money(100_000_000, USDT)],
        default_leverage=Decimal(1),
        bar_execution=False,
        trade_execution=True,
    )
    engine.add_instrument(INSTRUMENT)
    ticks = ParquetDataCatalog(catalogue(path)).trade_ticks()
    engine.add_data(ticks)
    strategy = MacdRsi()
    engine.add_strategy(strategy)
    engine.run()
    found = {"entries": len(ticks), "bars": strategy.bars, "trips": strategy.trips}
    found["orders"] = engine.cache.orders_total_count()
    engine.dispose()
    return found


def catalogue(path: Path) -> Path:
    """Where the trades of a file lie as the catalogue has them; made if they are not there."""
    folder = path.with_name("nautilus")
    if not folder.exists():
        draft = path.with_name(".nautilus")
        shutil.rmtree(draft, ignore_errors=True)
        frame = pd.read_parquet(path).rename(columns={"qty": "quantity"})
        frame["buyer_maker"] = ~frame.pop("buy")
        ticks = TradeTickDataWrangler(INSTRUMENT).process(frame.set_index("ts"))
        ParquetDataCatalog(draft).write_data(ticks)
        draft.rename(folder)
    return folder


if __name__ == "__main__":
    serve(backtest, __doc__, prepare=catalogue)
