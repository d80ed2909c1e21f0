"""What a job says of its limits holds: retries, the abort rule, a pace, and cancels by force or not."""

from boto import client, refused, thing
from case import CASE, device, hold, same, until

other = CASE["other"]
iot = client("iot")
jobs = client("iot-jobs-data", key="device_key", url="data_url")
# Stands in for the other device.
others = client("iot-jobs-data", url="control_url")


def part(job, name=device):
    """An execution as the operator sees it."""
    return iot.describe_job_execution(jobId=job, thingName=name)["execution"]


def status(job):
    """How a job stands."""
    return iot.describe_job(jobId=job)["job"]["status"]


def fail_next(using=jobs, name=device):
    """Starts what is next and fails at it; which execution that was."""
    begun = using.start_next_pending_job_execution(thingName=name)["execution"]
    using.update_job_execution(thingName=name, jobId=begun["jobId"], status="FAILED", statusDetails={"why": "no power"})
    return begun["jobId"], begun["executionNumber"]


# A failure is tried again as often as the job says, each time as an execution of its own number.
criteria = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
iot.create_job(jobId="retried", targets=[thing(device)], document="{}", jobExecutionsRetryConfig=criteria)
same(fail_next(), ("retried", 1), "the first attempt")
same(fail_next(), ("retried", 2), "the second attempt")
same(jobs.get_pending_job_executions(thingName=device)["queuedJobs"], [], "what is left after the last retry")
seen = part("retried")
same((seen["status"], seen["executionNumber"]), ("FAILED", 2), "the last attempt")
same(seen["statusDetails"]["detailsMap"], {"why": "no power"}, "what the device noted")
line = iot.list_job_executions_for_job(jobId="retried", status="FAILED")["executionSummaries"][0]
same(line["jobExecutionSummary"]["retryAttempt"], 1, "which retry it was")
first = iot.describe_job_execution(jobId="retried", thingName=device, executionNumber=1)["execution"]
same((first["status"], first["executionNumber"]), ("FAILED", 1), "an earlier attempt")
refused("ResourceNotFoundException", 404, iot.describe_job_execution, jobId="retried", thingName=device, executionNumber=3)
iot.delete_job_execution(jobId="retried", thingName=device, executionNumber=1)
refused("ResourceNotFoundException", 404, iot.describe_job_execution, jobId="retried", thingName=device, executionNumber=1)
same(part("retried")["executionNumber"], 2, "the other attempt stays in sight")

# One of one has failed, and half is too many: the job cancels itself, and the other device is spared.
stop = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50.0, "minNumberOfExecutedThings": 1}
iot.create_job(
    jobId="aborted", targets=[thing(device), thing(other)], document="{}", abortConfig={"criteriaList": [stop]}
)
same([job["jobId"] for job in others.get_pending_job_executions(thingName=other)["queuedJobs"]], ["aborted"], "queued for both")
same(fail_next()[0], "aborted", "what fails")
until(lambda: status("aborted") == "CANCELED", "a job whose abort rule says so cancels itself")
hold(iot.describe_job(jobId="aborted")["job"]["comment"], "it says why")
until(lambda: part("aborted", other)["status"] == "CANCELED", "what had not begun is canceled")
same(others.get_pending_job_executions(thingName=other)["queuedJobs"], [], "nothing is left for the other")

# One a minute: the second device waits.
pace = {"maximumPerMinute": 1}
iot.create_job(jobId="paced", targets=[thing(device), thing(other)], document="{}", jobExecutionsRolloutConfig=pace)
queued = [
    len(using.get_pending_job_executions(thingName=name)["queuedJobs"])
    for using, name in ((jobs, device), (others, other))
]
# At the turn of a minute both may have been let in.
hold(queued in ([1, 0], [1, 1]), f"one execution is opened in a minute: {queued}")
same(part("paced", other)["status"], "QUEUED", "for the operator both are queued")
iot.delete_job(jobId="paced", force=True)

# What a device has begun goes on through a cancel, and ends by force.
for job, force in (("gentle", False), ("forced", True)):
    iot.create_job(jobId=job, targets=[thing(device)], document="{}")
    begun = jobs.start_next_pending_job_execution(thingName=device)["execution"]
    same(begun["jobId"], job, "what was begun")
    iot.cancel_job(jobId=job, force=force, comment="enough")
    one = {"thingName": device, "jobId": job}
    if force:
        until(lambda: part("forced")["status"] == "CANCELED", "a cancel by force ends what was begun")
        refused("InvalidStateTransitionException", 409, jobs.update_job_execution, **one, status="SUCCEEDED")
    else:
        jobs.update_job_execution(**one, status="SUCCEEDED")
        same(part("gentle")["status"], "SUCCEEDED", "what was begun ends as the device says")
