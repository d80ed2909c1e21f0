//! Releases: upload, list, show.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest as _, Sha256};
use updraft_core::attributes::Attributes;
use updraft_core::id::ProductName;
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, DEFAULT_POLICY, Release};
use updraft_core::version::Version;
use updraft_wire::operator as wire;
use updraft_wire::operator::Page;

use super::Api;
use super::refusal::Refusal;
use super::render;
use super::request::{At, Parameters, name};
use super::suggestion::near;
use crate::artifacts::Digest;

/// The bytes are not the ones that were expected. It ends an upload, of which nothing is left then.
#[derive(Debug, thiserror::Error)]
#[error("the file's SHA-256 is {found}, and {expected} was expected; nothing was stored")]
pub(super) struct Sha256Differs {
    expected: Digest,
    found: Digest,
}

/// Adds a release. What the query says is checked before a byte of the body is read, so a client that waits for
/// `100 Continue` sends nothing in vain.
pub(super) async fn add(
    State(api): State<Api>,
    At((product, version)): At<(ProductName, Version)>,
    mut parameters: Parameters,
    body: Body,
) -> Result<Response, Refusal> {
    let source = parameters.take("policy")?.unwrap_or_else(|| DEFAULT_POLICY.to_owned());
    let expected: Option<Digest> = parameters.read("sha256")?;
    let metadata = parameters.take_all("meta.");
    parameters.finish()?;
    let policy = Policy::compile(&source).map_err(|error| Refusal::policy(&error, &source))?;
    let attributes = update_attributes(&product, &version, metadata)?;
    let there = api.engine.release(product.clone(), version.clone()).await.ok();
    if let Some(there) = &there {
        check_settings(there, &version, &policy, &attributes)?;
    }
    let stream = body.into_data_stream().map(|chunk| chunk.map_err(BoxError::from));
    let stored = match expected {
        Some(expected) => api.artifacts.put(expecting(stream, expected), api.upload_limits).await?,
        None => api.artifacts.put(stream, api.upload_limits).await?,
    };
    let created = api.now();
    let artifact =
        Artifact { sha256: stored.sha256.to_string(), md5: hex::encode(stored.md5), size: stored.size };
    let release = Release { product, version, policy, artifact, attributes, created };
    let added = api.engine.add_release(release).await?;
    let status = if there.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(render::release(&added))).into_response())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What policies read as `update.*`.
fn update_attributes(
    product: &ProductName,
    version: &Version,
    metadata: Vec<(String, String)>,
) -> Result<Attributes, Refusal> {
    let invalid = |message: String| Refusal::bad("metadata_invalid", message);
    let mut attributes = Attributes::new();
    for (key, value) in metadata {
        if key == "product" || key == "version" {
            return Err(invalid(format!("meta.{key}: the server sets update.{key} itself")));
        }
        if attributes.get(&key).is_some() {
            return Err(invalid(format!("meta.{key} was given twice")));
        }
        attributes.insert(&key, value).map_err(|error| invalid(error.to_string()))?;
    }
    attributes.insert("product", product.as_str()).map_err(|error| invalid(error.to_string()))?;
    attributes.insert("version", version).map_err(|error| invalid(error.to_string()))?;
    Ok(attributes)
}

/// Refuses settings that differ from those of the release that is there, before its file is sent again.
fn check_settings(
    there: &Release,
    version: &Version,
    policy: &Policy,
    attributes: &Attributes,
) -> Result<(), Refusal> {
    let (product, spelt) = (&there.product, &there.version);
    let differs = if spelt.as_str() != version.as_str() {
        "spelling (SemVer ignores build metadata)"
    } else if there.policy.source() != policy.source() {
        "policy"
    } else if there.attributes != *attributes {
        "metadata"
    } else {
        return Ok(());
    };
    let message = format!("product {product} has a release {spelt} already, with another {differs}");
    Err(Refusal::new(StatusCode::CONFLICT, "release_differs", message))
}

/// The stream, which breaks off at its end if it was not what was expected.
fn expecting<S>(body: S, expected: Digest) -> impl Stream<Item = Result<Bytes, BoxError>>
where
    S: Stream<Item = Result<Bytes, BoxError>> + Unpin,
{
    stream::try_unfold((body, Some(Sha256::new())), move |(mut body, hash)| async move {
        let Some(mut hash) = hash else { return Ok(None) };
        match body.next().await.transpose()? {
            Some(chunk) => {
                hash.update(&chunk);
                Ok(Some((chunk, (body, Some(hash)))))
            }
            None => {
                let found = Digest::from_bytes(hash.finalize().into());
                if found == expected { Ok(None) } else { Err(Sha256Differs { expected, found }.into()) }
            }
        }
    })
}

pub(super) async fn list(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Json<Page<wire::release::Release>>, Refusal> {
    let product: Option<ProductName> = parameters.read("product")?;
    let after = parameters.take("after")?.map(|cursor| position(&cursor)).transpose()?;
    let limit = parameters.limit()?;
    parameters.finish()?;
    let releases = api.releases(product, after, limit).await?;
    let next = (releases.len() == limit)
        .then(|| releases.last().map(|last| format!("{}/{}", last.product, last.version)))
        .flatten();
    Ok(Json(Page { items: releases.iter().map(|release| render::release(release)).collect(), next }))
}

/// Where a list goes on: `product/version`.
fn position(cursor: &str) -> Result<(ProductName, Version), Refusal> {
    let (product, version) =
        cursor.split_once('/').ok_or_else(|| Refusal::bad("query_invalid", "after: take it from `next`"))?;
    Ok((name("query_invalid", product)?, name("query_invalid", version)?))
}

pub(super) async fn show(
    State(api): State<Api>,
    At((product, version)): At<(ProductName, Version)>,
) -> Result<Json<wire::release::Release>, Refusal> {
    match api.engine.release(product.clone(), version.clone()).await {
        Ok(release) => Ok(Json(render::release(&release))),
        Err(error) => Err(api.name_near(error.into(), product, &version).await),
    }
}

impl Api {
    /// Releases by product, each product's newest first.
    pub(super) async fn releases(
        &self,
        product: Option<ProductName>,
        after: Option<(ProductName, Version)>,
        limit: usize,
    ) -> Result<Vec<Arc<Release>>, Refusal> {
        let list =
            self.engine.command(move |fleet, _| Ok(fleet.releases(product.as_ref(), after.as_ref(), limit)));
        Ok(list.await?)
    }

    /// Says which versions, or else which products, are near a release that was not found.
    pub(super) async fn name_near(
        &self,
        refusal: Refusal,
        product: ProductName,
        version: &Version,
    ) -> Refusal {
        if !refusal.is_unknown() {
            return refusal;
        }
        let Ok(releases) = self.releases(None, None, NEAR_RELEASES_MAX).await else { return refusal };
        refusal.near(|| {
            let versions = releases.iter().filter(|release| release.product == product);
            let found = near(version.as_str(), versions.map(|release| release.version.as_str()));
            if found.is_empty() {
                near(product.as_str(), releases.iter().map(|release| release.product.as_str()))
            } else {
                found
            }
        })
    }
}

/// Releases among which near names are looked for.
const NEAR_RELEASES_MAX: usize = 1_000;
