"""Demands on every kernel's machine code. Each check yields a sentence per fault, so that a report names them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sass
from cubins import Kernel

WIDE = 16  # bytes: the most that a thread moves at once


@dataclass(frozen=True)
class Narrow:
    """How many loads and stores of a kernel may be narrower than `bytes`, and what they are for."""

    loads: int = 0
    stores: int = 0
    why: str = "none"
    bytes: int = WIDE


ANY = Narrow(10**6, 10**6, "rows of a few words, or that begin anywhere", bytes=1)


def memory(kernel: Kernel) -> Iterator[str]:
    """Local memory is where registers are spilled to and arrays with a computed index lie: global memory's latency."""
    if kernel.spill_bytes or kernel.stack_bytes:
        yield f"spills {kernel.spill_bytes} bytes, stack frame of {kernel.stack_bytes} bytes"
    if found := kernel.code.matching(sass.LOCAL_MEMORY):
        yield f"{len(found)} accesses to local memory"


def order(kernel: Kernel) -> Iterator[str]:
    """Atomics would make results depend on which block comes first."""
    if found := kernel.code.matching(sass.ATOMIC):
        yield f"atomic operations: {', '.join(sorted({one.opcode for one in found}))}"


def doubles(kernel: Kernel) -> Iterator[str]:
    """Double precision runs at half the rate of float, or 1/64 of it, and usually comes from a constant without an f."""
    if found := kernel.code.matching(sass.FLOAT64):
        yield f"double precision: {', '.join(sorted({one.opcode for one in found}))}"


def width(kernel: Kernel, allowed: Narrow) -> Iterator[str]:
    for what, opcode, limit in (("loads", r"LDG(\.|$)", allowed.loads), ("stores", r"STG(\.|$)", allowed.stores)):
        narrow = [one for one in kernel.code.matching(opcode) if one.access_bytes < allowed.bytes]
        if len(narrow) > limit:
            yield f"{len(narrow)} global {what} narrower than {allowed.bytes} bytes, {limit} expected: {allowed.why}"
    if allowed != ANY and not [one for one in kernel.code.matching("(LDG|LDGSTS|STG)(\\.|$)") if one.access_bytes == WIDE]:
        yield f"no global access of {WIDE} bytes at all"


def copies(kernel: Kernel) -> Iterator[str]:
    """Asynchronous copies go from global to shared memory past the registers and, at 16 bytes, past the first-level cache."""
    found = kernel.code.matching(r"LDGSTS\.")
    if not found:
        yield "no asynchronous copies (LDGSTS)"
    if narrow := [one.opcode for one in found if one.access_bytes != WIDE or "BYPASS" not in one.opcode]:
        yield f"narrow or cached asynchronous copies: {narrow}"


def tensor_cores(kernel: Kernel) -> Iterator[str]:
    """All products on tensor cores, in a loop that does not wait for global memory."""
    code = kernel.code
    products, loops = code.matching(r"HMMA\.16816\.F32\.BF16"), code.product_loops("HMMA")
    if not products:
        yield "no tensor core products (HMMA)"
    elif not loops:
        yield "its tensor core products are in no loop"
    for loop in loops:
        if loads := code.within(loop).matching(r"LDG(\.|$)"):
            yield f"{len(loads)} global loads in the loop of the products"
        if not code.within(loop).matching(r"LDSM\."):
            yield "the loop of the products loads no fragments by matrix (LDSM)"


def float_products(kernel: Kernel) -> Iterator[str]:
    """Both products multiply more than they load, and load 16 bytes at once; the loops do not wait for global memory."""
    loops = [kernel.code.within(loop) for loop in kernel.code.product_loops("FFMA")]
    if len(loops) < 2:
        yield f"{len(loops)} loops of products that are mostly multiply-adds, 2 expected"
    for loop in loops:
        if narrow := [one.opcode for one in loop.matching(r"LDS(\.|$)") if one.access_bytes < WIDE]:
            yield f"shared loads narrower than {WIDE} bytes in a loop of products: {narrow}"
        if loop.matching(r"LDG(\.|$)"):
            yield "global loads in a loop of products"
