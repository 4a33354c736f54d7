"""The format of the journal: what was whole is read whole, and damage costs what it hit and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from gatewaydb.metering.frames import HEADER_BYTES, Damage, Frame, Torn, decode, encode

SALT = 0x5F3A9C21
BODIES = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def file_of(bodies: list[bytes], salt: int = SALT, first: int = 7) -> bytes:
    return b"".join(encode(first + place, body, salt) for place, body in enumerate(bodies))


def found(data: bytes, salt: int = SALT, *, is_all: bool = True) -> list[Frame | Damage | Torn]:
    return list(decode(data, salt, is_all=is_all))


def whole(data: bytes, salt: int = SALT) -> list[bytes]:
    return [item.body for item in found(data, salt) if isinstance(item, Frame)]


@given(BODIES)
def test_what_goes_in_comes_out_in_order_and_numbered(bodies: list[bytes]) -> None:
    data = file_of(bodies)
    items = found(data)
    assert [item.body for item in items if isinstance(item, Frame)] == bodies
    assert [item.number for item in items if isinstance(item, Frame)] == list(range(7, 7 + len(bodies)))
    assert isinstance(items[-1], Frame)
    assert items[-1].end == len(data)


@given(BODIES)
def test_every_prefix_gives_exactly_its_whole_frames_and_says_what_is_torn(bodies: list[bytes]) -> None:
    data = file_of(bodies)
    borders = [len(file_of(bodies[:count])) for count in range(len(bodies) + 1)]
    for length in range(len(data) + 1):
        items = found(data[:length])
        last = max(place for place, border in enumerate(borders) if border <= length)
        assert [item.body for item in items if isinstance(item, Frame)] == bodies[:last]
        torn = [item for item in items if not isinstance(item, Frame)]
        surplus = data[borders[last] : length]
        assert torn == ([Torn(borders[last], surplus)] if surplus else [])


def test_every_flipped_bit_loses_its_frame_at_most_and_is_reported() -> None:
    bodies = [b"first", b"", b"a third one", b"last"]
    for bit in range(len(file_of(bodies)) * 8):
        _check_flip(bodies, bit)


@given(BODIES, st.data())
def test_any_flipped_bit_of_any_file_too(bodies: list[bytes], draw: st.DataObject) -> None:
    _check_flip(bodies, draw.draw(st.integers(0, len(file_of(bodies)) * 8 - 1)))


def _check_flip(bodies: list[bytes], bit: int) -> None:
    flipped = bytearray(file_of(bodies))
    flipped[bit // 8] ^= 1 << bit % 8
    hit = next(place for place in range(len(bodies)) if len(file_of(bodies[: place + 1])) > bit // 8)
    items = found(bytes(flipped))
    assert [item.body for item in items if isinstance(item, Frame)] == bodies[:hit] + bodies[hit + 1 :]
    start, end = len(file_of(bodies[:hit])), len(file_of(bodies[: hit + 1]))
    [damage] = [item for item in items if isinstance(item, Damage)]
    assert (damage.end, damage.data) == (end, bytes(flipped[start:end]))
    assert damage.last in (7 + hit, None)


@given(BODIES, st.binary(min_size=1, max_size=60), st.data())
def test_bytes_that_were_written_over_never_pass_as_a_record(
    bodies: list[bytes], garbage: bytes, draw: st.DataObject
) -> None:
    data = bytearray(file_of(bodies))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at : at + len(garbage)] = garbage
    read = whole(bytes(data))
    untouched = [
        body
        for place, body in enumerate(bodies)
        if len(file_of(bodies[: place + 1])) <= at or len(file_of(bodies[:place])) >= at + len(garbage)
    ]
    assert [body for body in read if body in bodies] == read
    assert len(read) >= len(untouched)


def test_a_record_that_holds_a_frame_s_bytes_is_not_read_as_two() -> None:
    inner = encode(8, b"forged", salt=0)
    data = bytearray(file_of([inner, b"next"]))
    assert whole(bytes(data)) == [inner, b"next"]
    data[5] ^= 1  # the header of the first frame: what follows is searched for a frame
    assert whole(bytes(data)) == [b"next"]


@given(BODIES)
def test_another_file_s_frames_are_none(bodies: list[bytes]) -> None:
    assert whole(file_of(bodies), salt=SALT ^ 1) == []


@given(BODIES, st.integers(0, 300))
def test_what_may_be_whole_once_more_is_read_waits_for_it(bodies: list[bytes], length: int) -> None:
    data = file_of(bodies)
    part = found(data[:length], is_all=False)
    assert all(isinstance(item, Frame) for item in part)
    assert part == found(data)[: len(part)]


def test_a_long_damaged_stretch_is_one_piece_and_tells_the_last_frame_it_held() -> None:
    bodies = [b"a" * 20, b"b" * 20, b"c" * 20, b"d"]
    data = bytearray(file_of(bodies))
    size = HEADER_BYTES + 20
    data[size + 3 : 2 * size + 10] = bytes(size + 7)
    first, damage, last = found(bytes(data))
    assert isinstance(first, Frame)
    assert damage == Damage(3 * size, bytes(data[size : 3 * size]), 9)
    assert isinstance(last, Frame)
    assert last.body == b"d"
