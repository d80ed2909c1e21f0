"""All calls of the control plane that jobs have, by boto3."""

import datetime
import json

from boto import REGION, client, refused, thing
from case import CASE, device, hold, same

iot = client("iot")
other = CASE["other"]
url = f"https://s3.{REGION}.amazonaws.com/{CASE['product']}/{CASE['version']}"
document = json.dumps({"operation": "install", "url": f"${{aws:iot:s3-presigned-url:{url}}}"})

# A job with everything it may say.
limits = {
    "jobExecutionsRolloutConfig": {"maximumPerMinute": 100},
    "abortConfig": {
        "criteriaList": [
            {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 12.5, "minNumberOfExecutedThings": 2}
        ]
    },
    "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
    "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]},
}
made = iot.create_job(
    jobId="install-1",
    targets=[thing(device), thing(other)],
    document=document,
    description="the first",
    presignedUrlConfig={"roleArn": "arn:aws:iam::123456789012:role/any", "expiresInSec": 120},
    targetSelection="SNAPSHOT",
    **limits,
)
same(made["jobArn"], f"arn:aws:iot:{REGION}:000000000000:job/install-1", "the job's name")
job = iot.describe_job(jobId="install-1")["job"]
same(job["status"], "IN_PROGRESS", "the job's status")
same(job["description"], "the first", "the job's description")
same(sorted(arn.rsplit("/", 1)[1] for arn in job["targets"]), [device, other], "the targets")
same(job["presignedUrlConfig"]["expiresInSec"], 120, "how long links work")
for name, value in limits.items():
    same(job[name], value, name)
same(job["jobProcessDetails"]["numberOfQueuedThings"], 2, "how many are queued")
age = datetime.datetime.now(datetime.timezone.utc) - job["createdAt"]
hold(datetime.timedelta(seconds=-5) < age < datetime.timedelta(minutes=5), f"the job was made {age} ago")
same(iot.get_job_document(jobId="install-1")["document"], document, "the document, placeholders and all")

# What it refuses.
base = {"jobId": "bad", "targets": [thing(device)], "document": "{}"}
invalid = ("InvalidRequestException", 400, iot.create_job)
rate = {"baseRatePerMinute": 50, "incrementFactor": 2.0, "rateIncreaseCriteria": {"numberOfNotifiedThings": 1000}}
told = refused(*invalid, **base, jobExecutionsRolloutConfig={"exponentialRate": rate})
hold("exponentialRate is not supported yet" in told, told)
told = refused(*invalid, **base, schedulingConfig={"startTime": "2030-01-01T00:00"})
hold("schedulingConfig is not supported yet" in told, told)
refused(*invalid, **{**base, "document": "not json"})
refused(*invalid, **{**base, "document": json.dumps({"url": "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/a/b}"})})
refused(*invalid, jobId="bad", targets=[thing(device)], documentSource="https://example.com/document.json")
refused("ResourceNotFoundException", 404, iot.create_job, **{**base, "targets": [thing("nobody")]})
refused("ResourceAlreadyExistsException", 409, iot.create_job, **{**base, "jobId": "install-1"})
refused("ResourceNotFoundException", 404, iot.describe_job, jobId="bad")
refused("InvalidSignatureException", 403, client("iot", secret="0" * 64).list_jobs)
refused("UnrecognizedClientException", 403, client("iot", key={"id": "UPDK0123456789ABCDEF", "secret": "0" * 64}).list_jobs)
refused("ForbiddenException", 403, client("iot", key="device_key").list_jobs)
refused("ForbiddenException", 403, client("iot", url="data_url").list_jobs)

# Executions, from both sides.
page = iot.list_job_executions_for_job(jobId="install-1", maxResults=1)
same(page["executionSummaries"][0]["thingArn"], f"arn:aws:iot:{REGION}:000000000000:thing/{device}", "the first thing")
page = iot.list_job_executions_for_job(jobId="install-1", maxResults=1, nextToken=page["nextToken"])
same(page["executionSummaries"][0]["jobExecutionSummary"]["status"], "QUEUED", "the second thing's status")
same([line["jobId"] for line in iot.list_job_executions_for_thing(thingName=device)["executionSummaries"]], ["install-1"], "the thing's jobs")
execution = iot.describe_job_execution(jobId="install-1", thingName=device)["execution"]
same((execution["status"], execution["executionNumber"]), ("QUEUED", 1), "the execution")
refused("ResourceNotFoundException", 404, iot.describe_job_execution, jobId="install-1", thingName="nobody")
iot.cancel_job_execution(jobId="install-1", thingName=device, statusDetails={"why": "spare"})
execution = iot.describe_job_execution(jobId="install-1", thingName=device)["execution"]
same(execution["status"], "CANCELED", "the canceled execution")
same(execution["statusDetails"]["detailsMap"], {"why": "spare"}, "its details")
refused("InvalidStateTransitionException", 409, iot.cancel_job_execution, jobId="install-1", thingName=device)
one = {"jobId": "install-1", "thingName": other, "executionNumber": 1}
refused("InvalidStateTransitionException", 409, iot.delete_job_execution, **one)
iot.delete_job_execution(**one, force=True)
refused("ResourceNotFoundException", 404, iot.describe_job_execution, jobId="install-1", thingName=other)

# Changed, canceled, deleted.
iot.update_job(jobId="install-1", description="the first, slower", timeoutConfig={"inProgressTimeoutInMinutes": 5})
job = iot.describe_job(jobId="install-1")["job"]
same(job["timeoutConfig"]["inProgressTimeoutInMinutes"], 5, "the changed timeout")
same(job["jobExecutionsRolloutConfig"], limits["jobExecutionsRolloutConfig"], "what was not changed")

# Groups, and devices that come later.
group = f"arn:aws:iot:{REGION}:123456789012:thinggroup/kitchens"
iot.create_job(jobId="always", targets=[group], document="{}", targetSelection="CONTINUOUS")
iot.associate_targets_with_job(jobId="always", targets=[thing(other)], comment="this one too")
same(len(iot.describe_job(jobId="always")["job"]["targets"]), 2, "the targets, joined")
same([job["jobId"] for job in iot.list_jobs(targetSelection="CONTINUOUS")["jobs"]], ["always"], "continuous jobs")
same([job["jobId"] for job in iot.list_jobs(thingGroupName="kitchens")["jobs"]], ["always"], "jobs of a group")
seen = [job["jobId"] for page in iot.get_paginator("list_jobs").paginate(PaginationConfig={"PageSize": 1}) for job in page["jobs"]]
same(seen, ["always", "install-1"], "all jobs, page by page")
same(sorted(line["jobId"] for line in iot.list_job_executions_for_thing(thingName=other)["executionSummaries"]), ["always"], "its jobs")

refused("InvalidStateTransitionException", 409, iot.delete_job, jobId="always")
iot.cancel_job(jobId="always", reasonCode="ENOUGH", comment="enough of it", force=True)
job = iot.describe_job(jobId="always")["job"]
same((job["status"], job["reasonCode"], job["comment"]), ("CANCELED", "ENOUGH", "enough of it"), "why it was canceled")
iot.delete_job(jobId="always")
iot.delete_job(jobId="install-1", force=True)
same(iot.list_jobs()["jobs"], [], "the jobs that are left")
