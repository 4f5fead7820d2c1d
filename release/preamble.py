"""The first lines of aggctl.pyz: say what it needs where that is missing; unpack where nobody else may write.

Pex's own code follows these lines. Pythons that are too old read them, too: 3.6 is what RHEL 8 calls python3.
"""

import os
import sys
import warnings

OLDEST, NEWEST = 11, 14
MACHINE = "x86_64"
GLIBC = (2, 28)
NEEDS = f"CPython 3.{OLDEST} to 3.{NEWEST} on Linux {MACHINE}, with glibc {GLIBC[0]}.{GLIBC[1]} or later"
FOLDER_OF_ROOT = "/var/cache/aggctl"
REFUSED = 3
OTHERS_MAY_WRITE = 0o022


def refuse(what: str, found: str, expected: str, do: str) -> None:
    """End with a sentence; the exit status is that of everything that aggctl refuses."""
    lines = (
        f"aggctl.pyz: {what}",
        f"    found     {found}",
        f"    expected  {expected}",
        f"    do        {do}",
    )
    sys.stderr.write("\n".join(lines) + "\n")
    sys.exit(REFUSED)


def libc() -> str:
    """As `glibc 2.36`; empty where it is another one, as the musl of Alpine."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return ""


def demand_machine() -> None:
    """The compiled modules inside are made for one processor, and for a glibc at least this old."""
    machine = os.uname().machine
    version = tuple(int(part) for part in libc().partition(" ")[2].split(".")[:2] if part.isdigit())
    if sys.platform == "linux" and machine == MACHINE and version >= GLIBC:
        return
    refuse(
        "this machine cannot run what is inside",
        f"{sys.platform} {machine}, {libc() or 'no glibc'}",
        NEEDS,
        "install the wheel with pip or pipx there; it finds the modules that fit",
    )


def demand_python() -> None:
    """The Python that runs this, or another one on PATH, which pex then takes by itself."""
    major, minor = sys.version_info[:2]
    if major == 3 and OLDEST <= minor <= NEWEST and sys.implementation.name == "cpython":  # noqa: PLR2004
        return
    folders = os.environ.get("PATH", "").split(os.pathsep)
    names = [f"python3.{minor}" for minor in range(OLDEST, NEWEST + 1)]
    if any(os.access(os.path.join(folder, name), os.X_OK) for folder in folders for name in names):  # noqa: PTH118 -- starts before pathlib
        return
    refuse(
        "no Python here runs what is inside",
        f"{sys.implementation.name} {major}.{minor}, and no other one on PATH",
        NEEDS,
        "install one beside it (Debian 12, Ubuntu 24.04: python3; RHEL 8 and 9: python3.11)",
    )


def demand_folder() -> None:
    """Name the folder for pex; what lies in it is run, so it belongs to this user, and to nobody else.

    Root's is not below $HOME: that may be another user's (`sudo -E`), or be hidden from a service.
    """
    folder = os.environ["PEX_ROOT"] = os.environ.get("PEX_ROOT") or usual_folder()
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)  # noqa: PTH103, PTH120 -- starts before pathlib
        os.mkdir(folder, 0o700)  # noqa: PTH102 -- as above
    except OSError:
        pass  # it is there already, or cannot be made; the next lines see which
    if not os.access(folder, os.W_OK | os.X_OK):
        if "_PEX_ROOT_FALLBACK" not in os.environ:  # pex starts this anew from the temporary folder
            say_temporary(folder)
        return
    seen = os.stat(folder)  # noqa: PTH116 -- as above
    if seen.st_uid != os.geteuid() or seen.st_mode & OTHERS_MAY_WRITE:
        refuse(
            f"others may write to {folder}, from where programs are run",
            f"a folder of user {seen.st_uid}, mode {seen.st_mode & 0o7777:04o}",
            f"a folder of user {os.geteuid()} that nobody else may write to",
            "look who made it, then remove it; or name another one by PEX_ROOT",
        )
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        refuse(
            f"nothing can be run from {folder}",
            "a file system that is mounted noexec",
            "a folder from which compiled modules can be loaded",
            "name another one by PEX_ROOT, as PEX_ROOT=/opt/aggctl",
        )


def usual_folder() -> str:
    """Where this user's copies are unpacked, once per version of aggctl."""
    if os.geteuid() == 0:
        return FOLDER_OF_ROOT
    home = os.path.expanduser("~")  # noqa: PTH111 -- starts before pathlib
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")  # noqa: PTH118 -- as above
    return os.path.join(cache if cache.startswith("/") else "/nonexistent", "aggctl", "pyz")  # noqa: PTH118


def say_temporary(folder: str) -> None:
    """Pex unpacks to a temporary folder then, of this user alone, and removes it at the end."""
    told = f"aggctl.pyz: {folder} cannot be written to, so this start takes seconds: all is unpacked to a"
    sys.stderr.write(f"{told} temporary folder. PEX_ROOT names another one to keep it in.\n")


if __name__ == "__main__":
    os.environ["PEX_IGNORE_RCFILES"] = "1"  # one lies beside this file, wherever that was copied to
    os.environ["PEX_EMIT_WARNINGS"] = "0"  # the sentences here say it better
    warnings.filterwarnings("ignore", module=r"pex\.")  # before pex reads that variable
    demand_machine()
    demand_python()
    demand_folder()
