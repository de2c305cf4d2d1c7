"""Machine code of a kernel as nvdisasm lists it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property

INSTRUCTION_BYTES = 16
ATOMIC = re.compile(r"(ATOM|ATOMG|ATOMS|RED|REDG|REDS|REDAS)(\.|$)")
LOCAL_MEMORY = re.compile(r"(LDL|STL)(\.|$)")
FLOAT64 = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX|MMA)(\.|$)|.*\.(F64|64H)(\.|$)")


@dataclass(frozen=True)
class Instruction:
    predicate: str  # "", "@P0", "@!P0"; "@!PT": never carried out
    opcode: str  # with its modifiers: "LDG.E.128.CONSTANT"
    operands: str

    @property
    def is_filler(self) -> bool:
        return self.opcode == "NOP" or self.predicate == "@!PT"

    @property
    def base(self) -> str:
        return self.opcode.split(".")[0]

    @property
    def access_bytes(self) -> int:
        """Bytes that a thread moves, for loads and stores."""
        parts = self.opcode.split(".")
        for size in (128, 64):
            if str(size) in parts:
                return size // 8
        return 1 if {"U8", "S8"} & set(parts) else 2 if {"U16", "S16"} & set(parts) else 4


@dataclass(frozen=True)
class Loop:
    """Instructions first..last of the code: last branches back to first."""

    first: int
    last: int

    def __contains__(self, other: Loop) -> bool:
        return self != other and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Code:
    instructions: tuple[Instruction, ...]

    def matching(self, pattern: re.Pattern[str] | str) -> list[Instruction]:
        """Those that may be carried out and whose opcode starts with the pattern."""
        return [one for one in self.instructions if not one.is_filler and re.match(pattern, one.opcode)]

    def within(self, loop: Loop) -> Code:
        return Code(self.instructions[loop.first : loop.last + 1])

    @property
    def n_issued(self) -> int:
        """Instructions that take an issue slot when each is met once: fillers do, the padding behind the end does not."""
        last = max((i for i, one in enumerate(self.instructions) if one.base in ("EXIT", "RET")), default=len(self.instructions) - 1)
        return last + 1

    @cached_property
    def loops(self) -> list[Loop]:
        """Backward branches; the branch to itself that ends every kernel is none."""
        found = []
        for i, one in enumerate(self.instructions):
            target = re.search(r"(0x[0-9a-f]+)$", one.operands)
            if one.base == "BRA" and target and (to := int(target[1], 16) // INSTRUCTION_BYTES) < i:
                found.append(Loop(to, i))
        return found

    def innermost_loops(self, pattern: str) -> list[Loop]:
        """Loops that hold an instruction of the pattern and no smaller loop that does."""
        holding = [loop for loop in self.loops if self.within(loop).matching(pattern)]
        return [loop for loop in holding if not any(other in loop for other in holding)]

    def product_loops(self, opcode: str) -> list[Loop]:
        """The loops of a kernel's products. A tensor core instruction stands for many others; multiply-adds are elsewhere too,
        so that their loops are those where most instructions are."""
        loops = self.innermost_loops(opcode)
        if opcode != "FFMA":
            return loops
        return [loop for loop in loops if 2 * len(self.within(loop).matching(opcode)) > len(self.within(loop).instructions)]


def parse(listing: str) -> dict[str, Code]:
    """Of `nvdisasm -json`: the code of every kernel, by symbol."""
    functions = json.loads(listing)[1]
    return {
        function["function-name"]: Code(
            tuple(
                Instruction(one.get("predicate", ""), one["opcode"], one.get("operands", "").strip())
                for one in function["sass-instructions"]
            )
        )
        for function in functions
    }
