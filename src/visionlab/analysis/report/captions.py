"""What figures show, in a sentence each, by the kind of figure that their names begin with."""

_CAPTIONS = {
    "curves": "Numbers over the course of training; bands are one standard deviation over seeds.",
    "schedules": "Learning rate over the course of training.",
    "norms": "Distance of each average from the weights in training, as a share of their norm.",
    "value_against": "Final numbers over the values of a setting; bars are one standard deviation "
    "over seeds.",
    "losses": "Loss over the course of training.",
    "range_test": "Loss over a learning rate that rises step by step.",
    "parallel": "Every run as a line through the values of its settings, coloured by what it gave.",
    "stability": "Share of validation samples whose correctness is as it was an epoch before; "
    "dashed: accuracy.",
    "misclassification": "Validation samples by the share of epochs in which they were "
    "misclassified.",
    "mismatch": "Validation samples by the share of epochs in which the average and the model in "
    "training were not both right or both wrong.",
    "persistence": "Epochs after which the least stable validation samples were right or wrong.",
    "confusion": "Samples of each class (rows) by the class that was predicted (columns).",
    "precision_recall": "Precision over recall of detections at an IoU of 0.50.",
    "class_precision": "Average precision of each class.",
    "keypoint_errors": "Error of each keypoint as a share of the normaliser: median, quartiles.",
    "pck": "Share of keypoints that are nearer to the truth than a share of the normaliser.",
}


def caption(name: str) -> str:
    """Return what a figure shows; of one that is not known, its name in words."""
    kinds = [kind for kind in _CAPTIONS if name.startswith(kind)]
    words = name.replace("_", " ")
    return _CAPTIONS[max(kinds, key=len)] if kinds else f"{words[:1].upper()}{words[1:]}."
