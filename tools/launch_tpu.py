"""Trains on a Cloud TPU slice: asks for it, waits, starts every host, shows the log, and goes on
after preemption.

Calls `gcloud` as the user would, or `xpk` and `kubectl` on a GKE cluster. What the hosts run is in
`tpu_hosts`; docs/tpu.md goes from an empty project to a training curve.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import launching
import tpu_hosts
from launching import ROOT, STOPPED, Failed, Programs, Progress, say
from tpu_slice import GONE, GONE_NODES, PATIENCE, Deleted, Slice

sys.path.insert(0, str(ROOT))  # the checkout need not be installed

from medmt5.plan.chips import SLICES, topology  # noqa: E402 - after the path

# docs.cloud.google.com/tpu/docs/runtimes, for JAX.
RUNTIMES = {
    "v4": "tpu-ubuntu2204-base",
    "v5e": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}


class Accelerator(NamedTuple):
    """A slice: Google's names of it and of the image for its hosts, and its size."""

    name: str
    runtime_version: str
    chips: int
    hosts: int


def accelerator(name: str) -> Accelerator:
    """The slice of a name such as v5litepod-16, which `medmt5 plan` calls v5e-16.

    Raises:
      ValueError: an unknown name, with those there are.
    """
    generation, _, size = name.replace("v5litepod", "v5e").rpartition("-")
    if generation not in SLICES or not size.isdigit() or int(size) not in SLICES[generation]:
        known = [accelerator(f"{each}-{size}") for each, sizes in SLICES.items() for size in sizes]
        table = "\n".join(f"  {a.name:14}{a.chips:5} chips{a.hosts:5} hosts" for a in known)
        raise ValueError(f"accelerator {name!r} is unknown; there are\n{table}")
    chips = topology(f"{generation}-{size}").chips
    # A host has up to 8 chips of v5e and v6e, in larger slices 4, as those of v4 and v5p have.
    hosts = 1 if generation in ("v5e", "v6e") and chips <= 8 else max(1, chips // 4)
    google = f"{generation}-{size}".replace("v5e", "v5litepod")
    return Accelerator(google, RUNTIMES[generation], chips, hosts)


def parser() -> argparse.ArgumentParser:
    flags = launching.parser("launch_tpu", __doc__.partition("\n\n")[0])
    add = flags.add_argument
    add("--project", required=True, help="Google Cloud project")
    add("--zone", required=True, help="such as us-west4-a")
    add("--accelerator", help="such as v5litepod-16 (or v5e-16, as in `medmt5 plan`)")
    add("--spot", action="store_true", help="cheaper, and may be preempted")
    add("--runtime_version", help="image of the hosts; by default Google's for JAX")
    add("--package", default=str(ROOT), help="medmt5: a checkout, a wheel or git+URL; this one")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="for training; repeat")
    add("--delete_when_done", action="store_true", help="delete at the end, or after Ctrl-C")
    add("--status", action="store_true", help="show the state and the last lines of the logs")
    add("--delete", action="store_true", help="delete the slice, with what runs on it")
    group = flags.add_argument_group("on GKE")
    group.add_argument("--xpk", metavar="CLUSTER", help="run as a workload of this XPK cluster")
    group.add_argument("--base_image", default="python:3.12", help="image that medmt5 is put on")
    return flags


def check(flags: argparse.Namespace, gin: Sequence[str]) -> Accelerator:
    """Raise ValueError for what cannot work, before anything is asked for."""
    if not flags.accelerator:
        raise ValueError("no --accelerator; such as v5litepod-16")
    found = accelerator(flags.accelerator)
    if not (path := launching.model_dir(gin)).startswith("gs://"):
        raise ValueError(
            f"MODEL_DIR {path} is on the disk of one host, and is lost with it; give a folder of a "
            "bucket: --gin.MODEL_DIR=\"'gs://bucket/run'\""
        )
    if flags.xpk and flags.spot:
        raise ValueError("--spot is no flag of workloads: xpk cluster create ... --spot")
    tpu_hosts.check(flags)
    return found._replace(runtime_version=flags.runtime_version or found.runtime_version)


def bring_up(tpu: Slice, wanted: Accelerator) -> bool:
    """Wait until the slice is there, asking for it if need be; False if it was lost meanwhile."""
    progress, asked = Progress(tpu.name), False
    while True:
        state, reason = tpu.request()
        node = tpu.node() if state == "ACTIVE" else ""
        if node == "READY":
            progress.tell(state)
            return True
        if state == "FAILED" and asked:
            raise Failed(f"the request for {wanted.name} failed: {reason or 'no reason is given'}")
        if state in GONE or node in GONE_NODES:
            if asked:
                return False
            say(f"{tpu.name}: {node or state}; what is left is deleted, to ask again")
            tpu.delete()
            continue
        if state:
            progress.tell(f"{state}, node {node}" if node else state)
        else:
            tpu.create(wanted.name, wanted.runtime_version)
            asked = True
        time.sleep(tpu.flags.poll)


def train(tpu: Slice, path: Path) -> int | None:
    """Start training unless it runs, and show its log; its status, None if the slice was lost."""
    try:
        if tpu.training() != "running":
            tpu.send(path)
            tpu.on_all("install")
            tpu.on_all("start")
    except Failed:
        if tpu.lost_soon():
            return None
        raise
    troubles = 0
    while troubles < PATIENCE:
        if watch(tpu):
            return None
        try:
            state = tpu.training()
        except Failed as failure:
            if tpu.lost():
                return None
            say(str(failure))
            troubles += 1
            time.sleep(tpu.flags.poll)
            continue
        if state != "running":
            status = int(state.partition(" ")[2] or STOPPED)
            # A slice that is being taken away may make training fail in any way, except by 0 and
            # 2, which it ends with at its end and where the user's input is wrong.
            return None if status not in (0, 2) and tpu.lost_soon() else status
        troubles = 0
    raise Failed(f"{tpu.name} cannot be reached")


def watch(tpu: Slice) -> bool:
    """Show the log until it ends or the connection breaks; whether the slice was lost."""
    with tpu.log() as log:
        while True:
            try:
                log.wait(tpu.flags.poll)
                return False
            except subprocess.TimeoutExpired:
                if tpu.lost():
                    return True


def keep_training(tpu: Slice, wanted: Accelerator, path: Path) -> int:
    """Train to the end, on as many slices as it takes; the status of training."""
    for restart in range(tpu.flags.max_restarts + 1):
        if restart:
            say(f"{tpu.name}: preempted; restart {restart} of {tpu.flags.max_restarts}")
        if bring_up(tpu, wanted) and (status := train(tpu, path)) not in (None, STOPPED):
            return status
    raise Failed(f"{tpu.name} was preempted more often than --max_restarts")


def see_to_the_end(tpu: Slice, wanted: Accelerator, path: Path) -> int:
    """Train; then say, or do, what becomes of the slice."""
    try:
        status = keep_training(tpu, wanted, path)
        say(f"{tpu.name}: training has ended with status {status}")
        if status:
            tpu.on_all("last")
    except KeyboardInterrupt:
        status = 130
        say(f"{tpu.name}: interrupted here")
    except Deleted as deleted:
        say(str(deleted))
        return deleted.status
    except Failed as failure:
        status = failure.status
        say(str(failure))
    if tpu.flags.delete_when_done:
        tpu.delete()
        return status
    where = f"--name {tpu.name} --project {tpu.flags.project} --zone {tpu.flags.zone}"
    say("the slice, if there is one, stays and is billed; the same command goes on with it")
    say(f"  {launching.again()} {where} --status")
    say(f"  {launching.again()} {where} --delete")
    return status


def show_commands(tpu: Slice, wanted: Accelerator, path: Path) -> int:
    """In a dry run, every command in its order."""
    tpu.create(wanted.name, wanted.runtime_version)
    print("# until it is ACTIVE and READY, and while training runs:")
    tpu.request()
    tpu.node()
    print("# unless training runs there already:")
    tpu.training()
    tpu.send(path)
    tpu.on_all("install")
    tpu.on_all("start")
    with tpu.log():
        pass
    print("# after a preemption, before all of it again:")
    tpu.delete()
    return 0


def show_status(tpu: Slice) -> int:
    state, reason = tpu.request()
    node = tpu.node() if state == "ACTIVE" else ""
    say(f"{tpu.name}: request {state or 'none'}, node {node or 'none'} {reason}")
    if node == "READY":
        tpu.on_all("state")
        tpu.on_all("last")
    return 0


def xpk(programs: Programs, flags: argparse.Namespace, *words: str) -> None:
    where = (f"--cluster={flags.xpk}", f"--project={flags.project}", f"--zone={flags.zone}")
    programs.run("xpk", "workload", *words, *where)


def train_on_gke(
    programs: Programs, flags: argparse.Namespace, wanted: Accelerator, path: Path
) -> int:
    """Train as a workload, which GKE starts again by itself; its status."""
    xpk(
        programs, flags, "create", f"--workload={flags.name}", f"--tpu-type={wanted.name}",
        f"--base-docker-image={flags.base_image}", f"--script-dir={path}",
        f"--max-restarts={flags.max_restarts}", "--termination-grace-period-seconds=120",
        "--command=bash run.sh install && exec bash run.sh run",
    )  # fmt: skip
    first = f"xpk.google.com/workload={flags.name},batch.kubernetes.io/job-completion-index=0"
    log = ("kubectl", "logs", "--follow", "--tail=50", f"--selector={first}")
    progress = Progress(flags.name)
    while True:
        answer = programs.ask("kubectl", "get", "jobset", flags.name, "--output=json")
        status = json.loads(answer or "{}").get("status", {})
        ended = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
        if "Failed" in ended:
            raise Failed(f"{flags.name} has failed after {status.get('restarts', 0)} restarts")
        if "Completed" in ended:
            return 0
        if any(job.get("ready") for job in status.get("replicatedJobsStatus", [])):
            progress.tell("running")
            with programs.following(*log) as pod:
                pod.wait()
        elif programs.dry_run:
            programs.run(*log)
            return 0
        else:
            progress.tell("waiting for its hosts")
        time.sleep(flags.poll)


def launch(arguments: Sequence[str]) -> int:
    flags, gin = launching.parse(parser(), arguments)
    programs = Programs(flags.dry_run)
    tpu = Slice(programs, flags)
    if flags.xpk:
        programs.need("xpk", "pip install xpk, which docs/tpu.md tells more of")
        programs.need("kubectl", "gcloud components install kubectl")
    else:
        programs.need("gcloud", "see https://cloud.google.com/sdk/docs/install")
    if flags.delete:
        if flags.xpk:
            xpk(programs, flags, "delete", f"--workload={flags.name}", "--force")
        else:
            tpu.delete()
        return 0
    if flags.status:
        if not flags.xpk:
            return show_status(tpu)
        xpk(programs, flags, "list", f"--filter-by-job=^{flags.name}$")
        return 0
    wanted = check(flags, gin)
    say(f"{flags.name}: {wanted.name}, {wanted.chips} chips, {wanted.hosts} hosts")
    with tpu_hosts.folder(programs, flags, gin) as path:
        if flags.xpk:
            try:
                return train_on_gke(programs, flags, wanted, path)
            except KeyboardInterrupt:
                say(f"{flags.name}: interrupted here; the workload goes on until --delete")
                return 130
        show_or_do = show_commands if flags.dry_run else see_to_the_end
        return show_or_do(tpu, wanted, path)


if __name__ == "__main__":
    launching.main("launch_tpu", launch)
