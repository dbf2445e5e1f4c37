"""Which matrices an adapter in PEFT's format adapts: its names of them and ours, and patterns.

PEFT chooses modules by the ends of their names or by a regular expression, we by a regular
expression over our own names; both are derived here from the matrices themselves. Files are left
to `peft`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection

from medmt5.convert.huggingface import names
from medmt5.models.t5 import T5Config

# The number of a layer, or of a part of one; a dot is escaped by then.
_NUMBER = re.compile(r"(?<=layers_)\d+|(?<=\.)\d+(?=\\)")


def modules(config: T5Config) -> dict[str, str]:
    """For every matrix of ours that can be adapted, by full name, their module."""
    return {
        ours.removesuffix("/kernel"): name.tensor.removesuffix(".weight")
        for ours, name in names(config).items()
        if ours.endswith("/kernel") and name.tensor != "lm_head.weight"
    }


def odd_one(chosen: Collection[str], every: Collection[str]) -> tuple[str, str] | None:
    """A name that is left out and one that is chosen, of the same part of two layers; or None."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in every:
        alike[_kind(name)].append(name)
    for group in alike.values():
        held = [name for name in group if name in chosen]
        if held and len(held) < len(group):
            return next(name for name in group if name not in chosen), held[0]
    return None


def pattern(chosen: Collection[str], every: Collection[str]) -> str:
    """A short regular expression that matches, of these names, those that are chosen.

    Args:
      chosen: some names, in all layers of a stack or in none of them.
      every: all names, theirs or ours.
    """
    return "|".join(
        place + (leaves[0] if len(leaves) == 1 else f"({'|'.join(leaves)})")
        for place, leaves in _places(chosen, every).items()
    )


def targets(chosen: Collection[str], every: Collection[str]) -> list[str] | str:
    """PEFT's target_modules: last parts of names, or where that is too much a pattern."""
    places = _places(chosen, every)
    return places[r".*\."] if set(places) == {r".*\."} else pattern(chosen, every)


def _kind(name: str) -> str:
    """A pattern for the names of the same part of all layers."""
    return _NUMBER.sub(r"\\d+", name.replace(".", r"\."))


def _places(chosen: Collection[str], every: Collection[str]) -> dict[str, list[str]]:
    """Chosen last parts of names by a pattern for what stands before them."""
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for name in every:
        kind = _kind(name)
        leaf = re.split(r"\W", kind)[-1]
        place = kind.removesuffix(leaf)
        found[leaf][place] = name in chosen
    out: dict[str, list[str]] = defaultdict(list)
    for leaf, places in found.items():
        if all(places.values()):
            out[".*/" if "/" in next(iter(places)) else r".*\."].append(leaf)
        else:
            for place in (place for place, is_chosen in places.items() if is_chosen):
                out[place].append(leaf)
    return dict(out)
