//! Jobs, with the clients that AWS made for devices. An operator's boto3 creates them.

use std::fs;

use serde_json::{Value, json};

use crate::case::{Case, DEVICE, PRODUCT, Proof, VERSION};
use crate::program::{Kind, Running};

/// Lets a program live the whole life with jobs.
fn tell_the_story(proof: Proof, program: &str, words: &[&str]) {
    if !Kind::Python.is_present() {
        return;
    }
    let case = Case::new(proof).with_access_key();
    case.run(Kind::Python, program, words);
    case.server.end();
}

/// Creates a job by boto3 with the case's document, once the device is known; its ID.
fn create_job(case: &Case) -> String {
    case.run(Kind::Python, "create_job.py", &[]);
    fs::read_to_string(case.server.path("job.id")).unwrap()
}

/// How the device's execution of a job ended, as boto3 reads it.
fn end_of(case: &Case, job: &str) -> Value {
    case.run(Kind::Python, "await_job.py", &[job]);
    serde_json::from_slice(&fs::read(case.server.path("job.json")).unwrap()).unwrap()
}

fn do_one_job_by_node(proof: Proof, protocol: &str) {
    if !Kind::Node.is_present() || !Kind::Python.is_present() {
        return;
    }
    let mut case = Case::new(proof).with_access_key();
    case.tell("document", json!({ "operation": "configure", "list": [1, null, { "deep": "ü" }] }));
    let mut command = Kind::Node.command("aws_jobs.mjs", case.server.folder());
    command.arg(case.write()).arg(protocol);
    let program = Running::start(command);
    let job = create_job(&case);
    program.must_hold();
    assert_eq!(end_of(&case, &job)["status"], "SUCCEEDED");
    case.server.end();
}

#[test]
fn awsiotsdk_v1_does_jobs_over_mqtt_3() {
    tell_the_story(Proof::OwnCertificate, "aws_jobs.py", &["v1", "3", "tls"]);
}

#[test]
fn awsiotsdk_v1_does_jobs_over_mqtt_5_with_an_rsa_key() {
    tell_the_story(Proof::FactoryCertificate, "aws_jobs.py", &["v1", "5", "tls"]);
}

#[test]
fn awsiotsdk_v2_does_jobs_over_mqtt_3_with_an_rsa_key() {
    tell_the_story(Proof::FactoryCertificate, "aws_jobs.py", &["v2", "3", "tls"]);
}

#[test]
fn awsiotsdk_v2_does_jobs_over_mqtt_5() {
    tell_the_story(Proof::OwnCertificate, "aws_jobs.py", &["v2", "5", "tls"]);
}

#[test]
fn awsiotsdk_v2_does_jobs_without_tls() {
    tell_the_story(Proof::Token, "aws_jobs.py", &["v2", "3", "plain"]);
}

#[test]
fn the_first_python_sdk_does_jobs() {
    tell_the_story(Proof::OwnCertificate, "aws_first.py", &["jobs"]);
}

#[test]
fn aws_iot_device_sdk_v2_for_node_does_a_job_over_mqtt_3() {
    do_one_job_by_node(Proof::FactoryCertificate, "3");
}

#[test]
fn aws_iot_device_sdk_v2_for_node_does_a_job_over_mqtt_5() {
    do_one_job_by_node(Proof::OwnCertificate, "5");
}

/// What a job's document says in place of the link to the release; a link is put there each time a device asks.
fn placeholder() -> String {
    format!("${{aws:iot:s3-presigned-url:https://s3.us-east-1.amazonaws.com/{PRODUCT}/{VERSION}}}")
}

/// Starts the agent that comes as an example with the first SDK for Node, lets it do a job, and returns how that ended.
fn do_by_agent(case: &mut Case, document: &Value) -> Value {
    case.tell("document", document.clone());
    let folder = case.server.folder();
    let mut command = Kind::NodeExample.command("aws-iot-device-sdk/examples/jobs-agent.js", folder);
    let port = case.fact("mqtt_port").to_string();
    let text = |name: &str| case.fact(name).as_str().unwrap();
    command.args(["-H", text("host"), "-p", &port, "-i", DEVICE, "-T", DEVICE]);
    command.args(["-a", text("ca"), "-c", text("certificate"), "-k", text("key")]);
    command.env("NODE_EXTRA_CA_CERTS", text("ca"));
    let agent = Running::start(command);
    let job = create_job(case);
    let end = end_of(case, &job);
    let wrote = agent.kill();
    assert_eq!(end["status"], "SUCCEEDED", "{end}\n{wrote}");
    end
}

#[test]
fn the_jobs_agent_of_the_first_node_sdk_installs_a_release() {
    if !Kind::NodeExample.is_present() || !Kind::Python.is_present() {
        return;
    }
    let mut case = Case::new(Proof::OwnCertificate).with_access_key().with_release();
    let digest = case.fact("image_sha256").clone();
    let end = do_by_agent(
        &mut case,
        &json!({
            "operation": "install",
            "packageName": "firmware",
            "workingDirectory": ".",
            "files": [{
                "fileName": "installed.bin",
                "fileSource": { "url": placeholder() },
                "checksum": { "inline": { "value": digest }, "hashAlgorithm": "SHA256" },
            }],
        }),
    );
    assert_eq!(end["details"], json!({ "operation": "install", "state": "package files installed" }));
    let read = |name| fs::read(case.server.path(name)).unwrap();
    assert_eq!(read("installed.bin"), read("image.bin"));
    case.server.end();
}

#[test]
fn the_jobs_agent_of_the_first_node_sdk_tells_its_system_in_numbers_too() {
    if !Kind::NodeExample.is_present() || !Kind::Python.is_present() {
        return;
    }
    let mut case = Case::new(Proof::OwnCertificate).with_access_key();
    let end = do_by_agent(&mut case, &json!({ "operation": "systemStatus" }));
    assert_eq!(end["details"]["operation"], "systemStatus");
    assert!(end["details"]["uptime"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "{end}");
    case.server.end();
}
