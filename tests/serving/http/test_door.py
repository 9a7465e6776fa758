from __future__ import annotations

import asyncio

import pytest

from serving.http.door import Door
from serving.http.errors import ApiError


async def hold(door: Door, leave: asyncio.Event) -> None:
    async with door.entered():
        await leave.wait()


async def test_places_then_a_queue_then_429() -> None:
    door, leave = Door(2, 1, None), asyncio.Event()
    inside = [asyncio.ensure_future(hold(door, leave)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (door.num_in_flight, door.num_queued) == (2, 1)
    with pytest.raises(ApiError) as caught:
        await hold(door, leave)
    assert caught.value.status == 429
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    leave.set()
    await asyncio.gather(*inside)
    assert (door.num_in_flight, door.num_queued) == (0, 0)
    await hold(door, leave)


async def test_who_gives_up_leaves_nothing_behind() -> None:
    door, leave = Door(1, 5, None), asyncio.Event()
    inside = asyncio.ensure_future(hold(door, leave))
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(hold(door, leave)) for _ in range(4)]
    await asyncio.sleep(0)
    for task in (*waiting, inside):
        task.cancel()
    await asyncio.gather(*waiting, inside, return_exceptions=True)
    assert (door.num_in_flight, door.num_queued) == (0, 0)
    leave.set()
    await hold(door, leave)


async def test_no_queue_still_lets_the_first_in() -> None:
    door, leave = Door(1, 0, 1000.0), asyncio.Event()
    leave.set()
    await hold(door, leave)
