"""A llama of a few layers in torch, with llama.cpp's rotation of neighbouring pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """The hyperparameters, under llama.cpp's names."""

    n_vocab: int = 1408
    n_embd: int = 256
    n_layer: int = 4
    n_head: int = 4
    n_head_kv: int = 2
    n_ff: int = 256
    n_ctx_train: int = 1024
    rope_freq_base: float = 10_000.0
    norm_rms_eps: float = 1e-5

    @property
    def n_embd_head(self) -> int:
        return self.n_embd // self.n_head


class Attention(nn.Module):
    """Causal attention in which ``n_head // n_head_kv`` heads share one key and value."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        n_embd_kv = shape.n_head_kv * shape.n_embd_head
        self.q = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.k = nn.Linear(shape.n_embd, n_embd_kv, bias=False)
        self.v = nn.Linear(shape.n_embd, n_embd_kv, bias=False)
        self.output = nn.Linear(shape.n_embd, shape.n_embd, bias=False)

    def forward(self, x: Tensor, seen: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n_rows, n_tokens, n_embd = x.shape
        split = (n_rows, n_tokens, -1, self.shape.n_embd_head)
        q = _rotate(self.q(x).view(split).transpose(1, 2), cos, sin)
        k = _rotate(self.k(x).view(split).transpose(1, 2), cos, sin)
        v = self.v(x).view(split).transpose(1, 2)
        n_shared = self.shape.n_head // self.shape.n_head_kv
        k, v = (each.repeat_interleave(n_shared, dim=1) for each in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        joined: Tensor = self.output(mixed.transpose(1, 2).reshape(n_rows, n_tokens, n_embd))
        return joined


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_rms_eps)
        self.attn = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_rms_eps)
        self.ffn_gate = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_up = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_down = nn.Linear(shape.n_ff, shape.n_embd, bias=False)

    def forward(self, x: Tensor, seen: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.attn_norm(x), seen, cos, sin)
        y = self.ffn_norm(x)
        out: Tensor = x + self.ffn_down(functional.silu(self.ffn_gate(y)) * self.ffn_up(y))
        return out


class Llama(nn.Module):
    """Token ids to logits; the output matrix is the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.output_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_rms_eps)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes_residual = name.endswith(("attn.output.weight", "ffn_down.weight"))
                scale = (2 * shape.n_layer) ** -0.5 if writes_residual else 1.0
                nn.init.normal_(weight, std=0.03 * scale)

    def forward(self, ids: Tensor, documents: Tensor) -> Tensor:
        """The final states, which ``token_embd`` turns into logits.

        A token sees what precedes it in its own document: the names in the other documents of its
        row would be the wrong ones.
        """
        same = documents[:, None, :, None] == documents[:, None, None, :]
        seen = same & torch.ones(same.shape[-2:], dtype=torch.bool).tril()
        cos, sin = _rotations(self.shape, ids.shape[1])
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, seen, cos, sin)
        out: Tensor = self.output_norm(x)
        return out


def _rotations(shape: Shape, n_tokens: int) -> tuple[Tensor, Tensor]:
    exponents = torch.arange(0, shape.n_embd_head, 2) / shape.n_embd_head
    angles = torch.outer(torch.arange(n_tokens), shape.rope_freq_base**-exponents)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
