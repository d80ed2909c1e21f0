//! The Firmware Update object (object 5, LwM2M Core appendix E.6), both ends: what the server asks of a device to bring
//! it to a version, and how a device answers.
//!
//! Deliberately absent: CoAP. The two ends speak in reads, writes and executions of paths; who carries them, and in
//! which format, is the caller's. Absent too: files, links, and the choice between push and pull, which are the caller's.

pub mod campaign;
pub mod driver;
pub mod object;
pub mod snapshot;
pub mod word;

pub use campaign::{Campaign, Delivery, Limits, Marker, Placement, Source, Stage, Upgrade};
pub use driver::{Answer, Ask, Driver, Event, Failure, Operation, Outcome, Proof, Unfit};
pub use object::{Action, Object, Record};
pub use snapshot::Snapshot;
pub use word::{DeliveryMethod, Scheme, Schemes, Severity, State, UpdateResult};

use crate::path::Path;

/// The object's id.
pub const OBJECT: u16 = 5;
/// The object's one instance.
pub const INSTANCE: Path = Path::instance(OBJECT, 0);
/// Package: the image, block by block; a single byte 0 resets.
pub const PACKAGE: Path = Path::resource(OBJECT, 0, 0);
/// Package URI: where the image is; empty resets.
pub const PACKAGE_URI: Path = Path::resource(OBJECT, 0, 1);
/// Update: install what was downloaded.
pub const UPDATE: Path = Path::resource(OBJECT, 0, 2);
/// State.
pub const STATE: Path = Path::resource(OBJECT, 0, 3);
/// Update Result.
pub const RESULT: Path = Path::resource(OBJECT, 0, 5);
/// `PkgName`: the name of the image that was downloaded.
pub const PACKAGE_NAME: Path = Path::resource(OBJECT, 0, 6);
/// `PkgVersion`: the version of the image that was downloaded.
pub const PACKAGE_VERSION: Path = Path::resource(OBJECT, 0, 7);
/// Firmware Update Protocol Support: the schemes a URI may have.
pub const PROTOCOLS: Path = Path::resource(OBJECT, 0, 8);
/// Firmware Update Delivery Method.
pub const DELIVERY: Path = Path::resource(OBJECT, 0, 9);
/// Cancel (object version 1.1).
pub const CANCEL: Path = Path::resource(OBJECT, 0, 10);
/// Severity (1.1).
pub const SEVERITY: Path = Path::resource(OBJECT, 0, 11);
/// Last State Change Time (1.1).
pub const STATE_CHANGED: Path = Path::resource(OBJECT, 0, 12);
/// Maximum Defer Period (1.1).
pub const DEFER_MAX: Path = Path::resource(OBJECT, 0, 13);
/// Automatic Upgrade at Download (1.2).
pub const AUTOMATIC: Path = Path::resource(OBJECT, 0, 14);
/// Firmware Version of the Device object: what the device runs.
pub const RUNNING_VERSION: Path = Path::resource(3, 0, 3);

/// The longest Package URI: the object's definition says 0 to 255 bytes.
pub const URI_BYTES_MAX: usize = 255;
