"""How much memory a command takes at its height, in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Linux hands ru_maxrss on from the process that started this one; VmHWM is of this one alone. macOS counts in bytes.
_RUN = """
import resource, sys
from pathlib import Path
from gatewaydb.cli import main
code = main()
status = Path("/proc/self/status")
if status.exists():
    [peak] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(peak, file=sys.stderr)
sys.exit(code)
"""


def peak_kb(*arguments: str) -> int:
    """The most that `gatewaydb` with these arguments had, in KB."""
    command = [sys.executable, "-c", _RUN, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240)
    return int(done.stderr.split()[-1])
