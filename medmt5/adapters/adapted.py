"""A model and an adapter that was saved alone, read as one checkpoint; and the saving alone."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from medmt5.adapters import peft
from medmt5.adapters.peft_base import check_base
from medmt5.convert.fingerprint import fingerprint
from medmt5.convert.own import OwnSource
from medmt5.convert.source import Source, View, below, open_source
from medmt5.files import absolute
from medmt5.models.adapter_names import KINDS, is_adapters


class AdaptedSource(View):
    """Parameters of `original` and of an adapter that goes on it.

    Its formats, where the adapter has any, are those that the adapter was trained for.
    """

    adapter: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, original: Source, folder: str, *, verify: bool = True) -> AdaptedSource:
        """A model with an adapter.

        Args:
          original: a checkpoint of any kind.
          folder: of the adapter, made by PEFT or by `save_adapter`.
          verify: compare the model with the one that the adapter was trained on.

        Raises:
          ValueError: the adapter is damaged or for another model, or the model has adapters of the
            same kind already.
        """
        adapter = peft.read_adapter(folder, original.config)
        if verify:
            check_base(folder, adapter, original)
        config = original.config
        if (adapter.lora and config.lora) or (adapter.prompt and config.prompt):
            kind = "low-rank adapters" if adapter.lora else "a soft prompt"
            raise ValueError(
                f"{original.path} has {kind} already, {folder} brings others; merge the first "
                "(`medmt5 convert`), or give the base of both"
            )
        new = {"lora": adapter.lora} if adapter.lora else {"prompt": adapter.prompt}
        adapted = cls.over(
            original,
            path=f"{original.path} with {absolute(folder)}",
            config=dataclasses.replace(config, **new),
            # The optimiser's arrays are those of another run.
            arrays={
                **{k: shape for k, shape in original.arrays.items() if k.startswith("params/")},
                **{f"params/{name}": array.shape for name, array in adapter.arrays.items()},
            },
            formats=dict(adapter.formats) or original.formats,
        )
        adapted.adapter = adapter.arrays
        return adapted

    def read(self, key: str) -> np.ndarray:
        name = key.removeprefix("params/")
        return self.adapter[name] if name in self.adapter else self.original.read(key)

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        own = {f"params/{name}": array for name, array in self.adapter.items()}
        keys = list(keys)
        yield from ((key, own[key]) for key in keys if key in own)
        yield from self.original.stream(key for key in keys if key not in own)


def beneath(source: Source) -> Source | None:
    """The checkpoint that a source leaves parameters to: an adapter's base, or a run's."""
    if isinstance(source, AdaptedSource):
        return source.original
    return source.base if isinstance(source, OwnSource) else None


def holder(source: Source, names: Collection[str]) -> Source | None:
    """Who stores all of these parameters: a source, or one beneath it; None if no one path."""
    if isinstance(source, AdaptedSource):
        return holder(source.original, names) if source.adapter.keys().isdisjoint(names) else None
    if isinstance(source, OwnSource) and source.base:
        if below(source.stored, "params/").keys().isdisjoint(names):
            return holder(source.base, names)
    return source


def is_adapter(path: str) -> bool:
    """Whether a path is a folder with an adapter alone."""
    return os.path.isfile(os.path.join(path, peft.CONFIG))


def open_with(path: str, folder: str | None, **options: Any) -> Source:
    """A checkpoint, and the adapter that is to go on it, if any.

    Args:
      path: a checkpoint of any kind, or an adapter alone: then on the base that it names.
      folder: of the adapter; None for none.
      options: of `open_source`.

    Raises:
      ValueError: what opening either raises.
    """
    source = open_source(path, **options)
    return source if folder is None else AdaptedSource.of(source, folder)


def open_adapter(folder: str, *, verify: bool = True) -> AdaptedSource:
    """An adapter on the base that it names.

    Args:
      folder: of the adapter.
      verify: as for `open_source` and `AdaptedSource.of`.

    Raises:
      ValueError: that is not there, or what `AdaptedSource.of` raises.
    """
    base = peft.base_of(folder)
    if not base or not os.path.exists(base):
        named = f"names {base}, which is not there" if base else "names no base"
        raise ValueError(
            f"{folder} holds an adapter alone and {named}; give the base, and this beside it: "
            "--adapter of `medmt5 label` and `convert`, ADAPTER_PATH in gin"
        )
    return AdaptedSource.of(open_source(base, verify=verify), folder, verify=verify)


def save_adapter(
    run: str,
    folder: str,
    *,
    kind: str | None = None,
    task: str | None = None,
    base: str | None = None,
) -> peft.Adapter:
    """Write what a run has trained beside its base into a folder of its own.

    Args:
      run: model directory or checkpoint with low-rank adapters, a soft prompt or both.
      folder: made; PEFT reads it too.
      kind: of `KINDS`; by default what there is.
      task: whose prompt, of several.
      base: the checkpoint that the adapter goes on; by default the one that the run left its frozen
        parameters to.

    Raises:
      ValueError: the run has none of the kind, or both and none was chosen, or the base is not
        known or another: more than adapters was trained.
    """
    source = open_source(run)
    given = {"lora": source.config.lora, "prompt": source.config.prompt}
    there = [name for name in KINDS if given[name] is not None]
    if (kind is None and len(there) != 1) or (kind is not None and kind not in there):
        raise ValueError(
            f"{run} has {' and '.join(there) or 'no adapter: nothing of it can be saved alone'}"
            + (f"; choose one: --kind {' or '.join(there)}" if there else "")
        )
    kind = kind or there[0]
    if base:
        found = open_source(base)
        alike = fingerprint(found) == fingerprint(source)
    elif isinstance(source, OwnSource) and source.base:
        found = source.base
        # A fingerprint does not see the largest matrices; what was trained is stored.
        alike = all(map(is_adapters, below(source.stored, "params/")))
    else:
        raise ValueError(
            f"{run} has saved all its parameters: the model beside its adapters may have been "
            "trained too. Name the model that they go on: --base, such as what `medmt5 convert` "
            "makes of this run"
        )
    if not alike:
        raise ValueError(
            f"{found.path} has other numbers than the model beneath the adapters of {run}: an "
            "adapter saved alone would lose what was trained beside it. Use the run as it is, or "
            "merge it (`medmt5 convert`)"
        )
    names = [name for name in source.params if re.fullmatch(KINDS[kind], name)]
    adapter = peft.Adapter(
        given["lora"] if kind == "lora" else None,
        given["prompt"] if kind == "prompt" else None,
        {name: source.read(f"params/{name}") for name in names},
        found.path,
        fingerprint(found),
        source.formats,
    )
    if task is not None:
        adapter = peft.of_task(adapter, task)
    peft.write_adapter(folder, adapter, source.config)
    return adapter
