"""`aggctl completion`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that aggctl can complete in."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def script(shell: Shell) -> str:
    """The script of a shell; the same for every installation."""
    from importlib.resources import files

    return files("aggctl.cli").joinpath("shells", f"aggctl.{shell}").read_text(encoding="utf-8")


def completion_command(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script by which a shell completes commands, options, and the names of APIs in the cluster.

    In the cluster it looks by certificates or a token of the kubeconfig, never by a plug-in that might ask,
    and for a quarter of a second; set AGGCTL_COMPLETION_TIMEOUT=2s where the cluster is far away. For fish:
    `aggctl completion fish | source`. Lines of `kubectl aggctl` are completed by kubectl's own completion,
    which finds kubectl_complete-aggctl in the PATH.

    \b
    Examples:
      aggctl completion bash
      source <(aggctl completion bash)     (in ~/.bashrc, for good; zsh alike, after compinit)
    """
    from aggctl.cli.trouble import result_written

    with result_written():
        sys.stdout.write(script(shell))
