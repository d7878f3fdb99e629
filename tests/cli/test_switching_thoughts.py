"""Whether a model is to think, said in a conversation."""

import asyncio

import pytest
from tui_samples import model, ordinary
from tui_status_server import StatusServer, in_loop
from typed_lines import typing

from edgellm.cli.conversation import ChatSession, converse, tell_if_thoughts_are_fixed


@in_loop
async def test_whether_the_model_thinks_can_be_said_and_left_to_it(capsys):
    typed = typing("a", "/think off", "b", "/think", "c", "/think on", "d", "/think 9")
    async with StatusServer(ordinary()) as server:
        session = ChatSession(server.url, "m", options={"seed": 3, "enable_thinking": True})
        await asyncio.to_thread(converse, session, typed)

    asked = [(body["seed"], body.get("enable_thinking")) for body in server.questions]
    assert asked == [(3, True), (3, False), (3, None), (3, True)]
    assert capsys.readouterr().err.splitlines()[1:] == [
        "(the model answers at once)",
        "(the model thinks or doesn't, as it does by itself)",
        "(the model thinks before it answers)",
        "(/think on, /think off, or /think alone: as the model does)",
    ]


@in_loop
async def test_of_a_model_that_cannot_be_told_whether_to_think_nothing_else_is_said(capsys):
    told = ordinary(models=(model(name="m", switches_thoughts=False),))
    async with StatusServer(told) as server:
        await asyncio.to_thread(converse, ChatSession(server.url, "m"), typing("/think on", "a"))
    assert "enable_thinking" not in server.questions[0]
    assert capsys.readouterr().err.splitlines()[1:] == ["(m can't be told whether to think)"]


@in_loop
@pytest.mark.parametrize(("switches", "asked"), [(False, None), (True, True), (None, True)])
async def test_a_model_is_asked_to_think_unless_it_is_known_not_to_hear(capsys, switches, asked):
    told = ordinary(models=(model(name="m", switches_thoughts=switches),))
    async with StatusServer(told) as server:
        session = ChatSession(server.url, "m", options={"seed": 3, "enable_thinking": True})
        is_left = await asyncio.to_thread(tell_if_thoughts_are_fixed, session)
    assert session.options.get("enable_thinking") is asked
    assert (session.options["seed"], is_left) == (3, switches is False)
    assert capsys.readouterr().err == ("(m can't be told whether to think)\n" if is_left else "")
