"""What tables may be called."""

import pytest

from cryptostream.errors import ConfigError
from cryptostream.sql.statements import table_names


@pytest.mark.parametrize("template", ["{channel}", "spot_{channel}", "{channel}_2024", "_{channel}"])
def test_a_name_has_the_channel_in_it(template: str) -> None:
    assert table_names(template, schemas=False)["klines"] == f'"{template.replace("{channel}", "klines")}"'


@pytest.mark.parametrize(
    "template",
    [
        *("", "trades", "Spot_{channel}", "1{channel}", "{channel}{channel}", "a.b.{channel}", "{channel}\n"),
        *('"; DROP TABLE x; --{channel}', "x" * 60 + "{channel}", 7, None, ["{channel}"]),
    ],
)
def test_anything_else_is_refused_and_told_how(template: object) -> None:
    with pytest.raises(ConfigError) as refused:
        table_names(template, schemas=True)
    assert "spot_{channel}" in refused.value.hint


def test_a_schema_is_for_databases_that_have_them() -> None:
    assert table_names("market.{channel}", schemas=True)["gaps"] == '"market"."gaps"'
    with pytest.raises(ConfigError):
        table_names("market.{channel}", schemas=False)
