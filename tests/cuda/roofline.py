"""Least work of a launch: bytes moved, operations, instructions issued, and the least time of an H100 SXM for each of the three."""

from __future__ import annotations

from dataclasses import dataclass

from cubins import Kernel

# H100 SXM5: NVIDIA H100 Tensor Core GPU data sheet; clock: boost with all multiprocessors busy, H100 architecture white paper.
BANDWIDTH = 3.35e12  # bytes/s
TENSOR_PEAK = 989e12  # dense bf16 FLOP/s, as wgmma reaches it
MMA_SHARE = 0.63  # of that peak for mma.sync, the instruction in use: Luo et al. 2024, arXiv 2402.13499
FLOAT_PEAK = 67e12
MULTIPROCESSORS, SCHEDULERS, CLOCK = 132, 4, 1.755e9
ISSUE_RATE = MULTIPROCESSORS * SCHEDULERS * CLOCK  # warp instructions/s

HMMA_FLOP = 2 * 16 * 8 * 16  # of one warp instruction
FFMA_FLOP = 2 * 32


@dataclass(frozen=True)
class Work:
    """Of one launch: bytes between multiprocessors and memory if every array is moved once, and operations, padding included."""

    bytes: float
    flop: float
    on_tensor_cores: bool = False


@dataclass(frozen=True)
class Bounds:
    """Seconds."""

    memory: float
    arithmetic: float
    issue: float

    @property
    def time(self) -> float:
        return max(self.memory, self.arithmetic, self.issue)

    @property
    def limit(self) -> str:
        return max(("memory", "arithmetic", "issue"), key=lambda name: getattr(self, name))


def warp_instructions(kernel: Kernel, n_warps: int, work: Work) -> float:
    """Issue slots of a launch. Loops of products are met as often as the operations need, each of them for an equal share; all
    else once by every warp: too much where branches exclude each other, too little where other loops go round."""
    opcode, flop = ("HMMA", HMMA_FLOP) if work.on_tensor_cores else ("FFMA", FFMA_FLOP)
    loops = [kernel.code.within(loop) for loop in kernel.code.product_loops(opcode)]
    per_product = [len(loop.instructions) / len(loop.matching(opcode)) for loop in loops]
    repeated = work.flop / flop * sum(per_product) / len(loops) if loops else 0
    return n_warps * (kernel.code.n_issued - sum(len(loop.instructions) for loop in loops)) + repeated


def bounds(kernel: Kernel, n_warps: int, work: Work) -> Bounds:
    peak = TENSOR_PEAK * MMA_SHARE if work.on_tensor_cores else FLOAT_PEAK
    return Bounds(work.bytes / BANDWIDTH, work.flop / peak, warp_instructions(kernel, n_warps, work) / ISSUE_RATE)
