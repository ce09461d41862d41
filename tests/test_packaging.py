"""What ships beside the code: every command line in it is one that the real command line takes."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from cryptostream.cli.main import app
from cryptostream.config import load

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def check(arguments: list[str]) -> None:
    """Parse a command line as the program would, to the last option, and run nothing."""
    group: Any = get_command(app)
    with group.make_context("cryptostream", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        with command.make_context(name, rest, parent=context) as own:
            if hasattr(command, "resolve_command"):
                inner, subcommand, last = command.resolve_command(own, [*own._protected_args, *own.args])
                subcommand.make_context(inner, last, parent=own).close()


def expanded(word: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word)


def own_commands() -> dict[str, list[str]]:
    """The commands of those services that run our program."""
    services = {
        name: service
        for name, service in COMPOSE["services"].items()
        if service.get("image") == "cryptostream" and "entrypoint" not in service
    }
    return {name: [expanded(word) for word in service["command"]] for name, service in services.items()}


def dockerfile(instruction: str) -> list[str]:
    [found] = re.findall(rf"^\s*{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [str(word) for word in json.loads(found)]


def shown_commands() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in sorted(pages))
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0].partition(" | ")[0].strip() for block in blocks for line in block.splitlines()]
    assert len(lines) > 10, "the pages show commands"
    return lines


def test_the_check_itself_refuses_what_the_program_would() -> None:
    for wrong in (["ingset"], ["ingest", "--symbol-list", "BTCUSDT"], ["tail"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            check(wrong)


@pytest.mark.parametrize("service", sorted(own_commands()))
def test_every_service_of_compose_runs_a_command_we_have(service: str) -> None:
    check(own_commands()[service])


def test_compose_has_a_durable_redis_an_ingester_and_a_consumer() -> None:
    redis = COMPOSE["services"]["redis"]["command"]
    assert [redis[redis.index("--appendonly") + 1], redis[redis.index("--maxmemory-policy") + 1]] == [
        "yes",
        "noeviction",
    ]
    assert own_commands().keys() == {"ingest", "consumer", "serve"}


def test_the_consumer_of_compose_is_one_in_the_file_that_it_mounts() -> None:
    service = COMPOSE["services"]["consumer"]
    _, _, mounted = service["command"]
    places = dict(reversed(volume.split(":")[:2]) for volume in service["volumes"])
    folder = ROOT / places[str(Path(mounted).parent)]
    config = load([folder / Path(mounted).name]).config
    (consumer,) = config.consumers.values()
    assert consumer.read == ["trades", "klines:1m"]
    [written] = [Path(params["dir"]) for sink in consumer.write for params in sink.values()]
    assert places[str(written.parent)] == "app-data"
    assert not config.feeds


@pytest.mark.parametrize("service", sorted(COMPOSE["services"].keys() - {"redis"}))
def test_containers_run_with_nothing_they_do_not_need(service: str) -> None:
    told = COMPOSE["services"][service]
    assert (told["read_only"], told["cap_drop"], told["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert told["mem_limit"]
    assert told["pids_limit"]
    if service in own_commands():
        assert told["stop_grace_period"] == "15s"  # more than the ten seconds of a drain


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_containers_are_reached_from_this_machine_alone_and_are_of_one_version(service: str) -> None:
    told = COMPOSE["services"][service]
    assert all(port.startswith("127.0.0.1:") for port in told.get("ports", []))
    assert told["image"] == "cryptostream" or re.search(r":v?\d+\.\d+", told["image"])
    assert ("observability" in told.get("profiles", ())) == (service in ("prometheus", "grafana"))


def test_the_tokens_of_serve_are_made_once_and_prometheus_can_read_the_lesser_one_only(tmp_path: Path) -> None:
    services = COMPOSE["services"]
    _, option, program = services["tokens"]["entrypoint"]
    runs = []
    for _ in range(2):
        subprocess.run([sys.executable, option, program, tmp_path], check=True, timeout=30)
        runs.append({path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in tmp_path.iterdir()})
    made, again = runs
    assert made == again
    assert {name: mode for name, (_, mode) in made.items()} == {"token": 0o400, "read-token": 0o444}
    environment = {
        name: value.replace("/tokens", str(tmp_path))
        for name, value in services["serve"]["environment"].items()
        if name.endswith("_FILE")
    }
    config = load([], flags={"serve": {"host": "0.0.0.0"}}, env=environment).config
    told = [config.serve.token, config.serve.read_token]
    assert [one and one.get_secret_value() for one in told] == [made["token"][0], made["read-token"][0]]
    scraped = yaml.safe_load((ROOT / "configs/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["authorization"]["credentials_file"] == "/tokens/read-token"
    assert scraped["static_configs"] == [{"targets": ["serve:8000"]}]


def test_the_image_starts_and_checks_itself_by_our_own_commands() -> None:
    assert dockerfile("ENTRYPOINT") == ["cryptostream"]
    check(dockerfile("^CMD"))
    program, *healthcheck = dockerfile(r"HEALTHCHECK.*\n    CMD")
    assert program == "cryptostream"
    check(healthcheck)


def test_the_image_has_two_stages_and_runs_as_an_ordinary_user() -> None:
    assert len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE)) == 2
    assert "USER 10001:10001" in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_of_the_pages_is_one_we_have(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "make":
        assert f"\n{words[0]}: " in (ROOT / "Makefile").read_text()
    else:
        check(words)


def test_what_the_console_script_and_the_module_run_is_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"cryptostream": "cryptostream.__main__:main"}


def test_no_dependency_is_without_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = (ROOT / "docs" / "architecture.md").read_text()
    named = [
        re.split(r"[>=]", each)[0] for each in [*project["dependencies"], *project["optional-dependencies"]["fast"]]
    ]
    assert [name for name in named if name not in told] == []


def test_what_lies_in_the_current_folder_is_not_run(tmp_path: Path) -> None:
    told = tmp_path / "x-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (told / "entry_points.txt").write_text("[cryptostream.strategies]\nevil = evil:X\n")
    (tmp_path / "evil.py").write_text('print("EVIL RAN")\nX = type("X", (), {})\n')
    asked = [sys.executable, "-m", "cryptostream", "list", "strategies"]
    found = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert "EVIL RAN" not in found.stdout
    assert '"evil"' not in found.stdout
    assert '"macd_rsi"' in found.stdout
