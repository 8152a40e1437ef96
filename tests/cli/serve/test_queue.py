"""The line in front of the network: bounded, the urgent first, asked twice done once, and an end for who waits."""

import asyncio
import threading

import pytest

from cli.serve.problems import Refused
from cli.serve.queue import Queue


def test_the_urgent_comes_first_and_what_is_asked_twice_is_done_once():
    async def ask():
        queue, begun, go, done = Queue(), threading.Event(), threading.Event(), []

        def first():
            begun.set()
            go.wait(60)

        asked = [asyncio.ensure_future(queue.do("first", first))]
        await asyncio.to_thread(begun.wait, 60)
        for name, urgent in (("strip", False), ("strip", False), ("slider", True)):
            asked.append(
                asyncio.ensure_future(queue.do(name, lambda one=name: done.append(one), urgent=urgent))
            )
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(*asked)
        queue.close()
        return done

    assert asyncio.run(ask()) == ["slider", "strip"]


def test_who_comes_to_a_full_line_is_refused_and_who_waits_at_the_end_is_told():
    async def ask():
        queue, begun, go = Queue(2), threading.Event(), threading.Event()

        def first():
            begun.set()
            go.wait(60)

        asked = [asyncio.ensure_future(queue.do("first", first))]
        await asyncio.to_thread(begun.wait, 60)
        asked.append(asyncio.ensure_future(queue.do("second", lambda: None)))
        await asyncio.sleep(0.05)
        with pytest.raises(Refused, match="2 pictures wait already"):
            await queue.do("third", lambda: None)
        queue.close()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(one.detail) for one in ends] == ["the server ends"] * 2
        with pytest.raises(Refused, match="the server ends"):
            await queue.do("late", lambda: None)
        assert not queue.ended(0.01)
        go.set()
        assert queue.ended(60)

    asyncio.run(ask())


def test_an_error_is_told_to_who_asked():
    async def ask():
        queue = Queue()
        with pytest.raises(ZeroDivisionError):
            await queue.do("x", lambda: 1 / 0)
        assert await queue.do("x", lambda: 2) == 2
        queue.close()

    asyncio.run(ask())
