"""Several sources behind one Protocol: our own store first, then the others, the healthiest first.

Every block proves itself, so a file may come from several sources, and none needs to be trusted. One that lied is set
aside, one that fails is asked last (`validator.content.health`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from validator.content.block import Block
from validator.content.cid import Cid
from validator.content.errors import BadBlock, BadStore, ContentError, Deadline, FetchError, NotFound
from validator.content.gateway import GatewaySource
from validator.content.health import SourceStatus, Standing
from validator.content.kubo import KuboStore
from validator.content.local import LocalStore
from validator.content.store import ContentSource, read_file

_Writable = LocalStore | KuboStore
_Dags = GatewaySource | KuboStore


class LayeredStore:
    """Reads from whoever has a block, writes to the first store that can.

    What another source gave is kept in the local store on the way, so that a pin needs no second fetch. `set_peers`
    adds other validators behind the sources that the operator configured.
    """

    def __init__(self, sources: Sequence[ContentSource]) -> None:
        self._configured = tuple(sources)
        self._peers: dict[str, tuple[str, GatewaySource]] = {}
        self._writable = next((source for source in self._configured if isinstance(source, _Writable)), None)
        self._standings = {source.name: Standing(source.name) for source in self._configured}
        self._guard = threading.Lock()

    @property
    def name(self) -> str:
        """The names of the configured sources, in order."""
        return ",".join(source.name for source in self._configured)

    @property
    def local(self) -> LocalStore | None:
        """The embedded store among the sources, if there is one."""
        return next((source for source in self._configured if isinstance(source, LocalStore)), None)

    def sources(self) -> list[ContentSource]:
        """Every source, configured ones first, then peers."""
        return self._all()

    def status(self) -> list[SourceStatus]:
        """How each source does, configured ones first, then peers."""
        return [self._standing(source).status() for source in self._all()]

    def set_peers(self, urls: Mapping[str, str], make: Callable[[str], GatewaySource]) -> dict[str, str]:
        """Read from these validators too, behind everything else. `urls` by operator; a peer whose URL stays is kept.

        `make` opens a URL; what it refuses with BadStore is left out. Returns the refusals, by operator.
        """
        refused, kept = {}, {}
        for operator, url in urls.items():
            known = self._peers.get(operator)
            try:
                kept[operator] = known if known is not None and known[0] == url else (url, make(url))
            except BadStore as error:
                refused[operator] = str(error)
        before, self._peers = self._peers, kept
        for operator, (url, source) in before.items():
            if kept.get(operator, ("",))[0] != url:
                source.close()
        with self._guard:
            names = {source.name for source in self._all()}
            self._standings = {name: standing for name, standing in self._standings.items() if name in names}
        return refused

    def get_block(self, cid: Cid) -> Block:
        """One verified block from the first source that can. Raises the last source's error if none can."""
        return self._first(cid)[0]

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file; its blocks may come from different sources. Raises ContentError.

        A file that is not here is asked for as a whole first, which is one request where a source can. Raises
        QuotaExceeded before anything is fetched that would not fit into the local store.
        """
        local = self.local
        if local is not None and local.has(cid):
            try:
                data = local.read(cid, size_limit)
            except (NotFound, BadBlock):
                return self._read_blocks(cid, size_limit, ())  # others have what is damaged here
            self._standing(local).served()
            return data
        if local is not None:
            local.check_room(size_limit)
        return self._fetch(cid, size_limit)

    def put(self, data: bytes) -> Cid:
        """Store and pin in the first store that can write. Raises BadStore when none can."""
        return self._writer().put(data)

    def pin(self, cid: Cid) -> None:
        """Pin in the first store that can write; a local store must have read it before.

        Raises NotFound or FetchError.
        """
        self._writer().pin(cid)

    def unpin(self, cid: Cid) -> None:
        """Unpin in the first store that can write."""
        self._writer().unpin(cid)

    def has(self, cid: Cid) -> bool:
        """Whether the first store that can write holds all of it."""
        return self._writer().has(cid)

    @property
    def is_writable(self) -> bool:
        """Whether any of the configured sources can write."""
        return self._writable is not None

    def is_pinned(self, cid: Cid) -> bool:
        """Whether the first store that can write has it pinned."""
        writer = self._writer()
        return writer.is_pinned(cid) if isinstance(writer, LocalStore) else writer.has(cid)

    def _all(self) -> list[ContentSource]:
        return [*self._configured, *(source for _, source in self._peers.values())]

    def _in_order(self, first: ContentSource | None = None, last: Collection[str] = ()) -> list[ContentSource]:
        """Who may be asked now: our own store, who served last, then by rank, then as configured; `last` at last."""
        places: list[tuple[tuple[int, int], ContentSource]] = []
        for source in self._all():
            rank = self._standing(source).rank()
            if source is self.local:
                places.append(((0, 0), source))
            elif rank is not None:
                group = 1 if source is first else 3 if source.name in last else 2
                places.append(((group, rank), source))
        return [source for _, source in sorted(places, key=lambda place: place[0])]

    def _first(
        self, cid: Cid, first: ContentSource | None = None, last: Collection[str] = ()
    ) -> tuple[Block, ContentSource]:
        failures: list[ContentError] = []
        for source in self._in_order(first, last):
            try:
                block = source.get_block(cid)
            except (NotFound, FetchError, BadBlock) as error:
                self._standing(source).failed(error)
                failures.append(error)
            else:
                self._standing(source).served()
                self._keep(source, block)
                return block, source
        if len(failures) == 1:
            raise failures[0]
        if all(isinstance(failure, NotFound) for failure in failures):
            raise NotFound(f"none of {self._names()} has {cid}")
        raise next(failure for failure in reversed(failures) if not isinstance(failure, NotFound))

    def _fetch(self, cid: Cid, size_limit: int) -> bytes:
        """A file that is not here: by one request where a source can, else by block."""
        without = set[str]()
        if cid.codec != "raw":
            for source in self._in_order():
                if isinstance(source, _Dags) and source.archives:
                    data = self._read_whole(source, cid, size_limit, without)
                    if data is not None:
                        return data
        return self._read_blocks(cid, size_limit, without)

    def _read_blocks(self, cid: Cid, size_limit: int, without: Collection[str]) -> bytes:
        """Block by block; whoever gave the last one is asked first for the next, those `without` it last."""
        last: ContentSource | None = None

        def get_block(wanted: Cid) -> Block:
            nonlocal last
            block, source = self._first(wanted, last, without)
            if source is not self.local:
                last = source
            return block

        try:
            return read_file(cid, get_block, size_limit)
        except Deadline as error:
            if last is not None:
                self._standing(last).failed(error)
            raise

    def _read_whole(self, source: _Dags, cid: Cid, size_limit: int, without: set[str]) -> bytes | None:
        """The file by one request; None when the source fails at that, and single blocks are to be tried."""
        try:
            with source.dag(cid, size_limit) as get_block:

                def keeping(wanted: Cid) -> Block:
                    block = get_block(wanted)
                    self._keep(source, block)
                    return block

                data = read_file(cid, keeping, size_limit)
        except (NotFound, FetchError, BadBlock) as error:
            # That a source cannot do archives is no fault; what it cannot do at all shows with its first block.
            if isinstance(error, NotFound):
                without.add(source.name)
            if isinstance(error, BadBlock | Deadline):
                self._standing(source).failed(error)
            if isinstance(error, Deadline):
                raise
            return None
        self._standing(source).served()
        return data

    def _names(self) -> str:
        return ",".join(source.name for source in self._all())

    def _standing(self, source: ContentSource) -> Standing:
        with self._guard:
            return self._standings.setdefault(source.name, Standing(source.name))

    def _writer(self) -> _Writable:
        if self._writable is None:
            raise BadStore(f"{self.name} can only be read: add local:PATH or kubo:URL to the content setting")
        return self._writable

    def _keep(self, source: ContentSource, block: Block) -> None:
        if isinstance(self._writable, LocalStore) and source is not self._writable:
            self._writable.put_block(block)
