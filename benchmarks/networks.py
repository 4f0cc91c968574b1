"""Networks of the shared weight files that the zoo does not have: a denoiser and a small language model.

Both are ordinary ``--model file.py:function`` callables, for example ``--model benchmarks/networks.py:dncnn``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Past = list[Tensor]  # keys and values (B, heads, T, width) of the positions before; empty at the start


class DnCNN(nn.Module):
    """3x3 convolutions with ReLU between them that estimate the noise; the output is the input minus that.

    Source: Zhang et al., "Beyond a Gaussian Denoiser" (arXiv 1608.03981), with batch normalisation folded in.
    """

    def __init__(self, depth: int = 17, width: int = 64) -> None:
        super().__init__()
        self.depth = depth
        for i in range(depth):
            before, after = (1 if i == 0 else width), (1 if i == depth - 1 else width)
            self.add_module(f"conv{i}", nn.Conv2d(before, after, 3, padding=1))

    def forward(self, noisy: Tensor) -> Tensor:
        """Restored grey images (B, 1, H, W) of noisy ones."""
        x = noisy
        for i in range(self.depth):
            x = self.get_submodule(f"conv{i}")(x)
            if i < self.depth - 1:
                x = torch.relu(x)
        return noisy - x


class Llama(nn.Module):
    """A Llama-type language model with grouped key and value heads and the output matrix tied to the embedding.

    Source: Touvron et al. (arXiv 2302.13971); rotary embeddings on interleaved pairs as in llama2.c.
    """

    def __init__(self, *, dim: int, hidden: int, layers: int, heads: int, kv_heads: int, pieces: int) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(pieces, dim)
        self.layers = nn.ModuleList(_Block(dim, hidden, heads, kv_heads) for _ in range(layers))
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.pairs = dim // heads // 2

    def forward(self, ids: Tensor, past: list[Past] | None = None) -> Tensor:
        """Logits (B, T, pieces) for the piece after each of ids (B, T).

        ``past``, one empty list a layer at first, makes ids of length 1 the continuation of those given before.
        """
        x = self.tok_embeddings(ids)
        start = past[0][0].shape[2] if past and past[0] else 0
        turns = _turns(start, ids.shape[1], self.pairs, x)
        for i, layer in enumerate(self.layers):
            x = layer(x, turns, None if past is None else past[i])
        return F.linear(self.norm(x), self.tok_embeddings.weight)


class _Block(nn.Module):
    """Attention and a gated feed-forward layer, each behind a norm and added to its input."""

    def __init__(self, dim: int, hidden: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(dim, eps=1e-5)
        self.attention = _Attention(dim, heads, kv_heads)
        self.ffn_norm = nn.RMSNorm(dim, eps=1e-5)
        self.feed_forward = _FeedForward(dim, hidden)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], past: Past | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turns, past)
        y: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return y


class _Attention(nn.Module):
    """Causal attention; each key and value head serves heads // kv_heads neighbouring query heads."""

    def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.width = heads, kv_heads, dim // heads
        self.wq = nn.Linear(dim, heads * self.width, bias=False)
        self.wk = nn.Linear(dim, kv_heads * self.width, bias=False)
        self.wv = nn.Linear(dim, kv_heads * self.width, bias=False)
        self.wo = nn.Linear(heads * self.width, dim, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], past: Past | None) -> Tensor:
        batch, length, _ = x.shape
        q = _rotated(self.wq(x).view(batch, length, self.heads, self.width).transpose(1, 2), turns)
        k = _rotated(self.wk(x).view(batch, length, self.kv_heads, self.width).transpose(1, 2), turns)
        v = self.wv(x).view(batch, length, self.kv_heads, self.width).transpose(1, 2)
        if past is not None:
            past[:] = (torch.cat(pair, dim=2) for pair in zip(past, (k, v), strict=True)) if past else (k, v)
            k, v = past
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        out: Tensor = self.wo(y.transpose(1, 2).reshape(batch, length, -1))
        return out


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return y


def _turns(start: int, length: int, pairs: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, pairs) of position, from ``start``, times frequency, base 10000."""
    frequency = 10000.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    angle = torch.arange(start, start + length, dtype=torch.float64)[:, None] * frequency
    return angle.cos().to(like), angle.sin().to(like)


def _rotated(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Each pair of neighbouring entries of x (B, heads, T, width) turned by its angle."""
    (even, odd), (cos, sin) = x.unflatten(-1, (-1, 2)).unbind(-1), turns
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def dncnn() -> DnCNN:
    """DnCNN-S for grey images: 17 convolutions of 64 channels."""
    return DnCNN()


def stories260k() -> Llama:
    """The 260,032-parameter storyteller of llama2.c."""
    return Llama(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, pieces=512)


@torch.no_grad()
def sampled(model: Llama, count: int, length: int, *, begin: int, seed: int) -> Tensor:
    """Sequences (count, length) that begin with the id ``begin`` and go on as the model draws them, temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    drawn, past = [torch.full((count, 1), begin)], [Past() for _ in model.layers]
    for _ in range(length - 1):
        chances = model(drawn[-1], past)[:, -1].softmax(dim=-1)
        drawn.append(torch.multinomial(chances, 1, generator=generator))
    return torch.cat(drawn, dim=1)
