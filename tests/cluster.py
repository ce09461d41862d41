"""A Redis Cluster and a master with sentinels, out of the same server on free ports of the loopback."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, TypeVar

import hiredis
import pytest
from redis.crc import key_slot

from tests.conftest import RedisServer, free_port

NODE_TIMEOUT_S = 1.0
DOWN_AFTER_S = 0.5
MASTER = "market"
_SLOTS = 1 << 14
_LOOK_S = 0.02


class Cluster:
    """Masters that share the slots evenly, and one replica for each if wanted; `stop` ends all of them."""

    def __init__(self, binary: str, folder: Path, *, masters: int = 3, replicated: bool = False) -> None:
        self.servers = [_node(binary, folder / str(number)) for number in range(masters * (1 + replicated))]
        self._masters = masters
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def start(self) -> None:
        """Start the nodes, introduce them and return when all of them find the cluster well."""
        for server in self.servers:
            server.start()
        masters, replicas = self.servers[: self._masters], self.servers[self._masters :]
        for number, master in enumerate(masters):
            share = (number * _SLOTS // self._masters, (number + 1) * _SLOTS // self._masters - 1)
            reply_of(master, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            reply_of(master, "CLUSTER", "ADDSLOTSRANGE", *share)
        for server in self.servers[1:]:
            reply_of(server, "CLUSTER", "MEET", "127.0.0.1", masters[0].port, _bus_port(masters[0]))
        for replica, master in zip(replicas, masters, strict=False):
            until(lambda replica=replica, master=master: self._replicates(replica, master))
        self.wait_until_well()

    def stop(self) -> None:
        """Kill every node."""
        for server in self.servers:
            server.kill()

    def wait_until_well(self) -> None:
        """Every node lives and agrees that all is well, and every replica follows its master."""
        until(lambda: all(_is_well(server, len(self.servers)) for server in self.servers))

    def flush(self) -> None:
        """Forget all keys."""
        for server in self.servers:
            server.call("FLUSHALL")  # a replica refuses, and gets it from its master

    def master_of(self, key: str) -> RedisServer:
        """The server that holds a key now."""
        port = next(owner for first, last, owner in self._owners() if first <= key_slot(key.encode()) <= last)
        return next(server for server in self.servers if server.port == port)

    def another_master(self, key: str) -> RedisServer:
        """A master that does not hold a key."""
        ports = {owner for _, _, owner in self._owners()} - {self.master_of(key).port}
        return next(server for server in self.servers if server.port in ports)

    def key_on(self, server: RedisServer) -> str:
        """The name of a stream that a master holds."""
        return next(key for number in range(1000) if self.master_of(key := f"trades:P{number}") is server)

    def begin_move(self, key: str, target: RedisServer) -> None:
        """Open the slot of a key on both sides: for keys that have left, the source says ASK from now on."""
        source, slot = self.master_of(key), key_slot(key.encode())
        reply_of(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        reply_of(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", _id(target))

    def move_keys(self, key: str, target: RedisServer) -> None:
        """Carry the keys of a slot over."""
        source, slot = self.master_of(key), key_slot(key.encode())
        for name in reply_of(source, "CLUSTER", "GETKEYSINSLOT", slot, 1000):
            reply_of(source, "MIGRATE", "127.0.0.1", target.port, name.decode(), 0, 5000)

    def end_move(self, key: str, target: RedisServer) -> None:
        """Tell the new owner, then the old one; the others hear of it by and by."""
        source, slot = self.master_of(key), key_slot(key.encode())
        for server in (target, source):
            reply_of(server, "CLUSTER", "SETSLOT", slot, "NODE", _id(target))

    def _replicates(self, replica: RedisServer, master: RedisServer) -> bool:
        return replica.call("CLUSTER", "REPLICATE", _id(master)).startswith(b"+OK")

    def _owners(self) -> Iterator[tuple[int, int, int]]:
        for first, last, master, *_ in reply_of(self._living(), "CLUSTER", "SLOTS"):
            yield first, last, master[1]

    def _living(self) -> RedisServer:
        return next(server for server in self.servers if _alive(server))


class SentinelSetup:
    """A master, replicas and three sentinels that know each other from the start; `url` asks the sentinels."""

    def __init__(self, binary: str, folder: Path, *, replicas: int = 1) -> None:
        self.servers = [_server(binary, folder / str(number)) for number in range(1 + replicas)]
        self.sentinels = [_server(binary, folder / f"s{number}") for number in range(3)]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self.sentinels)}/{MASTER}"
        for number, sentinel in enumerate(self.sentinels):
            _write_sentinel(binary, sentinel, number, self)

    def start(self) -> None:
        """Start all; return when the replicas follow and every sentinel sees the whole."""
        master, *replicas = self.servers
        for server in self.servers:
            server.start()
        for replica in replicas:
            reply_of(replica, "REPLICAOF", "127.0.0.1", master.port)
        until(lambda: all(b"master_link_status:up" in replica.call("INFO", "replication") for replica in replicas))
        for sentinel in self.sentinels:
            sentinel.start()
        until(lambda: all(self._sees_all(sentinel) for sentinel in self.sentinels))

    def stop(self) -> None:
        """Kill everything."""
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def master(self) -> RedisServer:
        """The master that the sentinels name."""
        _, port = reply_of(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def _sees_all(self, sentinel: RedisServer) -> bool:
        return f"status=ok,address=127.0.0.1:{self.servers[0].port},slaves={len(self.servers) - 1},sentinels=3" in (
            sentinel.call("INFO", "sentinel").decode()
        )


class Eager(Random):
    """Chance that never has anybody wait for long, so that a test measures the servers."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, a + 0.2)


Setup = TypeVar("Setup", Cluster, SentinelSetup)


def started(make: Callable[[Path], Setup], folder: Path) -> Setup:
    """A setup that runs. So many free ports are seldom, but sometimes, taken by others before we listen on them."""
    for attempt in range(3):
        place = folder / f"{len(list(folder.iterdir()))}.{attempt}"
        place.mkdir()
        setup = make(place)
        try:
            setup.start()
        except AssertionError:
            setup.stop()
        else:
            return setup
    pytest.fail("no setup would start")


def wait_for_replicas(master: RedisServer, servers: Iterable[RedisServer]) -> None:
    """Return once those of the servers that follow a master have all it has: the rest it would take to its grave."""
    replicas = [one for one in servers if _alive(one) and _replication(one).get("master_port") == str(master.port)]
    assert replicas
    end = int(_replication(master)["master_repl_offset"])
    until(lambda: all(int(_replication(one)["slave_repl_offset"]) >= end for one in replicas))


def until(reached: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Look every 20 ms whether something is so."""
    for _ in range(round(limit_s / _LOOK_S)):
        if reached():
            return
        Event().wait(_LOOK_S)
    pytest.fail("waited for too long")


def reply_of(server: RedisServer, *words: object) -> Any:
    """The reply to a command; an error is the test's."""
    reader = hiredis.Reader()
    reader.feed(server.call(*map(str, words)))
    reply = reader.gets()
    assert not isinstance(reply, hiredis.ReplyError), (words, reply)
    return reply


def _node(binary: str, folder: Path) -> RedisServer:
    folder.mkdir()
    timeout = ("--cluster-node-timeout", str(round(NODE_TIMEOUT_S * 1000)))
    ports = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    return RedisServer(binary, folder, *ports, *timeout, "--repl-diskless-sync-delay", "0")


def _server(binary: str, folder: Path) -> RedisServer:
    folder.mkdir()
    return RedisServer(binary, folder, "--repl-diskless-sync-delay", "0")


def _bus_port(server: RedisServer) -> int:
    return int(server._command[server._command.index("--cluster-port") + 1])


def _id(server: RedisServer) -> str:
    return str(reply_of(server, "CLUSTER", "MYID").decode())


def _replication(server: RedisServer) -> dict[str, str]:
    facts = server.call("INFO", "replication").decode().splitlines()
    return dict(fact.split(":", 1) for fact in facts if ":" in fact)


def _alive(server: RedisServer) -> bool:
    return server._process is not None and server._process.poll() is None


def _is_well(server: RedisServer, nodes: int) -> bool:
    told = server.call("CLUSTER", "INFO").decode()
    replication = server.call("INFO", "replication")
    well = ("cluster_state:ok", "cluster_slots_ok:16384", f"cluster_known_nodes:{nodes}")
    return all(fact in told for fact in well) and (b"role:master" in replication or b"link_status:up" in replication)


def _write_sentinel(binary: str, sentinel: RedisServer, number: int, setup: SentinelSetup) -> None:
    """A sentinel that need not find the others first: it is told of them."""
    ids = [f"{other:040x}" for other in range(1, 4)]
    master, *replicas = setup.servers
    told = [
        *("bind 127.0.0.1", f"port {sentinel.port}", f"unixsocket {sentinel.socket_path}", f"dir {sentinel.folder}"),
        f"sentinel myid {ids[number]}",
        f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 2",
        f"sentinel down-after-milliseconds {MASTER} {round(DOWN_AFTER_S * 1000)}",
        f"sentinel failover-timeout {MASTER} 3000",
        *(f"sentinel known-replica {MASTER} 127.0.0.1 {replica.port}" for replica in replicas),
        *(
            f"sentinel known-sentinel {MASTER} 127.0.0.1 {other.port} {ids[place]}"
            for place, other in enumerate(setup.sentinels)
            if other is not sentinel
        ),
    ]
    path = sentinel.folder / "sentinel.conf"
    path.write_text("\n".join((*told, "")))
    sentinel._command = [binary, str(path), "--sentinel"]
