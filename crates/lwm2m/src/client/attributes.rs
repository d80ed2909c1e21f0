//! Attributes of observations: when a change is worth a notification (Core §5.1.2).

use crate::Path;
use crate::coap::Code;
use std::collections::BTreeMap;
use std::time::Duration;

/// Nodes that may have attributes: servers set them on the handful that they observe.
const NODES_MAX: usize = 64;

/// The attributes of one node.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Attributes {
    /// Shortest time between two notifications, in seconds.
    pub pmin_s: Option<u32>,
    /// Longest time between two notifications, in seconds.
    pub pmax_s: Option<u32>,
    /// A number that goes across this one is told.
    pub greater: Option<f64>,
    /// A number that goes across this one is told.
    pub less: Option<f64>,
    /// A number that has changed by this much since it was told is told.
    pub step: Option<f64>,
}

impl Attributes {
    /// Takes in the queries of a Write-Attributes: `name=value` sets, a bare `name` removes.
    ///
    /// # Errors
    /// 4.00 for an attribute that is unknown, out of range, or at odds with the others.
    pub fn written<'a>(mut self, queries: impl Iterator<Item = &'a str>) -> Result<Self, Code> {
        for query in queries {
            let (name, value) = match query.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (query, None),
            };
            match name {
                "pmin" => self.pmin_s = value.map(seconds).transpose()?,
                "pmax" => self.pmax_s = value.map(seconds).transpose()?,
                "gt" => self.greater = value.map(number).transpose()?,
                "lt" => self.less = value.map(number).transpose()?,
                "st" => self.step = value.map(number).transpose()?,
                // Periods of evaluation: every change is evaluated as it happens.
                "epmin" | "epmax" => drop(value.map(seconds).transpose()?),
                _ => return Err(Code::BAD_REQUEST),
            }
        }
        self.check()
    }

    /// `lt` is below `gt`, by two steps where there is a step (Core §5.1.2, table 5.1.2-2).
    fn check(self) -> Result<Self, Code> {
        let step = self.step.unwrap_or(0.0);
        let is_apart = match (self.less, self.greater) {
            (Some(less), Some(greater)) => less + 2.0 * step < greater,
            (_, _) => true,
        };
        if step < 0.0 || !is_apart { Err(Code::BAD_REQUEST) } else { Ok(self) }
    }

    /// These, and where they say nothing the other's.
    fn or(self, other: Self) -> Self {
        Self {
            pmin_s: self.pmin_s.or(other.pmin_s),
            pmax_s: self.pmax_s.or(other.pmax_s),
            greater: self.greater.or(other.greater),
            less: self.less.or(other.less),
            step: self.step.or(other.step),
        }
    }

    /// The shortest time between two notifications.
    #[must_use]
    pub fn pmin(&self) -> Duration {
        Duration::from_secs(self.pmin_s.unwrap_or(0).into())
    }

    /// The longest time between two notifications; one below the shortest is ignored (Core §5.1.2).
    #[must_use]
    pub fn pmax(&self) -> Option<Duration> {
        let pmax = self.pmax_s.filter(|pmax| *pmax > 0 && *pmax >= self.pmin_s.unwrap_or(0));
        pmax.map(|pmax| Duration::from_secs(pmax.into()))
    }

    /// Whether only numbers that cross or step are told.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.greater.is_some() || self.less.is_some() || self.step.is_some()
    }

    /// Whether a number that was `told` and is `now` is to be told.
    #[must_use]
    pub fn is_met(&self, told: f64, now: f64) -> bool {
        let crosses = |limit: Option<f64>| limit.is_some_and(|limit| (told <= limit) != (now <= limit));
        let crosses_down = |limit: Option<f64>| limit.is_some_and(|limit| (told < limit) != (now < limit));
        crosses(self.greater)
            || crosses_down(self.less)
            || self.step.is_some_and(|step| (now - told).abs() >= step && now != told)
    }

    /// The attributes as Discover lists them.
    pub(super) fn listed(&self) -> Vec<(String, Option<String>)> {
        let mut list = Vec::new();
        let seconds = [("pmin", self.pmin_s), ("pmax", self.pmax_s)];
        list.extend(seconds.into_iter().filter_map(|(name, s)| Some((name, s?.to_string()))));
        let numbers = [("gt", self.greater), ("lt", self.less), ("st", self.step)];
        list.extend(numbers.into_iter().filter_map(|(name, n)| Some((name, n?.to_string()))));
        list.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect()
    }
}

fn seconds(text: &str) -> Result<u32, Code> {
    text.parse().map_err(|_| Code::BAD_REQUEST)
}

fn number(text: &str) -> Result<f64, Code> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(Code::BAD_REQUEST)
}

/// The attributes of all nodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tree(BTreeMap<Path, Attributes>);

impl Tree {
    /// Takes in a Write-Attributes.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn write<'a>(
        &mut self,
        path: Path,
        queries: impl Iterator<Item = &'a str>,
    ) -> Result<(), Code> {
        let written = self.at(&path).written(queries)?;
        if written == Attributes::default() {
            self.0.remove(&path);
        } else if self.0.len() >= NODES_MAX && !self.0.contains_key(&path) {
            return Err(Code::INTERNAL_SERVER_ERROR);
        } else {
            self.0.insert(path, written);
        }
        Ok(())
    }

    /// What was set at this very node.
    pub(super) fn at(&self, path: &Path) -> Attributes {
        self.0.get(path).copied().unwrap_or_default()
    }

    /// What holds at a node: the lowest level that says something wins (Core §5.1.2).
    pub(super) fn effective(&self, path: &Path) -> Attributes {
        let levels = (1..=path.depth()).rev();
        levels.fold(Attributes::default(), |sum, depth| sum.or(self.at(&path.truncated(depth))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(queries: &str) -> Result<Attributes, Code> {
        Attributes::default().written(queries.split('&'))
    }

    #[test]
    fn attributes_at_odds_are_refused() {
        for bad in ["pmin=-1", "pmax=x", "gt=NaN", "lt=5&gt=5", "lt=1&gt=5&st=2", "st=-1", "colour=1", ""] {
            assert_eq!(written(bad), Err(Code::BAD_REQUEST), "{bad}");
        }
        assert!(written("pmin=1&pmax=10&gt=5.5&lt=1&st=2&epmin=1").is_ok());
    }

    #[test]
    fn a_pmax_below_pmin_is_ignored() {
        let attributes = written("pmin=60&pmax=10").unwrap();
        assert_eq!((attributes.pmin().as_secs(), attributes.pmax()), (60, None));
        assert_eq!(written("pmin=1&pmax=10").unwrap().pmax().unwrap().as_secs(), 10);
    }

    #[test]
    fn a_number_is_told_when_it_crosses_or_steps() {
        let attributes = written("gt=10&lt=-10&st=5").unwrap();
        for (told, now, is_met) in
            [(0.0, 4.0, false), (0.0, 5.0, true), (9.0, 11.0, true), (11.0, 9.0, true), (-9.0, -11.0, true)]
        {
            assert_eq!(attributes.is_met(told, now), is_met, "{told} to {now}");
        }
        assert!(!attributes.is_met(3.0, 3.0));
    }

    #[test]
    fn the_lowest_level_wins_and_a_bare_name_removes() {
        let mut tree = Tree::default();
        tree.write(Path::object(4), ["pmin=9", "pmax=90"].into_iter()).unwrap();
        tree.write(Path::resource(4, 0, 2), ["pmin=1"].into_iter()).unwrap();
        let effective = tree.effective(&Path::resource(4, 0, 2));
        assert_eq!((effective.pmin_s, effective.pmax_s), (Some(1), Some(90)));
        tree.write(Path::resource(4, 0, 2), ["pmin"].into_iter()).unwrap();
        assert_eq!(tree.effective(&Path::resource(4, 0, 2)).pmin_s, Some(9));
    }

    #[test]
    fn no_more_nodes_than_the_limit_have_attributes() {
        let mut tree = Tree::default();
        for id in 0..NODES_MAX {
            let path = Path::resource(4, 0, u16::try_from(id).unwrap());
            tree.write(path, ["pmin=1"].into_iter()).unwrap();
        }
        assert!(tree.write(Path::object(5), ["pmin=1"].into_iter()).is_err());
        assert!(tree.write(Path::resource(4, 0, 0), ["pmin=2"].into_iter()).is_ok());
    }
}
