"""AWS's own clients for operators and devices, told another endpoint and nothing else."""

import boto3
import botocore.config
from botocore.exceptions import ClientError

from case import CASE, fail, hold, same

REGION = "eu-central-1"


def client(service, key="access_key", url="control_url", token=None, secret=None):
    """A client of a service, with one of the keys of the case."""
    if isinstance(key, str):
        key = CASE[key]
    return boto3.client(
        service,
        endpoint_url=CASE[url],
        region_name=REGION,
        aws_access_key_id=key["id"],
        aws_secret_access_key=secret or key["secret"],
        aws_session_token=token,
        verify=CASE["ca"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def thing(name):
    """The name of a thing."""
    return f"arn:aws:iot:{REGION}:123456789012:thing/{name}"


def refused(code, http, call, /, **arguments):
    """Ends the program unless a call is refused so; the sentence it was refused with."""
    try:
        found = call(**arguments)
    except ClientError as error:
        same(error.response["Error"]["Code"], code, f"the exception of {arguments}: {error}")
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], http, f"the status of {arguments}")
        hold(error.response["Error"]["Message"], "a refusal says why")
        return error.response["Error"]["Message"]
    return fail(f"{arguments} is taken: {found}")
