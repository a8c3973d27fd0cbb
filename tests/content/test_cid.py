from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.content import BadCid, Cid

EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
EMPTY_V0 = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"


def test_parse__canonical_text__round_trips() -> None:
    cid = Cid.parse(EMPTY)

    assert (cid.codec, str(cid), cid) == ("raw", EMPTY, Cid.of("raw", b""))


def test_parse__version_0__is_the_dag_pb_cid_of_the_same_digest() -> None:
    cid = Cid.parse(EMPTY_V0)

    assert cid == Cid.of("dag-pb", b"\x0a\x04\x08\x02\x18\x00")
    assert Cid.parse(str(cid)) == cid


def test_parse__base58_version_1__equals_its_base32_form() -> None:
    # js-ipfs writes version 1 in base58btc; text made with the multiformats reference implementation's alphabet.
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(bytes(Cid.parse(EMPTY)), "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = alphabet[rest] + text

    assert Cid.parse("z" + text) == Cid.parse(EMPTY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "Qm",
        EMPTY.upper(),
        EMPTY + "a",
        EMPTY[:-1],
        EMPTY[:-1] + "v",  # unused low bits set: not canonical
        " " + EMPTY,
        EMPTY + "\n",
        "ipfs://" + EMPTY,
        "b" + "a" * 58,
        "f01551220" + "00" * 32,  # base16
        "bafkqaaa",  # identity multihash
        "bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje",  # dag-cbor
        "Qm" + "1" * 44,
        "z" + "1" * 50,
        "z" + EMPTY_V0[:45],
        "b" + "7" * 100_000,
        "b\u0430" + EMPTY[2:],  # a Cyrillic a
    ],
)
def test_parse__anything_else__is_refused(text: str) -> None:
    with pytest.raises(BadCid):
        Cid.parse(text)


@given(st.text(max_size=70) | st.from_regex(r"[bzQ][a-z2-7m]{45,63}", fullmatch=True))
def test_parse__any_text__gives_a_canonical_cid_or_bad_cid(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except BadCid:
        return
    assert Cid.parse(str(cid)) == cid


@given(st.binary(min_size=32, max_size=32), st.sampled_from([0, 1]))
def test_from_chain__digest_and_codec_byte__round_trip(digest: bytes, codec: int) -> None:
    cid = Cid.from_chain(digest, codec)

    assert (Cid.parse(str(cid)).digest, cid.codec_byte) == (digest, codec)


@pytest.mark.parametrize(("digest", "codec"), [(b"\0" * 32, 2), (b"\0" * 32, -1), (b"\0" * 31, 0), (b"", 1)])
def test_from_chain__unknown_codec_or_short_digest__is_refused(digest: bytes, codec: int) -> None:
    with pytest.raises(BadCid):
        Cid.from_chain(digest, codec)
