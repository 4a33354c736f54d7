import asyncio
from collections.abc import AsyncIterator

import pytest

from gatewaydb import DatabaseUnavailableError, InvalidValueError, QueryTimeoutError
from gatewaydb.engines import breaker as module
from gatewaydb.engines.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, PROBE_TIMEOUT_S, Breaker
from gatewaydb.engines.changes import NoneFreeError, NotConnectedError
from tests.clock import ManualClock, until


class Probes:
    """What they are answered: an error, or nothing once `error` is None; never, while `hangs`."""

    def __init__(self) -> None:
        self.error: Exception | None = DatabaseUnavailableError("still gone")
        self.hangs = False
        self.asked = self.now = self.most = 0

    async def ask(self) -> None:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.hangs:
                await asyncio.Event().wait()
        finally:
            self.now -= 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
async def breaker(clock: ManualClock) -> AsyncIterator[Breaker]:
    breaker = Breaker(clock)
    breaker.start()
    yield breaker
    await breaker.stop()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "error", [DatabaseUnavailableError("gone"), QueryTimeoutError("slow"), NotConnectedError("no")]
)
async def test_an_outage_opens_it_and_its_end_closes_it(
    breaker: Breaker, probes: Probes, clock: ManualClock, error: Exception
) -> None:
    breaker.check()
    breaker.note(error, probes.ask)
    with pytest.raises(DatabaseUnavailableError, match=f"{error}"):
        breaker.check()
    await turns()
    probes.error = None
    clock.advance(FIRST_PAUSE_S)
    await turns()
    assert not breaker.is_open
    breaker.check()


@pytest.mark.parametrize("error", [NoneFreeError("others hold them"), InvalidValueError("bad"), ValueError("bug")])
async def test_nothing_else_opens_it(breaker: Breaker, probes: Probes, error: Exception) -> None:
    breaker.note(error, probes.ask)
    await turns()
    assert (breaker.is_open, probes.asked) == (False, 0)


async def test_one_lost_connection_costs_one_probe(breaker: Breaker, probes: Probes) -> None:
    probes.error = None
    breaker.note(DatabaseUnavailableError("cut"), probes.ask)
    await turns()
    assert (breaker.is_open, probes.asked) == (False, 1)


async def test_pauses_grow_and_stay_below_a_second_with_the_probe(
    breaker: Breaker, probes: Probes, clock: ManualClock
) -> None:
    breaker.note(DatabaseUnavailableError("gone"), probes.ask)
    await turns()
    asked_at = []
    for _ in range(1_000):
        before = probes.asked
        clock.advance(0.01)
        await turns()
        if probes.asked > before:
            asked_at.append(clock.monotonic())
    pauses = [round(b - a, 2) for a, b in zip([0.0, *asked_at], asked_at, strict=False)]
    assert pauses[:3] == pytest.approx([0.05, 0.1, 0.2], abs=0.011)
    assert max(pauses) <= LONGEST_PAUSE_S + 0.011
    assert LONGEST_PAUSE_S + PROBE_TIMEOUT_S <= 1


async def test_many_failures_are_one_probe_at_a_time(breaker: Breaker, probes: Probes) -> None:
    probes.hangs = True
    for _ in range(100):
        breaker.note(DatabaseUnavailableError("gone"), probes.ask)
    await turns()
    assert (probes.asked, probes.most) == (1, 1)


async def test_a_probe_that_hangs_is_given_up(
    breaker: Breaker, probes: Probes, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_TIMEOUT_S", 0.01)
    probes.hangs = True
    breaker.note(QueryTimeoutError("slow"), probes.ask)
    await until(lambda: probes.asked == 1 and probes.now == 0)
    probes.hangs, probes.error = False, None
    await turns()
    clock.advance(FIRST_PAUSE_S)
    await turns()
    assert not breaker.is_open


async def test_an_answer_to_somebody_else_ends_unavailability_and_no_timeout(breaker: Breaker, probes: Probes) -> None:
    probes.hangs = True
    breaker.note(DatabaseUnavailableError("gone"), probes.ask)
    breaker.note_answer()
    breaker.check()
    breaker.note(QueryTimeoutError("one table is locked"), probes.ask)
    await turns()
    breaker.note_answer()
    with pytest.raises(DatabaseUnavailableError):
        breaker.check()
    breaker.close()
    breaker.check()


async def test_it_opens_again_after_it_was_closed(breaker: Breaker, probes: Probes, clock: ManualClock) -> None:
    for _ in range(3):
        breaker.note(DatabaseUnavailableError("gone"), probes.ask)
        await turns()
        breaker.close()
        await turns()
    breaker.note(DatabaseUnavailableError("gone"), probes.ask)
    await turns()
    probes.error = None
    clock.advance(FIRST_PAUSE_S)
    await turns()
    breaker.check()
    assert probes.most == 1


async def test_it_does_nothing_before_start_and_after_stop(probes: Probes, clock: ManualClock) -> None:
    breaker = Breaker(clock)
    for _ in range(2):
        breaker.note(DatabaseUnavailableError("not open"), probes.ask)
        breaker.check()
        breaker.start()
        breaker.note(DatabaseUnavailableError("gone"), probes.ask)
        with pytest.raises(DatabaseUnavailableError):
            breaker.check()
        await breaker.stop()
    assert (probes.asked, asyncio.all_tasks()) == (0, {asyncio.current_task()})


async def test_stopping_ends_a_probe_that_hangs(probes: Probes, clock: ManualClock) -> None:
    breaker = Breaker(clock)
    breaker.start()
    probes.hangs = True
    breaker.note(DatabaseUnavailableError("gone"), probes.ask)
    await turns()
    assert probes.now == 1
    await breaker.stop()
    assert (probes.now, breaker.is_open, asyncio.all_tasks()) == (0, False, {asyncio.current_task()})
