// Jobs with the AWS IoT Device SDK v2 for JavaScript: `aws_jobs.mjs CASE 3|5`. A job comes once it is
// connected.

import { CASE, Inbox, PATIENCE, WORDS, client, end, hold, same, until } from "./case.mjs";

const { iot, iotjobs, mqtt, mqtt5 } = client("aws-iot-device-sdk-v2");
const { device: thingName } = CASE;
const options = {
  maxRequestResponseSubscriptions: 4,
  maxStreamingSubscriptions: 2,
  operationTimeoutInSeconds: PATIENCE / 1000,
};

async function connect3() {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(CASE.certificate, CASE.key)
    .with_certificate_authority_from_path(undefined, CASE.ca)
    .with_endpoint(CASE.host)
    .with_port(CASE.mqtt_port)
    .with_client_id(thingName)
    .with_clean_session(true)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();
  return iotjobs.IotJobsClientv2.newFromMqtt311(connection, options);
}

async function connect5() {
  const config = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(
    CASE.host,
    CASE.certificate,
    CASE.key,
  )
    .withCertificateAuthorityFromPath(undefined, CASE.ca)
    .withPort(CASE.mqtt_port)
    .withConnectProperties({ clientId: thingName, keepAliveIntervalSeconds: 1200 })
    .build();
  const connection = new mqtt5.Mqtt5Client(config);
  const connected = new Inbox("the connection");
  connection.on("connectionSuccess", (event) => connected.put(event));
  connection.on("connectionFailure", (event) => hold(false, `no connection: ${event.error}`));
  connection.start();
  await connected.next("an MQTT 5 connection by certificate");
  return iotjobs.IotJobsClientv2.newFromMqtt5(connection, options);
}

async function refused(request, code, what) {
  try {
    const accepted = await request();
    hold(false, `${what} was accepted: ${JSON.stringify(accepted)}`);
  } catch (error) {
    hold(error.modeledError, `${what} failed without an answer: ${error.innerError ?? error}`);
    same(error.modeledError.code, code, what);
    return error.modeledError;
  }
}

const jobs = await (WORDS[0] === "3" ? connect3() : connect5());
const { document } = CASE;
const waiting = await until(async () => {
  const { inProgressJobs, queuedJobs } = await jobs.getPendingJobExecutions({ thingName });
  same(inProgressJobs, [], "the jobs begun");
  return queuedJobs[0];
}, "no job comes");
const { jobId } = waiting;
const next = (await jobs.describeJobExecution({ thingName, jobId: "$next" })).execution;
same([next.jobId, next.status, next.jobDocument], [jobId, "QUEUED", document], "the next job");
const started = (await jobs.startNextPendingJobExecution({ thingName, statusDetails: { step: "begun" } })).execution;
same([started.jobId, started.status, started.statusDetails], [jobId, "IN_PROGRESS", { step: "begun" }], "as started");
same(started.jobDocument, document, "the document of the job as started");
const stale = await refused(
  () => jobs.updateJobExecution({ thingName, jobId, status: "SUCCEEDED", expectedVersion: started.versionNumber - 1 }),
  "VersionMismatch",
  "a stale update",
);
same(stale.executionState.versionNumber, started.versionNumber, "the version that the refusal tells");
const done = await jobs.updateJobExecution({
  thingName,
  jobId,
  status: "SUCCEEDED",
  expectedVersion: started.versionNumber,
  includeJobExecutionState: true,
  includeJobDocument: true,
});
same([done.executionState.status, done.jobDocument], ["SUCCEEDED", document], "the job as ended");
const nothing = await jobs.startNextPendingJobExecution({ thingName });
same(nothing.execution, undefined, "the started job of a device that has none");
await refused(() => jobs.describeJobExecution({ thingName, jobId: "none" }), "ResourceNotFound", "a job that is not");
end();
