"""One Cloud TPU slice: a queued resource with one node, asked for, watched and reached by `gcloud`.

Each method is one call of gcloud. When to call which is `launch_tpu`'s business.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import time
from pathlib import Path

import tpu_hosts
from launching import Failed, Programs, say

# States of a queued resource that has lost its node, and of a node that does not come back.
GONE = ("SUSPENDING", "SUSPENDED", "FAILED")
GONE_NODES = ("PREEMPTED", "TERMINATED")

# Looks at the state until a preemption shows: hosts are told to stop, and connections break, first.
GRACE = 8


# Failures of gcloud in a row, as when the network is down, that are waited out: an hour or more.
PATIENCE = 240


class Deleted(Failed):
    """A user has deleted the slice."""

    def __init__(self, name: str):
        super().__init__(f"{name} was deleted; launch it again to go on")


class Slice:
    """A queued resource and its one node, both under the run's name."""

    def __init__(self, programs: Programs, flags: argparse.Namespace):
        self.programs, self.flags, self.name = programs, flags, flags.name
        self._patience = 0
        self._where = (f"--project={flags.project}", f"--zone={flags.zone}", "--quiet")

    def _gcloud(self, *words: str) -> tuple[str, ...]:
        return ("gcloud", "compute", "tpus", *words, *self._where)

    def create(self, accelerator: str, runtime_version: str) -> None:
        command = [
            "queued-resources", "create", self.name, f"--node-id={self.name}", "--async",
            f"--accelerator-type={accelerator}", f"--runtime-version={runtime_version}",
        ]  # fmt: skip
        self.programs.run(*self._gcloud(*command, *(["--spot"] if self.flags.spot else [])))

    def delete(self) -> None:
        self.programs.run(*self._gcloud("queued-resources", "delete", self.name, "--force"))

    def _describe(self, kind: str) -> dict:
        """What Google says of it; waits while Google cannot be reached, if it once could be.

        A launcher that gave up would leave a slice, or a request for one, that nobody looks after.
        """
        command = self._gcloud(kind, "describe", self.name, "--format=json")
        while True:
            try:
                text = self.programs.ask(*command)
            except Failed as failure:
                if "NOT_FOUND" in str(failure):
                    text = ""
                elif self._patience == 0:
                    raise
                else:
                    say(str(failure))
                    self._patience -= 1
                    time.sleep(self.flags.poll)
                    continue
            self._patience = PATIENCE
            return json.loads(text or "{}")

    def request(self) -> tuple[str, str]:
        """State of the queued resource, "" if there is none, and why it failed, if it did.

        Raises:
          Deleted: a user has taken the slice away, and does not want it to come back.
        """
        state = self._describe("queued-resources").get("state", {})
        if state.get("state") in GONE and state.get("stateInitiator") == "USER":
            raise Deleted(self.name)
        error = state.get("failedData", {}).get("error", {})
        return state.get("state", ""), error.get("message", "")

    def node(self) -> str:
        """State of the node, "" if there is none."""
        return self._describe("tpu-vm").get("state", "")

    def lost(self) -> bool:
        """Whether training cannot be running any more.

        Raises:
          Deleted: because a user has deleted the slice.
        """
        state, _ = self.request()
        if state in ("", "DELETING"):
            raise Deleted(self.name)
        return state in GONE or self.node() != "READY"

    def lost_soon(self) -> bool:
        """Whether it is so now, or turns out to be in a moment."""
        for look in range(GRACE):
            if look:
                time.sleep(self.flags.poll)
            if self.lost():
                return True
        return False

    def send(self, path: Path) -> None:
        """Copy a folder into the home folder of every host."""
        words = ("tpu-vm", "scp", "--recurse", "--worker=all", str(path), f"{self.name}:")
        self.programs.run(*self._gcloud(*words))

    def _ssh(self, worker: str, action: str) -> tuple[str, ...]:
        return self._gcloud(
            "tpu-vm", "ssh", self.name, f"--worker={worker}",
            f"--command=bash {tpu_hosts.folder_name(self.name)}/run.sh {action}",
            # Else the connection to a host that is gone lasts for hours.
            "--ssh-flag=-o ServerAliveInterval=30",
        )  # fmt: skip

    def on_all(self, action: str) -> None:
        self.programs.run(*self._ssh("all", action))

    def training(self) -> str:
        """State of training on worker 0: running, ended STATUS, or none."""
        answer = self.programs.ask(*self._ssh("0", "state || echo none"))
        found = re.search(r"^(running|none|ended \d+)\s*$", answer, re.MULTILINE)
        return found[1] if found else "none"

    def log(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """Shows the log of worker 0, as long as training runs."""
        return self.programs.following(*self._ssh("0", "follow"))
