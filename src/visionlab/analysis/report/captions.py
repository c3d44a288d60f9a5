"""Captions of figures, by the kind that their names begin with."""

_CAPTIONS = {
    "curves": "Metric over the course of training; bands are one standard deviation over seeds.",
    "schedules": "Learning rate over the course of training.",
    "norms": "Distance of each average from the raw weights, relative to their norm.",
    "value_against": "Final metric against a setting; error bars are one standard deviation over "
    "seeds.",
    "losses": "Loss over the course of training.",
    "range_test": "Loss of each step of a learning-rate range test.",
    "parallel": "Each run as a line through its settings, coloured by its final metric.",
    "stability": "Share of validation samples whose correctness is the same as an epoch before; "
    "dashed: accuracy.",
    "misclassification": "Validation samples by the share of epochs in which they were "
    "misclassified.",
    "mismatch": "Validation samples by the share of epochs in which exactly one of average and raw "
    "model was right.",
    "persistence": "Epochs in which the least stable validation samples were right or wrong.",
    "confusion": "Samples of each true class (rows) by predicted class (columns).",
    "precision_recall": "Precision over recall of detections at an IoU of 0.50.",
    "class_precision": "Average precision of each class.",
    "keypoint_errors": "Error of each keypoint relative to the normaliser: median and quartiles.",
    "pck": "Share of keypoints whose error is below a multiple of the normaliser.",
}


def caption(name: str) -> str:
    """Return the caption of a figure; of an unknown kind, its name in words."""
    kinds = [kind for kind in _CAPTIONS if name.startswith(kind)]
    words = name.replace("_", " ")
    return _CAPTIONS[max(kinds, key=len)] if kinds else f"{words[:1].upper()}{words[1:]}."
