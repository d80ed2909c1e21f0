//! Links: the CoRE format (RFC 6690) of a registration's objects and of an answer to Discover.
//!
//! Tolerant where devices differ: blanks, quotes, attributes of other standards, links to what is no LwM2M. Strict where a
//! reader could run away: sizes and counts.

use std::fmt::Write as _;
use std::str::from_utf8;

use thiserror::Error;

use crate::content::ContentFormat;
use crate::path::Path;

/// The most bytes a list of links may have. Lists of devices take 200 to some thousand.
pub const BODY_BYTES_MAX: usize = 65_536;

/// The most links a list may have: a link takes at least five bytes on the wire.
pub const LINKS_MAX: usize = 4_096;

/// The most attributes of one link: LwM2M defines a dozen.
pub const ATTRIBUTES_MAX: usize = 32;

/// The type of the link that names the alternate root (Transport §6.4.1).
const ROOT_TYPE: &str = "oma.lwm2m";

/// The most bytes of an alternate root: one Uri-Path option holds 255.
const ROOT_BYTES_MAX: usize = 255;

/// Why a body is not a list of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LinkError {
    /// It has more than [`BODY_BYTES_MAX`] bytes.
    #[error("a list of links has at most {BODY_BYTES_MAX} bytes")]
    TooBig,
    /// It has more than [`LINKS_MAX`] links, or a link more than [`ATTRIBUTES_MAX`] attributes.
    #[error("a list has at most {LINKS_MAX} links, of {ATTRIBUTES_MAX} attributes each")]
    TooMany,
    /// It is not UTF-8.
    #[error("a list of links is UTF-8")]
    Utf8,
    /// It is not made of links.
    #[error("the list of links is malformed")]
    Malformed,
}

/// A link: a target, and attributes. Attributes without a value have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link<'a> {
    /// What is between `<` and `>`.
    pub target: &'a str,
    /// Names and values, in the order they came in; quotes are taken off.
    pub attributes: Vec<(&'a str, Option<String>)>,
}

impl Link<'_> {
    /// The value of the first attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(other, _)| *other == name)?;
        value.as_deref()
    }
}

/// Takes a list of links apart.
///
/// # Errors
/// It is malformed, or beyond a limit.
pub fn parse(body: &[u8]) -> Result<Vec<Link<'_>>, LinkError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(LinkError::TooBig);
    }
    let mut rest = from_utf8(body).map_err(|_| LinkError::Utf8)?.trim();
    let mut links = Vec::new();
    // An answer to a bootstrap discover of 1.0 begins with the version, which is no link (1.0 §5.2.7.3).
    if rest.starts_with("lwm2m") {
        rest = rest.split_once(',').map_or("", |(_, rest)| rest);
    }
    while !rest.is_empty() {
        let (link, tail) = parse_link(rest)?;
        if links.len() == LINKS_MAX {
            return Err(LinkError::TooMany);
        }
        links.push(link);
        rest = match tail.trim_start() {
            "" => "",
            // Some lists end with a comma.
            more => more.strip_prefix(',').ok_or(LinkError::Malformed)?.trim_start(),
        };
    }
    Ok(links)
}

fn parse_link(text: &str) -> Result<(Link<'_>, &str), LinkError> {
    let text = text.trim_start().strip_prefix('<').ok_or(LinkError::Malformed)?;
    let (target, mut rest) = text.split_once('>').ok_or(LinkError::Malformed)?;
    let mut attributes = Vec::new();
    while let Some(text) = rest.trim_start().strip_prefix(';') {
        let (name, tail) = token(text.trim_start());
        let mut value = None;
        rest = tail;
        if let Some(tail) = tail.trim_start().strip_prefix('=') {
            let (text, tail) = parse_value(tail.trim_start())?;
            value = Some(text);
            rest = tail;
        }
        // An empty attribute is a semicolon too many.
        if name.is_empty() && value.is_none() {
            continue;
        }
        if attributes.len() == ATTRIBUTES_MAX {
            return Err(LinkError::TooMany);
        }
        attributes.push((name, value));
    }
    Ok((Link { target: target.trim(), attributes }, rest))
}

/// What stands before the next separator.
fn token(text: &str) -> (&str, &str) {
    let separates = |letter: char| letter.is_whitespace() || [';', ',', '=', '"'].contains(&letter);
    let end = text.find(separates).unwrap_or(text.len());
    text.split_at(end)
}

/// A value: quoted, with escapes (RFC 6690 §2), or a token.
fn parse_value(text: &str) -> Result<(String, &str), LinkError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    Err(LinkError::Malformed)
}

/// A version of an object, as `ver=1.1` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectVersion {
    /// The number before the dot.
    pub major: u8,
    /// The number after it.
    pub minor: u8,
}

impl ObjectVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// What a device has: the list of a registration. Kept for each device, so it is small.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects {
    root: Option<Box<str>>,
    paths: Box<[Path]>,
    versions: Box<[(u16, ObjectVersion)]>,
    formats: Box<[ContentFormat]>,
}

impl Objects {
    /// A list to write: object and instances, and versions that are not the default.
    #[must_use]
    pub fn new(paths: &[Path], versions: &[(u16, ObjectVersion)], formats: &[ContentFormat]) -> Self {
        let mut paths = paths.to_vec();
        paths.sort_unstable();
        paths.dedup();
        Self { root: None, paths: paths.into(), versions: versions.into(), formats: formats.into() }
    }

    /// Reads the list of a registration (Core §6.2.1). Links to what is no object or instance are passed over, and so are
    /// the objects that no registration names: security (0) and OSCORE (21).
    ///
    /// # Errors
    /// It is malformed, or beyond a limit.
    pub fn parse(body: &[u8]) -> Result<Self, LinkError> {
        let links = parse(body)?;
        let root = links.iter().find(|link| is_root(link));
        let prefix = root.map_or("", |root| root.target.trim_end_matches('/'));
        let is_path = prefix.starts_with('/') && !prefix.contains(char::is_whitespace);
        if prefix.len() > ROOT_BYTES_MAX || !(prefix.is_empty() || is_path) {
            return Err(LinkError::Malformed);
        }
        let mut paths = Vec::new();
        let mut versions = Vec::new();
        for link in &links {
            let path: Option<Path> = link.target.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
            let Some(path) = path.filter(|path| matches!(path.depth(), 1 | 2)) else { continue };
            let Some(object) = path.object_id().filter(|object| ![0, 21].contains(object)) else { continue };
            paths.push(path);
            if let Some(version) = link.attribute("ver").and_then(ObjectVersion::parse) {
                versions.push((object, version));
            }
        }
        paths.sort_unstable();
        paths.dedup();
        versions.sort_unstable();
        versions.dedup_by_key(|(object, _)| *object);
        let formats = root.and_then(|root| root.attribute("ct")).unwrap_or_default();
        let formats: Vec<ContentFormat> =
            formats.split_whitespace().filter_map(|number| number.parse().ok().map(ContentFormat)).collect();
        Ok(Self {
            root: (!prefix.is_empty()).then(|| prefix.into()),
            paths: paths.into(),
            versions: versions.into(),
            formats: formats.into(),
        })
    }

    /// The alternate root, as `/lwm2m`: is before the path of each request to the device (Transport §6.4.1).
    #[must_use]
    pub fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// Objects without instances, and instances, in the order of the tree.
    #[must_use]
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The instances of an object.
    pub fn instances(&self, object: u16) -> impl Iterator<Item = u16> + '_ {
        let of_object = self.paths.iter().filter(move |path| path.object_id() == Some(object));
        of_object.filter_map(Path::instance_id)
    }

    /// Whether the device has the object, with an instance or without.
    #[must_use]
    pub fn has(&self, object: u16) -> bool {
        self.paths.iter().any(|path| path.object_id() == Some(object))
    }

    /// The version of an object, where the device says one: without it is the first of the device's LwM2M version.
    #[must_use]
    pub fn version(&self, object: u16) -> Option<ObjectVersion> {
        self.versions.iter().find(|(other, _)| *other == object).map(|(_, version)| *version)
    }

    /// The formats that the device says it knows, besides those it must.
    #[must_use]
    pub fn formats(&self) -> &[ContentFormat] {
        &self.formats
    }

    /// Writes the list: the device's end.
    #[must_use]
    pub fn write(&self) -> String {
        let mut list = String::new();
        if self.root.is_some() || !self.formats.is_empty() {
            let _ = write!(list, "<{}>;rt=\"{ROOT_TYPE}\"", self.root().unwrap_or("/"));
            let formats: Vec<String> = self.formats.iter().map(|format| format.0.to_string()).collect();
            match formats.as_slice() {
                [] => {}
                [one] => list.extend([";ct=", one]),
                many => list.extend([";ct=\"", &many.join(" "), "\""]),
            }
        }
        let root = self.root().unwrap_or_default();
        let mut last = None;
        for path in &self.paths {
            let object = path.object_id().unwrap_or_default();
            let first = last.replace(object) != Some(object);
            let version = self.version(object).filter(|_| first);
            // A version stands at the object, so an instance needs the object before it.
            if let Some(ObjectVersion { major, minor }) = version {
                let _ = write!(list, ",<{root}/{object}>;ver={major}.{minor}");
            }
            if version.is_none() || path.depth() > 1 {
                let _ = write!(list, ",<{root}{path}>");
            }
        }
        list.strip_prefix(',').map_or_else(|| list.clone(), str::to_owned)
    }
}

fn is_root(link: &Link<'_>) -> bool {
    link.attribute("rt").is_some_and(|types| types.split_whitespace().any(|one| one == ROOT_TYPE))
}

/// A node of an answer to Discover (Core §6.3.2), or to Bootstrap-Discover (§6.1.7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Where.
    pub path: Path,
    /// Attributes, as `pmin`, `dim` or `ssid`, in the order they came in.
    pub attributes: Vec<(String, Option<String>)>,
}

impl Discovered {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| other == name)?.1.as_deref()
    }

    /// The value of an attribute that is a number, as `dim`, `pmin` and `ssid` are.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.attribute(name)?.parse().ok()
    }
}

/// Reads an answer to Discover, without what is no part of the tree. `root` is the device's alternate root.
///
/// # Errors
/// It is malformed, or beyond a limit.
pub fn parse_discovered(body: &[u8], root: Option<&str>) -> Result<Vec<Discovered>, LinkError> {
    let nodes = parse(body)?.into_iter().filter_map(|link| {
        let target = root.and_then(|root| link.target.strip_prefix(root)).unwrap_or(link.target);
        let path = target.parse().ok()?;
        let attributes = link.attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
        Some(Discovered { path, attributes: attributes.collect() })
    });
    Ok(nodes.collect())
}

/// Writes an answer to Discover: the device's end.
#[must_use]
pub fn write_discovered(nodes: &[Discovered]) -> String {
    let mut list = String::new();
    for node in nodes {
        let separator = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{separator}<{}>", node.path);
        for (name, value) in &node.attributes {
            let _ = match value {
                None => write!(list, ";{name}"),
                Some(value) if is_plain(value) => write!(list, ";{name}={value}"),
                Some(value) => {
                    write!(list, ";{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
                }
            };
        }
    }
    list
}

/// Whether a value needs no quotes: numbers and versions.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte))
}
