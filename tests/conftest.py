"""What every test must leave behind: no thread, no ERROR record, no other state of the process."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Generator, Iterator

import numpy as np
import pytest

SEED = 20240409
ENDING_S = 20.0
"""A busy machine may take long to end a thread that has nothing more to do."""


class _Errors(logging.Handler):
    """Keeps the text of every record at ERROR or above."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip `gpu` tests where there is no GPU, or fail them where one was promised."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("TPVIDEO_REQUIRE_GPU") == "1":
        pytest.fail("TPVIDEO_REQUIRE_GPU=1, but torch finds no CUDA device", pytrace=False)
    pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread running; one that is just ending gets a while."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(timeout=ENDING_S)
    names = [thread.name for thread in left if thread.is_alive()]
    assert not names, f"threads left running: {names}"


@pytest.fixture(autouse=True)
def no_other_schedule() -> Iterator[None]:
    """Fail a test that leaves this thread scheduled otherwise: a real-time one starves the rest."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before, "this thread is scheduled otherwise now"


@pytest.fixture(autouse=True)
def no_error_logged() -> Iterator[None]:
    """Fail a test during which anything was logged at ERROR or above."""
    errors = _Errors()
    root = logging.getLogger()
    root.addHandler(errors)
    yield
    root.removeHandler(errors)
    assert not errors.lines, f"logged at ERROR: {errors.lines}"


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Networks in fixtures of a module, made before any test's own fixtures, are repeatable too."""
    if fixturedef.scope != "function" and (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(SEED)
    return (yield)


@pytest.fixture(autouse=True)
def repeatable_random_numbers() -> Iterator[None]:
    """Fail a test that draws from Python's or numpy's global generator.

    Torch initialises every network from its own; that one is seeded for the test and restored.
    """
    python_state, numpy_state = random.getstate(), _numpy_state()
    if (torch := sys.modules.get("torch")) is None:
        yield
    else:
        torch_state = torch.get_rng_state()
        torch.manual_seed(SEED)
        yield
        torch.set_rng_state(torch_state)
    assert random.getstate() == python_state, "Python's global random state changed"
    assert _numpy_state() == numpy_state, "numpy's global random state changed"


def _numpy_state() -> tuple[bytes, int]:
    state = np.random.get_state(legacy=False)["state"]
    return state["key"].tobytes(), state["pos"]


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A suite started in the background inherits an ignored Ctrl-C; tests press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
