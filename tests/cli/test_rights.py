"""The rights that configs/acl.conf gives a consumer are enough for strategies and alerts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from cryptostream.cli import main
from tests.cli.test_consume_strategies import put
from tests.conftest import RedisServer

ACL = Path(__file__).parents[2] / "configs" / "acl.conf"
CONFIG: dict[str, Any] = {
    "consumers": {
        "cross": {
            "read": ["trades"],
            "bars": "1s",
            "strategies": [{"ma_cross": {"fast": 3, "slow": 8}}],
            "write": ["bus"],
            "warm_up": False,
        }
    },
    "alerts": {"crossed": {"when": "strength >= 0", "max_age": "0s", "to": [{"stream": {"name": "alerts"}}, "log"]}},
}


def test_strategies_and_alerts_need_no_more_than_a_consumer_may(
    redis_server: Callable[..., RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = redis_server("--include", str(ACL))
    bus = redis.Redis.from_url(server.url, decode_responses=True, protocol=2)
    put(bus, 1, 300)
    bus.xgroup_create("signals:ma_cross:BTCUSDT", "alert-crossed-stream", "0", mkstream=True)  # it finds it at once
    (tmp_path / "c.yaml").write_text(json.dumps(CONFIG))
    monkeypatch.setenv("REDIS_URL", f"redis://consumer:CHANGE-ME-CONSUMER@127.0.0.1:{server.port}")
    words = ["consume", "-c", str(tmp_path / "c.yaml"), "--health-port", "0", "--data-dir", str(tmp_path / "data")]
    found = CliRunner().invoke(main.app, [*words, "--until-idle", "4s"])
    assert found.exit_code == 0, found.stderr
    assert bus.xlen("signals:ma_cross:BTCUSDT") > 0
    assert bus.hget("indicators:BTCUSDT", "interval") == "1s"
    assert [fields["rule"] for _, fields in bus.xrange("alerts")] == ["crossed"] * bus.xlen("signals:ma_cross:BTCUSDT")
