"""The peer: the same U-Net, loss and RMSprop in PyTorch, as a worker process (see ``benchmarks/worker.py``).

Runs under any Python that has torch and numpy; imports nothing of compseg_jax, so that neither framework's
threads or memory disturb the other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import Case, random_samples
from benchmarks.record import cpu_name
from benchmarks.worker import Prepared, serve

ALPHA, BETA, GAMMA = 0.1, 5.0, 0.001


class Block(nn.Module):
    """Two 3×3 convolutions with SoftPlus."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the block."""
        return functional.softplus(self.second(functional.softplus(self.first(x))))


class UNet(nn.Module):
    """The U-Net of ``compseg_jax.networks.unet``: (b, c, y, x) → logits (b, 1, y, x)."""

    def __init__(self, channels: int, base: int, depth: int = 4) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            Block(before, after) for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.merge = nn.ModuleList(Block(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(base, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each pixel."""
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.down[-1](x)
        for up, merge, skip in reversed(list(zip(self.up, self.merge, skips, strict=True))):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return self.head(x)


def printed_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The absolute error of the modified sigmoid of the mean activation, summed over the batch."""
    pooled = torch.sigmoid(logits.float()).mean(dim=(1, 2, 3))
    output = ALPHA * torch.tanh(BETA * pooled / (2 * ALPHA)) + GAMMA * pooled
    return (output - ALPHA * label).abs().sum()


def prepare(case: Case) -> Prepared:
    """The case in PyTorch: channels last, denormals flushed, all cores; on a GPU compiled, bf16 and TF32."""
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    torch.set_flush_denormal(True)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    cubes, labels = random_samples(case)
    cube = torch.from_numpy(cubes).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    label = torch.from_numpy(labels).to(device)
    network = UNet(case.channels, case.base).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    compiled = torch.compile(network) if gpu else network

    def loss_of_batch() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=gpu):
            logits = compiled(cube)
        return printed_loss(logits, label)

    def forward(n: int) -> float:
        with torch.no_grad():
            for _ in range(n):
                loss = loss_of_batch()
        return loss.item()

    def train(n: int) -> float:
        for _ in range(n):
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of_batch()
            loss.backward()
            optimiser.step()
        return loss.item()

    name = "torch " + torch.__version__.split("+")[0]
    how = ", torch.compile, bfloat16 autocast, TF32" if gpu else ""
    device_name = torch.cuda.get_device_name() if gpu else cpu_name()
    description = {"framework": f"{name} (channels last{how})", "device": device_name}
    peak = torch.cuda.max_memory_allocated if gpu else None
    return Prepared(forward if case.kind == "forward" else train, description, peak)


if __name__ == "__main__":
    serve(prepare)
