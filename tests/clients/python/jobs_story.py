"""A device's life with jobs, told once for all clients that AWS made for devices.

A client has: `pending()`, `describe(job, document=True)`, `start_next(details)`, `update(job, status, **fields)`, which
return what was accepted as plain values or raise `Rejected`; the inboxes `notify` and `notify_next`; and `sees_timers`,
whether its library shows how long a job has left.
"""

from case import device, hold, same
import control_plane


class Rejected(Exception):
    """The service's refusal: its code, and where the execution stands if it says so."""

    def __init__(self, code, state=None):
        super().__init__(f"{code} {state}")
        self.code = code
        self.state = state


def refused(call, code, what):
    """The refusal of a call that must be refused."""
    try:
        accepted = call()
    except Rejected as rejected:
        same(rejected.code, code, what)
        return rejected
    return hold(False, f"{what} was accepted: {accepted!r}")


def tell(client):
    """The whole life."""
    nothing_to_do(client)
    first = comes_while_connected(client)
    begins(client, first)
    second = waits_behind(client, first)
    goes_on(client, first)
    ends(client, first, second)
    declines(client, second)


def document(word):
    return {"operation": "configure", "word": word, "nested": {"list": [1, 2.5, None, "ü"]}}


def nothing_to_do(client):
    """A device without work is told so, and gets no error."""
    same(client.pending(), ([], []), "pending jobs of a device that has none")
    same(client.describe("$next"), None, "the next job of a device that has none")
    same(client.start_next({}), None, "the started job of a device that has none")


def comes_while_connected(client):
    """A device hears of its first job by both topics, and finds it in the list."""
    job = control_plane.create_job([device], document("first"))
    changed = client.notify.next("the list changed")
    same({status: [one["jobId"] for one in jobs] for status, jobs in changed.items()},
         {"QUEUED": [job]}, "the list as notified")
    head = client.notify_next.next("the head of the list changed")
    same((head["jobId"], head["status"], head["jobDocument"]), (job, "QUEUED", document("first")),
         "the next job as notified")
    in_progress, queued = client.pending()
    same(([one["jobId"] for one in in_progress], [one["jobId"] for one in queued]), ([], [job]), "the pending jobs")
    same(queued[0]["executionNumber"], 1, "the number of a first execution")
    described = client.describe("$next")
    same((described["jobId"], described["thingName"], described["status"]), (job, device, "QUEUED"),
         "the next job as described")
    same(described["jobDocument"], document("first"), "its document")
    same(described["versionNumber"], queued[0]["versionNumber"], "its version, in both answers")
    without = client.describe(job, document=False)
    same((without["jobId"], without.get("jobDocument")), (job, None), "a job described without its document")
    refused(lambda: client.describe("no-such-job"), "ResourceNotFound", "describing a job that is not")
    return job


def begins(client, job):
    """Starting sets the details; starting again changes nothing."""
    queued = client.describe(job)["versionNumber"]
    started = client.start_next({"step": "begun"})
    same((started["jobId"], started["status"], started["statusDetails"]), (job, "IN_PROGRESS", {"step": "begun"}),
         "the job as started")
    same(started["jobDocument"], document("first"), "the document of the job as started")
    same(started["versionNumber"], queued + 1, "its version, one up")
    again = client.start_next({"step": "begun again"})
    same((again["jobId"], again["statusDetails"]), (job, {"step": "begun"}), "the job started twice")


def waits_behind(client, first):
    """A second job waits behind the one that is under way: the list changes, its head does not."""
    client.notify_next.is_silent("but starting the head does not change which job is the head")
    second = control_plane.create_job([device], document("second"))
    changed = client.notify.next("the list changed")
    same({status: [one["jobId"] for one in jobs] for status, jobs in changed.items()},
         {"IN_PROGRESS": [first], "QUEUED": [second]}, "the list as notified")
    client.notify_next.is_silent("but the head is still the job under way")
    in_progress, queued = client.pending()
    same(([one["jobId"] for one in in_progress], [one["jobId"] for one in queued]), ([first], [second]),
         "the pending jobs")
    same(client.describe("$next")["jobId"], first, "the next job")
    return second


def goes_on(client, job):
    """Updates carry a version: the right one is taken, a stale one is refused with where the job stands."""
    version = client.describe(job)["versionNumber"]
    accepted = client.update(job, "IN_PROGRESS", details={"step": "half", "percent": "50"}, expected=version, state=True)
    same((accepted["status"], accepted["statusDetails"], accepted["versionNumber"]),
         ("IN_PROGRESS", {"step": "half", "percent": "50"}, version + 1), "the job as updated")
    stale = refused(lambda: client.update(job, "SUCCEEDED", expected=version), "VersionMismatch", "a stale update")
    same((stale.state["status"], stale.state["versionNumber"]), ("IN_PROGRESS", version + 1),
         "where the job stands, as the refusal says")
    same(client.describe(job)["status"], "IN_PROGRESS", "the job after a refused update")
    client.update(job, "IN_PROGRESS", minutes=10)
    described = client.describe(job)
    same(described["statusDetails"], {"step": "half", "percent": "50"}, "details that an update leaves out")
    if client.sees_timers:
        left = described.get("approximateSecondsBeforeTimedOut")
        hold(left is not None and 500 < left <= 600, f"a step timer of 10 minutes has {left} seconds left")


def ends(client, job, following):
    """The end of a job makes the next one the head; a word after the end is refused."""
    accepted = client.update(job, "SUCCEEDED", details={"step": "done"}, state=True)
    same((accepted["status"], accepted["statusDetails"]), ("SUCCEEDED", {"step": "done"}), "the job as ended")
    changed = client.notify.next("the list changed")
    same({status: [one["jobId"] for one in jobs] for status, jobs in changed.items()}, {"QUEUED": [following]},
         "the list as notified")
    same(client.notify_next.next("the head changed")["jobId"], following, "the next job as notified")
    late = refused(lambda: client.update(job, "FAILED"), "InvalidStateTransition", "an update after the end")
    same(late.state["status"], "SUCCEEDED", "where the job stands, as the refusal says")
    refused(lambda: client.describe(job), "TerminalStateReached", "describing a job that ended")


def declines(client, job):
    """A device may refuse a job that it never began."""
    client.update(job, "REJECTED", details={"reason": "not now"})
    same(client.notify.next("the list changed"), {}, "the list as notified once it is empty")
    same(client.notify_next.next("the head changed"), None, "the next job as notified once there is none")
    same(client.pending(), ([], []), "the pending jobs at the end")
    client.notify.is_silent("but nothing changed")
