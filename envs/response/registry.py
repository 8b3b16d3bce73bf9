"""The models of response that come with lerl, by name."""

from typing import Any

from lerl.envs.population import Population
from lerl.envs.response.base import ResponseModel
from lerl.envs.response.latent import LatentFactorResponse, LookupResponse


def _sequence_response(population: Population) -> ResponseModel:
    from lerl.envs.response.sequence import SequenceResponse  # compiled only where it is used

    return SequenceResponse(population)


def _collective_response(population: Population) -> ResponseModel:
    from lerl.envs.response.collective import CollectiveResponse

    return CollectiveResponse(population)


RESPONSES: dict[str, Any] = {
    "latent": LatentFactorResponse,
    "lookup": LookupResponse,
    "sequence": _sequence_response,
    "collective": _collective_response,
}
"""The built-in response models by name, made with the population."""
