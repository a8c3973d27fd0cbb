"""Everything hostile between a CID and its bytes, as a catalogue: each case must be refused for its own reason.

`test_hostile.py` runs all of it. `python -m tests.content.hostile` runs each case in a process of its own, the hostile
server in another one, and prints time and memory as the table of docs/content.md.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.content.standin import RAW, StandIn, bomb, chunked, faults
from validator.content import (
    BadBlock,
    BadCid,
    BadDag,
    BadStore,
    Block,
    Cid,
    ContentError,
    Deadline,
    FetchError,
    Flood,
    GatewaySource,
    KuboStore,
    LocalStore,
    NotFound,
    QuotaExceeded,
    TooLarge,
    peer_opener,
    root,
)
from validator.content import gateway as gateway_module
from validator.content import store as store_module
from validator.content.addresses import choose, is_public
from validator.content.car import NotThatCar, headers
from validator.content.dagpb import decode_file, encode_file
from validator.content.http import Patience
from validator.content.store import read_file
from validator.content.unixfs import MAX_DEPTH, walk

LIMIT = 256 << 20
FILE = bytes(range(256)) * 12_000
QUICK = Patience(connect=5.0, read=1.0, block=0.7, tries=1)


class Lab:
    """What a case acts on. `forked` puts the hostile server into a process of its own, so that memory is ours alone."""

    def __init__(self, folder: Path, *, forked: bool = False) -> None:
        self.folder, self._forked = folder, forked
        self.held: dict[Cid, bytes] = {}
        self._child = 0
        self.standin: StandIn | None = None

    def serve(self, prepare: Callable[[StandIn], None]) -> str:
        """Start the stand-in as `prepare` leaves it; returns its URL."""
        if not self._forked:
            self.standin = StandIn()
            prepare(self.standin)
            return self.standin.url
        read, write = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            standin = StandIn()
            prepare(standin)
            os.write(write, standin.url.encode())
            os.close(write)
            time.sleep(60)
            os._exit(0)
        os.close(write)
        url = os.read(read, 100).decode()
        os.close(read)
        return url

    def close(self) -> None:
        if self.standin is not None:
            self.standin.close()
        if self._child:
            os.kill(self._child, 9)
            os.waitpid(self._child, 0)

    # Blocks in memory, for cases about what an author can make

    def add(self, codec: Any, data: bytes) -> Cid:
        cid = Cid.of(codec, data)
        self.held[cid] = data
        return cid

    def get(self, cid: Cid) -> Block:
        if cid not in self.held:
            raise NotFound(f"the author withholds {cid}")
        return Block(cid.codec, self.held[cid])

    def walk(self, cid: Cid, limit: int = LIMIT) -> None:
        for _ in walk(cid, self.get, limit):
            pass

    # Sources

    def ask(self, fault: str, kind: str = "gateway") -> None:
        """One block from a server that shows `fault`."""

        def prepare(standin: StandIn) -> None:
            bomb()  # made before anybody waits for it
            standin.fault = faults(standin)[fault]

        url = self.serve(prepare)
        source = KuboStore(url, patience=QUICK) if kind == "kubo" else GatewaySource(url, QUICK)
        source.get_block(Cid.of("raw", b"anything"))

    def ask_raw(self, answer: bytes) -> None:
        """One block from a server that writes `answer` and hangs up."""

        def prepare(standin: StandIn) -> None:
            standin.fault = lambda handler: handler.wfile.write(answer)

        GatewaySource(self.serve(prepare), QUICK).get_block(Cid.of("raw", b"anything"))

    def archive(self, change: Callable[[bytes], bytes], *, kubo: bool = False, limit: int = LIMIT) -> None:
        """A file as one archive from a server that sends `change(archive)`."""

        def prepare(standin: StandIn) -> None:
            standin.hold(FILE)
            standin.car_fault = change

        url, cid = self.serve(prepare), root(FILE)
        source = KuboStore(url, patience=QUICK) if kubo else GatewaySource(url, QUICK)
        with source.dag(cid, limit) as get_block:
            read_file(cid, get_block, limit)

    def peer(self, url: str, at: str | None = None) -> None:
        """A URL as another operator announces it; `at`: what its name resolves to, where that is the point."""
        peer_opener(private=False)(url)
        if at is not None:
            _resolving(at, lambda: choose("peer.example.org", 443, is_public))


@dataclass(frozen=True)
class Case:
    """`act` must raise exactly `error`, saying `reason`."""

    name: str
    error: type[ContentError] | type[OSError]
    reason: str
    act: Callable[[Lab], object]


CASES: list[Case] = []


def case(name: str, error: type[Any], reason: str) -> Callable[[Callable[[Lab], object]], None]:
    def take(act: Callable[[Lab], object]) -> None:
        CASES.append(Case(name, error, reason, act))

    return take


def simple(group: str, error: type[Any], table: dict[str, tuple[str, Callable[[Lab], object]]]) -> None:
    CASES.extend(Case(f"{group}: {name}", error, reason, act) for name, (reason, act) in table.items())


# --- CIDs ---

_EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
_ROOT = str(Cid.parse("bafybeihaqwdzbwwcswc7zm3ohduemxxuqebbvzr7gs6hphxxkbc2mp666y"))

simple(
    "cid",
    BadCid,
    {
        "identity multihash that holds its data": ("46 to 64 characters", lambda _: Cid.parse("bafkqaaa")),
        "dag-cbor": (
            "sha2-256 over raw or dag-pb",
            lambda _: Cid.parse("bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje"),
        ),
        "unused bits set": ("not a CID in canonical form|canonical", lambda _: Cid.parse(_EMPTY[:-1] + "v")),
        "a hundred kilobytes of base32": ("46 to 64 characters", lambda _: Cid.parse("b" + "a" * 100_000)),
        "a Cyrillic letter": ("of its alphabet", lambda _: Cid.parse("b\u0430" + _EMPTY[2:])),
        "base58 without its version": ("sha2-256|version", lambda _: Cid.parse("Qm" + "1" * 44)),
        "unknown codec byte on chain": ("codec byte 2", lambda _: Cid.from_chain(bytes(32), 2)),
        "digest of another length": ("32 bytes", lambda _: Cid.from_chain(bytes(31), 0)),
        "sha2-512 in a link": ("sha2-256", lambda _: Cid.from_bytes(b"\x01\x55\x13\x40" + bytes(64))),
    },
)

# --- DAGs, which only their author can have made ---

_LEAF = Cid.of("raw", b"leaf")
_GOOD = encode_file(b"", [(_LEAF, 4, 4)])
_META = b"\x0a\x06\x08\x02\x18\x04\x20\x04"
_LINK = _GOOD[: -len(_META)]

simple(
    "dag-pb",
    BadDag,
    {
        "directory": ("not a file", lambda _: decode_file(_GOOD.replace(b"\x08\x02", b"\x08\x01"))),
        "symlink": ("a symlink", lambda _: decode_file(_GOOD.replace(b"\x08\x02", b"\x08\x04"))),
        "HAMT shard": ("something else", lambda _: decode_file(_GOOD.replace(b"\x08\x02", b"\x08\x05"))),
        "link to an identity CID": ("sha2-256", lambda _: decode_file(_GOOD.replace(b"\x55\x12\x20", b"\x55\x00\x20"))),
        "link to dag-cbor": ("raw or dag-pb", lambda _: decode_file(_GOOD.replace(b"\x01\x55\x12", b"\x01\x71\x12"))),
        "link with a name": ("no names", lambda _: decode_file(b"\x12\x2b" + _LINK[2:-3] + b"\x01a\x18\x04" + _META)),
        "trailing bytes": ("out of order", lambda _: decode_file(_GOOD + b"\x1a\x05extra")),
        "data twice": ("out of order", lambda _: decode_file(_GOOD + _META)),
        "data before links": ("out of order", lambda _: decode_file(_META + _LINK)),
        "huge varint": ("63 bits", lambda _: decode_file(b"\x12" + b"\xff" * 100)),
        "long form of a number": (
            "shortest form",
            lambda _: decode_file(_LINK + b"\x0a\x07\x08\x82\x00\x18\x04\x20\x04"),
        ),
        "length beyond memory": ("past the end", lambda _: decode_file(b"\x12\xff\xff\xff\xff\xff\xff\xff\x7f")),
        "cut within a number": ("cut off", lambda _: decode_file(_GOOD + b"\x80")),
        "group wire type": ("wire type", lambda _: decode_file(_GOOD + b"\x0b\x00")),
        "size that is not the sum": ("not the sum", lambda _: decode_file(_GOOD.replace(b"\x18\x04", b"\x18\x05"))),
        "block size without a link": ("0 links but 1", lambda _: decode_file(_META)),
        "empty block": ("without UnixFS data", lambda _: decode_file(b"")),
        "too many links": ("more than 8192 links", lambda _: decode_file(encode_file(b"", [(_LEAF, 0, 0)] * 8193))),
        "two MiB of one-byte fields": (
            "out of order|wire type|without a CID",
            lambda _: decode_file(b"\x12\x00" * (1 << 20)),
        ),
    },
)


@case("dag: bomb of five terabytes out of one megabyte", TooLarge, "at most")
def _(lab: Lab) -> None:
    cid, size = lab.add("raw", bytes(1 << 20)), 1 << 20
    for _level in range(3):
        cid = lab.add("dag-pb", encode_file(b"", [(cid, size, size)] * 174))
        size *= 174
    lab.walk(cid)


@case("dag: parent that declares less than its child holds", BadDag, "holds 1000 bytes where its parent says 10")
def _(lab: Lab) -> None:
    lab.walk(lab.add("dag-pb", encode_file(b"", [(lab.add("raw", bytes(1000)), 10, 10)] * 5)))


@case("dag: parent that declares more than its child holds", BadDag, "holds 10 bytes where its parent says 1000")
def _(lab: Lab) -> None:
    lab.walk(lab.add("dag-pb", encode_file(b"", [(lab.add("raw", bytes(10)), 1000, 1000)])))


@case("dag: sizes whose sum does not fit 64 bits", TooLarge, "at most")
def _(lab: Lab) -> None:
    most = (1 << 63) - 1
    inner = [(_LEAF, most // 4, 1)] * 4
    lab.walk(lab.add("dag-pb", encode_file(b"", inner)))


@case("dag: tower of single links", TooLarge, "levels deep")
def _(lab: Lab) -> None:
    cid = lab.add("raw", b"x")
    for _level in range(MAX_DEPTH + 1):
        cid = lab.add("dag-pb", encode_file(b"", [(cid, 1, 1)]))
    lab.walk(cid)


@case("dag: five million empty leaves", TooLarge, "more blocks than a file of 0 bytes needs")
def _(lab: Lab) -> None:
    inner = lab.add("dag-pb", encode_file(b"", [(lab.add("raw", b""), 0, 0)] * 8000))
    lab.walk(lab.add("dag-pb", encode_file(b"", [(inner, 0, 0)] * 600)))


@case("dag: one leaf of one byte, linked eight thousand times", TooLarge, "more blocks than a file of 8000 bytes")
def _(lab: Lab) -> None:
    lab.walk(lab.add("dag-pb", encode_file(b"", [(lab.add("raw", b"x"), 1, 1)] * 8000)))


@case("dag: file above the limit", TooLarge, "holds 1001 bytes: at most 1000")
def _(lab: Lab) -> None:
    lab.walk(lab.add("raw", bytes(1001)), 1000)


@case("dag: a block that its author withholds", NotFound, "withholds")
def _(lab: Lab) -> None:
    leaf = Cid.of("raw", b"never shown")
    lab.walk(lab.add("dag-pb", encode_file(b"", [(lab.add("raw", b"shown"), 5, 5), (leaf, 11, 11)])))


@case("dag: cycle, feigned by a source that answers a child with its parent", BadBlock, "something else")
def _(lab: Lab) -> None:
    parent = encode_file(b"", [(Cid("dag-pb", b"\1" * 32), 10, 10)])

    def prepare(standin: StandIn) -> None:
        standin.blocks[str(Cid.of("dag-pb", parent))] = parent
        standin.blocks[str(Cid("dag-pb", b"\1" * 32))] = parent

    source = GatewaySource(lab.serve(prepare), QUICK)
    list(walk(Cid.of("dag-pb", parent), source.get_block, LIMIT))


@case("dag: block above two mebibytes", Flood, "at most 2097152")
def _(lab: Lab) -> None:
    data = bytes((2 << 20) + 1)
    cid = Cid.of("raw", data)
    GatewaySource(lab.serve(lambda standin: standin.blocks.update({str(cid): data})), QUICK).get_block(cid)


# --- Sources ---

_FAULTS: dict[str, tuple[type[ContentError], str, str]] = {
    "bytes of something else": (BadBlock, "something else", "lie"),
    "truncation with a proper end": (BadBlock, "something else", "stream_error"),
    "400 MB announced": (Flood, "419430400", "announced_flood"),
    "400 MB in one chunk": (Flood, "sent more than", "chunk_flood"),
    "gzip bomb": (FetchError, "compressed", "gzip_bomb"),
    "gzip bomb as error message": (FetchError, "status 500", "error_flood"),
    "endless error message": (FetchError, "status 500", "error_chunk_flood"),
    "redirect": (FetchError, "redirects elsewhere", "redirect"),
    "connection cut within a length": (FetchError, "did not answer properly", "cut_length"),
    "connection cut within a chunk": (FetchError, "did not answer properly", "cut_chunk"),
    "negative length": (Flood, "wants to send -5", "bad_length"),
    "two lengths": (FetchError, "did not answer properly", "two_lengths"),
    "no HTTP at all": (FetchError, "did not answer properly", "no_http"),
    "five thousand headers": (FetchError, "did not answer properly", "many_headers"),
    "body that drips": (Deadline, "in time", "drip"),
    "headers that drip": (FetchError, "did not answer properly", "drip_headers"),
    "endless 100 Continue": (FetchError, "did not answer properly", "endless_continue"),
    "endless trailers": (Deadline, "in time", "endless_trailers"),
    "silence": (FetchError, "did not answer properly", "silence"),
}
CASES += [
    Case(f"gateway: {name}", error, reason, lambda lab, fault=fault: lab.ask(fault))  # type: ignore[misc]
    for name, (error, reason, fault) in _FAULTS.items()
]
CASES += [
    Case(f"kubo: {name}", *_FAULTS[name][:2], lambda lab, fault=_FAULTS[name][2]: lab.ask(fault, "kubo"))  # type: ignore[misc]
    for name in ("bytes of something else", "400 MB in one chunk", "gzip bomb", "redirect", "body that drips")
]


@case("gateway: web page instead of a block", FetchError, "does not serve raw blocks")
def _(lab: Lab) -> None:
    lab.ask_raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello")


@case("gateway: header of a megabyte", FetchError, "did not answer properly")
def _(lab: Lab) -> None:
    lab.ask_raw(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (1 << 20) + b"\r\n\r\n")


@case("gateway: line breaks in an error message", FetchError, "status 500")
def _(lab: Lab) -> None:
    lab.ask_raw(b"HTTP/1.1 500 No\r\nContent-Length: 20\r\n\r\nerror\r\n\x1b[31mforged: ok\n")


@case("gateway: brotli that nobody asked for", FetchError, "compressed")
def _(lab: Lab) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: " + RAW.encode() + b"\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
    )
    lab.ask_raw(head)


@case("kubo: plain http to another machine", BadStore, "plain http")
def _(_lab: Lab) -> None:
    KuboStore("http://192.0.2.1:5001")


@case("kubo: password in the URL", BadStore, "holds a password")
def _(_lab: Lab) -> None:
    KuboStore("http://user:secret@127.0.0.1:5001")


# --- Archives ---


def _split(archive: bytes) -> list[bytes]:
    """Header and sections of an archive, each with its length."""
    parts = []
    while archive:
        value, at = 0, 0
        while True:
            value |= (archive[at] & 0x7F) << (7 * at)
            at += 1
            if archive[at - 1] < 0x80:
                break
        parts.append(archive[: at + value])
        archive = archive[at + value :]
    return parts


def _swap(archive: bytes) -> bytes:
    header, root, first, second, *rest = _split(archive)
    return b"".join([header, root, second, first, *rest])


def _twice(archive: bytes) -> bytes:
    header, root, first, *rest = _split(archive)
    return b"".join([header, root, first, first, *rest])


def _rotten(archive: bytes) -> bytes:
    return archive[:-100] + b"rot" + archive[-97:]


_HEAD = 59  # bytes of the header of one root

simple(
    "car",
    NotThatCar,
    {
        "another root": ("with the root", lambda lab: lab.archive(lambda a: headers(_LEAF)[0] + a[_HEAD:])),
        "version 2": (
            "with the root",
            lambda lab: lab.archive(lambda a: b"\x0a\xa1gversion\x02" + bytes(40) + a),
        ),
        "two roots": ("with the root", lambda lab: lab.archive(lambda a: a.replace(b"roots\x81", b"roots\x82", 1))),
        "garbage": ("with the root", lambda lab: lab.archive(lambda a: b"\xff" * 1000)),
        "header of zeros": ("with the root", lambda lab: lab.archive(lambda a: bytes(100))),
        "blocks in another order": ("comes next", lambda lab: lab.archive(_swap)),
        "a block twice": ("comes next", lambda lab: lab.archive(_twice)),
        "something after the end": ("after the end", lambda lab: lab.archive(lambda a: a + b"more")),
        "section of four gigabytes": (
            "more than 4 bytes",
            lambda lab: lab.archive(lambda a: a[:_HEAD] + b"\xff\xff\xff\xff\x0f" + a),
        ),
        "section above a block": (
            "are allowed",
            lambda lab: lab.archive(lambda a: a[:_HEAD] + b"\x80\x80\x80\x02" + a),
        ),
        "section shorter than a CID": (
            "section of 5 bytes",
            lambda lab: lab.archive(lambda a: a[:_HEAD] + b"\x05hello"),
        ),
        "long form of a length": (
            "shortest form",
            lambda lab: lab.archive(lambda a: a[:_HEAD] + b"\xa4\x80\x00" + a),
        ),
        "identity CID": (
            "sha2-256",
            lambda lab: lab.archive(lambda a: a[:_HEAD] + b"\x29\x01\x55\x00\x25" + b"inline data" * 4),
        ),
    },
)


@case("car: block that does not hash to its CID", BadBlock, "something else")
def _(lab: Lab) -> None:
    lab.archive(_rotten)


@case("car: cut within a block, with a proper end", FetchError, "ended its archive within a section")
def _(lab: Lab) -> None:
    lab.archive(lambda archive: archive[:-1000])


@case("car: cut between two blocks, with a proper end", FetchError, "ended its archive within a section")
def _(lab: Lab) -> None:
    lab.archive(lambda archive: b"".join(_split(archive)[:-1]))


@case("car: nothing, with a proper end", FetchError, "ended its archive within a header")
def _(lab: Lab) -> None:
    lab.archive(lambda archive: b"")


@case("car: file above the limit", TooLarge, "at most 1000 are allowed")
def _(lab: Lab) -> None:
    lab.archive(lambda archive: archive, limit=1000)


@case("car: export of the RPC, cut within a block", FetchError, "ended its archive within a section")
def _(lab: Lab) -> None:
    lab.archive(lambda archive: archive[:-1000], kubo=True)


@case("car: plain file instead", NotThatCar, "does not serve archives")
def _(lab: Lab) -> None:
    def plain(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")

    def prepare(standin: StandIn) -> None:
        standin.fault = plain

    with GatewaySource(lab.serve(prepare), QUICK).dag(Cid.parse(_ROOT), LIMIT):
        pass


@case("car: archive that drips", Deadline, "in time")
def _(lab: Lab) -> None:
    def drip(handler: Any) -> None:
        chunked(handler, kind="application/vnd.ipld.car")
        for byte in headers(Cid.parse(_ROOT))[0] * 100:
            handler.wfile.write(b"1\r\n" + bytes((byte,)) + b"\r\n")
            time.sleep(0.05)

    def prepare(standin: StandIn) -> None:
        standin.fault = drip

    with _hasty():
        cid = Cid.parse(_ROOT)
        with GatewaySource(lab.serve(prepare), QUICK).dag(cid, 1) as get_block:
            read_file(cid, get_block, 1)


# --- Peers: URLs that operators put on chain ---

simple(
    "peer",
    BadStore,
    {
        "this machine": ("public address", lambda lab: lab.peer("https://127.0.0.1:8790")),
        "this machine by IPv6": ("public address", lambda lab: lab.peer("https://[::1]:8790")),
        "the neighbour": ("public address", lambda lab: lab.peer("https://10.0.0.1")),
        "the cloud's metadata": ("public address", lambda lab: lab.peer("https://169.254.169.254")),
        "a private address in IPv6": ("public address", lambda lab: lab.peer("https://[::ffff:10.0.0.1]")),
        "a private address behind NAT64": ("public address", lambda lab: lab.peer("https://[64:ff9b::a00:1]")),
        "an address as one number": ("public host", lambda lab: lab.peer("https://2130706433")),
        "an address in hexadecimal": ("public host", lambda lab: lab.peer("https://0x7f000001")),
        "a name without a dot": ("public host", lambda lab: lab.peer("https://localhost:8790")),
        "plain http": ("must be https", lambda lab: lab.peer("http://peer.example.org")),
        "a file": ("expected https", lambda lab: lab.peer("file:///etc/passwd")),
        "a user in front": ("without user", lambda lab: lab.peer("https://example.org@10.0.0.1")),
        "a query": ("without user", lambda lab: lab.peer("https://peer.example.org/?a=b")),
        "the port of mail": ("port 443", lambda lab: lab.peer("https://peer.example.org:25")),
        "port zero": ("port 0", lambda lab: lab.peer("https://peer.example.org:0")),
        "no such port": ("expected https", lambda lab: lab.peer("https://peer.example.org:99999")),
        "a backslash": ("disagree", lambda lab: lab.peer("https://peer.example.org\\@10.0.0.1")),
        "line breaks": ("visible ASCII", lambda lab: lab.peer("https://peer.example.org\r\nHost: x")),
        "three hundred bytes": ("1 to 256", lambda lab: lab.peer("https://peer.example.org/" + "a" * 300)),
        "letters that look like others": ("visible ASCII", lambda lab: lab.peer("https://p\u0435er.example.org")),
    },
)
simple(
    "peer",
    OSError,
    {
        "a name that leads to this machine": (
            "not at a public address",
            lambda lab: lab.peer("https://peer.example.org", "127.0.0.1"),
        ),
        "a name that leads to the metadata": (
            "not at a public address",
            lambda lab: lab.peer("https://peer.example.org", "169.254.169.254"),
        ),
        "a name that leads to a private IPv6": (
            "not at a public address",
            lambda lab: lab.peer("https://peer.example.org", "fd00::1"),
        ),
    },
)

# --- The disk ---


@case("store: block changed on disk", BadBlock, "something else")
def _(lab: Lab) -> None:
    store = LocalStore(lab.folder)
    cid = store.put(b"as it was")
    store._path(cid).write_bytes(b"as it is now")
    store.get_block(cid)


@case("store: block that grew on disk", BadBlock, "something else")
def _(lab: Lab) -> None:
    store = LocalStore(lab.folder)
    cid = store.put(b"as it was")
    store._path(cid).write_bytes(bytes(64 << 20))
    store.get_block(cid)


@case("store: more than the quota", QuotaExceeded, "of 1000 bytes")
def _(lab: Lab) -> None:
    LocalStore(lab.folder, quota=1000).put(bytes(1001))


@case("store: fetched beyond the share for fetched content", QuotaExceeded, "do not fit")
def _(lab: Lab) -> None:
    LocalStore(lab.folder, quota=1000).put_block(Block("raw", bytes(960)))


# --- Running them ---


class _hasty:
    """Files get half a second, so that a drip need not be waited for."""

    def __enter__(self) -> None:
        self._before = (gateway_module.FILE_SECONDS, store_module.FILE_SECONDS)
        gateway_module.FILE_SECONDS = store_module.FILE_SECONDS = 0.5

    def __exit__(self, *_: object) -> None:
        gateway_module.FILE_SECONDS, store_module.FILE_SECONDS = self._before


def _resolving(address: str, act: Callable[[], object]) -> None:
    """`act` while every name leads to `address`."""
    import socket

    real = socket.getaddrinfo
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    socket.getaddrinfo = lambda *_, **__: [(kind, socket.SOCK_STREAM, 6, "", (address, 443))]  # type: ignore[assignment]
    try:
        act()
    finally:
        socket.getaddrinfo = real


def measured(number: int) -> tuple[float, int, str]:
    """Seconds and bytes of memory that a case takes beyond what the process had before, and what was said."""
    import re

    global QUICK
    # Time is told here, not tested: a busy machine may take it.
    QUICK = Patience(connect=5.0, read=3.0, block=3.0, tries=1)
    found = CASES[number]
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), forked=True)
        # The library is loaded by the first use; that is no part of the case.
        KuboStore("http://127.0.0.1:1").close()
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        try:
            found.act(lab)
        except Exception as error:
            assert type(error) is found.error or issubclass(type(error), found.error), repr(error)
            assert re.search(found.reason, str(error)), str(error)
            said = str(error)
        else:
            raise AssertionError(f"{found.name}: not refused")
        finally:
            lab.close()
        seconds = time.perf_counter() - started
        return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, said


def rows() -> Iterator[str]:
    """The table of docs/content.md."""
    yield "| case | refused as | seconds | memory, MiB |\n|---|---|---:|---:|"
    for number, found in enumerate(CASES):
        command = [sys.executable, "-m", "tests.content.hostile", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        seconds, memory, kind = done.stdout.split()
        yield f"| {found.name} | `{kind}` | {float(seconds):.2f} | {int(memory) / 2**20:.1f} |"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        taken, held, _said = measured(int(sys.argv[1]))
        print(taken, held, CASES[int(sys.argv[1])].error.__name__)
    else:
        for row in rows():
            print(row, flush=True)
