"""Fail if an installed package has a known vulnerability; print a notice if the check was not possible.

The exit status of pip-audit is not sufficient: it is also 0 if the advisory service knows none of the packages, for
example behind a mirror. So this script reads the report.
"""

import json
import subprocess
import sys

SECONDS = 180

# Advisories without a fix that do not affect this service, each with the reason.
ACCEPTED: dict[str, str] = {}

# They install the service and are not part of it.
NOT_OURS = {"pip", "setuptools"}


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603 (constant arguments)
        packages = [each for each in json.loads(run.stdout)["dependencies"] if each["name"] not in NOT_OURS]
    except subprocess.TimeoutExpired:
        print(f"SKIPPED: pip-audit took more than {SECONDS} s; known vulnerabilities were not checked.")
        return
    except json.JSONDecodeError:
        reason = (run.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"SKIPPED: known vulnerabilities could not be checked: {reason[:200]}")
        return
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    if unknown:
        print(f"SKIPPED: the advisory service does not know {len(unknown)} of {len(packages)} packages.")
    found = [(each["name"], each["version"], fault) for each in packages for fault in each.get("vulns", ())]
    found = [each for each in found if each[2]["id"] not in ACCEPTED]
    for name, version, fault in found:
        print(f"{name} {version}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version yet'}")
    if found:
        sys.exit(1)
    if len(unknown) < len(packages):
        print(f"{len(packages) - len(unknown)} packages were checked, and none has a known vulnerability.")


if __name__ == "__main__":
    main()
