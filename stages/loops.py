"""What compiled loops over pictures are written with.

Numba's compiler makes vectors of whole loops only, and only where it can show that what is written
does not overlap what is read; `mixed` makes one of a few neighbouring numbers, as the channels of a
pixel are. Numba keeps a compiled function until the function's own file changes: after a change
here, empty `__pycache__`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba import types as numba_types
from numba.extending import intrinsic
from numba.np import arrayobj

f32, i32 = np.float32, np.int32
U = np.uintp
make_array: Any = arrayobj.make_array
types: Any = numba_types


def inlined(function: Any) -> Any:
    """For small functions that must become part of their caller's loop. Arrays that they are given
    are counted by atomic instructions, once for each call; hand them `begin` instead."""
    options: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True}
    return njit(fastmath=True, error_model="numpy", **options)(function)


def spelled(function: Any) -> Any:
    """For functions that say themselves what the compiler is to write."""
    return intrinsic(prefer_literal=True)(function)


@spelled
def mixed(_: Any, numbers: Any, starts: Any, shares: Any, count: Any) -> Any:
    """The sum over k of shares[k] * numbers[starts[k] : starts[k] + count]: a tuple of float32.

    Args:
        numbers: where they begin, or a contiguous array; float32 or uint8.
        starts: a tuple of unsigned places; nothing checks them.
        shares: as many float32.
        count: how many neighbours, written as a number.
    """
    lanes, is_array = count.literal_value, isinstance(numbers, types.Array)
    vector, index = ir.VectorType(ir.FloatType(), lanes), ir.IntType(32)
    everywhere = ir.Constant(ir.VectorType(index, lanes), None)  # the first lane for all

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = args[0]
        if is_array:
            first = make_array(signature.args[0])(context, builder, first).data
        element = context.get_data_type(numbers.dtype)
        total = ir.Constant(vector, None)
        for k in range(len(starts)):
            place = builder.gep(first, [builder.extract_value(args[1], k)])
            run = builder.load(builder.bitcast(place, ir.VectorType(element, lanes).as_pointer()))
            run.align = context.get_abi_sizeof(element)
            if not isinstance(element, ir.FloatType):
                run = builder.uitofp(run, vector)
            share = builder.extract_value(args[2], k)
            share = builder.insert_element(ir.Constant(vector, None), share, index(0))
            share = builder.shuffle_vector(share, share, everywhere)
            part = builder.fmul(run, share, flags=["fast"])
            total = builder.fadd(total, part, flags=["fast"])
        found = [builder.extract_element(total, index(k)) for k in range(lanes)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.float32, lanes)(numbers, starts, shares, count), generate


@inlined
def limited(value: Any, least: Any, most: Any) -> Any:
    """A value within two others."""
    return min(max(value, f32(least)), f32(most))


@inlined
def cell(place: Any, count: Any) -> Any:
    """The whole number below a place, 0 to `count` - 1 whatever the place is."""
    return min(max(i32(limited(place, 0, f32(count - 1))), i32(0)), i32(count - 1))


@inlined
def between(place: Any, count: Any) -> Any:
    """The two neighbours of a place, cells 0 to `count` - 1 at whole numbers, and the share of the
    second; beyond the rim it is on it."""
    first = cell(place, count)
    share = limited(place, 0, f32(count - 1)) - f32(first)
    return U(first), U(min(first + i32(1), i32(count - 1))), share


@inlined
def spaced(index: Any, count: Any, cells: Any) -> Any:
    """Where the `index`-th of `count` pixels lies among so many cells of the same picture."""
    return (f32(index) + f32(0.5)) * (f32(cells) / f32(count)) - f32(0.5)


@inlined
def around(x: Any, y: Any, height: Any, width: Any) -> Any:
    """The four pixels around a place, pixels at whole numbers and counted row by row, and their
    shares."""
    left, right, along = between(x, width)
    top, bottom, down = between(y, height)
    top, bottom = top * U(width), bottom * U(width)
    lower_right = along * down
    upper_right, lower_left = along - lower_right, down - lower_right
    shares = f32(1) - along - lower_left, upper_right, lower_left, lower_right
    return (top + left, top + right, bottom + left, bottom + right), shares
