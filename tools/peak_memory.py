"""Runs a command and prints the largest memory that it had, sampled from /proc (Linux): allocated (RssAnon) and with mapped files (VmRSS), in MB.

    python3 tools/peak_memory.py hilberg measure -m MODEL CORPUS --memory 1G
"""

import subprocess
import sys
import time


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[1:])
    peak = {"RssAnon": 0, "VmRSS": 0}
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                for line in status:
                    name = line.split(":")[0]
                    if name in peak:
                        peak[name] = max(peak[name], int(line.split()[1]))
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    seconds = time.monotonic() - began
    print(f"peak RssAnon {peak['RssAnon'] / 1000:.1f} MB, VmRSS {peak['VmRSS'] / 1000:.1f} MB, {seconds:.1f} s", file=sys.stderr)
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
