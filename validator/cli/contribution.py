"""What `validator contribute` shows before it sends, and what it notes afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import structlog

from validator.words import units

if TYPE_CHECKING:
    from validator.actions.connect import Wallet
    from validator.actions.contributor import Sealed, Submitted
    from validator.actions.convert import Converted
    from validator.settings import Settings

log = structlog.get_logger("contribute")


def priced(sealed: Sealed) -> dict[str, Any]:
    """Size and cost, for machines: bytes, wei, gas."""
    return {
        "size": len(sealed.envelope),
        "key_epoch": sealed.epoch,
        "round": sealed.round,
        "deposit": sealed.deposit,
        "gas_limit": sealed.gas,
        "most_fee": sealed.most_fee,
        "not_now": sealed.why_not or None,
    }


def price_words(sealed: Sealed) -> Iterator[str]:
    """The same for people."""
    yield f"to be sent: {len(sealed.envelope):,} bytes, sealed for key epoch {sealed.epoch}, in round {sealed.round}"
    deposit = f"a deposit of {units(sealed.deposit)} coin, which comes back unless the data are refused"
    if sealed.gas is None or sealed.most_fee is None:
        yield f"cost: {deposit}, and gas"
        yield f"it would be refused now: {sealed.why_not}"
    else:
        yield f"cost: {deposit}, and gas of at most {_coin(sealed.most_fee)} coin ({sealed.gas:,} gas)"


def remember(settings: Settings, wallet: Wallet, done: Submitted, converted: Converted) -> None:
    """Note at home what was sent; a note that cannot be made is told, for what was sent stays sent."""
    from validator.actions.home import hpke_secret
    from validator.actions.sent import FILE, Sent, SentError, keyed, note

    records = keyed(converted.fingerprints, hpke_secret(settings))
    place = wallet.deployment
    try:
        note(settings.path(FILE), Sent(place.chain_id, place.rounds.lower(), done.id, done.cid, records))
    except SentError as fault:
        log.warning(str(fault))


def _coin(wei: int) -> str:
    """Wei with as many places as it takes to show something."""
    return units(wei) if wei >= 10**14 or wei == 0 else f"{wei / 10**18:.2g}"
