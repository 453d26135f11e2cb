"""Have they finished? Weighs what the looks at a silence say into one probability.

A logistic model on log-odds, with weights of its own for each set of looks that there can be. How far the sense counts
depends on how sure the transcriber was of its words: in clean speech it is the better judge, in a far-field recording
with half the words wrong the ear is (docs/turn-taking.md has the figures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chinwag.language import primary_subtag
from chinwag.listening.endpointing import features as form
from chinwag.listening.endpointing import parameters as fitted

EAR_LANGUAGES = frozenset(
    {
        *("ar", "bn", "da", "de", "en", "es", "fi", "fr", "hi", "id", "it", "ja"),
        *("ko", "mr", "nl", "no", "nb", "nn", "pl", "pt", "ru", "tr", "uk", "vi", "zh"),
    }
)
"""Smart Turn v3's 23 (its model card); Norwegian has three codes."""

ODDS_LIMIT = 8.0
"""Log-odds beyond which a look is no surer: a probability of 0.0003 or 0.9997."""


GUESSED = 0.7
"""Mean probability of its tokens at which a transcript is as good as guessed."""

SENSELESS = -3.0
"""Log-odds below which the model is sure that the sentence goes on. What follows a whole one is never that sure."""


SELDOM_WHOLE = 0.3
"""P(no other sentence follows) where the model was not asked: what it gives to most ends."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a silence.

    text: the words so far. sure: the transcriber's mean probability of its tokens.
    sense: the answering model's P(the sentence ends here), None where it cannot tell. whole: its P(no other sentence
    follows that one), None where it was not asked. ear: the turn judge's P(finished), None until it has been asked.
    language: BCP 47, None where it is not known.
    """

    text: str
    sure: float = 1.0
    sense: float | None = None
    ear: float | None = None
    language: str | None = "en"
    whole: float | None = None

    @property
    def named(self) -> str:
        """Which of `fitted.LOOKS` these are, "" where nothing can be told from them."""
        known = form.has_cues(self.language)
        sense = known and self.sense is not None
        ear = self.ear is not None and (self.language is None or primary_subtag(self.language) in EAR_LANGUAGES)
        return "+".join(name for name, there in (("sense", sense), ("ear", ear), ("form", known)) if there)


def end_probability(looks: Evidence, numbers: fitted.FittedParameters | None = None) -> float | None:
    """P(they have finished), as likely as not before anything is looked at; None where no look can tell.

    numbers: other weights than those that come with Chinwag.
    """
    if not looks.named:
        return None
    weights = (numbers or fitted.fitted_parameters()).looks[looks.named]
    there = model_features(looks)
    odds = weights.bias + sum(
        weight * (there[name] - mean) / scale
        for name, mean, scale, weight in zip(
            weights.features, weights.mean, weights.scale, weights.weights, strict=True
        )
    )
    return 1.0 / (1.0 + math.exp(-odds))


def model_features(looks: Evidence) -> dict[str, float]:
    """Everything that a model may weigh, by name."""
    trust = min(max((looks.sure - GUESSED) / (1.0 - GUESSED), 0.0), 1.0)
    sense = log_odds(looks.sense if looks.sense is not None else 0.5)
    ear = log_odds(looks.ear if looks.ear is not None else 0.5)
    shape = form.form_features(looks.text, looks.language)
    return {
        "sense": sense,
        "sense_trusted": sense * trust,
        "no_sense": min(sense - SENSELESS, 0.0) * trust,
        "whole": log_odds(looks.whole if looks.whole is not None else SELDOM_WHOLE),
        "ear": ear,
        "ear_doubted": ear * (1.0 - trust),
        "trust": trust,
        **dict(zip(form.FEATURES, shape.values(), strict=True)),
    }


def log_odds(probability: float) -> float:
    """Limited to ODDS_LIMIT either way."""
    if probability <= 0.0 or probability >= 1.0:
        return math.copysign(ODDS_LIMIT, probability - 0.5)
    return min(max(math.log(probability / (1.0 - probability)), -ODDS_LIMIT), ODDS_LIMIT)
