//! The topics of Jobs: their names, and what a name stands for.

use crate::replica::Verdict;

/// What comes before the thing's name in every topic of a device.
pub const ROOT: &str = "$aws/things";
/// In place of a job ID: the job that is next.
pub const NEXT: &str = "$next";

/// A thing's topics. Job IDs are as they stand in the topic, unchecked; [`NEXT`] is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic<'a> {
    /// `notify`: the list of pending executions has changed.
    Notify,
    /// `notify-next`: another execution is next.
    NotifyNext,
    /// `get`: asks for the pending executions.
    Get,
    /// `get/accepted` and `get/rejected`.
    GetReply(Verdict),
    /// `start-next`: starts the next execution.
    StartNext,
    /// `start-next/accepted` and `start-next/rejected`.
    StartNextReply(Verdict),
    /// `{job}/get`: asks for one execution.
    Describe(&'a str),
    /// `{job}/get/accepted` and `{job}/get/rejected`.
    DescribeReply(&'a str, Verdict),
    /// `{job}/update`: says how the device stands with an execution.
    Update(&'a str),
    /// `{job}/update/accepted` and `{job}/update/rejected`.
    UpdateReply(&'a str, Verdict),
}

impl<'a> Topic<'a> {
    /// The topic's name for a thing.
    #[must_use]
    pub fn name(self, thing: &str) -> String {
        let path = match self {
            Self::Notify => "notify".to_owned(),
            Self::NotifyNext => "notify-next".to_owned(),
            Self::Get => "get".to_owned(),
            Self::GetReply(verdict) => format!("get/{}", verdict.as_str()),
            Self::StartNext => "start-next".to_owned(),
            Self::StartNextReply(verdict) => format!("start-next/{}", verdict.as_str()),
            Self::Describe(job) => format!("{job}/get"),
            Self::DescribeReply(job, verdict) => format!("{job}/get/{}", verdict.as_str()),
            Self::Update(job) => format!("{job}/update"),
            Self::UpdateReply(job, verdict) => format!("{job}/update/{}", verdict.as_str()),
        };
        format!("{ROOT}/{thing}/jobs/{path}")
    }

    /// Whose topic a name is, and which.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<(&'a str, Self)> {
        let (thing, rest) = name.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
        let path = rest.strip_prefix("jobs/").filter(|_| !thing.is_empty())?;
        Some((thing, Self::parse_path(path)?))
    }

    fn parse_path(path: &'a str) -> Option<Self> {
        let mut levels = path.split('/');
        let topic = match (levels.next()?, levels.next(), levels.next()) {
            ("", _, _) => return None,
            ("notify", None, None) => Self::Notify,
            ("notify-next", None, None) => Self::NotifyNext,
            ("get", None, None) => Self::Get,
            ("start-next", None, None) => Self::StartNext,
            // A job may be called `get`: what is asked of it comes first, and a verdict is never a verb.
            (job, Some("get"), None) => Self::Describe(job),
            (job, Some("update"), None) => Self::Update(job),
            ("get", Some(level), None) => Self::GetReply(Verdict::parse(level)?),
            ("start-next", Some(level), None) => Self::StartNextReply(Verdict::parse(level)?),
            (job, Some("get"), Some(level)) => Self::DescribeReply(job, Verdict::parse(level)?),
            (job, Some("update"), Some(level)) => Self::UpdateReply(job, Verdict::parse(level)?),
            _ => return None,
        };
        Some(topic).filter(|_| levels.next().is_none())
    }
}
