"""The operator's side of jobs, as AWS's own client for operators does it."""

import itertools
import json

import boto3

from case import CASE, device

_names = itertools.count(1)


def client(service):
    """A client of one of the services, for the server of the test."""
    key = CASE["access_key"]
    return boto3.client(
        service,
        endpoint_url=CASE["control_url"],
        region_name="us-east-1",
        aws_access_key_id=key["id"],
        aws_secret_access_key=key["secret"],
        verify=CASE["ca"],
    )


def arn(thing):
    return f"arn:aws:iot:us-east-1:000000000000:thing/{thing}"


def create_job(things, document):
    """Creates a job for things; returns its ID."""
    job = f"job-{device}-{next(_names)}"
    created = client("iot").create_job(jobId=job, targets=[arn(thing) for thing in things], document=json.dumps(document))
    return created["jobId"]
