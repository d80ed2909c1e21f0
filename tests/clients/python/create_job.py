"""Creates a job for the device with the case's document, and leaves its ID in `job.id`."""

from case import CASE, device
from control_plane import create_job

with open("job.id", "w", encoding="utf-8") as file:
    file.write(create_job([device], CASE["document"]))
