//! SET, RESET, SHOW and USE.
//!
//! A few settings have DuckDB's or PostgreSQL's short names; all of the engine's are reachable by
//! their own (`datafusion.execution.batch_size`).

use std::sync::Arc;

use arrow::array::timezone::Tz;
use sqlparser::ast::{Expr, Ident, Value};

use super::{Outcome, Session};
use crate::error::{Error, Result};
use crate::sql::name::{self, RelationRef};
use crate::sql::subquery;

/// Short names and the engine's settings they stand for.
const ALIASES: &[(&str, &str)] = &[
    ("schema", "datafusion.catalog.default_schema"),
    ("search_path", "datafusion.catalog.default_schema"),
    ("threads", "datafusion.execution.target_partitions"),
    ("timezone", "datafusion.execution.time_zone"),
    ("batch_size", "datafusion.execution.batch_size"),
];

impl Session {
    pub(super) async fn set(&mut self, name: &Ident, values: &[Expr]) -> Result<Outcome> {
        let span = name::span(name.span);
        let [value] = values else {
            return Err(Error::invalid(format!("setting \"{name}\" takes one value")).or_span(span));
        };
        let value = setting_value(value)
            .ok_or_else(|| Error::invalid(format!("{value} is not a literal")).or_span(span))?;
        let key = self.setting(name)?;
        if key == "datafusion.catalog.default_schema" {
            return self.set_schema(&value).await.map_err(|e| e.or_span(span));
        }
        if key == "datafusion.execution.time_zone" && value.parse::<Tz>().is_err() {
            let message = format!("setting \"{name}\" cannot be {value:?}: it is not a time zone");
            let help = "give a name such as 'Asia/Seoul' or an offset such as '+09:00'";
            return Err(Error::invalid(message).with_help(help).or_span(span));
        }
        let options = Arc::make_mut(&mut self.template).config_mut().options_mut();
        options.set(&key, &value).map_err(|e| {
            let message =
                format!("setting \"{name}\" cannot be {value:?}: {}", crate::error::message_of(&e));
            Error::invalid(message).or_span(span)
        })?;
        Ok(Outcome::done("SET"))
    }

    pub(super) fn reset(&mut self, name: &Ident) -> Result<Outcome> {
        let key = self.setting(name)?;
        let original = self.warehouse.template().config_options().entries();
        let value = original.into_iter().find(|entry| entry.key == key).and_then(|e| e.value);
        let options = Arc::make_mut(&mut self.template).config_mut().options_mut();
        match value {
            Some(value) => options.set(&key, &value)?,
            None => options.set(&key, "")?,
        }
        Ok(Outcome::done("RESET"))
    }

    pub(super) async fn show(&mut self, name: &str) -> Result<Outcome> {
        let from = "SELECT name, value FROM information_schema.df_settings";
        let query = if name.eq_ignore_ascii_case("all") {
            format!("{from} ORDER BY name")
        } else if name.eq_ignore_ascii_case("schemas") {
            "SELECT schema_name AS name FROM information_schema.schemata \
             WHERE schema_name <> 'information_schema' ORDER BY 1"
                .to_owned()
        } else {
            let key = self.setting(&Ident::new(name))?;
            format!("{from} WHERE name = {}", name::literal(&key))
        };
        let planned = self.planner().await?.query(&*subquery(&query, None)?).await?;
        self.rows(planned).await
    }

    pub(super) async fn use_schema(&mut self, name: &RelationRef) -> Result<Outcome> {
        let own = self.warehouse.name();
        let schema = match &name.schema {
            None if name.name == own => "main",
            None => &name.name,
            Some(catalog) if catalog == own => &name.name,
            Some(other) => return Err(Error::no_such("warehouse", other, [own]).or_span(name.span)),
        };
        let schema = schema.to_owned();
        self.set_schema(&schema).await.map_err(|e| e.or_span(name.span))
    }

    async fn set_schema(&mut self, name: &str) -> Result<Outcome> {
        let transaction = self.transaction().await?;
        let Some(schema) = transaction.schema(name).await? else {
            let schemas = transaction.schemas().await?;
            return Err(Error::no_such("schema", name, schemas.iter().map(|s| s.name.as_str())));
        };
        let template = Arc::make_mut(&mut self.template);
        template.config_mut().options_mut().catalog.default_schema = schema.name;
        Ok(Outcome::done("SET"))
    }

    /// The engine's name of a setting.
    fn setting(&self, name: &Ident) -> Result<String> {
        let lower = name.value.to_lowercase();
        if let Some((_, key)) = ALIASES.iter().find(|(alias, _)| *alias == lower) {
            return Ok((*key).to_owned());
        }
        let span = name::span(name.span);
        if lower == "memory_limit" {
            return Err(Error::unsupported(
                "the memory limit is fixed when the warehouse is opened",
            )
            .with_help("use --memory-limit")
            .or_span(span));
        }
        let known: Vec<String> =
            self.template.config_options().entries().into_iter().map(|e| e.key).collect();
        if known.contains(&lower) {
            return Ok(lower);
        }
        let candidates = known.iter().map(String::as_str).chain(ALIASES.iter().map(|(a, _)| *a));
        let error = Error::no_such("setting", &name.value, candidates).or_span(span);
        Err(error.with_help("SHOW ALL lists the settings"))
    }
}

fn setting_value(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(number, _) => Some(number.clone()),
            Value::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        },
        Expr::Identifier(ident) => Some(name::fold(ident)),
        Expr::UnaryOp { op: sqlparser::ast::UnaryOperator::Minus, expr } => {
            setting_value(expr).map(|value| format!("-{value}"))
        }
        _ => None,
    }
}
