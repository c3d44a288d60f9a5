"""Quality of predicted class probabilities, and temperature scaling.

Probabilities and logits are (N, C), labels (N,) in [0, C).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from visionlab.ensembles.inputs import (
    Array,
    Bools,
    Floats,
    check_within,
    class_probabilities,
    class_scores,
    finite_vectors,
    of_labels,
)

LOG_TEMPERATURE_BOUNDS = (-4.0, 4.0)


def confidence_and_correct(*, probabilities: Array, labels: Array) -> tuple[Floats, Bools]:
    """Return the largest probability of each sample, and whether its class is right, each (N,).

    Of equal probabilities the lowest class counts.

    Raises:
        ValueError: probabilities or labels are invalid.
    """
    forecasts, classes = class_probabilities(probabilities, labels)
    return np.minimum(forecasts.max(axis=-1), 1.0), forecasts.argmax(axis=-1) == classes


def brier_score(*, probabilities: Array, labels: Array) -> float:
    """Return the mean over samples of sum_c (p_c - y_c)^2, in [0, 2].

    This is the original score (Brier 1950), which for two classes is twice `BrierParts.score`.

    Raises:
        ValueError: probabilities or labels are invalid.
    """
    forecasts, classes = class_probabilities(probabilities, labels)
    outcomes = np.eye(forecasts.shape[-1])[classes]
    return float(((forecasts - outcomes) ** 2).sum(axis=-1).mean())


def nll(*, probabilities: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood in nats; inf if a true class has probability 0.

    Raises:
        ValueError: probabilities or labels are invalid.
    """
    forecasts, classes = class_probabilities(probabilities, labels)
    with np.errstate(divide="ignore"):
        return float(-np.log(of_labels(forecasts, classes)).mean())


@dataclass(frozen=True, kw_only=True)
class BrierParts:
    """Parts of a binary Brier score: REL - RES + UNC + WBV - 2 WBC.

    Murphy's decomposition (1973) with the within-bin terms of Stephenson, Coelho and Jolliffe
    (2008), without which it does not add up.

    Attributes:
        reliability: REL, squared gap between mean forecast and frequency of each bin; 0 is best.
        resolution: RES, variance of the frequencies of bins; high is good.
        uncertainty: UNC, variance of the outcomes.
        within_bin_variance: WBV, variance of forecasts within bins.
        within_bin_covariance: WBC, covariance of forecasts and outcomes within bins.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float

    @property
    def score(self) -> float:
        """Binary Brier score: the mean of (forecast - outcome)^2."""
        within = self.within_bin_variance - 2.0 * self.within_bin_covariance
        return self.reliability - self.resolution + self.uncertainty + within


def decompose_brier(*, confidence: Array, correct: Array, bins: Array) -> BrierParts:
    """Decompose the binary Brier score of confidences.

    Args:
        confidence: forecasts in [0, 1], (N,).
        correct: outcomes, 0 or 1, (N,).
        bins: bin of each sample, (N,), for example from `equal_mass_bins`.

    Raises:
        ValueError: an array is empty, not finite, out of range, or of another length.
    """
    forecasts, outcomes, numbers = finite_vectors(confidence=confidence, correct=correct, bins=bins)
    check_within("[0, 1]", confidence=forecasts, correct=outcomes)
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    mean_forecasts = (np.bincount(places, forecasts) / counts)[places]
    frequencies = (np.bincount(places, outcomes) / counts)[places]
    deviations = forecasts - mean_forecasts
    return BrierParts(
        reliability=float(((mean_forecasts - frequencies) ** 2).mean()),
        resolution=float(((frequencies - outcomes.mean()) ** 2).mean()),
        uncertainty=float(outcomes.var()),
        within_bin_variance=float((deviations**2).mean()),
        within_bin_covariance=float((deviations * (outcomes - frequencies)).mean()),
    )


def fit_temperature(*, logits: Array, labels: Array) -> float:
    """Return the temperature that minimises the NLL of softmax(logits / temperature).

    Fit it on validation samples (Guo et al. 2017, arXiv 1706.04599). The search is over the
    logarithm, in `LOG_TEMPERATURE_BOUNDS`; samples that are all right push it to the lower bound.
    Log probabilities, for example of an ensemble, serve as logits.

    Raises:
        ValueError: logits are not finite or labels are invalid.
    """
    scores, classes = class_scores("logits", logits, labels, axes=("samples", "classes"))
    shifted = scores - scores.max(axis=-1, keepdims=True)  # so that exp cannot overflow
    of_classes = of_labels(shifted, classes)

    def nll_at(log_temperature: float) -> float:
        factor = math.exp(-log_temperature)
        normalisers = np.log(np.exp(factor * shifted).sum(axis=-1))
        return float((normalisers - factor * of_classes).mean())

    options = {"xatol": 1e-8}
    found = minimize_scalar(
        nll_at, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded", options=options
    )
    return math.exp(found.x)


def scaled_probabilities(*, logits: Array, temperature: float) -> Floats:
    """Return softmax(logits / temperature), with the shape of logits.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be in (0, inf), got {temperature}")
    scaled: Floats = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1)
    return scaled
