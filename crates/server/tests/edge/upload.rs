//! Claims about taking artifacts in: whole and durable, or not there at all.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use md5::Md5;
use object_store::memory::InMemory;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use updraft_server::artifacts::{Artifacts, Digest, PutError, StoredArtifact, UploadLimits};

use crate::served::{PATIENCE, content};

const LIMITS: UploadLimits = UploadLimits { bytes_max: 20_000_000 };

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn chunks(content: &[u8]) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    stream::iter(content.chunks(77_777).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>())
}

fn digest_of(content: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(content).into())
}

/// All files under a folder, in any state.
fn files_under(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}

async fn read(artifacts: &Artifacts, sha256: &Digest) -> Vec<u8> {
    artifacts.open(sha256).await.unwrap().bytes().await.unwrap().to_vec()
}

#[test]
fn what_is_put_is_found_by_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [Artifacts::open_folder(folder.path()).unwrap(), Artifacts::new(Arc::new(InMemory::new()))];
    for artifacts in stores {
        runtime().block_on(async {
            // One byte, a part less one, exactly one part, several parts.
            for size in [1, (5 << 20) - 1, 5 << 20, 12_000_000] {
                let content = content(size);
                let artifact = artifacts.put(chunks(&content), LIMITS).await.unwrap();
                assert_eq!((artifact.sha256, artifact.size), (digest_of(&content), size as u64));
                assert_eq!(artifact.md5, <[u8; 16]>::from(Md5::digest(&content)));
                assert!(read(&artifacts, &artifact.sha256).await == content);
                assert_eq!(artifacts.size(&artifact.sha256).await.unwrap(), Some(size as u64));
            }
            let listed = artifacts.list().await.unwrap();
            assert_eq!(listed.len(), 4);
            assert!(listed.is_sorted_by_key(|artifact| artifact.sha256));
            let StoredArtifact { sha256, .. } = listed[0];
            assert!(artifacts.delete(&sha256).await.unwrap());
            assert!(!artifacts.exists(&sha256).await.unwrap());
            assert_eq!(artifacts.list().await.unwrap().len(), 3);
        });
    }
}

#[test]
fn an_empty_upload_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    let outcome = runtime().block_on(artifacts.put(chunks(&[]), LIMITS));
    assert!(matches!(outcome, Err(PutError::Empty)));
    assert_eq!(files_under(folder.path()), [""; 0]);
}

#[test]
fn an_upload_over_the_limit_is_cut_off_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    let endless = stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[7; 65536])));
    let outcome = runtime().block_on(artifacts.put(endless, LIMITS)).unwrap_err();
    assert!(matches!(outcome, PutError::TooLarge { bytes_max: 20_000_000 }));
    assert_eq!((outcome.status().as_u16(), outcome.code()), (413, "artifact_too_large"));
    assert_eq!(files_under(folder.path()), [""; 0]);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    let broken =
        chunks(&content(12_000_000)).chain(stream::iter([Err(io::ErrorKind::ConnectionReset.into())]));
    let outcome = runtime().block_on(artifacts.put(broken, LIMITS));
    assert!(matches!(outcome, Err(PutError::Aborted(_))));
    assert_eq!(files_under(folder.path()), [""; 0]);
}

#[test]
fn an_upload_whose_caller_goes_away_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    runtime().block_on(async {
        let (sender, mut all_sent) = tokio::sync::mpsc::unbounded_channel();
        let stuck = chunks(&content(12_000_000)).chain(stream::once(async move {
            sender.send(()).unwrap();
            std::future::pending().await
        }));
        tokio::select! {
            _ = artifacts.put(stuck, LIMITS) => panic!("an upload without an end ended"),
            Some(()) = all_sent.recv() => {}
        }
        // The file is removed on another thread.
        let begun = Instant::now();
        while !files_under(folder.path()).is_empty() {
            assert!(begun.elapsed() < PATIENCE);
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_a_crash_leaves_is_swept_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    let artifact = runtime().block_on(artifacts.put(chunks(b"kept"), LIMITS)).unwrap();
    for leftover in ["incoming/0011#1", "incoming/2233"] {
        fs::write(folder.path().join(leftover), "half").unwrap();
    }
    let again = Artifacts::open_folder(folder.path()).unwrap();
    assert_eq!(files_under(folder.path()).len(), 1);
    assert_eq!(runtime().block_on(read(&again, &artifact.sha256)), b"kept");
}

#[test]
fn the_same_content_twice_and_at_once_is_one_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    let content = content(6_000_000);
    runtime().block_on(async {
        let put = || artifacts.put(chunks(&content), LIMITS);
        let (first, second, third) = tokio::join!(put(), put(), put());
        let first = first.unwrap();
        assert_eq!((second.unwrap(), third.unwrap()), (first.clone(), first.clone()));
        assert_eq!(put().await.unwrap(), first);
        assert!(read(&artifacts, &first.sha256).await == content);
    });
    assert_eq!(files_under(folder.path()).len(), 1);
}

#[test]
fn a_damaged_artifact_is_made_whole_by_the_same_upload() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    let artifact = runtime().block_on(artifacts.put(chunks(b"content"), LIMITS)).unwrap();
    fs::write(&files_under(folder.path())[0], "damaged").unwrap();
    runtime().block_on(artifacts.put(chunks(b"content"), LIMITS)).unwrap();
    assert_eq!(runtime().block_on(read(&artifacts, &artifact.sha256)), b"content");
}

#[test]
fn files_that_are_no_artifacts_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open_folder(folder.path()).unwrap();
    fs::create_dir_all(folder.path().join("sha256/zz")).unwrap();
    fs::write(folder.path().join("sha256/zz/note.txt"), "a person's").unwrap();
    assert_eq!(runtime().block_on(artifacts.list()).unwrap(), []);
}

#[test]
fn a_full_disk_is_said_so_and_leaves_nothing() {
    // A file-size limit of the process is the full disk that needs no rights: the write fails in the kernel, half done.
    // It would hit every test in this process, so the upload runs in a child.
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact upload::uploads_as_a_child --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("UPLOAD_TO", folder.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(output.contains("507 no_space"), "{output}");
    assert_eq!(files_under(folder.path()), [""; 0]);
}

#[test]
fn uploads_as_a_child() {
    let Some(folder) = std::env::var_os("UPLOAD_TO") else { return };
    let artifacts = Artifacts::open_folder(Path::new(&folder)).unwrap();
    let error = runtime().block_on(artifacts.put(chunks(&content(12_000_000)), LIMITS)).unwrap_err();
    println!("{} {}", error.status().as_u16(), error.code());
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Artifacts::open_folder(&file.path().join("artifacts")).unwrap_err();
    assert!(error.to_string().contains("artifacts"), "{error}");
}
