"""Fails when an installed package has a known vulnerability; says so when that could not be looked up.

pip-audit ends well when the advisory service knows none of the packages (behind a mirror, say): who trusts its exit
status believes that all is well though nothing was looked at. So its report is read.
"""

import json
import subprocess
import sys

SECONDS = 180

# Advisory → why it does no harm here, for those without a fix. None at present.
ACCEPTED: dict[str, str] = {}

# They install the service and are no part of it; each machine has its own.
NOT_OURS = {"pip", "setuptools"}


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603 (no word of it from outside)
        packages = [each for each in json.loads(run.stdout)["dependencies"] if each["name"] not in NOT_OURS]
    except subprocess.TimeoutExpired:
        print(f"SKIPPED: pip-audit took more than {SECONDS} s; known vulnerabilities were not looked up.")
        return
    except json.JSONDecodeError:
        reason = (run.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"SKIPPED: known vulnerabilities could not be looked up: {reason[:200]}")
        return
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    if unknown:
        print(f"SKIPPED: of {len(packages)} packages, {len(unknown)} are not known to the advisory service.")
    found = [(each["name"], each["version"], fault) for each in packages for fault in each.get("vulns", ())]
    found = [each for each in found if each[2]["id"] not in ACCEPTED]
    for name, version, fault in found:
        print(f"{name} {version}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version yet'}")
    if found:
        sys.exit(1)
    if len(unknown) < len(packages):
        print(f"{len(packages) - len(unknown)} packages were looked up, and none has a known vulnerability.")


if __name__ == "__main__":
    main()
