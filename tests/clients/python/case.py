"""What a test tells a client program, and how the program tells what does not hold.

A program is run as `python PROGRAM.py CASE.json [WORD...]`. It ends with status 0 if all held, and otherwise says in a
sentence what did not.
"""

import json
import os
import queue
import subprocess
import sys
import time

# Longest wait for something that must come, in seconds. The machine may have other work.
PATIENCE = 20
# How long nothing may come, where nothing must, in seconds.
SILENCE = 0.5

with open(sys.argv[1], encoding="utf-8") as file:
    CASE = json.load(file)
WORDS = sys.argv[2:]

device = CASE["device"]
host = CASE["host"]


def hold(condition, sentence):
    """Ends the program unless the condition holds."""
    if not condition:
        fail(sentence)


def fail(sentence):
    """Ends the program, from whatever thread."""
    print(f"does not hold: {sentence}", file=sys.stderr, flush=True)
    os._exit(1)


def same(found, expected, what):
    """Ends the program unless both are the same."""
    hold(found == expected, f"{what}: expected {expected!r}, found {found!r}")


class Inbox:
    """What came, in order, put in by a library's thread and taken out by the program."""

    def __init__(self, name):
        self.name = name
        self.items = queue.Queue()

    def put(self, item):
        self.items.put(item)

    def next(self, what):
        """The next item, which must come."""
        try:
            return self.items.get(timeout=PATIENCE)
        except queue.Empty:
            return fail(f"nothing came to {self.name} within {PATIENCE} s: {what}")

    def is_silent(self, why):
        """Ends the program if anything comes."""
        try:
            item = self.items.get(timeout=SILENCE)
        except queue.Empty:
            return
        fail(f"{self.name} got {item!r}, {why}")


def until(probe, sentence):
    """What a probe finds, asked until it finds something."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        found = probe()
        if found:
            return found
        time.sleep(0.05)
    return fail(sentence)


def verb(*arguments):
    """Runs a verb of the operator with `--json`, and returns what it prints."""
    command = [CASE["updraft"], *arguments, "--json", "--url", CASE["operator_url"]]
    ran = subprocess.run(command, cwd=CASE["folder"], capture_output=True, text=True, timeout=PATIENCE)
    hold(ran.returncode == 0, f"{' '.join(arguments)} ends with {ran.returncode}: {ran.stderr}")
    return json.loads(ran.stdout)
