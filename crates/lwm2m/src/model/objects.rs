//! The registry's tables of objects 0 to 5.

use super::Instances::{Multiple, Single};
use super::Operations::{Bootstrap, Execute, Read, ReadWrite, Write};
use super::Presence::{Mandatory, Optional};
use super::{Instances, Object, Operations, Presence, Resource};
use crate::value::Kind;

/// Objects 0 to 5, by number.
pub static OBJECTS: &[Object] = &[
    Object { id: 0, name: "LwM2M Security", instances: Multiple, resources: SECURITY },
    Object { id: 1, name: "LwM2M Server", instances: Multiple, resources: SERVER },
    Object { id: 2, name: "LwM2M Access Control", instances: Multiple, resources: ACCESS_CONTROL },
    Object { id: 3, name: "Device", instances: Single, resources: DEVICE },
    Object { id: 4, name: "Connectivity Monitoring", instances: Single, resources: CONNECTIVITY },
    Object { id: 5, name: "Firmware Update", instances: Single, resources: FIRMWARE },
];

const TEXT: Option<Kind> = Some(Kind::Text);
const INTEGER: Option<Kind> = Some(Kind::Integer);
const UNSIGNED: Option<Kind> = Some(Kind::Unsigned);
const BOOLEAN: Option<Kind> = Some(Kind::Boolean);
const OPAQUE: Option<Kind> = Some(Kind::Opaque);
const TIME: Option<Kind> = Some(Kind::Time);
const LINK: Option<Kind> = Some(Kind::ObjectLink);

/// A row as the registry has it.
const fn row(
    id: u16,
    name: &'static str,
    operations: Operations,
    instances: Instances,
    presence: Presence,
    kind: Option<Kind>,
) -> Resource {
    Resource { id, name, kind, operations, instances, presence }
}

static SECURITY: &[Resource] = &[
    row(0, "LwM2M Server URI", Bootstrap, Single, Mandatory, TEXT),
    row(1, "Bootstrap-Server", Bootstrap, Single, Mandatory, BOOLEAN),
    row(2, "Security Mode", Bootstrap, Single, Mandatory, INTEGER),
    row(3, "Public Key or Identity", Bootstrap, Single, Mandatory, OPAQUE),
    row(4, "Server Public Key", Bootstrap, Single, Mandatory, OPAQUE),
    row(5, "Secret Key", Bootstrap, Single, Mandatory, OPAQUE),
    row(6, "SMS Security Mode", Bootstrap, Single, Optional, INTEGER),
    row(7, "SMS Binding Key Parameters", Bootstrap, Single, Optional, OPAQUE),
    row(8, "SMS Binding Secret Key(s)", Bootstrap, Single, Optional, OPAQUE),
    row(9, "LwM2M Server SMS Number", Bootstrap, Single, Optional, TEXT),
    row(10, "Short Server ID", Bootstrap, Single, Optional, INTEGER),
    row(11, "Client Hold Off Time", Bootstrap, Single, Optional, INTEGER),
    row(12, "Bootstrap-Server Account Timeout", Bootstrap, Single, Optional, INTEGER),
    row(13, "Matching Type", Bootstrap, Single, Optional, UNSIGNED),
    row(14, "SNI", Bootstrap, Single, Optional, TEXT),
    row(15, "Certificate Usage", Bootstrap, Single, Optional, UNSIGNED),
    row(16, "DTLS/TLS Ciphersuite", Bootstrap, Multiple, Optional, UNSIGNED),
    row(17, "OSCORE Security Mode", Bootstrap, Single, Optional, LINK),
    row(18, "Groups To Use by Client", Bootstrap, Multiple, Optional, UNSIGNED),
    row(19, "Signature Algorithms Supported by Server", Bootstrap, Multiple, Optional, UNSIGNED),
    row(20, "Signature Algorithms To Use by Client", Bootstrap, Multiple, Optional, UNSIGNED),
    row(21, "Signature Algorithm Certs Supported by Server", Bootstrap, Multiple, Optional, UNSIGNED),
    row(22, "TLS 1.3 Features To Use by Client", Bootstrap, Single, Optional, UNSIGNED),
    row(23, "TLS Extensions Supported by Server", Bootstrap, Single, Optional, UNSIGNED),
    row(24, "TLS Extensions To Use by Client", Bootstrap, Single, Optional, UNSIGNED),
    row(25, "Secondary LwM2M Server URI", Bootstrap, Multiple, Optional, TEXT),
    row(26, "MQTT Server", Bootstrap, Single, Optional, LINK),
    row(27, "LwM2M COSE Security", Bootstrap, Multiple, Optional, LINK),
    row(28, "RDS Destination Port", Bootstrap, Single, Optional, INTEGER),
    row(29, "RDS Source Port", Bootstrap, Single, Optional, INTEGER),
    row(30, "RDS Application ID", Bootstrap, Single, Optional, TEXT),
];

static SERVER: &[Resource] = &[
    row(0, "Short Server ID", Read, Single, Mandatory, INTEGER),
    row(1, "Lifetime", ReadWrite, Single, Mandatory, UNSIGNED),
    row(2, "Default Minimum Period", ReadWrite, Single, Optional, INTEGER),
    row(3, "Default Maximum Period", ReadWrite, Single, Optional, INTEGER),
    row(4, "Disable", Execute, Single, Optional, None),
    row(5, "Disable Timeout", ReadWrite, Single, Optional, INTEGER),
    row(6, "Notification Storing When Disabled or Offline", ReadWrite, Single, Mandatory, BOOLEAN),
    row(7, "Binding", ReadWrite, Single, Mandatory, TEXT),
    row(8, "Registration Update Trigger", Execute, Single, Mandatory, None),
    row(9, "Bootstrap-Request Trigger", Execute, Single, Optional, None),
    row(10, "APN Link", ReadWrite, Single, Optional, LINK),
    row(11, "TLS-DTLS Alert Code", Read, Single, Optional, UNSIGNED),
    row(12, "Last Bootstrapped", Read, Single, Optional, TIME),
    row(13, "Registration Priority Order", Read, Single, Optional, UNSIGNED),
    row(14, "Initial Registration Delay Timer", ReadWrite, Single, Optional, UNSIGNED),
    row(15, "Registration Failure Block", Read, Single, Optional, BOOLEAN),
    row(16, "Bootstrap on Registration Failure", Read, Single, Optional, BOOLEAN),
    row(17, "Communication Retry Count", ReadWrite, Single, Optional, UNSIGNED),
    row(18, "Communication Retry Timer", ReadWrite, Single, Optional, UNSIGNED),
    row(19, "Communication Sequence Delay Timer", ReadWrite, Single, Optional, UNSIGNED),
    row(20, "Communication Sequence Retry Count", ReadWrite, Single, Optional, UNSIGNED),
    row(21, "Trigger", ReadWrite, Single, Optional, BOOLEAN),
    row(22, "Preferred Transport", ReadWrite, Single, Optional, TEXT),
    row(23, "Mute Send", ReadWrite, Single, Optional, BOOLEAN),
    row(24, "Alternate APN Links", ReadWrite, Multiple, Optional, LINK),
    row(25, "Supported Server Versions", ReadWrite, Multiple, Optional, TEXT),
    row(26, "Default Notification Mode", ReadWrite, Single, Optional, INTEGER),
    row(27, "Profile ID Hash Algorithm", ReadWrite, Single, Optional, UNSIGNED),
];

static ACCESS_CONTROL: &[Resource] = &[
    row(0, "Object ID", Read, Single, Mandatory, INTEGER),
    row(1, "Object Instance ID", Read, Single, Mandatory, INTEGER),
    row(2, "ACL", ReadWrite, Multiple, Optional, INTEGER),
    row(3, "Access Control Owner", ReadWrite, Single, Mandatory, INTEGER),
];

static DEVICE: &[Resource] = &[
    row(0, "Manufacturer", Read, Single, Optional, TEXT),
    row(1, "Model Number", Read, Single, Optional, TEXT),
    row(2, "Serial Number", Read, Single, Optional, TEXT),
    row(3, "Firmware Version", Read, Single, Optional, TEXT),
    row(4, "Reboot", Execute, Single, Mandatory, None),
    row(5, "Factory Reset", Execute, Single, Optional, None),
    row(6, "Available Power Sources", Read, Multiple, Optional, INTEGER),
    row(7, "Power Source Voltage", Read, Multiple, Optional, INTEGER),
    row(8, "Power Source Current", Read, Multiple, Optional, INTEGER),
    row(9, "Battery Level", Read, Single, Optional, INTEGER),
    row(10, "Memory Free", Read, Single, Optional, INTEGER),
    row(11, "Error Code", Read, Multiple, Mandatory, INTEGER),
    row(12, "Reset Error Code", Execute, Single, Optional, None),
    row(13, "Current Time", ReadWrite, Single, Optional, TIME),
    row(14, "UTC Offset", ReadWrite, Single, Optional, TEXT),
    row(15, "Timezone", ReadWrite, Single, Optional, TEXT),
    row(16, "Supported Binding and Modes", Read, Single, Mandatory, TEXT),
    row(17, "Device Type", Read, Single, Optional, TEXT),
    row(18, "Hardware Version", Read, Single, Optional, TEXT),
    row(19, "Software Version", Read, Single, Optional, TEXT),
    row(20, "Battery Status", Read, Single, Optional, INTEGER),
    row(21, "Memory Total", Read, Single, Optional, INTEGER),
    row(22, "ExtDevInfo", Read, Multiple, Optional, LINK),
];

static CONNECTIVITY: &[Resource] = &[
    row(0, "Network Bearer", Read, Single, Mandatory, INTEGER),
    row(1, "Available Network Bearer", Read, Multiple, Mandatory, INTEGER),
    row(2, "Radio Signal Strength", Read, Single, Mandatory, INTEGER),
    row(3, "Link Quality", Read, Single, Optional, INTEGER),
    row(4, "IP Addresses", Read, Multiple, Mandatory, TEXT),
    row(5, "Router IP Addresses", Read, Multiple, Optional, TEXT),
    row(6, "Link Utilization", Read, Single, Optional, INTEGER),
    row(7, "APN", Read, Multiple, Optional, TEXT),
    row(8, "Cell ID", Read, Single, Optional, INTEGER),
    row(9, "SMNC", Read, Single, Optional, INTEGER),
    row(10, "SMCC", Read, Single, Optional, INTEGER),
    row(11, "SignalSNR", Read, Single, Optional, INTEGER),
    row(12, "LAC", Read, Single, Optional, INTEGER),
    row(13, "Coverage Enhancement Level", Read, Single, Optional, INTEGER),
];

static FIRMWARE: &[Resource] = &[
    row(0, "Package", Write, Single, Mandatory, OPAQUE),
    row(1, "Package URI", ReadWrite, Single, Mandatory, TEXT),
    row(2, "Update", Execute, Single, Mandatory, None),
    row(3, "State", Read, Single, Mandatory, INTEGER),
    row(5, "Update Result", Read, Single, Mandatory, INTEGER),
    row(6, "PkgName", Read, Single, Optional, TEXT),
    row(7, "PkgVersion", Read, Single, Optional, TEXT),
    row(8, "Firmware Update Protocol Support", Read, Multiple, Optional, INTEGER),
    row(9, "Firmware Update Delivery Method", Read, Single, Mandatory, INTEGER),
    row(10, "Cancel", Execute, Single, Optional, None),
    row(11, "Severity", ReadWrite, Single, Optional, INTEGER),
    row(12, "Last State Change Time", Read, Single, Optional, TIME),
    row(13, "Maximum Defer Period", ReadWrite, Single, Optional, UNSIGNED),
    row(14, "Automatic Upgrade at Download", ReadWrite, Single, Optional, BOOLEAN),
];
