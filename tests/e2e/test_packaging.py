"""What `make dist` makes: the same bytes twice; and it runs on a Debian with Python and nothing of pip's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.debian_image import Image, image_in, missing
from support.refusals import assert_decent

from release import preamble
from release.onefile import carried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.refusals import Said
    from support.sandboxes import Running

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.timeout(600),  # with nothing in the caches, wheels and a Debian are downloaded first
]

CHECKOUT = Path(__file__).parents[2]
PYZ = "/opt/aggctl.pyz"
UNIT = "etc/systemd/system/aggctl-certs.service"
USER = 1000
OWN = "/home/somebody"
PRETEND = 'import os, runpy, sys; {}; runpy.run_path("{}", run_name="__main__")'


def release(checkout: Path, output: Path, umask: int, **environment: str) -> None:
    """What `make dist` runs."""
    words = [sys.executable, "-m", "release", "dist", "--output", str(output)]
    subprocess.run(words, cwd=checkout, umask=umask, env=own_environment() | environment, check=True)


def own_environment() -> dict[str, str]:
    """That of this process, without a time that somebody set for files."""
    return {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Removed at the end, unlike pytest's own: half a gigabyte lies there."""
    with tempfile.TemporaryDirectory(prefix="aggctl-packaging-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def dist(place: Path) -> Path:
    release(CHECKOUT, place / "dist", 0o022)
    return place / "dist"


@pytest.fixture(scope="module")
def machine(place: Path, dist: Path) -> Image:
    """The Debian, with the one file in /opt as the Ansible role copies it, and a user."""
    image = image_in(place)
    there = image.root / PYZ[1:]
    there.write_bytes((dist / "aggctl.pyz").read_bytes())
    there.chmod(0o755)
    assert image.shell(f"mkdir {OWN} && chown {USER}:{USER} {OWN}").status == 0
    return image


def started(machine: Image, *words: str, **more: Any) -> Said:
    return machine.run("python3", PYZ, *words, **more)


def assert_refused(said: Said, sentence: str) -> None:
    """By a sentence with what was found, what was expected, and what to do; without a traceback."""
    assert (said.status, said.out) == (3, "")
    assert said.err.startswith(f"aggctl.pyz: {sentence}")
    assert re.findall(r"^    (\w+) ", said.err, re.MULTILINE) == ["found", "expected", "do"]
    assert_decent(said)


# --- what is handed out ---------------------------------------------------------------------------------


def test_built_from_the_sdist_elsewhere_and_by_somebody_careful_it_is_the_same(
    dist: Path, place: Path
) -> None:
    (place / "unpacked").mkdir()
    subprocess.run(["/bin/tar", "-xf", next(dist.glob("*.tar.gz")), "-C", place / "unpacked"], check=True)
    (checkout,) = (place / "unpacked").iterdir()
    release(checkout, place / "again", 0o077, TZ="Asia/Tokyo", LC_ALL="C")
    differing = [
        path.name
        for path in dist.iterdir()
        if path.read_bytes() != (place / "again" / path.name).read_bytes()
    ]
    assert differing == []


def test_sources_of_an_unknown_time_are_refused(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "release", "dist"],
        cwd=tmp_path,
        env=own_environment() | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("neither .git nor PKG-INFO is here: set SOURCE_DATE_EPOCH")
    assert list(tmp_path.iterdir()) == []


def test_the_sums_are_those_of_all_files(dist: Path) -> None:
    checked = subprocess.run(
        [*("sha256sum", "--check", "--strict", "SHA256SUMS")],
        cwd=dist,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == {
        path.name for path in dist.iterdir() if path.name != "SHA256SUMS"
    }


def test_the_bill_of_materials_names_the_wheels_inside_and_no_others(dist: Path) -> None:
    bill = json.loads((dist / "aggctl.cdx.json").read_text())
    files = [file for component in bill["components"] for file in component.get("externalReferences", ())]
    inside = carried(dist / "aggctl.pyz")
    assert {file["url"].rpartition("/")[2] for file in files} == {
        name for name in inside if not name.startswith("aggctl-")
    }


def test_the_bill_of_materials_has_the_hashes_of_the_lock(dist: Path) -> None:
    bill = json.loads((dist / "aggctl.cdx.json").read_text())
    lock = (CHECKOUT / "uv.lock").read_text()
    hashes = [
        each["content"]
        for component in bill["components"]
        for file in component.get("externalReferences", ())
        for each in file["hashes"]
    ]
    assert len(hashes) > 40
    assert [digest for digest in hashes if f"sha256:{digest}" not in lock] == []


def pythons() -> dict[str, Path]:
    """A Python of each version that fits, of those on PATH and of pyenv's."""
    folders = [*map(Path, os.environ["PATH"].split(os.pathsep)), *Path.home().glob(".pyenv/versions/*/bin")]
    names = [f"python3.{minor}" for minor in range(preamble.OLDEST, preamble.NEWEST + 1)]
    return {
        name: folder / name
        for folder in folders
        for name in names
        if (folder / name).exists() and folder.name != "shims"
    }


def test_every_python_on_this_machine_that_fits_runs_it(dist: Path, place: Path) -> None:
    assert pythons()
    for path in pythons().values():
        said = subprocess.run(
            [path, dist / "aggctl.pyz", "explain", "no-manifest"],
            env={"PATH": "/usr/bin:/bin", "PEX_ROOT": str(place / "unpacked-by-pythons")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "no kube-apiserver manifest" in said.stdout, path
        assert said.stderr == ""


# --- the one file on a machine without a network --------------------------------------------------------


def test_root_unpacks_where_nobody_else_may_look(machine: Image) -> None:
    folder = preamble.FOLDER_OF_ROOT
    said = machine.shell(f"umask 000; {PYZ} --version && stat -c '%a %u' {folder}", HOME=OWN)
    assert said.out.splitlines()[1:] == ["700 0"]
    assert machine.shell(f"ls -A {OWN}").out == "", "root wrote to a home that is not his"


def test_it_answers_where_nothing_of_pips_is(machine: Image) -> None:
    assert machine.run("python3", "-c", "import pip").status == 1
    assert re.fullmatch(r"aggctl \d\S+\n", machine.run(PYZ, "--version").out)
    assert "Commands:" in started(machine, "--help").out


def test_it_refuses_what_is_no_control_plane_as_ever(machine: Image) -> None:
    said = started(machine, "enable", "--dry-run", "-o", "json")
    assert (said.status, said.codes) == (3, ["no-manifest"])


@pytest.mark.controlplane
def test_it_switches_the_layer_on_at_a_real_control_plane(machine: Image, sandbox: Running) -> None:
    enable = ("enable", "--root", str(sandbox.sandbox.root), "--routing", "off", "--output", "json")
    said = started(machine, *enable, "--yes", node=sandbox.directory)
    assert (said.status, said.document["outcome"]) == (0, "applied"), said.text
    again = started(machine, *enable, "--dry-run", node=sandbox.directory)
    assert (again.status, again.document["outcome"]) == (0, "unchanged"), again.text


def test_a_timer_of_systemd_starts_the_file_not_what_was_unpacked_of_it(machine: Image) -> None:
    (machine.root / "srv/node/etc/systemd/system").mkdir(parents=True)
    said = machine.run(PYZ, "certs", "timer", "install", "--root", "/srv/node")
    assert said.status == 0, said.text
    assert f"ExecStart={PYZ} certs" in (machine.root / "srv/node" / UNIT).read_text()


def test_a_user_unpacks_into_his_own_cache(machine: Image) -> None:
    said = started(machine, "--version", user=USER, HOME=OWN)
    assert (said.status, said.err) == (0, "")
    assert machine.shell(f"stat -c '%a %u' {OWN}/.cache/aggctl/pyz").out == f"700 {USER}\n"


def test_a_folder_of_somebody_else_is_refused(machine: Image) -> None:
    assert machine.shell(f"mkdir -m 700 /srv/others && chown {USER} /srv/others").status == 0
    said = started(machine, "--version", PEX_ROOT="/srv/others")
    assert_refused(said, "others may write to /srv/others")
    assert machine.shell("ls -A /srv/others").out == ""


def test_a_folder_that_anybody_may_write_to_is_refused(machine: Image) -> None:
    assert machine.shell("mkdir -m 1777 /srv/anybodys").status == 0
    assert_refused(
        started(machine, "--version", PEX_ROOT="/srv/anybodys"), "others may write to /srv/anybodys"
    )


def test_a_file_system_without_programs_is_refused(machine: Image) -> None:
    said = machine.shell(f"mount -t tmpfs -o noexec none /mnt && exec {PYZ} --version", PEX_ROOT="/mnt/here")
    assert_refused(said, "nothing can be run from /mnt/here")


def test_where_nothing_can_be_kept_it_runs_from_a_folder_that_it_removes(machine: Image) -> None:
    said = started(machine, "--version", user=USER, HOME="/nonexistent")
    assert said.out.startswith("aggctl ")
    (line,) = said.err.splitlines()
    assert "/nonexistent/.cache/aggctl/pyz cannot be written to" in line
    assert list((machine.root / "tmp").glob("*pex*")) == []


def test_settings_of_pex_that_lie_beside_it_are_not_read(machine: Image) -> None:
    (machine.root / "opt/.pexrc").write_text("PEX_PYTHON=/opt/not-python\n")
    said = machine.run(PYZ, "--version", PEX_ROOT="/srv/first-start")
    assert said.out.startswith("aggctl "), said.text


@pytest.mark.parametrize(
    ("pretended", "sentence", "found"),
    [
        ("sys.version_info = (3, 9, 2)", "no Python here", "cpython 3.9"),
        (
            f"sys.version_info = (3, {preamble.NEWEST + 1}, 0)",
            "no Python here",
            f"cpython 3.{preamble.NEWEST + 1}",
        ),
        ("os.confstr = lambda name: 'glibc 2.17'", "this machine cannot run", "linux x86_64, glibc 2.17"),
        ("os.confstr = lambda name: None", "this machine cannot run", "linux x86_64, no glibc"),
    ],
    ids=["an older Python", "a newer Python", "an older glibc", "musl"],
)
def test_where_it_cannot_run_it_says_what_it_needs(
    machine: Image, pretended: str, sentence: str, found: str
) -> None:
    said = machine.run("/usr/bin/python3", "-c", PRETEND.format(pretended, PYZ), PATH="/nowhere")
    assert_refused(said, sentence)
    assert f"found     {found}" in said.err
    assert f"expected  {preamble.NEEDS}" in said.err


# --- the package ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged(machine: Image, dist: Path) -> Iterator[Image]:
    """The Debian with the package; the rest of the tests above are over by then."""
    (package,) = dist.glob("*.deb")
    (machine.root / "srv/aggctl.deb").write_bytes(package.read_bytes())
    said = machine.run("dpkg", "--install", "/srv/aggctl.deb")
    assert said.status == 0, said.text
    yield machine
    machine.run("dpkg", "--purge", "aggctl")


def test_the_package_brings_command_manual_and_completions(packaged: Image) -> None:
    assert packaged.run("aggctl", "--version").out.startswith("aggctl ")
    assert packaged.run("dpkg", "--verify", "aggctl").text == ""
    listed = packaged.run("dpkg", "--listfiles", "aggctl").out.splitlines()
    for path in ("/usr/share/man/man1/aggctl.1.gz", "/usr/share/bash-completion/completions/aggctl"):
        assert path in listed


def test_kubectl_finds_it_as_a_plugin(packaged: Image) -> None:
    assert packaged.run("kubectl-aggctl", "--help").out.startswith("Usage: kubectl aggctl ")
    assert "explain" in packaged.run("kubectl_complete-aggctl", "expl").out


def test_nothing_is_left_of_a_package_that_is_removed(packaged: Image) -> None:
    assert packaged.run("aggctl", "explain", "no-manifest").status == 0
    said = packaged.run("dpkg", "--remove", "aggctl")
    assert said.status == 0, said.text
    assert packaged.shell(f"ls -d /usr/*/*aggctl* {preamble.FOLDER_OF_ROOT}").out == ""
