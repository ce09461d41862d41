"""Backtests that are asked for over HTTP: one at a time, each a process of our own command line, ended with the server.

The process gives way to others, has limits of time and memory, and holds the other end of a pipe: when this process
dies, kill -9 included, it ends too. What it reads was checked before; secrets reach it by its environment, never its
command line.
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptostream import logs, registry
from cryptostream.backtest.sweep import MOST as VALUES
from cryptostream.backtest.sweep import parse_param
from cryptostream.config import Config
from cryptostream.config.strategies import AS
from cryptostream.errors import CheckFailed, UsageError
from cryptostream.logs import mask
from cryptostream.model.ports import Clock
from cryptostream.registry import did_you_mean
from cryptostream.strategies.names import label
from cryptostream.transforms.bars import parse_bars
from cryptostream.web import shown
from cryptostream.wiring.serving.recordings import Recordings
from cryptostream.wiring.serving.reports import MOST, Reports

LIMIT_S = 1800.0
LIMIT_BYTES = 2 << 30
"""Of what the process writes in its memory; each that it starts has as much."""
_KEPT = 20
_ENDS = {"reading": 0.3, "sweeping": 0.85, "walking": 0.85, "running": 0.98}
_TOLD = 300
_LINE_BYTES = 1 << 16
_log = logs.get("serve")


@dataclass(frozen=True)
class _Asked:
    """A backtest that is to be run, with the arguments of its process."""

    job: shown.Job
    words: list[str]


@dataclass
class _Heard:
    """What a process told so far: how far it is, and its last words that were no progress."""

    done: float = 0.0
    begun: float = 0.0
    doing: str = ""
    words: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def hear(self, line: str) -> str:
        """Take a line in; what is to be said, if that has changed."""
        if (told := _progress(line)) is None:
            if line:
                self.words.append(line)
            return ""
        doing, done, of = told
        if doing != self.doing:
            self.begun = max(self.done, _ENDS.get(self.doing, 0.0))
            self.doing = doing
        share = min(1.0, done / of) if of else 0.0
        self.done = max(self.done, self.begun + (max(_ENDS.get(doing, 0.9), self.begun) - self.begun) * share)
        return f"{doing}, {share:.0%}" if of else doing

    def why(self, code: int) -> str:
        """Why it failed, in the words it had for it."""
        errors = [line.removeprefix("error:").strip() for line in self.words if line.startswith("error:")]
        hints = [line.removeprefix("hint:").strip() for line in self.words if line.startswith("hint:")]
        if not errors:
            return f"the backtest ended with {code}" + (f": {self.words[-1]}"[:_TOLD] if self.words else "")
        return mask(" - ".join([errors[-1], *hints[-1:]]))[:_TOLD]


class Jobs:
    """Runs what is asked for until cancelled; a companion. A report has the name of its job."""

    def __init__(self, config: Config, reports: Reports, clock: Clock, *, limit_s: float = LIMIT_S) -> None:
        self.recordings = Recordings(config)
        self.reports = reports
        self._config = config
        self._clock = clock
        self._limit_s = limit_s
        self._jobs: dict[str, shown.Job] = {}
        self._asked: _Asked | None = None
        self._wake = asyncio.Event()
        self._count = 0

    def listed(self) -> list[shown.Job]:
        """Newest first."""
        return list(self._jobs.values())[::-1]

    async def ask(self, wanted: shown.Backtest) -> shown.Job:
        """Begin a backtest. Raises UsageError, NotFound for what cannot be run, CheckFailed for not now."""
        name = self._name(wanted)
        words = await asyncio.to_thread(self._words, wanted, name)
        if any(job.state == "running" for job in self._jobs.values()):
            raise CheckFailed("a backtest is running already", hint="one at a time: wait until it is done")
        job = shown.Job(id=name, state="running", done=0.0, said="starting", report=None)
        self._jobs[job.id] = job
        for old in list(self._jobs)[:-_KEPT]:
            del self._jobs[old]
        self._asked = _Asked(job, words)
        self._wake.set()
        return job

    async def __call__(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            asked, self._asked = self._asked, None
            if asked is not None:
                await self._run(asked)

    async def _run(self, asked: _Asked) -> None:
        heard = _Heard()
        try:
            code = await self._process(asked, heard)
            why = "" if code == 0 else heard.why(code)
        except OSError as error:
            why = f"it could not be started: {error}"
        except BaseException:
            self._tell(asked, state="failed", done=heard.done, said="it was cut short")
            raise
        if why:
            _log.warning("serve.backtest_failed", job=asked.job.id, why=why)
            self._tell(asked, state="failed", done=heard.done, said=why)
        else:
            self._tell(asked, state="done", done=1.0, said="done", report=asked.job.id)

    async def _process(self, asked: _Asked, heard: _Heard) -> int:
        with tempfile.TemporaryDirectory(prefix="cryptostream-serve-") as folder:
            process = await asyncio.create_subprocess_exec(
                *_command(folder),
                *asked.words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env=_environment(self._config),
                limit=_LINE_BYTES,
            )
            _bound(process)
            try:
                async with asyncio.TaskGroup() as tasks:
                    alarm = tasks.create_task(self._alarm(process, heard))
                    await self._hear(asked, process, heard)
                    alarm.cancel()
            finally:
                _kill(process)
                await process.wait()
            return process.returncode or 0

    async def _alarm(self, process: Process, heard: _Heard) -> None:
        await self._clock.sleep(self._limit_s)
        heard.words.append(f"error: it took longer than {self._limit_s / 60:.0f} minutes, and was ended")
        _kill(process)

    async def _hear(self, asked: _Asked, process: Process, heard: _Heard) -> None:
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        async for line in _lines(process.stderr):
            if said := heard.hear(line):
                self._tell(asked, done=heard.done, said=said)
        await process.wait()

    def _tell(self, asked: _Asked, **told: Any) -> None:
        if asked.job.id in self._jobs:
            self._jobs[asked.job.id] = self._jobs[asked.job.id].model_copy(update=told)

    def _name(self, wanted: shown.Backtest) -> str:
        """A name that no report has: what was tried, and when."""
        self._count += 1
        moment = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        tried = "-".join(label(name) for name in wanted.strategies)[:40].rstrip("-.")
        return f"{tried}-{moment:%Y%m%d-%H%M%S}-{self._count}"

    def _words(self, wanted: shown.Backtest, name: str) -> list[str]:
        """The command's arguments: options as one word each, so that no value can pass for another option."""
        if len(self.reports.listed()) >= MOST:
            raise CheckFailed(f"{MOST} reports are kept already", hint=f"delete some of {self.reports.folder}")
        known = registry.names("strategies")
        for strategy in wanted.strategies:
            if strategy not in known:
                hint = did_you_mean(strategy, known) or f"installed: {', '.join(known)}"
                raise UsageError(f"unknown strategy {strategy[:64]!a}", hint=hint)
        parse_bars(wanted.bars)
        _check_few(wanted.parameters)
        sources = [self.recordings.resolved(word) for word in wanted.sources]
        options = [f"--strategy={strategy}" for strategy in wanted.strategies]
        options += [f"--param={text}" for text in wanted.parameters]
        options += [f"--bars={wanted.bars}"] if wanted.bars != _DEFAULT_BARS else []
        options += [f"--fee-bps={wanted.fee_bps}", f"--jobs={max(1, (os.cpu_count() or 2) // 2)}", f"--keep={name}"]
        return ["--watched", "-o", "json", *options, "--", *sources]


def _check_few(parameters: Sequence[str]) -> None:
    """Raise UsageError for parameters that cannot be read, or take too many values to be listed."""
    count = 0
    for text in parameters:
        if text.partition("=")[0].rpartition(".")[2] == AS:
            continue
        count += len(parse_param(text).values)
        if count > VALUES:
            raise UsageError(f"parameters with more than {VALUES:,} values", hint="take larger steps")


_DEFAULT_BARS = "1m"  # the command's own, which klines do without


def _command(folder: str) -> list[str]:
    """Our own command line, with an empty configuration instead of whatever lies in some folder."""
    config = Path(folder, "empty.yaml")
    config.touch()
    return [sys.executable, "-P", "-m", "cryptostream", "backtest-stream", "--config", str(config)]


def _environment(config: Config) -> Mapping[str, str]:
    own = {
        "CRYPTOSTREAM_BUS__URL": config.bus.url.get_secret_value(),
        "CRYPTOSTREAM_DATA_DIR": str(config.data_dir.absolute()),
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    return {**os.environ, **own}


def _bound(process: Process) -> None:
    """Give it so much memory and no more, where the system can; it may have ended by now."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_DATA)
            most = LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(LIMIT_BYTES, hard)
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, most))


def _kill(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines as text; what is longer than any of ours is left out."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line.decode(errors="replace").strip()


def _progress(line: str) -> tuple[str, int, int] | None:
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
        return str(told["doing"]), int(told["done"]), int(told["of"])
    except (ValueError, KeyError, TypeError):
        return None
