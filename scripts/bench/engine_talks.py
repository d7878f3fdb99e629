"""Loads of conversations: turns that go on where the last one ended, and prompts that branch."""

import asyncio
import random

from client import Answer, complete
from loads import together, tokens
from pairs import Figures, quantile

_N_USERS, _N_TURNS, _N_AT_ONCE = 8, 6, 4
_SAID, _ANSWERED = 110, 32  # tokens of a turn: with its answers, eight talks are 6,800 tokens
_ROOT, _BRANCH, _LEAF = 600, 150, 32


async def talks(port: int, rng: random.Random) -> Figures:
    """Eight users, four of them at a time. Answers are tokens of ours: their text says no ids."""
    said: list[list[int]] = [[] for _ in range(_N_USERS)]
    at_once, ttft_s = asyncio.Semaphore(_N_AT_ONCE), list[float]()

    async def turn(user: int, number: int) -> None:
        async with at_once:
            said[user] += tokens(rng, _SAID)
            answer = await complete(port, said[user], _ANSWERED)
            if number:
                ttft_s.append(answer.ttft_s)

    for number in range(_N_TURNS):
        await asyncio.gather(*(turn(user, number) for user in range(_N_USERS)))
    return {"8 users × 6 turns, context for 4: TTFT p95 s": quantile(ttft_s, 0.95)}


async def tree(port: int, rng: random.Random) -> Figures:
    root = tokens(rng, _ROOT)
    branches = [root + tokens(rng, _BRANCH) for _ in range(4)]
    leaves = [branch + tokens(rng, _LEAF) for branch in branches for _ in range(4)]
    answers: list[Answer] = await together([complete(port, leaf, 16) for leaf in leaves])
    computed = sum(len(leaf) - one.n_cached for leaf, one in zip(leaves, answers, strict=True))
    unique = _ROOT + 4 * _BRANCH + 16 * _LEAF
    return {
        "agent tree: prompt tokens computed / unique": computed / unique,
        "agent tree: TTFT p95 s": quantile([answer.ttft_s for answer in answers], 0.95),
    }
