"""Log-probabilities as clients are told them: the model's own, or what the samplers have left."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgellm.chat.events import TokenLogprob
from edgellm.runner.sampling.preselect import Logits, likeliest

Told: TypeAlias = tuple[float, list[tuple[int, float]]]  # of the token; of the likeliest, by id


def top_logprobs(logits: Logits, token: int, n_top: int) -> Told:
    """Natural logs over the whole vocabulary, before any sampler, as OpenAI's and
    llama-server's."""
    peak = float(logits.max())
    log_sum = peak + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    best = [int(i) for i in likeliest(logits, n_top)] if n_top else []
    return float(logits[token]) - log_sum, [(i, float(logits[i]) - log_sum) for i in best]


def left_logprobs(
    ids: npt.NDArray[np.int32], probabilities: npt.NDArray[np.float32], token: int, n_top: int
) -> Told:
    """Among the tokens that the samplers have left; `token` is one of them."""
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    best = np.argsort(-probabilities, kind="stable")[:n_top]
    own = float(logs[np.flatnonzero(ids == token)[0]])
    return own, [(int(ids[i]), float(logs[i])) for i in best]


def described(token: int, told: Told, piece: Callable[[int], bytes]) -> TokenLogprob:
    own, top = told
    return TokenLogprob(token, piece(token), own, tuple((i, piece(i), p) for i, p in top))
