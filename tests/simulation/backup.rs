use futures_util::FutureExt;
use keywheel_connection::ConnectionStore;

use super::nature::Landing;
use super::record::Record;
use super::store::Rows;
use super::world::World;

/// The store as it was when it was backed up.
pub(crate) struct Backup {
    rows: Rows,
    records: Vec<Record>,
}

impl World {
    pub(crate) fn back_up(&self) {
        let now = self.now();
        let state = &mut *self.state();
        state
            .trace
            .note(now, None, format_args!("the store is backed up"));
        state.backup = Some(Backup {
            rows: state.rows.clone(),
            records: state.truth.records.clone(),
        });
    }

    /// Puts the store back to its backup (points 55 and 57). Nobody works with it meanwhile.
    pub(crate) fn restore(&self) {
        let landings = self.state().nature.take_landings();
        for landing in landings {
            if !matches!(landing, Landing::Save(_)) {
                self.land(landing);
            }
        }
        let Some(Backup { rows, records }) = self.state().backup.take() else {
            return;
        };
        let store = self.new_store();
        for record in records.iter().filter(|record| !record.deleted) {
            let connection = &record.connection;
            let wake_at = rows.wake_at(connection.id);
            let created = store.create(connection, wake_at, &[]).now_or_never();
            created.expect("memory does not wait").expect("it is empty");
        }
        let now = self.now();
        let state = &mut *self.state();
        state
            .trace
            .note(now, None, format_args!("the store is restored"));
        state.directory.interfered = now;
        state.rows = rows.unheld();
        state.promises = Default::default();
        state.truth.restored(now, records, &state.directory);
        self.changed();
    }
}
