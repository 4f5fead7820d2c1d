"""Requests all the time from inside a cluster's network, as a program: counts on stdout once stdin ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from support.load import load


def main(kubeconfig: str, server: str, path: str) -> None:
    """Ask `server` for `path` as the user of the kubeconfig."""
    with load(Path(kubeconfig), path, server) as found:
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        sys.stdin.read()
    sys.stdout.write(json.dumps(found.outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
