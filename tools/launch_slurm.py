"""Trains on the GPUs of a SLURM cluster: submits the job, waits, shows the log, and goes on after
preemption and at the end of its time.

Calls `sbatch`, `squeue` and `scancel` as the user would. The job is a script of its own, which a
dry run prints. docs/gpu.md goes from an empty account to a training curve.
"""

from __future__ import annotations

import argparse
import getpass
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import launching
from launching import STOPPED, Failed, Programs, Progress, say

# Minutes before its end at which training is told to save. SLURM may be a minute early.
NOTICE = 5

# States of a job that ended without training having failed, and others that are an end.
INTERRUPTED = ("PREEMPTED", "NODE_FAIL", "TIMEOUT")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")

# Looks at the state until an interrupted job is submitted anew: SLURM queues most again by itself.
GRACE = 8

SCRIPT = """\
#!/bin/bash
# Written by launch_slurm for {name}.
{directives}

# One process per node, with all its GPUs: each process prepares every batch.
export JAX_LOCAL_DEVICE_IDS={devices}
{activate}
until_told=$(cat <<'END'
{until_told}exit $status
END
)
trap : TERM  # SLURM tells training itself; this script waits for it
srun {srun} bash -c "$until_told" medmt5 {command}
status=$?
# Told to stop: queued again, unless it was cancelled or SLURM has done so.
if [ $status = {stopped} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_restarts} ] &&
    [ "$(squeue --noheader --job=$SLURM_JOB_ID --format=%T)" = RUNNING ]; then
  scontrol requeue $SLURM_JOB_ID
fi
exit $status
"""


def minutes(time: str) -> float:
    """Minutes of a time as SLURM takes it: 90, 90:00, 24:00:00, 2-12, 2-12:30 or 2-12:30:00.

    Raises:
      ValueError: it is not of that form.
    """
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", time):
        raise ValueError(
            f"--time {time} is no time of SLURM; use hours:minutes:seconds or days-hours"
        )
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash or len(parts) == 3:
        hours, minute, second = (*parts, 0, 0)[:3]
    else:
        hours, minute, second = 0, *(*parts, 0)[:2]
    return int(days or 0) * 1440 + hours * 60 + minute + second / 60


def parser() -> argparse.ArgumentParser:
    flags = launching.parser("launch_slurm", __doc__.partition("\n\n")[0])
    add = flags.add_argument
    add("--nodes", type=int, default=1)
    add("--gpus_per_node", type=int, default=1)
    add("--cpus_per_node", type=int, help="8 for each GPU by default; they prepare the data")
    add("--time", default="24:00:00", help="as for sbatch; a run may take longer: see docs/gpu.md")
    add("--partition")
    add("--account")
    add("--sbatch", action="append", default=[], metavar="FLAG", help="as --sbatch=--qos=long")
    add("--venv", help="virtual environment that has medmt5; by default the active one")
    add(
        "--container", metavar="IMAGE", help="that has medmt5: .sif for Apptainer, others for Pyxis"
    )
    add(
        "--mount", action="append", default=[], metavar="DIR", help="shown in the container; repeat"
    )
    add("--status", action="store_true", help="show the job and the last lines of its log")
    add("--cancel", action="store_true", help="cancel the job")
    return flags


def check(flags: argparse.Namespace, gin: Sequence[str]) -> None:
    """Raise ValueError for what cannot work, before anything is submitted."""
    launching.model_dir(gin)
    launching.own_recipes(flags.recipe)
    if minutes(flags.time) < 3 * NOTICE:
        raise ValueError(
            f"--time {flags.time} is too short: a job is told to save {NOTICE} minutes before its "
            f"end; use 0:{3 * NOTICE}:00 or more"
        )
    if min(flags.nodes, flags.gpus_per_node) < 1:
        raise ValueError("--nodes and --gpus_per_node are 1 or more")
    command = f"{flags.venv}/bin/medmt5" if flags.venv else "medmt5"
    if not (flags.container or flags.dry_run or shutil.which(command)):
        raise ValueError(
            f"there is no {command}; activate the environment that has it, or give --venv or "
            "--container"
        )


def script(flags: argparse.Namespace, gin: Sequence[str]) -> str:
    """The job."""
    cpus = flags.cpus_per_node or 8 * flags.gpus_per_node
    directives = [
        f"--job-name={flags.name}",
        f"--output={log_file(flags.name)}",
        "--open-mode=append",  # the log goes on after a restart
        f"--nodes={flags.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cpus}",
        f"--gres=gpu:{flags.gpus_per_node}",
        f"--time={flags.time}",
        "--requeue",
        f"--signal=TERM@{NOTICE * 60}",
        *([f"--partition={flags.partition}"] if flags.partition else []),
        *([f"--account={flags.account}"] if flags.account else []),
        *flags.sbatch,
    ]
    mounts = [str(Path.cwd()), *flags.mount]
    srun = [f"--cpus-per-task={cpus}"]  # since SLURM 22.05 not taken from sbatch
    if flags.container and flags.container.endswith(".sif"):
        binds = [word for mount in mounts for word in ("--bind", mount)]
        srun += ["apptainer", "exec", "--nv", *binds, flags.container]
    elif flags.container:
        pairs = ",".join(f"{mount}:{mount}" for mount in mounts)
        srun += [
            f"--container-image={flags.container}",
            f"--container-mounts={pairs}",
            f"--container-workdir={Path.cwd()}",
        ]
    return SCRIPT.format(
        name=flags.name,
        directives="\n".join(f"#SBATCH {line}" for line in directives),
        devices=",".join(map(str, range(flags.gpus_per_node))),
        activate=shlex.join(["source", f"{flags.venv}/bin/activate"]) if flags.venv else "",
        until_told=launching.UNTIL_TOLD,
        srun=shlex.join(srun),
        command=shlex.join(launching.train_command(flags.recipe, gin)),
        stopped=STOPPED,
        max_restarts=flags.max_restarts,
    )


def log_file(name: str) -> Path:
    return Path.cwd() / f"{name}.log"


class Log:
    """A file that grows; shows what is new, and what of the past fits a screen.

    Args:
      path: need not exist yet.
    """

    PAST = 4000  # bytes

    def __init__(self, path: Path):
        self._path = path
        self._at = max(0, path.stat().st_size - self.PAST) if path.exists() else 0

    def show(self) -> None:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                text = file.read()
            self._at += len(text)
            print(text.decode(errors="replace"), end="", flush=True)


class Jobs:
    """The user's jobs of one name."""

    def __init__(self, programs: Programs, name: str):
        self._programs, self._which = programs, (f"--user={getpass.getuser()}", f"--name={name}")

    def ids(self) -> list[str]:
        """Of jobs that wait or run."""
        return self._programs.ask("squeue", "--noheader", *self._which, "--format=%i").split()

    def submit(self, path: Path) -> str:
        return self._programs.ask("sbatch", "--parsable", str(path)).strip().partition(";")[0]

    def state(self, job: str) -> tuple[str, str]:
        """State and reason; no state once SLURM has forgotten the job, minutes after its end."""
        words = ("squeue", "--noheader", "--states=all", f"--job={job}", "--format=%T|%r")
        try:
            state, _, reason = self._programs.ask(*words).strip().partition("|")
        except Failed as failure:
            if "Invalid job id" not in str(failure):
                raise
            return "", ""
        return state, "" if reason == "None" else f" ({reason})"

    def show(self) -> None:
        self._programs.run("squeue", *self._which)

    def cancel(self) -> None:
        self._programs.run("scancel", *self._which)


def follow(jobs: Jobs, job: str, flags: argparse.Namespace) -> str:
    """Show a job's state and log until it ends; its last state."""
    log, progress, looks, last = Log(log_file(flags.name)), Progress(f"job {job}"), 0, ""
    while True:
        state, reason = jobs.state(job)
        log.show()
        progress.tell(f"{state or 'gone'}{reason}")
        if state in ENDED:
            return state
        looks = looks + 1 if state == last else 0
        last = state
        if looks == GRACE and state in ("", *INTERRUPTED):
            return state
        time.sleep(flags.poll)


def keep_training(jobs: Jobs, path: Path, flags: argparse.Namespace) -> int:
    """Train to the end, in as many jobs as it takes; the status of training."""
    present = jobs.ids()
    for _ in range(flags.max_restarts + 1):
        job = present.pop() if present else jobs.submit(path)
        say(f"{flags.name}: job {job}, log {log_file(flags.name)}")
        try:
            state = follow(jobs, job, flags)
        except KeyboardInterrupt:
            say(f"{flags.name}: interrupted here; job {job} goes on")
            say(f"  {launching.again()} --name {flags.name} --status")
            say(f"  {launching.again()} --name {flags.name} --cancel")
            return 130
        if state == "COMPLETED":
            return 0
        if state not in INTERRUPTED:
            how = state or "SLURM has forgotten how"
            raise Failed(f"job {job} has ended: {how}; its log is {log_file(flags.name)}")
        say(f"{flags.name}: {state}, so it is submitted again")
    raise Failed(f"{flags.name} was interrupted more often than --max_restarts")


def launch(arguments: Sequence[str]) -> int:
    flags, gin = launching.parse(parser(), arguments)
    programs = Programs(flags.dry_run)
    programs.need("sbatch", "run this on a login node of the cluster")
    jobs = Jobs(programs, flags.name)
    if flags.status:
        jobs.show()
        Log(log_file(flags.name)).show()
        return 0
    if flags.cancel:
        jobs.cancel()
        return 0
    check(flags, gin)
    path, text = Path(f"{flags.name}.sbatch"), script(flags, gin)
    if flags.dry_run:
        print(f"# {path}:\n{text}")
        jobs.ids()
        jobs.submit(path)
        jobs.state("JOB")
        return 0
    path.write_text(text, encoding="utf-8")
    return keep_training(jobs, path, flags)


if __name__ == "__main__":
    launching.main("launch_slurm", launch)
