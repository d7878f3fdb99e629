"""The training loop: fresh text at every step, one cosine of learning rate.

A story is mostly its plot, which is soon learned by heart; the names in it have to be copied, and
left to itself attention finds that out late. So the first steps practise copying alone, and Muon,
which is quicker at it than AdamW, moves the matrices of the layers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional

from scripts.demo.corpus import Row, copying, documents, rows
from scripts.demo.model import Llama, Shape
from scripts.demo.tokenizer import Vocabulary

_N_COPYING_ROW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast. The rates follow ``n_steps``, also where ``stop_at`` comes first."""

    seed: int
    n_steps: int
    stop_at: int | None = None
    n_batch_tokens: int = 4096
    n_copying_steps: int = 400
    muon_rate: float = 0.01
    adamw_rate: float = 3e-3
    n_warmup_steps: int = 30


def train(
    shape: Shape,
    recipe: Recipe,
    vocabulary: Vocabulary,
    at_step: Callable[[int, float, float, Llama], None],
) -> Llama:
    """The trained model. ``at_step`` hears of each step, its mean loss and the seconds so far."""
    torch.manual_seed(recipe.seed)
    model = Llama(shape)
    optimizers = _optimizers(model, recipe)
    warm_up = rows(copying(recipe.seed, shape.n_vocab), _N_COPYING_ROW_TOKENS + 1)
    stories = rows(documents(recipe.seed, vocabulary), shape.n_ctx_train + 1)
    began_s = time.monotonic()
    for step in range(recipe.stop_at or recipe.n_steps):
        source = warm_up if step < recipe.n_copying_steps else stories
        loss = _loss(model, _batch(source, recipe.n_batch_tokens))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, full_rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = full_rate * _rate_ratio(recipe, step)
            optimizer.step()
        at_step(step + 1, loss.item(), time.monotonic() - began_s, model)
    return model


def _batch(source: Iterator[Row], n_tokens: int) -> list[Row]:
    first = next(source)
    return [first, *islice(source, n_tokens // (len(first.ids) - 1) - 1)]


def _loss(model: Llama, batch: list[Row]) -> Tensor:
    """Mean cross entropy over the tokens that are to be learned."""
    ids = torch.tensor([row.ids for row in batch])
    documents = torch.tensor([row.documents for row in batch])
    learned = torch.tensor([row.learned for row in batch])[:, 1:]
    with torch.autocast("cpu", torch.bfloat16):
        states = model(ids[:, :-1], documents[:, :-1])[learned]
        logits = functional.linear(states, model.token_embd.weight)
    return functional.cross_entropy(logits.float(), ids[:, 1:][learned])


def _optimizers(
    model: Llama, recipe: Recipe
) -> tuple[tuple[torch.optim.Optimizer, float], tuple[torch.optim.Optimizer, float]]:
    """Each with its full learning rate."""
    matrices = [weight for weight in model.blk.parameters() if weight.dim() == 2]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    rest = [model.token_embd.weight, *norms]
    return (
        (torch.optim.Muon(matrices, weight_decay=0.01), recipe.muon_rate),
        (torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0), recipe.adamw_rate),
    )


def _rate_ratio(recipe: Recipe, step: int) -> float:
    """A short rise, then half a cosine down to a fiftieth."""
    if step < recipe.n_warmup_steps:
        return (step + 1) / recipe.n_warmup_steps
    done = (step - recipe.n_warmup_steps) / max(1, recipe.n_steps - recipe.n_warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
