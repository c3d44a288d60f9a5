"""Did-you-mean suggestions."""

import difflib
from collections.abc import Iterable, Sequence

_MARGIN = 0.1  # between ratios of difflib, of names that are about as near
_SYNONYMS = {
    "learning_rate": "lr",
    "bs": "batch_size",
    "wd": "weight_decay",
    "seed": "global_seed",
    "num_epochs": "epochs",
}


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a question after the nearest names, to end a message; empty if none is near."""
    return _question(difflib.get_close_matches(name, list(names), n=2))


def similar_settings(key: str, known: Sequence[str]) -> str:
    """Return a question after settings, in full, that a dotted key may stand for; or nothing.

    The last parts of the keys are compared, as `lr`: users forget the group more often than they
    misspell a name. Settings of the key's own group come before others, then those of groups whose
    names are about as near to the key's as the nearest.
    """
    is_hydras = key.startswith("hydra.")
    known = [name for name in known if name.startswith("hydra.") == is_hydras and name != key]
    group, _, last = key.rpartition(".")
    last = _SYNONYMS.get(last, last)
    own = [name for name in known if name.lstrip("+").startswith(f"{group}.")] if group else []
    for names in (own, known):
        lasts = {name: name.rpartition(".")[2] for name in names}
        close = _about_nearest(last, difflib.get_close_matches(last, set(lasts.values()), n=2))
        found = [name for name in names if lasts[name] == last]
        found = found or [name for name in names if last in lasts[name].split("_")]
        found = found or [name for each in close for name in names if lasts[name] == each]
        if group:
            found = _about_nearest(key, found)
        if found:
            return _question(sorted(dict.fromkeys(found), key=lambda name: name.count("."))[:2])
    return ""


def _about_nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return, nearest first, the names that are about as near to one as the nearest of them."""
    near = {each: difflib.SequenceMatcher(None, each, name).ratio() for each in names}
    least = max(near.values(), default=0.0) - _MARGIN
    return sorted((each for each in near if near[each] >= least), key=lambda each: -near[each])


def _question(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""
