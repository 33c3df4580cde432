//! What calls show of keys and do to them, without a model: the ground of the simple checkers.

use crate::history::{Action, Answer, Key, Token, Val};

/// The tokens that `action` would write, and where.
pub(super) fn tokens_written(action: &Action) -> Vec<(Key, Token)> {
    let of = |key: Key, val: &Val| match val {
        Val::Int(_) => Vec::new(),
        Val::Tokens(tokens) => tokens.iter().map(|&token| (key, token)).collect(),
    };
    match action {
        Action::Set { key, val, .. } => of(*key, val),
        Action::MSet(pairs) | Action::MSetNx(pairs) => {
            pairs.iter().flat_map(|(key, val)| of(*key, val)).collect()
        }
        Action::Append(key, token) => vec![(*key, *token)],
        Action::Txn { steps, .. } => steps.iter().flat_map(tokens_written).collect(),
        Action::Get(_)
        | Action::MGet(_)
        | Action::Exists(_)
        | Action::GetDel(_)
        | Action::Del(_)
        | Action::Incr(..)
        | Action::DelIfEq(..)
        | Action::Expire(..)
        | Action::Persist(_)
        | Action::Rename(..)
        | Action::Flush => Vec::new(),
    }
}

/// The tokens that an answer shows.
pub(super) fn tokens_in(answer: &Answer) -> Vec<Token> {
    let of = |val: &Val| match val {
        Val::Int(_) => Vec::new(),
        Val::Tokens(tokens) => tokens.clone(),
    };
    match answer {
        Answer::Val(val) => of(val),
        Answer::Vals(vals) => vals.iter().flatten().flat_map(of).collect(),
        Answer::Each(answers) => answers.iter().flat_map(tokens_in).collect(),
        Answer::Done
        | Answer::Nil
        | Answer::Int(_)
        | Answer::NotInteger
        | Answer::NoSuchKey
        | Answer::Aborted => Vec::new(),
    }
}
