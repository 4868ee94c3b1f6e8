//! Options: how files are written and looked after, for the whole catalog, a schema or a table.
//!
//! They are rows of `ducklake_metadata`, are not versioned and take effect at once. A table's own
//! goes before its schema's, and that before the catalog's. What a key means is not known here.

use std::collections::BTreeMap;

use super::Catalog;
use super::backend::{Row, Value};
use super::model::{SchemaId, Table, TableId};
use crate::error::Result;

/// What an option is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Scope {
    Global,
    Schema(SchemaId),
    Table(TableId),
}

/// One option as it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetOption {
    /// Its key, in lower case.
    pub key: String,
    /// Its value, as text.
    pub value: String,
    /// What it is set for.
    pub scope: Scope,
}

impl Catalog {
    /// All options, by key.
    pub async fn options(&self) -> Result<Vec<SetOption>> {
        let sql = "SELECT key, value, scope, scope_id FROM ducklake_metadata";
        let option = |row: &Row| {
            let scope = match (row.opt_text(2).as_deref(), row.opt_int(3)?) {
                (Some("schema"), Some(id)) => Scope::Schema(SchemaId(id)),
                (Some("table"), Some(id)) => Scope::Table(TableId(id)),
                _ => Scope::Global,
            };
            Ok(SetOption { key: row.text(0)?, value: row.text(1)?, scope })
        };
        let rows = self.backend().query(sql, &[]).await?;
        let mut options = rows.iter().map(option).collect::<Result<Vec<_>>>()?;
        options.sort_by(|a, b| (&a.key, a.scope).cmp(&(&b.key, b.scope)));
        Ok(options)
    }

    /// The options that hold for a table.
    pub async fn options_of(&self, table: &Table) -> Result<BTreeMap<String, String>> {
        let mut options = self.options().await?;
        options.retain(|option| match option.scope {
            Scope::Global => true,
            Scope::Schema(id) => id == table.schema_id,
            Scope::Table(id) => id == table.id,
        });
        options.sort_by_key(|option| option.scope);
        Ok(options.into_iter().map(|option| (option.key, option.value)).collect())
    }

    /// Sets an option, for all transactions to come.
    pub async fn set_option(&self, key: &str, value: &str, scope: Scope) -> Result<()> {
        let mut transaction = self.backend().write().await?;
        let delete = "DELETE FROM ducklake_metadata WHERE key = $1 AND scope";
        let (name, id) = match scope {
            Scope::Global => {
                transaction.execute(&format!("{delete} IS NULL"), &[key.into()]).await?;
                (Value::Null, Value::Null)
            }
            Scope::Schema(SchemaId(id)) | Scope::Table(TableId(id)) => {
                let name = if matches!(scope, Scope::Schema(_)) { "schema" } else { "table" };
                let values = [key.into(), name.into(), id.into()];
                let delete = format!("{delete} = $2 AND scope_id = $3");
                transaction.execute(&delete, &values).await?;
                (name.into(), id.into())
            }
        };
        let row = vec![key.into(), value.into(), name, id];
        transaction.insert("ducklake_metadata", vec![row]).await?;
        transaction.commit().await
    }
}
