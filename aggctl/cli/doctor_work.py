"""What `aggctl doctor` does with what was typed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aggctl.cli.archive import SNAPSHOT, pack, unpack
from aggctl.cli.outfile import PRIVATE, put_in_place
from aggctl.cli.wiring import Access, asker, cluster_ports, run_command
from aggctl.core.doctor.bundle import read_bundle, write_bundle
from aggctl.core.extension import parse_api
from aggctl.core.secrets_out import without_secrets
from aggctl.errors import UsageError
from aggctl.workflows.doctor import bundle_of, examine_all, examine_bundle, look_again, report_on
from aggctl.workflows.mend import mend_all

if TYPE_CHECKING:
    from aggctl.cli import options as o
    from aggctl.cli.wiring import Manners
    from aggctl.core.doctor.bundle import Bundle
    from aggctl.core.doctor.examine import Diagnosis
    from aggctl.core.report import Report
    from aggctl.system.ports import Ports


@dataclass(frozen=True, slots=True)
class TypedExam:
    """What is to be examined, and what becomes of it, as it was typed."""

    names: tuple[str, ...] = ()
    fail_on: str = "error"
    bundle: str = ""
    from_bundle: str = ""
    fix: bool = False

    @property
    def apis(self) -> tuple[str, ...]:
        """The names, each once; UsageError where one is none."""
        return tuple(dict.fromkeys(parse_api(name).name for name in self.names))

    def check(self) -> None:
        """UsageError where options contradict each other."""
        useless = "--fix" if self.fix and self.from_bundle else ""
        useless = useless or ("--bundle" if self.bundle and (self.fix or self.from_bundle) else "")
        if useless:
            beside = "--from-bundle" if self.from_bundle else "--fix"
            raise UsageError(
                "option-without-effect",
                f"{useless} has no effect beside {beside}",
                expected=f"{beside} alone",
                do=f"leave {useless} out, or run doctor twice",
            )


def diagnose(exam: TypedExam, typed: o.TypedAccess, manners: Manners) -> int:
    """Find out what is broken, here or in a bundle."""

    def work() -> Report:
        exam.check()
        if exam.from_bundle:
            found = read_bundle(unpack(exam.from_bundle), exam.from_bundle)
            return _report(exam, examine_bundle(found, exam.apis), manners)
        ports = cluster_ports(Access(*typed.checked()), manners)
        diagnosis, seen, asked = examine_all(ports, exam.apis)
        if exam.fix:
            return _fix(exam, ports, diagnosis, manners)
        report = _report(exam, diagnosis, manners)
        if exam.bundle:
            report = replace(report, next=(*report.next, _write(exam.bundle, bundle_of(asked, seen), report)))
        return report

    return run_command("doctor", manners, work)


def _fix(exam: TypedExam, ports: Ports, diagnosis: Diagnosis, manners: Manners) -> Report:
    """Mend what may be mended, then look again; what was not mended stays as it was found."""
    done = mend_all(ports, diagnosis, asker(manners))
    if not done:
        report = _report(exam, diagnosis, manners)
        return replace(report, next=(*report.next, "--fix: nothing of this is aggctl's to mend"))
    if failed := next((each for each in done if each.exit_status and each.outcome != "refused"), None):
        return failed
    changed = any(each.outcome == "applied" for each in done)
    report = _report(exam, look_again(ports, exam.apis, diagnosis) if changed else diagnosis, manners)
    refusals = tuple(finding for each in done if each.outcome == "refused" for finding in each.findings)
    said = tuple(line for each in done if each.outcome == "applied" for line in each.summary)
    return replace(
        report,
        summary=(*said, *report.summary, *(f"not mended: {each.message}" for each in refusals)),
        changes=tuple(change for each in done if each.outcome == "applied" for change in each.changes),
        findings=(*report.findings, *refusals),
    )


def _report(exam: TypedExam, diagnosis: Diagnosis, manners: Manners) -> Report:
    return report_on(diagnosis, exam.fail_on, verbose=manners.verbose)


def _write(file: str, bundle: Bundle, report: Report) -> str:
    """Write the bundle; the line that says so."""
    told = without_secrets(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    texts = {
        SNAPSHOT: write_bundle(bundle),
        "aggctl-bundle/report.json": told,
        "aggctl-bundle/report.txt": without_secrets("\n".join(report.summary)) + "\n",
    }
    put_in_place(file, pack(texts, bundle.now.timestamp()), PRIVATE, "--bundle", "bundle-not-writable")
    return f"All that was seen, without secrets, is in {file}; elsewhere: aggctl doctor --from-bundle {file}"
