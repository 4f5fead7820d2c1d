"""What comes out: plain in a pipe, ASCII where that is all, nothing lost, and no word from a broken pipe."""

from __future__ import annotations

import io
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.refusals import AGGCTL, ENABLE, aggctl, assert_decent, clean_environment

from aggctl.cli.options import Output
from aggctl.cli.progress import ConsoleProgress
from aggctl.cli.render import show_error, show_report
from aggctl.cli.wiring import Manners, PatientConsole
from aggctl.core.findings import Finding
from aggctl.core.report import Report, ShownChange
from aggctl.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

LONG = "a sentence that goes on " * 20
HOSTILE = "\x1b[2J\x1b]0;owned\x07 done \u202egnp.exe \x9b31m\r\x08:warning: [red]markup[/red]"


def pipe(encoding: str = "utf-8", *, terminal: bool = False) -> tuple[PatientConsole, io.BytesIO]:
    """A console that writes into a buffer."""
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding, errors="backslashreplace", write_through=True)
    return PatientConsole(
        file=file, force_terminal=terminal, soft_wrap=True, highlight=False, emoji=False
    ), written


def shown(report: Report, encoding: str = "utf-8") -> str:
    console, written = pipe(encoding)
    show_report(report, console, verbose=True)
    return written.getvalue().decode(encoding)


def test_a_line_is_not_broken_in_a_pipe() -> None:
    finding = Finding("no-manifest", "error", "x", LONG, LONG, expected=LONG, evidence=(LONG,))
    text = shown(Report("enable", "refused", summary=(LONG,), findings=(finding,), next=(LONG,)))
    assert [line.count(LONG.strip()) for line in text.splitlines() if LONG[:20] in line] == [1, 1, 1, 1]


@pytest.mark.parametrize("width", ["20", "100", "1"])
def test_columns_mean_nothing_to_a_pipe(width: str) -> None:
    assert aggctl("explain", environment={"COLUMNS": width}).out == aggctl("explain").out


def test_words_of_others_cannot_speak_to_the_terminal() -> None:
    finding = Finding("no-manifest", "error", HOSTILE, HOSTILE + "!", HOSTILE + "?", evidence=(HOSTILE,))
    change = ShownChange("change", HOSTILE, HOSTILE, f"---\n+++\n+{HOSTILE}")
    text = shown(Report("enable", "planned", (HOSTILE,), (change,), (finding,), (HOSTILE,)))
    assert not any(character in text for character in "\x1b\x07\x08\r\x9b\u202e")
    assert r"\x1b[2J" in text
    assert ":warning: [red]markup[/red]" in text


def test_an_error_of_others_cannot_either() -> None:
    console, written = pipe()
    error = Refused("no-manifest", HOSTILE, found=HOSTILE, expected=HOSTILE, do=HOSTILE, evidence=(HOSTILE,))
    show_error(error, console, verbose=True)
    assert b"\x1b" not in written.getvalue()


def test_nor_can_the_reason_of_a_wait_on_a_terminal() -> None:
    console, written = pipe(terminal=True)
    progress = ConsoleProgress(console, quiet=False)
    progress.begin("waiting", 5.0)
    progress.waiting(HOSTILE)
    progress.failed(HOSTILE)
    assert b"\x1b]0;owned" not in written.getvalue()
    assert b"\x1b[2J" not in written.getvalue()


def test_a_terminal_of_ascii_gets_words_for_marks() -> None:
    findings = tuple(
        Finding("no-manifest", each, "x", f"{each} …", "y") for each in ("error", "warning", "info")
    )
    text = shown(Report("enable", "refused", findings=findings), "ascii")
    assert [line.split()[0] for line in text.splitlines() if line[0] != " "] == ["FAIL", "warn", "-"]
    assert "error ..." in text
    assert "\\u" not in text


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
)
def test_no_locale_is_too_poor(tmp_path: Path, environment: dict[str, str]) -> None:
    said = aggctl("enable", "--root", f"{tmp_path}/…✓", environment=environment)
    assert said.status == 3
    assert said.err.startswith("FAIL ")
    assert said.err.isascii()
    assert aggctl("explain", environment=environment).out.isascii()


def test_a_name_that_is_no_text_is_shown_all_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [*map(os.fsencode, AGGCTL), b"enable", b"--root", os.fsencode(tmp_path) + b"/\xff\xfe"],
        capture_output=True,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 3
    assert rb"\udcff" in done.stderr
    assert b"Traceback" not in done.stderr


def test_pipes_are_plain(tmp_path: Path) -> None:
    for words in (("explain",), ("explain", "nope"), ("history", "--root", str(tmp_path)), ("--help",)):
        assert "\x1b" not in aggctl(*words, environment={"TERM": "xterm-256color"}).text


def on_a_terminal(*words: str, **environment: str) -> str:
    """What aggctl writes to a terminal."""
    reader, writer = os.openpty()
    process = subprocess.Popen(
        [*AGGCTL, *words],
        stdin=writer,
        stdout=writer,
        stderr=writer,
        env=clean_environment() | {"TERM": "xterm-256color"} | environment,
    )
    os.close(writer)
    said = b""
    try:
        while part := os.read(reader, 65536):
            said += part
    except OSError:  # EIO is how a terminal says that nobody holds its other end
        pass
    finally:
        os.close(reader)
        process.wait(60)
    return said.decode()


def test_a_terminal_has_colour_unless_it_is_not_wanted(tmp_path: Path) -> None:
    words = ("enable", "--root", str(tmp_path))
    assert "\x1b[31m" in on_a_terminal(*words)
    assert "\x1b" not in on_a_terminal(*words, "--no-color")
    assert "\x1b" not in on_a_terminal(*words, NO_COLOR="1")


def test_quiet_leaves_the_result_only(tmp_path: Path) -> None:
    said = aggctl("history", "--root", str(tmp_path), "-q")
    assert (said.status, said.out, said.err) == (0, "No changes on record.\n", "")


def test_quiet_keeps_progress_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress(Manners(Output.text).console(stderr=True), quiet=True)
    progress.begin("a step", 5.0)
    progress.waiting("for something")
    progress.say("a line")
    progress.done()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "words", [("explain",), ("explain", "-o", "json"), ("--help",), ("--version",), ("explain", "nope")]
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_went_away_hears_no_complaint(words: tuple[str, ...], stream: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    streams: dict[str, Any] = {stream: writer, other: subprocess.PIPE}
    done: subprocess.CompletedProcess[Any] = subprocess.run(
        [*AGGCTL, *words], check=False, env=clean_environment(), **streams
    )
    os.close(writer)
    left = done.stderr if stream == "stdout" else done.stdout
    assert b"Traceback" not in left
    assert b"BrokenPipe" not in left


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("words", [("explain",), ("--version",), ("enable", "--root", "/nonexistent")])
def test_closed_streams_change_no_exit_status(closing: str, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {closing}', "sh", *AGGCTL, *words],
        capture_output=True,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == (3 if words[0] == "enable" else 0), done.stderr
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [("explain",), ("explain", "-o", "json")])
def test_a_result_that_does_not_fit_on_the_disk_is_told(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >/dev/full', "sh", *AGGCTL, *words],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    assert done.stderr == "the result could not be written to standard output: No space left on device\n"
    assert done.returncode == 0


def test_a_refusal_is_for_stderr_and_a_document_for_stdout(tmp_path: Path) -> None:
    said = aggctl(*ENABLE, "--root", str(tmp_path))
    as_json = aggctl(*ENABLE, "--root", str(tmp_path), "-o", "json")
    assert (said.out, as_json.err) == ("", "")
    assert_decent(said)
    assert as_json.codes == ["no-manifest"]
