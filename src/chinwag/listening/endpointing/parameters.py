"""The numbers of turn taking, as `research/turns/fit_turns.py` found them: fitted.json, beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chinwag.errors import ChinwagError
from chinwag.listening.endpointing import features as form

PARAMETERS_FILE = Path(__file__).with_name("fitted.json")

EVIDENCE_KINDS = ("form", "sense+form", "ear+form", "sense+ear+form", "ear")
"""Sets of looks that can be there; the last is for a language of whose words nothing is known."""

FEATURES = ("sense", "sense_trusted", "no_sense", "whole", "ear", "ear_doubted", "trust", *form.FEATURES)
"""What a model may weigh."""

Eagerness = Literal["low", "medium", "high", "auto"]
Seconds = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class FittedError(ChinwagError):
    """The fitted numbers cannot be used."""


class _FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Weights(_FrozenModel):
    """A logistic model: P = 1 / (1 + exp(-bias - sum of weight * (feature - mean) / scale))."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[Annotated[float, Field(gt=0)], ...]
    weights: tuple[float, ...]
    bias: float

    @model_validator(mode="after")
    def _as_many_of_each(self) -> Self:
        if not len(self.features) == len(self.mean) == len(self.scale) == len(self.weights):
            raise ValueError("features, mean, scale and weights must be as many")
        if len(set(self.features)) < len(self.features):
            raise ValueError("a feature is named twice")
        return self


class PauseParameters(_FrozenModel):
    """Hesitations of people at large are log-normal: exp(N(log_median, spread)) seconds."""

    log_median: float
    spread: Annotated[float, Field(gt=0)]


class WaitParameters(_FrozenModel):
    """How long to wait. penalty_s: seconds of delay that a cut-off is worth. soften_s: see `endpoint`.

    ask: the ear is asked where P(finished) without it lies between these.
    """

    penalty_s: dict[Eagerness, Seconds]
    soften_s: Seconds
    ask: tuple[Probability, Probability]

    @model_validator(mode="after")
    def _every_eagerness(self) -> Self:
        if set(self.penalty_s) != {"low", "medium", "high", "auto"}:
            raise ValueError("penalty_s needs low, medium, high and auto")
        if self.ask[0] > self.ask[1]:
            raise ValueError("ask must be the lower bound, then the upper one")
        return self


class FittedParameters(_FrozenModel):
    """All of it. fitted_on: points of each kind. looks: weights by the looks they are for, joined by "+"."""

    fitted_on: dict[str, int]
    looks: dict[str, Weights]
    pauses: PauseParameters
    waiting: WaitParameters

    @model_validator(mode="after")
    def _every_set_of_looks(self) -> Self:
        if set(self.looks) != set(EVIDENCE_KINDS):
            raise ValueError(f"looks must be {', '.join(EVIDENCE_KINDS)}")
        if unknown := {name for weights in self.looks.values() for name in weights.features} - set(FEATURES):
            raise ValueError(f"no such feature: {', '.join(sorted(unknown))}")
        return self


def load_parameters(path: Path = PARAMETERS_FILE) -> FittedParameters:
    """Read and check a file of fitted numbers. Raises FittedError naming what is wrong with it."""
    fix = "Reinstall Chinwag, or make the file anew: python -m research.turns.fit_turns."
    try:
        return FittedParameters.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FittedError(f"{path.name} cannot be read: {error.strerror}.", fix) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise FittedError(f"{path.name} is damaged: {where}: {first['msg']}.", fix) from None


@cache
def fitted_parameters() -> FittedParameters:
    """The numbers that come with Chinwag."""
    return load_parameters()
