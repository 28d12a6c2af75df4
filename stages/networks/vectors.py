"""Vectors of float32 for loops that numba compiles: LLVM's own, so that sums stay in registers.

numba leaves the choice of vector instructions to LLVM, which finds them in simple loops only. Where
a loop keeps many sums at once, it says itself what is a vector: `load`, `store`, `splat`, `fma` and
`+ - *` on values of LANES or 2 LANES numbers. LLVM splits them where the processor's registers are
shorter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending as _extending
from numba import njit
from numba import types as _types

extending: Any = _extending
types: Any = _types
LANES = 8
"""Numbers in a narrow vector; wide ones have twice as many."""


def compiled(function: Any) -> Any:
    """Compile on first call, keep the result on disk, and let other threads run meanwhile."""
    return njit(nogil=True, fastmath=True, error_model="numpy", cache=True)(function)


def inlined(function: Any) -> Any:
    """For small functions that must become part of their caller's loop."""
    return njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)(function)


def instruction(function: Any) -> Any:
    """A function of compiled code, given by the instructions that it becomes."""
    return extending.intrinsic(function)


class VectorType(types.Type):
    """`lanes` float32 numbers."""

    def __init__(self, lanes: int) -> None:
        super().__init__(name=f"float32x{lanes}")
        self.lanes = lanes


NARROW, WIDE = VectorType(LANES), VectorType(2 * LANES)


@extending.register_model(VectorType)
class _VectorModel(extending.models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.FloatType(), kind.lanes))


def _operator(function: Callable[..., Any], instruction: str) -> None:
    @extending.type_callable(function)
    def typed(context: Any) -> Any:
        def of(a: Any, b: Any) -> Any:
            return a if isinstance(a, VectorType) and a == b else None

        return of

    @extending.lower_builtin(function, VectorType, VectorType)
    def lowered(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return getattr(builder, instruction)(*values, flags=("fast",))


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
):
    _operator(_function, _instruction)


def _loader(kind: VectorType) -> Any:
    @instruction
    def load(typing: Any, array: Any, at: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = _address(context, builder, signature, values, kind)
            return builder.load(place, align=4)

        return kind(array, types.uintp), lower

    return load


@instruction
def store(typing: Any, array: Any, at: Any, vector: Any) -> Any:
    """The numbers from `at` on become those of the vector."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _address(context, builder, signature, values, vector)
        builder.store(values[2], place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.uintp, vector), lower


def _splatter(kind: VectorType) -> Any:
    @instruction
    def splat(typing: Any, number: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            whole = ir.VectorType(ir.FloatType(), kind.lanes)
            first = builder.insert_element(
                ir.Constant(whole, ir.Undefined), values[0], ir.Constant(ir.IntType(32), 0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
            return builder.shuffle_vector(first, ir.Constant(whole, ir.Undefined), zeros)

        return kind(types.float32), lower

    return splat


load, load_wide = _loader(NARROW), _loader(WIDE)
"""(where numbers begin, index) -> those from there on."""
splat, splat_wide = _splatter(NARROW), _splatter(WIDE)
"""A number -> a vector of it."""


@instruction
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = builder.fmul(values[0], values[1], flags=("contract",))
        return builder.fadd(product, values[2], flags=("contract",))

    return a(a, a, a), lower


def _extreme(name: str, comparison: str) -> Any:
    @instruction
    def extreme(typing: Any, a: Any, b: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            first = builder.fcmp_ordered(comparison, *values)  # one of them may be infinite
            return builder.select(first, *values)

        return a(a, a), lower

    return extreme


least, most = _extreme("least", "<"), _extreme("most", ">")
"""The smaller, the larger, number by number."""


@instruction
def total(typing: Any, vector: Any) -> Any:
    """The sum of its numbers."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = [
            builder.extract_element(values[0], ir.Constant(ir.IntType(32), lane))
            for lane in range(vector.lanes)
        ]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [builder.fadd(a, b, flags=("fast",)) for a, b in pairs]
        return parts[0]

    return types.float32(vector), lower


@instruction
def begin(typing: Any, array: Any) -> Any:
    """Where the numbers of a contiguous array begin: what inner functions take in its place, since
    every call counts the users of an array by atomic instructions.

    Only for arrays that Python keeps meanwhile: one that compiled code makes is freed behind its
    last mention, and a place in it is no mention."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), lower


def _address(context: Any, builder: Any, signature: Any, values: Any, kind: Any) -> Any:
    place = builder.gep(values[0], [values[1]])
    whole = ir.VectorType(ir.FloatType(), kind.lanes)
    return builder.bitcast(place, whole.as_pointer())
