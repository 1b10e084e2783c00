"""`make audit`: known vulnerabilities in the pinned packages, by pip-audit; says plainly what could not be looked up.

pip-audit alone reports success where the service knows none of the packages, and a traceback where it cannot be reached.
Exit codes: 0 every package was looked up and has none; 1 some have; 2 some or all could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILES = ("run.txt", "dev.txt")
SECONDS = 300
SHOWN = 5


def looked_up(service: str, file: Path) -> Sequence[Mapping[str, Any]] | str:
    """Pip-audit's dependencies: name, version and vulns, or skip_reason. A text: why there was no answer."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--vulnerability-service", service, "-r", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  # ours
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError, TypeError):
        # The name of an exception, or the sentence of a wrong call; the rest of it is a page long.
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return last.partition("(")[0][:120].rstrip(": ")


def judged(file: str, found: Sequence[Mapping[str, Any]] | str, service: str) -> tuple[list[str], int]:
    """What to say of one file, and its exit code."""
    if isinstance(found, str):
        return [
            f"{file}: the advisory service ({service}) cannot be reached, nothing was checked; pip-audit says: {found}"
        ], 2
    lines, code = [], 0
    skipped = [each["name"] for each in found if "skip_reason" in each]
    if skipped:
        names = ", ".join(skipped[:SHOWN]) + (", ..." if len(skipped) > SHOWN else "")
        lines.append(
            f"{file}: the advisory service ({service}) does not know {len(skipped)} of {len(found)} packages, "
            f"which are not checked: {names}"
        )
        code = 2
    for each in found:
        for vulnerability in each.get("vulns", ()):
            fixed = ", ".join(vulnerability.get("fix_versions") or ()) or "no version yet"
            lines.append(
                f"{file}: {each['name']} {each['version']}: {vulnerability['id']}, mended in {fixed}"
            )
            code = 1
    return lines or [f"{file}: {len(found)} packages, no known vulnerability"], code


def main(service: str = "pypi") -> int:
    verdicts = [judged(name, looked_up(service, HERE / name), service) for name in FILES]
    for lines, _ in verdicts:
        sys.stdout.write("\n".join(lines) + "\n")
    codes = {code for _, code in verdicts}
    # A vulnerability that was seen says more than one that may be there.
    return 1 if 1 in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
