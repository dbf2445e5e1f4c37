"""Whether a model is the one that an adapter was trained on.

Shapes are compared when an adapter is read; they do not tell a model from one that was tuned
further, which its fingerprint does. Files are left to `peft`.
"""

from __future__ import annotations

import logging

from medmt5.adapters.peft import Adapter
from medmt5.convert.fingerprint import fingerprint
from medmt5.convert.source import Source

log = logging.getLogger(__name__)


def check_base(folder: str, adapter: Adapter, source: Source) -> None:
    """Raise ValueError if a model is not the one that an adapter was trained on.

    An adapter that does not say which one that is, as PEFT's do not, is a warning.

    Args:
      folder: where the adapter is, for messages.
      adapter: read for this model, so that it fits.
      source: the model.
    """
    if not adapter.fingerprint:
        log.warning(
            "%s fits %s, but does not say whether that is the model it was trained on%s",
            folder,
            source.path,
            f": {adapter.base}" if adapter.base else "",
        )
        return
    if (found := fingerprint(source)) == adapter.fingerprint:
        return
    raise ValueError(
        f"{folder} was trained on {adapter.base or 'a model'} with fingerprint "
        f"{adapter.fingerprint}, {source.path} has {found}: the adapter fits, but norms, biases "
        "or rows of the vocabulary differ. Give the model that it was trained on"
    )
