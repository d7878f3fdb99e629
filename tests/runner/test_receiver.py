"""A real pipe, read by a real event loop."""

import asyncio
import os

import pytest

from edgellm.errors import EdgellmError
from edgellm.runner.frames import encode_frame
from edgellm.runner.messages import Cancel, ToWorker
from edgellm.runner.receiver import Receiver


def received(*writes, take=None):
    """What came of these writes, the pipe being closed behind them. Raises what `ended` raises."""

    async def run():
        messages = []
        receiver = Receiver[ToWorker](ToWorker, take or messages.append)
        read_fd, write_fd = os.pipe()
        pipe = os.fdopen(read_fd, "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: receiver, pipe)
        for data in writes:
            os.write(write_fd, data)
            await asyncio.sleep(0.001)
        os.close(write_fd)
        await asyncio.wait_for(receiver.ended, 60)
        return messages

    return asyncio.run(run())


def test_messages_come_in_their_order_however_the_pipe_cuts_them():
    data = encode_frame([Cancel(1), Cancel(2)]) + encode_frame([Cancel(3)])
    assert received(data[:3], data[3:11], data[11:]) == [Cancel(1), Cancel(2), Cancel(3)]


def test_half_a_frame_at_the_end_is_nothing():
    whole = encode_frame([Cancel(1)])
    assert received(whole + whole[:-1]) == [Cancel(1)]


def test_what_is_no_frame_ends_it():
    with pytest.raises(EdgellmError, match="out of step"):
        received(b"\xff\xff\xff\xff....")


def test_what_the_taker_raises_ends_it_and_nothing_more_is_taken():
    taken = []

    def take(message):
        taken.append(message)
        raise EdgellmError("no room")

    with pytest.raises(EdgellmError, match="no room"):
        received(encode_frame([Cancel(1), Cancel(2)]), take=take)
    assert taken == [Cancel(1)]


def test_a_message_is_taken_in_the_turn_of_the_loop_that_reads_it():
    async def run():
        loop, turns = asyncio.get_running_loop(), []
        receiver = Receiver[ToWorker](ToWorker, lambda _: turns.append("taken"))
        receiver.connection_made(asyncio.ReadTransport())
        loop.call_soon(turns.append, "next turn")
        receiver.data_received(encode_frame([Cancel(1)]))
        await asyncio.sleep(0)
        return turns

    assert asyncio.run(run()) == ["taken", "next turn"]
