"""Jobs with the AWS IoT Device SDK v2 for Python: `aws_jobs.py CASE v1|v2 3|5 tls|plain`."""

from awscrt import mqtt, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotjobs

import jobs_story
from aws_connection import connect, disconnect
from aws_plain import plain
from case import PATIENCE, WORDS, Inbox, device, hold
from jobs_story import Rejected

QOS = mqtt.QoS.AT_LEAST_ONCE


class Client:
    """What both generations have in common: the shape of requests and of answers."""

    sees_timers = False

    def __init__(self):
        self.notify = Inbox("notify")
        self.notify_next = Inbox("notify-next")

    def pending(self):
        answer = self.call("get_pending_job_executions", iotjobs.GetPendingJobExecutionsRequest(thing_name=device))
        return answer["inProgressJobs"], answer["queuedJobs"]

    def describe(self, job, document=True):
        request = iotjobs.DescribeJobExecutionRequest(thing_name=device, job_id=job, include_job_document=document)
        return self.call("describe_job_execution", request).get("execution")

    def start_next(self, details):
        request = iotjobs.StartNextPendingJobExecutionRequest(thing_name=device, status_details=details)
        return self.call("start_next_pending_job_execution", request).get("execution")

    def update(self, job, status, details=None, expected=None, minutes=None, state=None):
        request = iotjobs.UpdateJobExecutionRequest(
            thing_name=device,
            job_id=job,
            status=status,
            status_details=details,
            expected_version=expected,
            step_timeout_in_minutes=minutes,
            include_job_execution_state=state,
        )
        return self.call("update_job_execution", request).get("executionState")

    def note_change(self, event):
        self.notify.put({status: jobs for status, jobs in (plain(event).get("jobs") or {}).items() if jobs})

    def note_head(self, event):
        self.notify_next.put(plain(event).get("execution"))


class Second(Client):
    """The second generation: one call asks and waits."""

    def __init__(self, connection):
        super().__init__()
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4, max_streaming_subscriptions=4, operation_timeout_in_seconds=PATIENCE
        )
        self.client = iotjobs.IotJobsClientV2(connection, options)
        self.streams = [
            self.listen("create_job_executions_changed_stream", iotjobs.JobExecutionsChangedSubscriptionRequest,
                        self.note_change),
            self.listen("create_next_job_execution_changed_stream", iotjobs.NextJobExecutionChangedSubscriptionRequest,
                        self.note_head),
        ]

    def listen(self, create, request, note):
        established = Inbox(create)
        options = ServiceStreamOptions(incoming_event_listener=note, subscription_status_listener=established.put)
        stream = getattr(self.client, create)(request(thing_name=device), options)
        stream.open()
        event = established.next("the stream's subscription is granted")
        hold(event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED,
             f"{create} is not established: {event}")
        return stream

    def call(self, operation, request):
        try:
            return plain(getattr(self.client, operation)(request).result(PATIENCE))
        except V2ServiceException as error:
            hold(error.modeled_error is not None, f"{operation} failed without an answer: {error.inner_error}")
            refusal = plain(error.modeled_error)
            raise Rejected(refusal["code"], refusal.get("executionState")) from error


class First(Client):
    """The first generation: subscribe to both answers, ask, wait for one of them."""

    def __init__(self, connection):
        super().__init__()
        self.client = iotjobs.IotJobsClient(connection)
        self.answers = {}
        for subscribe, request, note in (
            (self.client.subscribe_to_job_executions_changed_events, iotjobs.JobExecutionsChangedSubscriptionRequest,
             self.note_change),
            (self.client.subscribe_to_next_job_execution_changed_events,
             iotjobs.NextJobExecutionChangedSubscriptionRequest, self.note_head),
        ):
            subscribe(request(thing_name=device), QOS, note)[0].result(PATIENCE)

    def call(self, operation, request):
        inbox = self.subscribed(operation, getattr(request, "job_id", None))
        getattr(self.client, f"publish_{operation}")(request, QOS).result(PATIENCE)
        answer = inbox.next(f"an answer to {operation}")
        hold(answer is not None, f"the SDK cannot read the answer to {operation}")
        if isinstance(answer, iotjobs.RejectedError):
            refusal = plain(answer)
            raise Rejected(refusal["code"], refusal.get("executionState"))
        # One answer to one request: a second copy would be taken for the answer to the next.
        inbox.is_silent(f"a second answer to {operation}")
        return plain(answer)

    def subscribed(self, operation, job):
        if (operation, job) not in self.answers:
            inbox = self.answers[operation, job] = Inbox(operation)
            for outcome in ("accepted", "rejected"):
                subscribe = getattr(self.client, f"subscribe_to_{operation}_{outcome}")
                subscribe(subscription(operation, job), QOS, inbox.put)[0].result(PATIENCE)
        return self.answers[operation, job]


def subscription(operation, job):
    """The request to subscribe to an operation's answers."""
    of_thing = {
        "get_pending_job_executions": iotjobs.GetPendingJobExecutionsSubscriptionRequest,
        "start_next_pending_job_execution": iotjobs.StartNextPendingJobExecutionSubscriptionRequest,
    }
    of_job = {
        "describe_job_execution": iotjobs.DescribeJobExecutionSubscriptionRequest,
        "update_job_execution": iotjobs.UpdateJobExecutionSubscriptionRequest,
    }
    if operation in of_thing:
        return of_thing[operation](thing_name=device)
    return of_job[operation](thing_name=device, job_id=job)


def main():
    generation, protocol, transport = WORDS
    connection = connect(protocol, transport)
    client = {"v1": First, "v2": Second}[generation](connection)
    jobs_story.tell(client)
    disconnect(connection)


main()
