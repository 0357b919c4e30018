//! Objects to and from SQLite rows. No meaning here, only storage.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::kind::Kind;
use crate::object::Object;

type Result<T> = rusqlite::Result<T>;

/// The tables, as of schema version 1.
///
/// `object.parent` is the one containing object of kinds that have one; `member` holds the clusters
/// of datastores and networks, which may be several. Ids come from `sequence` and are never given
/// twice.
pub(crate) const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sequence (kind INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE object (
    kind INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL,
    uid INTEGER NOT NULL, gid INTEGER NOT NULL, perms INTEGER NOT NULL,
    state INTEGER NOT NULL, prev_state INTEGER NOT NULL, parent INTEGER NOT NULL,
    due INTEGER, detail TEXT NOT NULL, template TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX object_name ON object (kind, name);
CREATE INDEX object_parent ON object (kind, parent);
CREATE INDEX object_due ON object (due) WHERE due IS NOT NULL;
CREATE TABLE member (
    kind INTEGER NOT NULL, id INTEGER NOT NULL, cluster INTEGER NOT NULL,
    PRIMARY KEY (kind, id, cluster)
) WITHOUT ROWID;
CREATE INDEX member_cluster ON member (cluster, kind, id);
";

const HEAD: &str = "kind, id, name, uid, gid, perms, state, prev_state, parent, due, detail";

/// Access within one transaction.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a>(pub(crate) &'a Connection);

impl Store<'_> {
    /// The next id of a kind, used up even if nothing comes of it but the transaction.
    pub(crate) fn next_id(self, kind: Kind) -> Result<i32> {
        self.0
            .prepare_cached(
                "INSERT INTO sequence (kind, next) VALUES (?1, ?2)
                 ON CONFLICT (kind) DO UPDATE SET next = next + 1 RETURNING next - 1",
            )?
            .query_row(params![kind as u8, kind.first_id() + 1], |row| row.get(0))
    }

    pub(crate) fn insert(self, object: &Object) -> Result<()> {
        self.0
            .prepare_cached(
                "INSERT INTO object (kind, id, name, uid, gid, perms, state, prev_state, parent,
                 due, detail, template) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                object.kind as u8,
                object.id,
                object.name,
                object.uid,
                object.gid,
                object.perms,
                object.state,
                object.prev_state,
                object.parent,
                object.due,
                detail_text(object)?,
                object.template
            ])?;
        Ok(())
    }

    /// Stores everything but the template, which may be large.
    pub(crate) fn save_head(self, object: &Object) -> Result<()> {
        self.0
            .prepare_cached(
                "UPDATE object SET name = ?3, uid = ?4, gid = ?5, perms = ?6, state = ?7,
                 prev_state = ?8, parent = ?9, due = ?10, detail = ?11 WHERE kind = ?1 AND id = ?2",
            )?
            .execute(params![
                object.kind as u8,
                object.id,
                object.name,
                object.uid,
                object.gid,
                object.perms,
                object.state,
                object.prev_state,
                object.parent,
                object.due,
                detail_text(object)?
            ])?;
        Ok(())
    }

    pub(crate) fn save(self, object: &Object) -> Result<()> {
        self.save_head(object)?;
        self.0
            .prepare_cached("UPDATE object SET template = ?3 WHERE kind = ?1 AND id = ?2")?
            .execute(params![object.kind as u8, object.id, object.template])?;
        Ok(())
    }

    /// Removes the object and its places in clusters.
    pub(crate) fn delete(self, kind: Kind, id: i32) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM object WHERE kind = ?1 AND id = ?2")?
            .execute(params![kind as u8, id])?;
        self.0
            .prepare_cached("DELETE FROM member WHERE kind = ?1 AND id = ?2")?
            .execute(params![kind as u8, id])?;
        Ok(())
    }

    pub(crate) fn load(self, kind: Kind, id: i32) -> Result<Option<Object>> {
        self.0
            .prepare_cached(&format!(
                "SELECT {HEAD}, template FROM object WHERE kind = ?1 AND id = ?2"
            ))?
            .query_row(params![kind as u8, id], with_template)
            .optional()
    }

    /// The object with an empty template; to be stored with [`Store::save_head`] only.
    pub(crate) fn head(self, kind: Kind, id: i32) -> Result<Option<Object>> {
        self.0
            .prepare_cached(&format!("SELECT {HEAD} FROM object WHERE kind = ?1 AND id = ?2"))?
            .query_row(params![kind as u8, id], head)
            .optional()
    }

    pub(crate) fn name(self, kind: Kind, id: i32) -> Result<Option<String>> {
        self.0
            .prepare_cached("SELECT name FROM object WHERE kind = ?1 AND id = ?2")?
            .query_row(params![kind as u8, id], |row| row.get(0))
            .optional()
    }

    /// Id of an object of that name, of that owner if one is given.
    pub(crate) fn find(self, kind: Kind, name: &str, owner: Option<i32>) -> Result<Option<i32>> {
        self.0
            .prepare_cached(
                "SELECT id FROM object WHERE kind = ?1 AND name = ?2 AND (?3 IS NULL OR uid = ?3)
                 ORDER BY id LIMIT 1",
            )?
            .query_row(params![kind as u8, name, owner], |row| row.get(0))
            .optional()
    }

    /// A user by name.
    pub(crate) fn user(self, name: &str) -> Result<Option<Object>> {
        match self.find(Kind::User, name, None)? {
            Some(id) => self.head(Kind::User, id),
            None => Ok(None),
        }
    }

    /// Ids of the objects of a kind that are in another one, in order.
    pub(crate) fn children(self, kind: Kind, parent: i32) -> Result<Vec<i32>> {
        self.0
            .prepare_cached("SELECT id FROM object WHERE kind = ?1 AND parent = ?2 ORDER BY id")?
            .query_map(params![kind as u8, parent], |row| row.get(0))?
            .collect()
    }

    /// Ids of the users of a group, in order.
    pub(crate) fn users_of(self, group: i32) -> Result<Vec<i32>> {
        self.0
            .prepare_cached("SELECT id FROM object WHERE kind = ?1 AND gid = ?2 ORDER BY id")?
            .query_map(params![Kind::User as u8, group], |row| row.get(0))?
            .collect()
    }

    /// Clusters of a datastore or a network.
    pub(crate) fn clusters_of(self, kind: Kind, id: i32) -> Result<Vec<i32>> {
        self.0
            .prepare_cached(
                "SELECT cluster FROM member WHERE kind = ?1 AND id = ?2 ORDER BY cluster",
            )?
            .query_map(params![kind as u8, id], |row| row.get(0))?
            .collect()
    }

    /// Datastores or networks of a cluster.
    pub(crate) fn members(self, kind: Kind, cluster: i32) -> Result<Vec<i32>> {
        self.0
            .prepare_cached("SELECT id FROM member WHERE cluster = ?2 AND kind = ?1 ORDER BY id")?
            .query_map(params![kind as u8, cluster], |row| row.get(0))?
            .collect()
    }

    pub(crate) fn add_member(self, kind: Kind, id: i32, cluster: i32) -> Result<()> {
        self.0
            .prepare_cached("INSERT OR IGNORE INTO member (kind, id, cluster) VALUES (?1, ?2, ?3)")?
            .execute(params![kind as u8, id, cluster])?;
        Ok(())
    }

    pub(crate) fn remove_member(self, kind: Kind, id: i32, cluster: i32) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM member WHERE kind = ?1 AND id = ?2 AND cluster = ?3")?
            .execute(params![kind as u8, id, cluster])?;
        Ok(())
    }

    /// Whether anything is to move on by itself by now.
    pub(crate) fn is_due(self, now: i64) -> Result<bool> {
        self.0
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM object WHERE due <= ?1)")?
            .query_row([now], |row| row.get(0))
    }

    /// What is to move on by now, oldest first.
    pub(crate) fn due(self, now: i64) -> Result<Vec<Object>> {
        self.0
            .prepare_cached(&format!("SELECT {HEAD} FROM object WHERE due <= ?1 ORDER BY due"))?
            .query_map([now], head)?
            .collect()
    }

    /// Gives every object of a kind from `first` to `last` to `each`, newest first as `oned` lists
    /// them (`API_LIST_ORDER = "DESC"`), one at a time: a pool may be larger than memory should
    /// hold twice.
    pub(crate) fn scan<E: From<rusqlite::Error>>(
        self,
        kind: Kind,
        first: i32,
        last: i32,
        mut each: impl FnMut(Object) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT {HEAD}, template FROM object
             WHERE kind = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id DESC"
        ))?;
        let mut rows = statement.query(params![kind as u8, first, last])?;
        while let Some(row) = rows.next()? {
            each(with_template(row)?)?;
        }
        Ok(())
    }

    pub(crate) fn meta(self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0
            .prepare_cached("SELECT CAST(value AS BLOB) FROM meta WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    }

    pub(crate) fn set_meta(self, key: &str, value: &[u8]) -> Result<()> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value])?;
        Ok(())
    }
}

fn detail_text(object: &Object) -> Result<String> {
    serde_json::to_string(&object.detail)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn head(row: &Row<'_>) -> Result<Object> {
    let number: u8 = row.get(0)?;
    let kind = Kind::from_number(number)
        .ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(0, number.into()))?;
    let detail = serde_json::from_str(row.get_ref(10)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(10, Type::Text, Box::new(error))
    })?;
    Ok(Object {
        kind,
        id: row.get(1)?,
        name: row.get(2)?,
        uid: row.get(3)?,
        gid: row.get(4)?,
        perms: row.get(5)?,
        state: row.get(6)?,
        prev_state: row.get(7)?,
        parent: row.get(8)?,
        due: row.get(9)?,
        detail,
        template: String::new(),
    })
}

fn with_template(row: &Row<'_>) -> Result<Object> {
    Ok(Object { template: row.get(11)?, ..head(row)? })
}
