//! Rollouts: with their tallies, their executions by state, their history.

use super::{Views, page};
use crate::store::row;
use crate::store::sqlite::{all, failed, tallies};
use rusqlite::{Connection, OptionalExtension};
use updraft_core::execution::Execution;
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::rollout::Rollout;
use updraft_core::state::{StateKind, Tally};
use updraft_core::store::{RolloutEntry, StoreError};

/// A rollout and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutLine {
    /// The rollout.
    pub rollout: Rollout,
    /// How many of its executions stand where.
    pub tally: Tally,
}

impl Views {
    /// At most `limit` rollouts, of one product or of all, the newest first, after `after` in that order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rollouts(
        &mut self,
        product: Option<&ProductName>,
        after: Option<&RolloutId>,
        limit: usize,
    ) -> Result<Vec<RolloutLine>, StoreError> {
        let sql = format!(
            "SELECT {} FROM rollout WHERE (?1 IS NULL OR product = ?1)
                 AND (?2 IS NULL OR (created, id) < (SELECT created, id FROM rollout WHERE id = ?2))
             ORDER BY created DESC, id DESC LIMIT ?3",
            row::ROLLOUT
        );
        let parameters = (product.map(ProductName::as_str), after.map(RolloutId::as_str), page(limit));
        self.rollout_lines(|connection| all(connection, &sql, parameters, row::rollout))
            .map_err(failed("list rollouts"))
    }

    /// One rollout; `None` if there is none of that ID.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rollout(&mut self, id: &RolloutId) -> Result<Option<RolloutLine>, StoreError> {
        let sql = format!("SELECT {} FROM rollout WHERE id = ?1", row::ROLLOUT);
        let read = |connection: &Connection| {
            let mut select = connection.prepare_cached(&sql)?;
            Ok(select.query_row([id.as_str()], row::rollout).optional()?.into_iter().collect())
        };
        let lines = self.rollout_lines(read).map_err(failed("read a rollout"))?;
        Ok(lines.into_iter().next())
    }

    /// Rollouts and their tallies, of one moment.
    fn rollout_lines(
        &mut self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<Vec<Rollout>>,
    ) -> rusqlite::Result<Vec<RolloutLine>> {
        let snapshot = self.connection.transaction()?;
        let tallies = tallies(&snapshot)?;
        let line = |rollout: Rollout| {
            let tally = tallies.get(&rollout.id).copied().unwrap_or_default();
            RolloutLine { rollout, tally }
        };
        Ok(read(&snapshot)?.into_iter().map(line).collect())
    }

    /// At most `limit` executions of a rollout that stand at `state`, by device, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn executions(
        &mut self,
        rollout: &RolloutId,
        state: StateKind,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<Execution>, StoreError> {
        let sql = format!(
            "SELECT {} FROM execution JOIN rollout ON rollout.id = execution.rollout
             WHERE execution.rollout = ?1 AND execution.state = ?2 AND execution.device > ?3
             ORDER BY execution.device LIMIT ?4",
            row::EXECUTION
        );
        let after = after.map_or("", DeviceId::as_str);
        all(&self.connection, &sql, (rollout.as_str(), state.as_str(), after, page(limit)), row::execution)
            .map_err(failed("list a rollout's executions"))
    }

    /// The last `limit` lines of a rollout's history, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rollout_history(
        &mut self,
        rollout: &RolloutId,
        limit: usize,
    ) -> Result<Vec<RolloutEntry>, StoreError> {
        let sql = format!(
            "SELECT {} FROM rollout_history WHERE rollout = ?1 ORDER BY sequence DESC LIMIT ?2",
            row::ROLLOUT_HISTORY
        );
        let mut entries = all(&self.connection, &sql, (rollout.as_str(), page(limit)), row::rollout_entry)
            .map_err(failed("read a rollout's history"))?;
        entries.reverse();
        Ok(entries)
    }
}
