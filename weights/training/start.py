"""The network that a run begins with."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import manifest, store
from tpvideo.weights.training.config import TrainingConfig
from tpvideo.weights.training.critics import read_tensors

log = logging.getLogger(__name__)


def fresh_network(config: TrainingConfig) -> TriPlaneNet:
    """The settings' network: drawn from torch's random state, then with the tensors of `start`
    and `trunks` put in. Where no phase has a second branch, it adds nothing to the planes.

    Raises:
        ConfigError: the settings build no network, or nothing of a file fits it.
        WeightsError: a file to start from is missing or damaged.
    """
    try:
        network = TriPlaneNet(**config.model)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"the settings' [model] builds no network: {error}") from error
    network.triplanenet_encoder.start_at_identity()
    # An almost clear volume to begin with: dense fog hides what is to be learnt.
    nn.init.constant_(network.decoder.decoder.net[2].bias[:1], -2.0)  # type: ignore[index]
    if config.coarse:
        network.decoder.coarse = config.coarse
    if config.fine >= 0:
        network.decoder.fine = config.fine
    if config.start:
        put_in(network, store.tensors(store.locate(config.start)), config.start)
        if not any(phase.second for phase in config.phases):
            network.triplanenet_encoder.start_at_identity()  # its offsets would stay in the way
    if config.trunks:
        model = manifest.known().get(config.trunks)
        if model is not None and not model.is_here:
            raise WeightsError(
                f"trunks = {config.trunks!r} needs {model.path}; leave it out of the settings to "
                f"start the encoders from nothing"
            )
        state = read_tensors(model.path if model else store.locate(config.trunks))
        for encoder in (network.psp_encoder, network.triplanenet_encoder):
            put_in(encoder, state, config.trunks)
    return network


@torch.no_grad()
def put_in(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy the tensors of `state` whose key and shape the network has.

    Raises:
        ConfigError: there are none.
    """
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise ConfigError(f"nothing in {source} fits the settings' [model]")
    for name, value in fitting.items():
        own[name].copy_(value)
    log.info("%d of %d tensors from %s", len(fitting), len(own), source)
