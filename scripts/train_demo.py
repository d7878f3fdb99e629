"""Trains the model that edgellm ships: ``python -m scripts.train_demo --help``.

It needs torch and gguf, which edgellm does not; edgellm/demo/README.md tells the command, the
versions and what came out.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from scripts.demo import corpus, tokenizer
from scripts.demo.export import export
from scripts.demo.model import Llama, Shape
from scripts.demo.train import Recipe, train

_N_VOCABULARY_TEXTS = 3000
_STEPS_A_LINE = 20
_STEPS_A_FILE = 250


def main() -> None:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    shape = Shape()
    vocabulary = tokenizer.train(corpus.said(arguments.seed, _N_VOCABULARY_TEXTS), shape.n_vocab)
    print(f"vocabulary: {len(vocabulary)} tokens, the last {vocabulary.pieces[-8:]}", flush=True)

    def at_step(step: int, loss: float, elapsed_s: float, model: Llama) -> None:
        if step % _STEPS_A_LINE == 0 or step == 1:
            print(f"step {step} loss {loss:.4f} {elapsed_s:.0f} s", flush=True)
        if step % _STEPS_A_FILE == 0:
            export(arguments.out, model, vocabulary)

    recipe = Recipe(arguments.seed, arguments.steps, arguments.stop_at)
    model = train(shape, recipe, vocabulary, at_step)
    export(arguments.out, model, vocabulary)
    file = arguments.out.read_bytes()
    print(f"{arguments.out}: {len(file)} bytes, sha256 {hashlib.sha256(file).hexdigest()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("edgellm/demo/demo.gguf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--stop-at", type=int, help="end before the rates have come down")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
