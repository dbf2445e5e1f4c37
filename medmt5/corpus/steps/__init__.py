"""Steps of a corpus build: each takes one document and gives it back, changed, split or removed.

A step is a frozen dataclass of its settings: `STEPS["quality"](min_words=20)`. Called with a
`Document` it returns a `Document`, a list of them (with ids `id#1`, `id#2`, ...) or `Removed`.
Steps are deterministic and can be pickled; models and tables are loaded at the first document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmt5.corpus.steps.boilerplate import Boilerplate
from medmt5.corpus.steps.contamination import Contamination
from medmt5.corpus.steps.language import Language
from medmt5.corpus.steps.medical import Medical
from medmt5.corpus.steps.personal import Personal
from medmt5.corpus.steps.quality import Quality
from medmt5.corpus.steps.sentences import Sentences
from medmt5.corpus.steps.unicode import Unicode

# In their usual order. Language before what depends on it; personal data after all that removes,
# so that only what is kept is reported; evaluation sets last, in the text as it will be.
STEPS: dict[str, Callable[..., Any]] = {
    "unicode": Unicode,
    "boilerplate": Boilerplate,
    "language": Language,
    "sentences": Sentences,
    "quality": Quality,
    "medical": Medical,
    "personal": Personal,
    "contamination": Contamination,
}
