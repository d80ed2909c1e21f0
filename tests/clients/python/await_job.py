"""Waits until the device's execution of a job has ended, and leaves it in `job.json`: `await_job.py CASE JOB`."""

import json

from case import WORDS, device, until
from control_plane import client

iot = client("iot")


def ended():
    execution = iot.describe_job_execution(jobId=WORDS[0], thingName=device)["execution"]
    return None if execution["status"] in ("QUEUED", "IN_PROGRESS") else execution


found = until(ended, f"{WORDS[0]} never ends")
details = found.get("statusDetails", {}).get("detailsMap", {})
with open("job.json", "w", encoding="utf-8") as file:
    json.dump({"status": found["status"], "details": details}, file)
