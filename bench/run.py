"""`make bench`: what aggctl costs, each figure beside a peer measured in the same run, alternating.

A figure is the median of the runs with its least and most. Ratios hold where the machine's speed drifts; the
targets are those of the project. Nothing here fails a build: the numbers are for reading (bench/results.md).
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the load that the tests put on, too

import layer
import looking
import machine
import registering
import rotating
from measure import RUNS, say
from peers import Programs, Scripts
from report import Row, table, write_results

from aggctl.sandbox import control_plane

RESULTS = Path(__file__).parent / "results.md"


def main() -> None:
    """Measure, print the table, and keep it; all that was started has ended then, however it ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    programs = Programs.built()
    with tempfile.TemporaryDirectory(prefix="aggctl-bench-") as temporary:
        folder = Path(temporary)
        sandbox = control_plane.up(folder / "sandbox", "off", say=say)
        scripts = Scripts(programs, sandbox.kubeconfig, sandbox.root)
        rows: list[Row] = []
        try:
            facts = machine.facts(programs, sandbox.kubeconfig)
            rows += layer.rows(sandbox, scripts)
            rows += registering.rows(sandbox, scripts, folder)
            rows += rotating.rows(sandbox, scripts, folder)
        finally:
            control_plane.down(sandbox.directory, say=say)
        rows += looking.rows(folder, programs)
    sys.stdout.write(f"Median of {RUNS} alternating runs, the least and the most.\n{table(rows)}")
    write_results(RESULTS, rows, facts, _shown(scripts, folder))
    say(f"Kept in {RESULTS}")


def _shown(scripts: Scripts, folder: Path) -> dict[str, str]:
    """The peers' scripts as they ran, with short names for what lies elsewhere on each machine."""
    objects = folder / "objects.json"
    found = {
        "Peer of `enable`, own share": scripts.files(),
        "Peer of `enable`, nothing to do, and `rollback --dry-run`": scripts.published(),
        "Peer of `register`": scripts.register(objects, registering.API, registering.PATH),
        "Peer of `certs rotate`": scripts.renew(registering.PATH),
        "Peer of `status` and `doctor`": scripts.look(),
    }
    names = {
        str(scripts.kubeconfig): "admin.conf",
        str(scripts.root): "",
        str(scripts.programs.kubectl): "command kubectl",
        str(scripts.programs.kubeadm): "kubeadm",
        f"{folder}/": "",
    }
    for path, name in names.items():
        found = {title: text.replace(path, name) for title, text in found.items()}
    return found


if __name__ == "__main__":
    main()
