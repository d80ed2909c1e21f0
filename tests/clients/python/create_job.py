"""Creates a job with the case's document once the device is known, and leaves its ID in `job.id`."""

from case import CASE, device, until, verb
from control_plane import create_job

until(lambda: any(known["id"] == device for known in verb("device", "ls")), f"{device} never comes")
with open("job.id", "w", encoding="utf-8") as file:
    file.write(create_job([device], CASE["document"]))
