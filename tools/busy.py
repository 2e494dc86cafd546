#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a command fares beside other work, compared with its fair share of the machine.

    tools/busy.py [--beside 0,2,8] [--samples 5] -- COMMAND [ARGUMENT...]

Beside as many busy processes the command runs in turns with two processes that compute without ever
waiting for each other. Of both: seconds on the clock for each second of processor time. Where threads
wait for each other while one of them does not run, the command's are more; where they spin, it
takes more processor time than alone. The fair share of others that use the machine, too, is the same
for both."""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

STEPS = 3_000_000


def work(steps):
    x = 0.0
    for i in range(steps):
        x = x * 0.999 + i
    return x


def spawn(run):
    pid = os.fork()
    if pid == 0:
        run()
        os._exit(0)
    return pid


def spin(parent):
    while os.getppid() == parent:  # it may be killed
        work(STEPS // 10)


def reference():
    """Two at once; as a command is, one process that waits for its own."""
    return spawn(lambda: [os.waitpid(p, 0) for p in [spawn(lambda: work(STEPS)) for _ in "ab"]])


def command(words):
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid


def timed(start):
    begin = time.monotonic()
    _, status, used = os.wait4(start(), 0)
    if status != 0:
        sys.exit("busy.py: the command fails")
    return time.monotonic() - begin, used.ru_utime + used.ru_stime


def row(beside, samples, words):
    parent = os.getpid()
    spinners = [spawn(lambda: spin(parent)) for _ in range(beside)]
    fair, own = [], []
    try:
        for _ in range(samples):
            fair.append(timed(reference))
            own.append(timed(lambda: command(words)))
    finally:
        for p in spinners:
            os.kill(p, signal.SIGKILL)
            os.waitpid(p, 0)
    ratio = statistics.median(a / b / (c / d) for (a, b), (c, d) in zip(own, fair))
    wall, cpu = (statistics.median(s[i] for s in own) for i in (0, 1))
    print(f"beside {beside}: {wall:.2f} s, {cpu:.2f} s of processor time, "
          f"{ratio:.2f} times its fair share's", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside", default="0,2,8")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("command", nargs="+")
    o = parser.parse_args()
    for beside in o.beside.split(","):
        row(int(beside), o.samples, o.command)


main()
