//! Names as AWS writes them: of things and groups in requests, of things and jobs in answers.

use updraft_core::id::DeviceId;

use super::failure::Failure;

/// Longest name that is looked at, in bytes (AWS).
pub const ARN_BYTES_MAX: usize = 2048;
/// The account in answers: there are no accounts.
pub const ACCOUNT: &str = "000000000000";

/// What a job can be for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target<'a> {
    /// One device.
    Thing(&'a str),
    /// A group of devices.
    Group(&'a str),
}

impl<'a> Target<'a> {
    /// Reads `arn:aws:iot:<region>:<account>:thing/NAME` or `…:thinggroup/NAME`, of whatever region and account.
    ///
    /// # Errors
    /// `InvalidRequestException`.
    pub fn parse(arn: &'a str) -> Result<Self, Failure> {
        let wrong = || {
            let shown: String = arn.chars().take(200).collect();
            Failure::invalid(format!(
                "{shown:?} is no target: arn:aws:iot:REGION:ACCOUNT:thing/NAME or arn:aws:iot:REGION:ACCOUNT:thinggroup/NAME"
            ))
        };
        // A name may hold colons: only the first five part the fields.
        let mut fields = arn.splitn(6, ':');
        let mut next = || fields.next().ok_or_else(wrong);
        let (arn_word, partition, service) = (next()?, next()?, next()?);
        let (_region, _account, resource) = (next()?, next()?, next()?);
        if arn.len() > ARN_BYTES_MAX || arn_word != "arn" || service != "iot" || !partition.starts_with("aws")
        {
            return Err(wrong());
        }
        match resource.split_once('/') {
            Some(("thing", name)) if !name.is_empty() => Ok(Self::Thing(name)),
            Some(("thinggroup", name)) if !name.is_empty() => Ok(Self::Group(name)),
            Some(_) | None => Err(wrong()),
        }
    }

    /// The name in an answer to a request of this region.
    #[must_use]
    pub fn arn(&self, region: &str) -> String {
        match self {
            Self::Thing(name) => format!("arn:aws:iot:{region}:{ACCOUNT}:thing/{name}"),
            Self::Group(name) => format!("arn:aws:iot:{region}:{ACCOUNT}:thinggroup/{name}"),
        }
    }
}

/// A device's name in an answer.
#[must_use]
pub fn thing(region: &str, device: &DeviceId) -> String {
    Target::Thing(device.as_str()).arn(region)
}

/// A job's name in an answer.
#[must_use]
pub fn job(region: &str, job: &str) -> String {
    format!("arn:aws:iot:{region}:{ACCOUNT}:job/{job}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_and_groups_of_any_region_and_account_are_taken() {
        for (arn, target) in [
            ("arn:aws:iot:eu-central-1:123456789012:thing/d-1", Target::Thing("d-1")),
            ("arn:aws-cn:iot:::thing/urn:imei:1234", Target::Thing("urn:imei:1234")),
            ("arn:aws:iot:x:y:thinggroup/thermostat", Target::Group("thermostat")),
        ] {
            assert_eq!(Target::parse(arn).unwrap(), target);
        }
        assert_eq!(Target::Thing("d").arn("r"), "arn:aws:iot:r:000000000000:thing/d");
    }

    #[test]
    fn a_name_of_something_else_is_refused() {
        let long = format!("arn:aws:iot:r:a:thing/{}", "x".repeat(ARN_BYTES_MAX));
        for arn in [
            "",
            "d-1",
            "arn:aws:iot:r:a:thing/",
            "arn:aws:iot:r:a:thing",
            "arn:aws:iot:r:a:job/j",
            "arn:aws:s3:r:a:thing/d",
            "urn:aws:iot:r:a:thing/d",
            &long,
        ] {
            assert!(Target::parse(arn).is_err(), "{arn:.60}");
        }
    }
}
