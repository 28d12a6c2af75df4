"""Compiled loops keep to the memory that is theirs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tpvideo.stages as stages

KERNELS = sorted(Path(stages.__path__[0]).rglob("*_kernel.py"))

STIR = """
import threading
import torch
from tpvideo.stages.networks.winograd import Winograd

torch.set_num_threads(1)
layer = Winograd(torch.ones(16, 16, 3, 3))
picture = torch.ones(1, 16, 64, 64)
expected = layer(picture)
is_over = threading.Event()

def convolve():
    for _ in range(1500):
        assert torch.equal(layer(picture), expected)
    is_over.set()

thread = threading.Thread(target=convolve)
thread.start()
while not is_over.is_set():
    held = [bytes([number % 251]) * (1100 + 8 * (number % 40)) for number in range(200)]
    for number, each in enumerate(held):
        assert each == bytes([number % 251]) * len(each), "written over"
thread.join()
print("intact")
"""
"""One thread convolves, the other allocates pieces of about the size of what the loops need."""


def root(node: ast.expr) -> str:
    """The name that an expression is a part of; empty for any other."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def places_of_own_arrays(function: ast.FunctionDef) -> list[str]:
    """The arguments of `begin` that are neither parameters nor parts of them."""
    given = {argument.arg for argument in function.args.args}
    for statement in ast.walk(function):
        if isinstance(statement, ast.Assign) and root(statement.value) in given:
            names = ast.walk(statement.targets[0])
            given |= {name.id for name in names if isinstance(name, ast.Name)}
    arguments = [
        node.args[0]
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and root(node.func) == "begin"
    ]
    return [ast.unparse(argument) for argument in arguments if root(argument) not in given]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_no_loop_takes_the_place_of_an_array_that_it_made(path: Path) -> None:
    """Such an array is freed before the place in it is used."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert functions
    for function in functions:
        assert places_of_own_arrays(function) == [], function.name


def test_own_arrays_are_told_from_given_ones() -> None:
    made = "def f(a):\n b = np.empty(3)\n c, d = a\n return begin(b), begin(d), begin(a[0])"
    (function,) = ast.parse(made).body
    assert isinstance(function, ast.FunctionDef)
    assert places_of_own_arrays(function) == ["b"]


def test_memory_of_other_threads_stays_as_it_is_while_loops_run() -> None:
    one_heap = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}  # of glibc
    run = subprocess.run(
        [sys.executable, "-c", STIR],
        env=os.environ | one_heap,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (run.returncode, run.stdout.strip()) == (0, "intact"), run.stderr
