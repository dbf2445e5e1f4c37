"""`medmt5 label` with a stand-in for the model: `python stand_in.py DELAY [options]`.

Imports nothing slow, so that tests of signals and pipes can start it often.
"""

import re
import sys
import time

from medmt5 import label, progress
from medmt5.formats.documents import Entity

# Documents per chunk, seconds between lines of progress.
CHUNK, PERIOD = 4, 0.2


class StandIn:
    """Marks every `fever`, after a while."""

    labels = ("Sign", "Disease")
    delay = 0.0

    def label_documents(self, documents):
        time.sleep(self.delay)
        return [document._replace(entities=tuple(self.fevers(document))) for document in documents]

    def fevers(self, document):
        for match in re.finditer("fever", document.text):
            yield Entity(match.start(), match.end(), "Sign", "fever", 0.5)


if __name__ == "__main__":
    label.CHUNK, progress.PERIOD, StandIn.delay = CHUNK, PERIOD, float(sys.argv[1])
    label.Labeller.load = lambda path, **options: StandIn()
    label.main(["-m", "none", *sys.argv[2:]])
