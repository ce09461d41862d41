"""The exchange of the benchmarks: `wss` on loopback, one blocking thread, frames as fast as they are taken or paced.

It is told by lines on its standard input: `accept N`, `flood`, `pace RATE SECONDS`, `hang up`. A blocking socket is
the point: the sender never runs ahead of the reader, and costs next to nothing beside it.
"""

import argparse
import base64
import gc
import hashlib
import json
import socket
import ssl
import sys
import time
from pathlib import Path
from random import Random

from benchmarks.market import Ticks, pairs, text_frame
from benchmarks.meter import tell

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_CHUNK = 1 << 18


class Peer:
    """One client's socket, after its handshake and its subscription."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(raw, server_side=True)
        self.send = self._socket.sendall
        self._asked = b""
        self.streams = self._upgrade().partition("streams=")[2].partition(" ")[0].split("/")
        if self.streams == [""]:
            self.streams = self._subscribed()

    def close(self) -> None:
        self._socket.close()

    def _upgrade(self) -> str:
        while b"\r\n\r\n" not in self._asked:
            self._receive()
        head, _, self._asked = self._asked.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + _MAGIC).digest()).decode()
        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.send(f"{answer}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        return lines[0]

    def _subscribed(self) -> list[str]:
        """Answer the one SUBSCRIBE of a client that does not name its streams in the address."""
        asked = json.loads(self._masked())
        self.send(text_frame(json.dumps({"result": None, "id": asked["id"]}).encode()))
        streams: list[str] = asked["params"]
        return streams

    def _masked(self) -> bytes:
        size = self._take(2)[1] & 0x7F
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        mask = self._take(4)
        return bytes(byte ^ mask[place & 3] for place, byte in enumerate(self._take(size)))

    def _take(self, size: int) -> bytes:
        while len(self._asked) < size:
            self._receive()
        taken, self._asked = self._asked[:size], self._asked[size:]
        return taken

    def _receive(self) -> None:
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the client went away")
        self._asked += received


def flood(peer: Peer, frames: memoryview) -> float:
    """Send everything, as fast as it is taken; returns the seconds it took."""
    started = time.perf_counter()
    for start in range(0, len(frames), _CHUNK):
        peer.send(frames[start : start + _CHUNK])
    return time.perf_counter() - started


def pace(peers: list[Peer], names: list[str], rate: float, seconds: float) -> dict[str, float]:
    """Send trades at random moments, `rate` of them a second on average, each stamped with the time of its sending.

    Tells how late the trades were sent.
    """
    ticks, random = Ticks(names), Random(2)
    senders = {stream: peer.send for peer in peers for stream in peer.streams}
    send = [senders[f"{name.lower()}@aggTrade"] for name in names]
    late: list[float] = []
    started = due = time.perf_counter()
    while due < started + seconds:
        due += random.expovariate(rate)
        if (early_s := due - time.perf_counter()) > 0:
            time.sleep(early_s)
        pair = random.randrange(len(names))
        send[pair](ticks.frame(pair, time.time_ns() // 1000))
        late.append(time.perf_counter() - due)
    late.sort()
    took = time.perf_counter() - started
    return {"sent": len(late), "seconds": took, "late_p99_ms": late[len(late) * 99 // 100] * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--trades", type=int, default=0, help="how many a flood has")
    chosen = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chosen.certificate, chosen.key)
    names = pairs(chosen.pairs)
    frames = memoryview(b"".join(Ticks(names).flood(chosen.trades)))
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    gc.freeze()
    tell({"port": listener.getsockname()[1]})
    peers: list[Peer] = []
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "accept":
            peers = [Peer(listener.accept()[0], context) for _ in range(int(rest[0]))]
            tell({"accepted": len(peers)})
        elif word == "flood":
            tell({"seconds": flood(peers[0], frames)})
        elif word == "pace":
            tell(pace(peers, names, float(rest[0]), float(rest[1])))
        else:
            for peer in peers:
                peer.close()
            tell({})


if __name__ == "__main__":
    main()
