"""The data plane over HTTP, by boto3: a device's jobs and shadows, by its own key, and by an operator's."""

import json

from boto import REGION, client, refused, thing
from case import CASE, device, hold, same, until

other = CASE["other"]
iot = client("iot")
jobs = client("iot-jobs-data", key="device_key", url="data_url")
data = client("iot-data", key="device_key", url="data_url")

# Nothing to do.
pending = jobs.get_pending_job_executions(thingName=device)
same((pending["inProgressJobs"], pending["queuedJobs"]), ([], []), "what is pending at first")
hold("execution" not in jobs.start_next_pending_job_execution(thingName=device), "nothing is next")
hold("execution" not in jobs.describe_job_execution(thingName=device, jobId="$next"), "nothing is next")

# A job from its beginning to its end.
url = f"https://s3.{REGION}.amazonaws.com/{CASE['product']}/{CASE['version']}"
document = json.dumps({"operation": "install", "url": f"${{aws:iot:s3-presigned-url:{url}}}"})
for job in ("first", "second"):
    iot.create_job(jobId=job, targets=[thing(device)], document=document)
queued = jobs.get_pending_job_executions(thingName=device)["queuedJobs"]
same([one["jobId"] for one in queued], ["first", "second"], "what is queued")
same((queued[0]["executionNumber"], queued[0]["versionNumber"]), (1, 1), "the first execution")
hold(1_700_000_000 < queued[0]["queuedAt"] < 10_000_000_000, f"times are whole seconds: {queued[0]['queuedAt']}")
started = jobs.start_next_pending_job_execution(
    thingName=device, statusDetails={"step": "begun"}, stepTimeoutInMinutes=5
)["execution"]
same((started["jobId"], started["status"]), ("first", "IN_PROGRESS"), "what was started")
same(started["statusDetails"], {"step": "begun"}, "its details")
hold(0 < started["approximateSecondsBeforeTimedOut"] <= 300, "its timer runs")
told = json.loads(started["jobDocument"])
same(told["operation"], "install", "the document")
hold(told["url"].startswith("https://") and "aws:iot" not in told["url"], f"the placeholder became a link: {told['url']}")
again = jobs.start_next_pending_job_execution(thingName=device, statusDetails={"step": "again"})["execution"]
same(again["statusDetails"], {"step": "begun"}, "what was begun is returned as it is")
described = jobs.describe_job_execution(thingName=device, jobId="$next", includeJobDocument=False)["execution"]
hold("jobDocument" not in described, "the document was not asked for")
same(described["jobId"], "first", "what is next")
same(jobs.describe_job_execution(thingName=device, jobId="first", executionNumber=1)["execution"]["jobId"], "first", "by its ID")
version = described["versionNumber"]

one = {"thingName": device, "jobId": "first"}
refused("VersionConflictException", 409, jobs.update_job_execution, **one, status="SUCCEEDED", expectedVersion=version + 7)
answer = jobs.update_job_execution(
    **one,
    status="IN_PROGRESS",
    statusDetails={"step": "installing"},
    expectedVersion=version,
    includeJobExecutionState=True,
    includeJobDocument=True,
)
state = answer["executionState"]
same((state["status"], state["versionNumber"]), ("IN_PROGRESS", version + 1), "the state after the update")
same(state["statusDetails"], {"step": "installing"}, "its details")
same(json.loads(answer["jobDocument"])["operation"], "install", "the document with the update")
seen = iot.describe_job_execution(**one)["execution"]
same((seen["status"], seen["versionNumber"]), ("IN_PROGRESS", version + 1), "as the operator sees it")
answer = jobs.update_job_execution(**one, status="SUCCEEDED")
hold("executionState" not in answer and "jobDocument" not in answer, "neither was asked for")
refused("InvalidStateTransitionException", 409, jobs.update_job_execution, **one, status="FAILED")
refused("TerminalStateException", 410, jobs.describe_job_execution, **one)
refused("ResourceNotFoundException", 404, jobs.describe_job_execution, thingName=device, jobId="nothing")
refused("ResourceNotFoundException", 404, jobs.update_job_execution, thingName=device, jobId="nothing", status="FAILED")
refused("InvalidRequestException", 400, jobs.update_job_execution, thingName=device, jobId="second", status="QUEUED")
details = {"thingName": device, "jobId": "second", "status": "IN_PROGRESS"}
refused("InvalidRequestException", 400, jobs.update_job_execution, **details, statusDetails={f"k{n}": "v" for n in range(11)})
refused("InvalidRequestException", 400, jobs.update_job_execution, **details, stepTimeoutInMinutes=10_081)
until(lambda: iot.describe_job(jobId="first")["job"]["status"] == "COMPLETED", "a job is complete when its devices have ended")
counts = iot.describe_job(jobId="first")["job"]["jobProcessDetails"]
same((counts["numberOfSucceededThings"], counts["numberOfQueuedThings"]), (1, 0), "the counts")
refused("ForbiddenException", 403, jobs.get_pending_job_executions, thingName=other)

# An operator may stand in for a device, and makes none known by it.
standing_in = client("iot-jobs-data", url="control_url")
same([one["jobId"] for one in standing_in.get_pending_job_executions(thingName=device)["queuedJobs"]], ["second"], "what is left")
refused("ResourceNotFoundException", 404, standing_in.get_pending_job_executions, thingName="nobody")
refused("ResourceNotFoundException", 404, iot.list_job_executions_for_thing, thingName="nobody")
iot.delete_job(jobId="second", force=True)
refused("ResourceNotFoundException", 404, jobs.describe_job_execution, thingName=device, jobId="second")

# Shadows.
refused("ResourceNotFoundException", 404, data.get_thing_shadow, thingName=device, shadowName="lamp")


def update(shadow, body, using=data):
    """Updates a shadow; what was accepted."""
    return json.load(using.update_thing_shadow(thingName=device, shadowName=shadow, payload=json.dumps(body))["payload"])


accepted = update("lamp", {"state": {"reported": {"on": False}}, "clientToken": "t1"})
same((accepted["version"], accepted["clientToken"]), (1, "t1"), "what was accepted")
operator = client("iot-data")
accepted = update("lamp", {"state": {"desired": {"on": True}}}, operator)
shadow = json.load(data.get_thing_shadow(thingName=device, shadowName="lamp")["payload"])
same(shadow["state"], {"desired": {"on": True}, "reported": {"on": False}, "delta": {"on": True}}, "the shadow")
same(shadow["version"], accepted["version"], "its version")
named = {"thingName": device, "shadowName": "lamp"}
conflict = json.dumps({"state": {"reported": {"on": True}}, "version": 1})
refused("ConflictException", 409, data.update_thing_shadow, **named, payload=conflict)
for bad in ("{", "{}", '{"state":1}', '{"state":{"reported":' + '{"a":' * 9 + "1" + "}" * 9 + "}}"):
    refused("InvalidRequestException", 400, data.update_thing_shadow, **named, payload=bad)
large = json.dumps({"state": {"reported": {"a": "x" * 9_000}}})
refused("RequestEntityTooLargeException", 413, data.update_thing_shadow, **named, payload=large)
refused("UnsupportedDocumentEncodingException", 415, data.update_thing_shadow, **named, payload=b'{"state":{"reported":{"a":"\xff"}}}')
for name in ("attic", "cellar"):
    update(name, {"state": {"reported": {"n": 1}}})
page = data.list_named_shadows_for_thing(thingName=device, pageSize=2)
same(page["results"], ["attic", "cellar"], "the first page of names")
page = data.list_named_shadows_for_thing(thingName=device, pageSize=2, nextToken=page["nextToken"])
same((page["results"], "nextToken" in page), (["lamp"], False), "the last page of names")
gone = json.load(data.delete_thing_shadow(**named)["payload"])
same(gone["version"], accepted["version"], "the version that was deleted")
refused("ResourceNotFoundException", 404, data.get_thing_shadow, **named)
refused("ResourceNotFoundException", 404, data.delete_thing_shadow, **named)
refused("ForbiddenException", 403, data.get_thing_shadow, thingName=other)
refused("ForbiddenException", 403, data.update_thing_shadow, thingName=other, payload='{"state":{}}')

# Publishing: to topics of one's own.
report = json.dumps({"state": {"reported": {"heat": 21}}})
data.publish(topic=f"state/{device}/update", qos=1, payload=report)
operator.publish(topic=f"$aws/things/{device}/shadow/name/lamp/update", qos=0, payload=report)
shadow = json.load(data.get_thing_shadow(thingName=device, shadowName="lamp")["payload"])
same(shadow["state"]["reported"], {"heat": 21}, "what was published to the shadow's topic")
for topic in (f"state/{other}/update", f"$aws/things/{other}/jobs/get", f"$aws/things/{device}/shadow/get/accepted", "anything"):
    refused("ForbiddenException", 403, data.publish, topic=topic, qos=1, payload=report)
refused("InvalidSignatureException", 403, client("iot-data", key="device_key", url="data_url", secret="0" * 64).get_thing_shadow, thingName=device)
