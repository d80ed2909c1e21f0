"""Jobs and shadow with the AWS IoT Device SDK v1 for Python: `aws_first.py CASE jobs|shadow`.

Its habits on the wire: MQTT 3.1.1, the thing's name as every client token, numbers as texts, shadows at QoS 0.
"""

import json

from AWSIoTPythonSDK.core.jobs.thingJobManager import (
    jobExecutionStatus,
    jobExecutionTopicReplyType as Reply,
    jobExecutionTopicType as Topic,
)
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTShadowClient, AWSIoTMQTTThingJobsClient

import jobs_story
import shadow_story
from application import Application
from case import CASE, PATIENCE, WORDS, Inbox, device, hold, host, same


def connect(client):
    client.configureEndpoint(host, CASE["mqtt_port"])
    client.configureCredentials(CASE["ca"], CASE["key"], CASE["certificate"])
    client.configureConnectDisconnectTimeout(PATIENCE)
    client.configureMQTTOperationTimeout(PATIENCE)
    hold(client.connect(), "no connection by certificate")


class Jobs:
    """The client of the jobs story."""

    sees_timers = True

    def __init__(self):
        self.notify = Inbox("notify")
        self.notify_next = Inbox("notify-next")
        self.answers = Inbox("answers")
        self.subscribed = set()
        self.client = AWSIoTMQTTThingJobsClient(device, thingName=device, QoS=1)
        connect(self.client)
        self.listen(Topic.JOB_NOTIFY_TOPIC, Reply.JOB_REQUEST_TYPE, None, self.note_change)
        self.listen(Topic.JOB_NOTIFY_NEXT_TOPIC, Reply.JOB_REQUEST_TYPE, None, self.note_head)

    def listen(self, topic, reply, job, note):
        granted = self.client.createJobSubscription(
            lambda _c, _u, message: note(message.topic, json.loads(message.payload)), topic, reply, job
        )
        hold(granted, f"may not subscribe to {topic} of {job}")

    def note_change(self, _topic, body):
        self.notify.put(body["jobs"])

    def note_head(self, _topic, body):
        self.notify_next.put(body.get("execution"))

    def ask(self, topic, job, send):
        """One request and its answer, which carries the request's token."""
        if (topic, job) not in self.subscribed:
            self.subscribed.add((topic, job))
            for reply in (Reply.JOB_ACCEPTED_REPLY_TYPE, Reply.JOB_REJECTED_REPLY_TYPE):
                self.listen(topic, reply, job, lambda name, body: self.answers.put((name, body)))
        hold(send(), f"{topic} of {job} is not acknowledged")
        name, body = self.answers.next(f"an answer to {topic} of {job}")
        self.answers.is_silent(f"a second answer to {topic} of {job}")
        same(body["clientToken"], device, f"the token in the answer to {topic}")
        if name.endswith("/rejected"):
            raise jobs_story.Rejected(body["code"], body.get("executionState"))
        return body

    def pending(self):
        body = self.ask(Topic.JOB_GET_PENDING_TOPIC, None, lambda: self.client.sendJobsQuery(Topic.JOB_GET_PENDING_TOPIC))
        return body["inProgressJobs"], body["queuedJobs"]

    def describe(self, job, document=True):
        send = lambda: self.client.sendJobsDescribe(job, includeJobDocument=document)
        return self.ask(Topic.JOB_DESCRIBE_TOPIC, job, send).get("execution")

    def start_next(self, details):
        return self.ask(Topic.JOB_START_NEXT_TOPIC, None, lambda: self.client.sendJobsStartNext(details)).get("execution")

    def update(self, job, status, details=None, expected=0, minutes=None, state=False):
        status = getattr(jobExecutionStatus, f"JOB_EXECUTION_{status}")
        send = lambda: self.client.sendJobsUpdate(job, status, details, expected, 0, state, False, minutes)
        return self.ask(Topic.JOB_UPDATE_TOPIC, job, send).get("executionState")


class Shadow:
    """The client of the shadow story."""

    documents = None
    # It drops a difference whose version it has seen in an answer.
    hears_itself = False
    topic = f"$aws/things/{device}/shadow"

    def __init__(self):
        self.delta = Inbox("delta")
        self.answers = Inbox("answers")
        self.client = AWSIoTMQTTShadowClient(device)
        connect(self.client)
        self.shadow = self.client.createShadowHandlerWithName(device, True)
        self.shadow.shadowRegisterDeltaCallback(lambda payload, _status, _token: self.delta.put(json.loads(payload)))

    def answer(self, operation):
        payload, status = self.answers.next(f"an answer to {operation}")
        hold(status in ("accepted", "rejected"), f"{operation}: {status}")
        body = json.loads(payload)
        if status == "rejected":
            raise shadow_story.Rejected(body["code"], body["message"])
        return body

    def note(self, payload, status, _token):
        self.answers.put((payload, status))

    def get(self):
        self.shadow.shadowGet(self.note, PATIENCE)
        return self.answer("get")

    def update(self, state, version=None):
        body = {"state": state} | ({} if version is None else {"version": version})
        self.shadow.shadowUpdate(json.dumps(body), self.note, PATIENCE)
        return self.answer("update")

    def delete(self):
        self.shadow.shadowDelete(self.note, PATIENCE)
        return self.answer("delete")


def main():
    if WORDS == ["jobs"]:
        client = Jobs()
        jobs_story.tell(client)
    else:
        client = Shadow()
        application = Application()
        shadow_story.tell(client, application)
        application.end()
    client.client.disconnect()


main()
