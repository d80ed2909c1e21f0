"""Shadows with the AWS IoT Device SDK v2 for Python: `aws_shadow.py CASE v1|v2 3|5 tls|plain classic|named`."""

import uuid

from awscrt import mqtt, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotshadow

import shadow_story
from application import Application
from aws_connection import connect, disconnect
from aws_plain import plain
from case import PATIENCE, WORDS, Inbox, device, hold
from shadow_story import Rejected

QOS = mqtt.QoS.AT_LEAST_ONCE
NAME = "settings"


class Client:
    """What both generations have in common: the shape of requests and of answers, classic and named."""

    hears_itself = True

    def __init__(self, kind):
        self.is_named = kind == "named"
        self.delta = Inbox("delta")
        self.documents = Inbox("documents")
        self.topic = f"$aws/things/{device}/shadow" + (f"/name/{NAME}" if self.is_named else "")
        self.who = {"thing_name": device} | ({"shadow_name": NAME} if self.is_named else {})

    def of_kind(self, name):
        """The name of a class or method for this kind of shadow."""
        if not self.is_named:
            return name
        return name.replace("Shadow", "NamedShadow") if "Shadow" in name else name.replace("shadow", "named_shadow", 1)

    def request(self, name, **fields):
        return getattr(iotshadow, self.of_kind(name))(**self.who, **fields)

    def get(self):
        return self.call("get_shadow", self.request("GetShadowRequest"))

    def update(self, state, version=None):
        state = iotshadow.ShadowState(**state)
        return self.call("update_shadow", self.request("UpdateShadowRequest", state=state, version=version))

    def delete(self):
        return self.call("delete_shadow", self.request("DeleteShadowRequest"))

    def note_delta(self, event):
        self.delta.put(plain(event))

    def note_documents(self, event):
        self.documents.put(plain(event))


class Second(Client):
    """The second generation: one call asks and waits."""

    def __init__(self, connection, kind):
        super().__init__(kind)
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4, max_streaming_subscriptions=4, operation_timeout_in_seconds=PATIENCE
        )
        self.client = iotshadow.IotShadowClientV2(connection, options)
        self.streams = [
            self.listen("create_shadow_delta_updated_stream", "ShadowDeltaUpdatedSubscriptionRequest", self.note_delta),
            self.listen("create_shadow_updated_stream", "ShadowUpdatedSubscriptionRequest", self.note_documents),
        ]

    def listen(self, create, request, note):
        established = Inbox(create)
        options = ServiceStreamOptions(incoming_event_listener=note, subscription_status_listener=established.put)
        stream = getattr(self.client, self.of_kind(create))(self.request(request), options)
        stream.open()
        event = established.next("the stream's subscription is granted")
        hold(event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED,
             f"{create} is not established: {event}")
        return stream

    def call(self, operation, request):
        try:
            return plain(getattr(self.client, self.of_kind(operation))(request).result(PATIENCE))
        except V2ServiceException as error:
            hold(error.modeled_error is not None, f"{operation} failed without an answer: {error.inner_error}")
            raise Rejected(error.modeled_error.code, error.modeled_error.message) from error


class First(Client):
    """The first generation: subscribe to both answers, ask, wait for one of them."""

    def __init__(self, connection, kind):
        super().__init__(kind)
        self.client = iotshadow.IotShadowClient(connection)
        self.answers = {operation: Inbox(operation) for operation in ("get_shadow", "update_shadow", "delete_shadow")}
        for operation, inbox in self.answers.items():
            request = "".join(word.capitalize() for word in operation.split("_")) + "SubscriptionRequest"
            for outcome in ("accepted", "rejected"):
                self.subscribe(f"{operation}_{outcome}", request, inbox.put)
        self.subscribe("shadow_delta_updated_events", "ShadowDeltaUpdatedSubscriptionRequest", self.note_delta)
        self.subscribe("shadow_updated_events", "ShadowUpdatedSubscriptionRequest", self.note_documents)

    def subscribe(self, what, request, note):
        subscribe = getattr(self.client, self.of_kind(f"subscribe_to_{what}"))
        subscribe(self.request(request), QOS, note)[0].result(PATIENCE)

    def call(self, operation, request):
        request.client_token = str(uuid.uuid4())
        getattr(self.client, self.of_kind(f"publish_{operation}"))(request, QOS).result(PATIENCE)
        answer = self.answer(operation, request.client_token)
        # One answer to one request.
        self.answers[operation].is_silent(f"a second answer to {operation}")
        if isinstance(answer, iotshadow.ErrorResponse):
            raise Rejected(answer.code, answer.message)
        return plain(answer)

    def answer(self, operation, token):
        """The answer with this token. Others may be to requests of the application: all who subscribed hear all."""
        while True:
            answer = self.answers[operation].next(f"an answer to {operation}")
            hold(answer is not None, f"the SDK cannot read an answer to {operation}")
            if answer.client_token == token:
                return answer


def main():
    generation, protocol, transport, kind = WORDS
    connection = connect(protocol, transport)
    client = {"v1": First, "v2": Second}[generation](connection, kind)
    application = Application()
    shadow_story.tell(client, application)
    application.end()
    disconnect(connection)


main()
