//! Paths: where in a device's tree of objects, instances, resources and resource instances something is (Core §7.1).
//!
//! Deliberately absent: the alternate root of a registration (a device may serve its objects under `/lwm2m`). That is a
//! matter of the request's Uri-Path; a `Path` always begins with the object.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The largest id of an object, an instance, a resource or a resource instance: 65535 is reserved (Core §7.1, MAX_ID).
pub const ID_MAX: u16 = 65_534;

/// How many ids a path has at most: object, instance, resource, resource instance.
pub const DEPTH_MAX: usize = 4;

/// A path of zero to four ids. The root is before its objects, and each node is before what is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path {
    /// Each id and 1; 0 where the path has ended. So the derived order is the tree's.
    ids: [u16; DEPTH_MAX],
}

/// Why a text is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("a path begins with a slash")]
    NoSlash,
    /// A segment is not a decimal number from 0 to 65534, in its one spelling.
    #[error("a segment of a path is a number from 0 to 65534")]
    Id,
    /// There are more than four segments.
    #[error("a path has at most four segments")]
    Depth,
}

impl Path {
    /// The root: all objects, as Read-Composite and Bootstrap-Delete name it.
    pub const ROOT: Self = Self { ids: [0; DEPTH_MAX] };

    /// An object, as `/5`.
    ///
    /// # Panics
    /// Like the other constructors, where an id is 65535: ids of strangers come through [`Path::child`].
    #[must_use]
    pub const fn object(object: u16) -> Self {
        Self { ids: [one_more(object), 0, 0, 0] }
    }

    /// An object instance, as `/5/0`.
    #[must_use]
    pub const fn instance(object: u16, instance: u16) -> Self {
        Self { ids: [one_more(object), one_more(instance), 0, 0] }
    }

    /// A resource, as `/5/0/3`.
    #[must_use]
    pub const fn resource(object: u16, instance: u16, resource: u16) -> Self {
        Self { ids: [one_more(object), one_more(instance), one_more(resource), 0] }
    }

    /// A resource instance, as `/5/0/8/1`.
    #[must_use]
    pub const fn resource_instance(object: u16, instance: u16, resource: u16, one: u16) -> Self {
        Self { ids: [one_more(object), one_more(instance), one_more(resource), one_more(one)] }
    }

    /// The object's id; none for the root.
    #[must_use]
    pub const fn object_id(&self) -> Option<u16> {
        self.id(0)
    }

    /// The object instance's id.
    #[must_use]
    pub const fn instance_id(&self) -> Option<u16> {
        self.id(1)
    }

    /// The resource's id.
    #[must_use]
    pub const fn resource_id(&self) -> Option<u16> {
        self.id(2)
    }

    /// The resource instance's id.
    #[must_use]
    pub const fn resource_instance_id(&self) -> Option<u16> {
        self.id(3)
    }

    /// How many ids the path has: 0 for the root, 4 for a resource instance.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.ids.iter().take_while(|id| **id != 0).count()
    }

    /// The ids, from the object on.
    pub fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        self.ids.into_iter().take_while(|id| *id != 0).map(|id| id - 1)
    }

    /// The segments for Uri-Path options, from the object on.
    pub fn segments(&self) -> impl Iterator<Item = String> + use<> {
        self.ids().map(|id| id.to_string())
    }

    /// The node `id` in this one; none where the id is 65535 or this is a resource instance already.
    #[must_use]
    pub fn child(&self, id: u16) -> Option<Self> {
        let depth = self.depth();
        if id > ID_MAX || depth == DEPTH_MAX {
            return None;
        }
        let mut ids = self.ids;
        ids[depth] = id + 1;
        Some(Self { ids })
    }

    /// The node this one is in; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let depth = self.depth();
        (depth > 0).then(|| self.truncated(depth - 1))
    }

    /// The first `depth` ids of the path, or the whole path where it has fewer.
    #[must_use]
    pub fn truncated(&self, depth: usize) -> Self {
        let mut ids = self.ids;
        ids.iter_mut().skip(depth).for_each(|id| *id = 0);
        Self { ids }
    }

    /// Whether `other` is this node or in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.truncated(self.depth()) == *self
    }

    /// The path of Uri-Path segments, without the alternate root.
    ///
    /// # Errors
    /// A segment is not an id, or there are more than four.
    pub fn from_segments<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<Self, PathError> {
        segments.into_iter().try_fold(Self::ROOT, |path, segment| {
            let id = parse_id(segment)?;
            path.child(id).ok_or(PathError::Depth)
        })
    }

    const fn id(&self, level: usize) -> Option<u16> {
        self.ids[level].checked_sub(1)
    }
}

const fn one_more(id: u16) -> u16 {
    assert!(id <= ID_MAX, "65535 is no id");
    id + 1
}

/// One id in its one spelling: decimal, without sign, blanks or leading zeros (Core §7.1).
pub(crate) fn parse_id(text: &str) -> Result<u16, PathError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text.len() == 1 || !text.starts_with('0'));
    let id = text.parse().ok().filter(|id| plain && *id <= ID_MAX);
    id.ok_or(PathError::Id)
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let rest = text.strip_prefix('/').ok_or(PathError::NoSlash)?;
        if rest.is_empty() { Ok(Self::ROOT) } else { Self::from_segments(rest.split('/')) }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ROOT {
            return f.write_str("/");
        }
        self.ids().try_for_each(|id| write!(f, "/{id}"))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_it_was_read() {
        for text in ["/", "/5", "/5/0", "/5/0/3", "/5/0/8/1", "/65534/65534/65534/65534", "/0/0/0/0"] {
            assert_eq!(text.parse::<Path>().map(|path| path.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("/5/0/3".parse(), Ok(Path::resource(5, 0, 3)));
        assert_eq!("/5/0/8/1".parse(), Ok(Path::resource_instance(5, 0, 8, 1)));
        assert_eq!(Path::from_segments(["3", "0"]), Ok(Path::instance(3, 0)));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (text, error) in [
            ("", PathError::NoSlash),
            ("5/0", PathError::NoSlash),
            ("/5/", PathError::Id),
            ("//5", PathError::Id),
            ("/05", PathError::Id),
            ("/+5", PathError::Id),
            ("/-1", PathError::Id),
            ("/ 5", PathError::Id),
            ("/65535", PathError::Id),
            ("/99999999999999999999", PathError::Id),
            ("/rd", PathError::Id),
            ("/\u{0665}", PathError::Id),
            ("/1/2/3/4/5", PathError::Depth),
        ] {
            assert_eq!(text.parse::<Path>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn paths_are_in_the_order_of_the_tree() {
        let sorted =
            ["/", "/3", "/3/0", "/3/0/9", "/3/0/10", "/3/1", "/5", "/5/0/8", "/5/0/8/0", "/5/0/9", "/10"];
        let paths: Vec<Path> = sorted.iter().map(|text| text.parse().unwrap()).collect();
        assert!(paths.is_sorted());
    }

    #[test]
    fn a_node_contains_itself_and_what_is_in_it() {
        let instance = Path::instance(5, 0);
        assert!(instance.contains(&instance) && instance.contains(&Path::resource(5, 0, 3)));
        assert!(!instance.contains(&Path::object(5)) && !instance.contains(&Path::instance(5, 1)));
        assert!(Path::ROOT.contains(&instance));
        assert_eq!(instance.child(3), Some(Path::resource(5, 0, 3)));
        assert_eq!(Path::resource(5, 0, 3).parent(), Some(instance));
        assert_eq!(Path::ROOT.parent(), None);
        assert_eq!(instance.child(65_535), None);
        assert_eq!(Path::resource_instance(5, 0, 8, 1).child(0), None);
        assert_eq!(Path::resource(5, 0, 3).depth(), 3);
        assert_eq!(Path::resource(5, 0, 0).ids().collect::<Vec<_>>(), [5, 0, 0]);
        assert_eq!((instance.instance_id(), instance.resource_id()), (Some(0), None));
    }

    #[test]
    fn a_path_takes_eight_bytes() {
        assert_eq!(size_of::<Path>(), 8);
    }
}
