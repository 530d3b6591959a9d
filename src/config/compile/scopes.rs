//! The catalogue of scopes, and every list of scopes elsewhere in the file: what is not declared is a typo.

use std::collections::BTreeSet;

use super::Compiler;
use super::values::items;
use crate::config::raw::{List, Table};
use crate::config::yaml::document::Document;
use crate::config::yaml::path::YamlPath;
use crate::config::yaml::problem::{quoted, suggestion};
use crate::oauth::scope::{Catalogue, Scope, ScopeToken};

/// The declared scopes, and which of them something refers to.
pub(super) struct Scopes {
    catalogue: Catalogue,
    /// Also those whose declaration is at fault: they are no typo elsewhere.
    declared: BTreeSet<String>,
    used: BTreeSet<ScopeToken>,
}

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: Option<&Table<String>>) -> Scopes {
    let root = YamlPath::default().key("scopes");
    let document = &mut compiler.document;
    let mut tokens = Vec::new();
    for name in raw.into_iter().flat_map(|table| table.keys()) {
        match ScopeToken::parse(name) {
            Ok(token) => tokens.push(token),
            Err(error) => document.error(&root.key(name), error.to_string()),
        }
    }
    let catalogue = Catalogue::new(tokens).unwrap_or_else(|error| {
        document.error(&root, error.to_string());
        Catalogue::default()
    });
    let declared = document.keys(&root).map(str::to_owned).collect();
    Scopes { catalogue, declared, used: BTreeSet::new() }
}

impl Scopes {
    /// Reads a list of declared scopes. Whatever is wrong with it is noted in the document that it stands in.
    pub(super) fn read(
        &mut self,
        document: &mut Document,
        place: &YamlPath,
        list: Option<&List<String>>,
    ) -> Scope {
        let scope = self.check(document, place, list);
        self.used.extend(scope.iter().cloned());
        scope
    }

    /// As [`Scopes::read`], for a list that does not make anything of the scopes.
    pub(super) fn check(
        &self,
        document: &mut Document,
        place: &YamlPath,
        list: Option<&List<String>>,
    ) -> Scope {
        let mut tokens = BTreeSet::new();
        for (place, name) in items(list, place) {
            let token = ScopeToken::parse(name).ok().filter(|_| self.declared.contains(name));
            match token {
                Some(token) if tokens.contains(&token) => {
                    document.error(&place, format!("the scope {} is here twice", quoted(name)));
                }
                Some(token) => {
                    tokens.insert(token);
                }
                None => {
                    let message = format!("the scope {} is not declared", quoted(name));
                    let hint = suggestion(name, self.declared.iter().map(String::as_str));
                    let hint = hint.or_else(|| Some("declare it under `scopes`".to_owned()));
                    document.error_with(&place, message, hint);
                }
            }
        }
        tokens.into_iter().collect()
    }

    /// The declared scopes.
    pub(super) const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Warns of scopes that nothing refers to.
    pub(super) fn warn_of_unused(&self, compiler: &mut Compiler<'_>) {
        let root = YamlPath::default().key("scopes");
        for token in self.catalogue.iter().filter(|token| !self.used.contains(*token)) {
            let message = "the scope is declared, and no route, client or user has it";
            compiler.document.warn(&root.key(token.as_str()), message, None);
        }
    }

    pub(super) fn into_catalogue(self) -> Catalogue {
        self.catalogue
    }
}
