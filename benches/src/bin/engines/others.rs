//! The engines from the registry.

use std::io;
use std::path::Path;

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Database, ReadableDatabase, TableDefinition};

use super::engine::{CACHE_BYTES, Engine};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");

/// redb: a copy-on-write B-tree.
pub(crate) struct Redb(Database);

impl Redb {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Database::builder()
            .set_cache_size(CACHE_BYTES as usize)
            .create(dir.join("redb"))
            .map(Self)
            .map_err(io::Error::other)
    }
}

impl Engine for Redb {
    fn write(&mut self, keys: &[String], value: &[u8]) -> io::Result<()> {
        // A commit is durable unless it is asked not to be.
        let transaction = self.0.begin_write().map_err(io::Error::other)?;
        {
            let mut table = transaction.open_table(TABLE).map_err(io::Error::other)?;
            for key in keys {
                table.insert(key.as_bytes(), value).map_err(io::Error::other)?;
            }
        }
        transaction.commit().map_err(io::Error::other)
    }

    fn read(&mut self, key: &str) -> io::Result<Option<usize>> {
        let transaction = self.0.begin_read().map_err(io::Error::other)?;
        let table = transaction.open_table(TABLE).map_err(io::Error::other)?;
        let value = table.get(key.as_bytes()).map_err(io::Error::other)?;
        Ok(value.map(|value| value.value().len()))
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// fjall: an LSM tree.
pub(crate) struct Fjall {
    database: fjall::Database,
    keys: Keyspace,
}

impl Fjall {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let database = fjall::Database::builder(dir.join("fjall"))
            .cache_size(CACHE_BYTES)
            .open()
            .map_err(io::Error::other)?;
        let keys =
            database.keyspace("keys", KeyspaceCreateOptions::default).map_err(io::Error::other)?;
        Ok(Self { database, keys })
    }
}

impl Engine for Fjall {
    fn write(&mut self, keys: &[String], value: &[u8]) -> io::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for key in keys {
            batch.insert(&self.keys, key.as_bytes(), value);
        }
        batch.commit().map_err(io::Error::other)
    }

    fn read(&mut self, key: &str) -> io::Result<Option<usize>> {
        let value = self.keys.get(key.as_bytes()).map_err(io::Error::other)?;
        Ok(value.map(|value| value.len()))
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(io::Error::other)
    }
}
