"""`tpvideo eval --method A,B,... HELD_OUT`: inverters beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.networks.inverters_by_steps import inverter
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store
from tpvideo.weights.evaluation import inverters
from tpvideo.weights.evaluation.report import Finding


@dataclass(frozen=True, slots=True)
class Comparison:
    """A network and the inverters that are to be compared with it."""

    network: TriPlaneNet
    methods: Sequence[str]
    steps: int

    @classmethod
    def load(cls, model: str, methods: str, steps: int) -> Comparison:
        """As the command line names them.

        Args:
            model: a name or a path.
            methods: names with commas between them, or `all`.

        Raises:
            ConfigError: there is no such method.
            WeightsError: there is no such model.
        """
        names = inverters.METHODS if methods == "all" else tuple(methods.split(","))
        for name in names:
            try:
                inverter(name)
            except ValueError as error:
                raise ConfigError(f"--method: {error}") from error
        network, _ = store.load(model)
        return cls(network, names, steps)

    def __call__(self, path: Path, kind: str, limit: int | None) -> Finding:
        """What is found of a folder of held-out heads.

        Raises:
            ConfigError: it is something else.
        """
        if kind != "heads":
            raise ConfigError(f"--method compares on held-out heads (*.npz); {path} holds none")
        return inverters.evaluate(self.network, path, limit, methods=self.methods, steps=self.steps)
