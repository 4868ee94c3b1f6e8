//! CALL: a procedure with its arguments, some by position and some by name.
//!
//! Which procedures there are, and what they take, is the session's to say.

use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, Ident, Spanned};

use super::name::{self, RelationRef};
use crate::error::{Error, Result};

/// `CALL [warehouse.]procedure(value, …, name => value, …)`.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) procedure: RelationRef,
    pub(crate) arguments: Vec<CallArgument>,
}

#[derive(Debug, Clone)]
pub(crate) struct CallArgument {
    /// `None` for one that is told by its position.
    pub(crate) name: Option<Ident>,
    pub(crate) value: Expr,
}

impl Call {
    pub(crate) fn of(function: ast::Function) -> Result<Self> {
        let span = name::span(function.name.span());
        let procedure = RelationRef::from_ast(&function.name)?;
        let list = match function.args {
            ast::FunctionArguments::None => vec![],
            ast::FunctionArguments::List(list) if list.clauses.is_empty() => list.args,
            _ => return Err(Error::invalid("CALL takes values").or_span(span)),
        };
        let argument = |argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                Ok(CallArgument { name: None, value })
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => Ok(CallArgument { name: Some(name), value }),
            other => Err(Error::invalid(format!("{other} is not a value")).or_span(span)),
        };
        let arguments = list.into_iter().map(argument).collect::<Result<_>>()?;
        Ok(Self { procedure, arguments })
    }
}
