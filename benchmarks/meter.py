"""Inside a process under test: tells what it has cost so far, whenever it is asked on its standard input.

Standard library alone: the peers import it in their own venvs.
"""

import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def listen(answer: Callable[[str], dict[str, Any]] = lambda _word: {}) -> None:
    """Answer each line of standard input with one of JSON, from a thread of its own; end the process with the input."""
    threading.Thread(target=_answer_all, args=(answer,), daemon=True).start()


def tell(facts: dict[str, Any]) -> None:
    """One line of JSON to whoever started this process."""
    print(json.dumps(facts), flush=True)


def cost() -> dict[str, float]:
    """CPU seconds of this process, user and system, and the memory it holds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "rss_mib": _rss_kib() / 1024}


def _answer_all(answer: Callable[[str], dict[str, Any]]) -> None:
    for line in sys.stdin:
        tell(cost() | answer(line.strip()))
    os._exit(0)


def _rss_kib() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * _PAGE_KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # elsewhere: the most it ever held
